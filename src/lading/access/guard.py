"""The door: an ``Authorization`` header and what is wanted go in, a principal or a refusal comes out.

Which guard stands there follows from the ``auth`` section of the configuration: none (everybody is anonymous),
``htpasswd`` (:mod:`lading.access.htpasswd`) or ``token`` (:mod:`lading.access.tokens`). Where accounts are on it is
:mod:`lading.access.gate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lading.access.principal import ANONYMOUS, Principal
from lading.access.scopes import Scope
from lading.errors import ConfigurationError


class Guard(Protocol):
    """Decides who a request comes from and whether it may do what it wants.

    ``wanted`` is what the route needs (see :mod:`lading.access.scopes`); empty for ``/v2/``, which asks only for a
    caller that is known. ``origin`` is the value of :func:`lading.access.challenge.origin`; it is looked at only when
    ``needs_origin`` is true, so a face need not compute it otherwise; ``address`` is the client's, for counting failures. Both methods raise ``Unauthenticated``, whose
    ``challenge`` is the header to send, or ``Unavailable`` when there are too many logins at once.
    """

    @property
    def needs_origin(self) -> bool:
        """Whether a challenge of this guard names the host the client asked."""

    def admit_now(self, authorization: bytes | None, wanted: tuple[Scope, ...], origin: str = "") -> Principal | None:
        """The principal when that can be told without waiting; None says: ask :meth:`admit`."""

    async def admit(
        self, authorization: bytes | None, wanted: tuple[Scope, ...], origin: str = "", address: str = ""
    ) -> Principal:
        """The principal."""

    def close(self) -> None:
        """Let go of threads; no request may be admitted after this."""


class Open:
    """No authentication is configured: everybody may do everything, and nobody has a name."""

    needs_origin = False

    def admit_now(self, authorization: bytes | None, wanted: tuple[Scope, ...], origin: str = "") -> Principal:  # noqa: ARG002 - not every guard needs all
        return ANONYMOUS

    async def admit(self, *_: object) -> Principal:
        return ANONYMOUS

    def close(self) -> None:
        return None


class HtpasswdSettings(Protocol):
    """``auth.htpasswd``."""

    @property
    def realm(self) -> str: ...
    @property
    def path(self) -> str: ...


class TokenSettings(Protocol):
    """``auth.token``, under registry:2's names."""

    @property
    def realm(self) -> str: ...
    @property
    def service(self) -> str: ...
    @property
    def issuer(self) -> str: ...
    @property
    def rootcertbundle(self) -> str | None: ...
    @property
    def jwks(self) -> str | None: ...
    @property
    def signingalgorithms(self) -> Sequence[str]: ...
    @property
    def autoredirect(self) -> bool: ...
    @property
    def autoredirectpath(self) -> str | None: ...


class AuthSettings(Protocol):
    """``auth``: at most one of the two."""

    @property
    def htpasswd(self) -> HtpasswdSettings | None: ...
    @property
    def token(self) -> TokenSettings | None: ...


def guard(auth: AuthSettings | None, *, provision: bool = True) -> Guard:
    """The guard for a configuration's ``auth`` section; raises ``ConfigurationError`` when it cannot do its work.

    It reads the files the section names. ``provision`` lets a missing htpasswd file be made; a server does that once, when it
    starts, and its workers turn it off. Call it after forking: what one process learns of passwords it keeps to itself.
    """
    if auth is None or (auth.htpasswd is None and auth.token is None):
        return Open()
    if auth.htpasswd is not None and auth.token is not None:
        problem = "auth: htpasswd and token are both set; registry clients can only follow one: remove the other"
        raise ConfigurationError(problem, [problem])
    if auth.htpasswd is not None:
        from lading.access.htpasswd import Htpasswd  # noqa: PLC0415 - a guard is imported with what it checks with

        return Htpasswd.open(auth.htpasswd.path, auth.htpasswd.realm, provision=provision)
    assert auth.token is not None
    from lading.access.tokens import Tokens  # noqa: PLC0415 - likewise

    return Tokens.open(
        realm=auth.token.realm,
        service=auth.token.service,
        issuer=auth.token.issuer,
        rootcertbundle=auth.token.rootcertbundle,
        jwks=auth.token.jwks,
        signingalgorithms=auth.token.signingalgorithms,
        autoredirect=auth.token.autoredirect,
        autoredirectpath=auth.token.autoredirectpath,
    )
