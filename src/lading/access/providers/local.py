"""Users whose passwords are kept here."""

from __future__ import annotations

from lading.access.passwords import Checker, outdated
from lading.access.principal import Kind, Principal
from lading.access.users import BY_NAME, LOCAL, User, Users, record
from lading.stores.metadata.transaction import Metadata, Transaction


class Local:
    """The users in the index that have a password there."""

    source = LOCAL

    def __init__(self, metadata: Metadata, checker: Checker) -> None:
        self._metadata = metadata
        self._checker = checker
        self._lately: dict[str, str] = {}

    async def verify(self, name: str, password: bytes) -> Principal | None:
        """See :class:`~lading.access.providers.base.IdentityProvider`."""
        user = record(await self._metadata.row(BY_NAME, name=name))
        stored = user.password if user is not None and user.source == LOCAL else ""
        if not await self._checker.fits(name, password, stored) or user is None or user.disabled:
            return None
        if outdated(stored):
            await self._renew(user, password)
        self._lately[name] = stored
        if len(self._lately) > 10_000:
            self._lately.clear()
        return Principal(user.name, Kind.USER, user.id)

    def remembered(self, name: str, password: bytes) -> bool:
        """See :class:`~lading.access.providers.base.IdentityProvider`."""
        return self._checker.remembered(name, password, self._lately.get(name, ""))

    def close(self) -> None:
        """Nothing of its own."""

    async def _renew(self, user: User, password: bytes) -> None:
        stored = await self._checker.hashed(password.decode("utf-8", "replace"))

        async def renew(tx: Transaction) -> None:
            await Users(tx).set_password(user, stored, keep_logins=True)

        await self._metadata.write(renew)
