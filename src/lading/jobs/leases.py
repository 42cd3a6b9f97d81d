"""Who does a piece of background work now: one holder at a time over all processes, taken over when it goes silent."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, select, text

from lading.stores.metadata.schema.work import leases
from lading.stores.metadata.transaction import Metadata, Statement, Transaction

_TAKE = Statement(
    text(
        "INSERT INTO leases (name, holder, expires_at) VALUES (:name, :holder, :expires_at)"
        " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at"
        " WHERE leases.holder = excluded.holder OR leases.expires_at < :now"
    )
)
_GIVE_BACK = Statement(delete(leases).where(leases.c.name == bindparam("name"), leases.c.holder == bindparam("holder")))
_HOLDER = Statement(select(leases.c.holder, leases.c.expires_at).where(leases.c.name == bindparam("name")))


class Leases:
    """The leases one process (``holder``, a name no other has) may take."""

    def __init__(self, metadata: Metadata, holder: str) -> None:
        self.metadata = metadata
        self.holder = holder

    async def take(self, name: str, seconds: float) -> bool:
        """Take or renew a lease for ``seconds``; False while another holds it."""
        current = await self.metadata.row(_HOLDER, name=name)
        if current and current[0] != self.holder and current[1] >= self.metadata.now():
            return False  # spares a write for everyone who only asks

        async def take(tx: Transaction) -> bool:
            moment = tx.now
            expires_at = moment + int(seconds * 1000)
            return bool(await tx.execute(_TAKE, name=name, holder=self.holder, expires_at=expires_at, now=moment))

        return await self.metadata.write(take, durable=False)

    async def give_back(self, name: str) -> None:
        """Let go of a lease."""

        async def give_back(tx: Transaction) -> None:
            await tx.execute(_GIVE_BACK, name=name, holder=self.holder)

        await self.metadata.write(give_back, durable=False)
