"""A connection to a directory: TLS, binds, and searches that end. Everything here blocks, and runs in a thread.

What comes back is bounded in entries, in bytes and in time, whatever the directory sends; referrals are not followed,
since a password would go wherever they point to.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import ldap3
from ldap3.core.exceptions import (
    LDAPCommunicationError,
    LDAPException,
    LDAPInvalidFilterError,
    LDAPSocketOpenError,
    LDAPStartTLSError,
)

from lading.access.directory.away import Away
from lading.access.directory.settings import DirectorySettings, Scope

MOST_BYTES = 32 * 1024 * 1024
"""What is read of one answer at the very most."""
NO_ATTRIBUTES = ("1.1",)

_PAGE = 500
_SPARE_PAGES = 10
_PAGED = "1.2.840.113556.1.4.319"
_SCOPES: Mapping[str, Literal["BASE", "LEVEL", "SUBTREE"]] = {"base": "BASE", "one": "LEVEL", "sub": "SUBTREE"}
_NO_STARTTLS = "the directory refuses StartTLS: give it a certificate, or use ldaps:// if it has one there"
_DONE, _TIME_LIMIT, _SIZE_LIMIT, _ADMIN_LIMIT, _NO_OBJECT = 0, 3, 4, 11, 32
_REFUSED = frozenset({16, 19, 32, 34, 48, 49, 50, 53})
"""Results of a bind that are about this name and this password; all others say that something is wrong over there."""


@dataclass(frozen=True)
class Entry:
    """What was found: attributes by names in small letters."""

    dn: str
    attributes: Mapping[str, tuple[bytes, ...]]

    def texts(self, name: str) -> tuple[str, ...]:
        """The values of an attribute that are text."""
        return tuple(value.decode("utf-8", "replace") for value in self.attributes.get(name.lower(), ()))

    def text(self, name: str) -> str:
        """The first of them."""
        return next(iter(self.texts(name)), "")


class Connection:
    """``with Connection(settings) as connection:`` is bound as the account that searches; raises :class:`Away`."""

    def __init__(self, settings: DirectorySettings) -> None:
        self._settings = settings
        self._sockets: list[Any] = []
        tls = _Tls(settings) if settings.secure or settings.starttls else None
        try:
            server = ldap3.Server(
                settings.address or settings.host,
                port=settings.port,
                use_ssl=settings.secure,
                tls=tls,
                get_info=ldap3.NONE,
                connect_timeout=settings.timeout,
            )
            self._ldap = ldap3.Connection(
                server,
                auto_referrals=False,
                check_names=False,
                receive_timeout=settings.timeout,
                auto_range=False,
                return_empty_attributes=False,
            )
        except LDAPException as error:
            raise Away(f"accounts.ldap.url is not usable ({type(error).__name__})") from None

    def __enter__(self) -> Self:
        try:
            self._ldap.open(read_server_info=False)
            self._sockets.append(self._ldap.socket)
            if self._settings.starttls and not self._settings.secure:
                self._begin_tls()
            self._sockets.append(self._ldap.socket)
            self._ldap.socket = self._bounds = _Bounded(self._ldap.socket, 4 * self._settings.timeout)
        except LDAPException as error:
            self._close()
            raise Away(_opening(error), silent=isinstance(error, LDAPSocketOpenError)) from None
        try:
            self.bind_again()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def bind_again(self) -> None:
        """Be the account that searches."""
        settings = self._settings
        if not self._bind(settings.user, settings.password):
            raise Away("the directory does not accept the account that searches: see binddn and bindpassword")

    def fits(self, dn: str, password: str) -> bool:
        """Whether this is the password of this entry. An empty one fits nobody, though directories call it a success."""
        return bool(dn) and bool(password) and self._bind(dn, password)

    def search(
        self,
        base: str,
        condition: str,
        scope: Scope = "sub",
        attributes: Iterable[str] = NO_ATTRIBUTES,
        most: int = 1000,
        *,
        whole: bool = False,
    ) -> list[Entry]:
        """The entries, ``most`` of them at most; raises :class:`Away`, for a base that is not there too.

        ``whole``: also where there are more of them, or the directory does not show all, since what is missing matters.
        """
        found: list[Entry] = []
        cookie: bytes | None = None
        for _ in range(most // _PAGE + _SPARE_PAGES):
            self._bounds.renew()
            try:
                self._ldap.search(
                    base,
                    condition,
                    _SCOPES[scope],
                    attributes=list(attributes),
                    size_limit=0 if most > _PAGE else most,
                    time_limit=self._settings.timeout,
                    paged_size=min(most, _PAGE),
                    paged_cookie=cookie,
                )
            except LDAPInvalidFilterError:
                raise Away("a filter of accounts.ldap is not one: see RFC 4515") from None
            except (LDAPException, OSError, ValueError) as error:
                raise Away(f"the directory broke off a search ({type(error).__name__})", silent=_cut(error)) from None
            code = self._ldap.result["result"]
            if code == _NO_OBJECT:
                raise Away(f"the directory has no {base!r}, or the account that searches may not see it")
            if code not in (_DONE, _SIZE_LIMIT, _TIME_LIMIT, _ADMIN_LIMIT):
                raise Away(f"the directory refuses a search ({self._ldap.result['description']})")
            if code in (_TIME_LIMIT, _ADMIN_LIMIT):
                raise Away("the directory cut a search short: are the attributes searched for indexed there?")
            found += [_entry(one) for one in self._ldap.response or () if one.get("type") == "searchResEntry"]
            controls = self._ldap.result.get("controls") or {}
            cookie = controls.get(_PAGED, {}).get("value", {}).get("cookie")
            if not cookie or code == _SIZE_LIMIT or len(found) >= most:
                if whole and (code == _SIZE_LIMIT or cookie or len(found) > most):
                    raise Away("the directory does not show all of an answer: raise its size limit for binddn")
                return found[:most]
        raise Away("the directory has no end of empty pages")

    def _begin_tls(self) -> None:
        """Nothing is said in the clear where this fails: no password has been sent yet, and none is."""
        try:
            begun = self._ldap.start_tls(read_server_info=False)
        except LDAPStartTLSError as error:
            if self._ldap.result and self._ldap.result["description"] != "success":
                raise LDAPStartTLSError(_NO_STARTTLS) from None
            raise error from None
        if not begun:
            raise LDAPStartTLSError(_NO_STARTTLS)

    def _bind(self, dn: str, password: str) -> bool:
        ldap = self._ldap
        ldap.user, ldap.password = dn or None, password or None
        ldap.authentication = ldap3.SIMPLE if dn else ldap3.ANONYMOUS
        if dn and not password:
            return False
        self._bounds.renew()
        try:
            if ldap.bind(read_server_info=False):
                return True
        except (LDAPException, OSError, ValueError) as error:
            raise Away(f"the directory broke off a bind ({type(error).__name__})", silent=_cut(error)) from None
        finally:
            ldap.password = None
        if ldap.result["result"] in _REFUSED:
            return False
        raise Away(f"the directory refuses to bind anybody ({ldap.result['description']})")

    def _close(self) -> None:
        try:
            self._ldap.unbind()
        except (LDAPException, OSError):
            pass  # it is gone already
        for sock in (*self._sockets, self._ldap.socket):
            if sock is not None:
                sock.close()  # ldap3 forgets to where something went wrong


class _Tls(ldap3.Tls):
    """TLS as the standard library checks it, against the name in the URL."""

    def __init__(self, settings: DirectorySettings) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED if settings.verify else ssl.CERT_NONE)
        self._name = settings.host
        try:
            self._context = ssl.create_default_context(cafile=settings.ca or None)
        except (OSError, ssl.SSLError):
            raise Away(f"accounts.ldap.ca: {settings.ca} cannot be read, or is no PEM file of certificates") from None
        if not settings.verify:
            self._context.check_hostname = False
            self._context.verify_mode = ssl.CERT_NONE

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        """See the base class."""
        connection.socket = self._context.wrap_socket(
            connection.socket, do_handshake_on_connect=do_handshake, server_hostname=self._name
        )


class _Bounded:
    """A socket that has had enough of an answer at some point, in bytes and in seconds."""

    def __init__(self, sock: Any, seconds: float) -> None:
        self._socket = sock
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        """Another answer is waited for."""
        self._ends = time.monotonic() + self._seconds
        self._left = MOST_BYTES

    def recv(self, size: int) -> bytes:
        if time.monotonic() > self._ends:
            raise OSError("it takes too long")
        data: bytes = self._socket.recv(max(size, 65_536))
        self._left -= len(data)
        if self._left < 0:
            raise OSError("it is too much")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def _entry(one: Mapping[str, Any]) -> Entry:
    return Entry(one["dn"], {name.lower(): tuple(values) for name, values in one["raw_attributes"].items()})


def _cut(error: Exception) -> bool:
    """Whether nothing came back, and not something that its library cannot read."""
    return isinstance(error, LDAPCommunicationError | OSError)


def _opening(error: LDAPException) -> str:
    text = str(error).lower()
    if str(error) == _NO_STARTTLS:
        return _NO_STARTTLS
    if "certificate" in text:
        return "the directory's certificate is not trusted, or not for this name: see accounts.ldap.ca"
    if "ssl" in text or "tls" in text or "wrap socket" in text:
        return "the directory does not speak TLS there as it was asked to"
    return "nobody answers there: is the address right, and the directory up?"
