"""Users of an htpasswd file, who become users of the registry when they first log in."""

from __future__ import annotations

import zlib

from lading.access.accounts import AccountsFile
from lading.access.passwords import Checker
from lading.access.principal import Kind, Principal
from lading.access.users import BY_NAME, User, Users, record
from lading.errors import LadingError
from lading.stores.metadata.transaction import Metadata, Transaction

SOURCE = "htpasswd"


class HtpasswdFile:
    """The users of one file, which is looked at again when it changes."""

    source = SOURCE

    def __init__(self, metadata: Metadata, checker: Checker, accounts: AccountsFile) -> None:
        self._metadata = metadata
        self._checker = checker
        self._accounts = accounts

    async def verify(self, name: str, password: bytes) -> Principal | None:
        """See :class:`~lading.access.providers.base.IdentityProvider`."""
        accounts = self._accounts.current()
        stored = accounts.hashes.get(name, b"").decode()
        dummy = accounts.dummies[zlib.crc32(name.encode("utf-8", "replace")) % len(accounts.dummies)].decode()
        if not await self._checker.fits(name, password, stored, dummy):
            return None
        user = record(await self._metadata.row(BY_NAME, name=name)) or await self._welcome(name)
        # a name that is taken by a user of another source is not this one's to give
        if user is None or user.source != SOURCE or user.disabled:
            return None
        return Principal(user.name, Kind.USER, user.id)

    def remembered(self, name: str, password: bytes) -> bool:
        """See :class:`~lading.access.providers.base.IdentityProvider`."""
        stored = self._accounts.current().hashes.get(name, b"").decode()
        return self._checker.remembered(name, password, stored)

    def close(self) -> None:
        """Nothing of its own."""

    async def _welcome(self, name: str) -> User | None:
        async def welcome(tx: Transaction) -> User:
            return await Users(tx).named(name) or await Users(tx).add(name, source=SOURCE)

        try:
            return await self._metadata.write(welcome)
        except LadingError:
            return None  # a name that no user can have here
