"""Users of a directory (LDAP, Active Directory), who become users of the registry when they first log in."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from functools import partial

from lading.access import arrivals
from lading.access.arrivals import SOURCE
from lading.access.directory.people import Login, logged_in, normal
from lading.access.directory.threads import Directory
from lading.access.passwords import LONGEST
from lading.access.principal import Kind, Principal
from lading.access.remembered import Remembered
from lading.access.users import BY_NAME, User, Users, check_name, record
from lading.errors import Invalid
from lading.stores.metadata.transaction import Metadata, Transaction


class Ldap:
    """The people of one directory; a login that was good is good for a while without asking again."""

    source = SOURCE

    def __init__(
        self, metadata: Metadata, directory: Directory, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._metadata = metadata
        self._directory = directory
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._known: Remembered[int] = Remembered(entries=8192)

    async def verify(self, name: str, password: bytes) -> Principal | None:
        """See :class:`~lading.access.providers.base.IdentityProvider`."""
        text = _usable(name, password)
        if not text:
            return None
        mark = self._mark(name, password)
        known = self._known.get(mark, self._clock())
        if known is not None:
            user = await self._metadata.read(lambda tx: Users(tx).find(known))
            return _principal(user)
        row = record(await self._metadata.row(BY_NAME, name=name))
        settings = self._directory.settings
        groups = await self._metadata.read(lambda tx: arrivals.wanted(tx, settings.groups.admin))
        # a name that is a user of another source is not this one's to give, and no reason to answer faster
        taken = row is not None and row.source != SOURCE
        question = partial(logged_in, name=name, password=text, wanted=list(groups), pretend=taken)
        login = await self._directory.ask(question)
        user = await self._metadata.write(partial(self._arrive, login=login, groups=groups)) if login else None
        principal = _principal(user)
        if principal is not None:
            self._known.put(mark, principal.id, self._clock() + settings.cache)
        return principal

    def remembered(self, name: str, password: bytes) -> bool:
        """See :class:`~lading.access.providers.base.IdentityProvider`."""
        return self._known.get(self._mark(name, password), self._clock()) is not None

    def close(self) -> None:
        """Let go of the threads."""
        self._directory.close()

    async def _arrive(self, tx: Transaction, login: Login, groups: dict[str, int]) -> User | None:
        user = await arrivals.welcome(tx, login.person)
        if user is None:
            return None
        inside = {dn: group for dn, group in groups.items() if normal(dn) in login.groups}
        admin = self._directory.settings.groups.admin
        mine = {group for group in inside.values() if group}
        await arrivals.settle(tx, user, mine, admin=normal(admin) in login.groups if admin else None)
        return user

    def _mark(self, name: str, password: bytes) -> bytes:
        user = name.encode("utf-8", "replace")
        return hmac.digest(self._key, b"%d:%b%b" % (len(user), user, password), "sha256")


def _usable(name: str, password: bytes) -> str:
    """The password as text; empty where the directory is not to be asked at all, as for an empty one.

    Directories take a bind with a name and no password for one of nobody, and call it a success.
    """
    try:
        check_name(name)
        text = password.decode()
    except (Invalid, UnicodeDecodeError):
        return ""
    return text if len(password) <= LONGEST and "\0" not in text else ""


def _principal(user: User | None) -> Principal | None:
    if user is None or user.disabled or user.source != SOURCE:
        return None
    return Principal(user.name, Kind.USER, user.id)
