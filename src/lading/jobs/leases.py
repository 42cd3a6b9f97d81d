"""Who looks after something for all processes: one holder at a time, taken over when it goes silent.

What is work is a job, which has a lease of its own (``queue.py``).
"""

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

        async def free(tx: Transaction) -> bool:
            current = await tx.row(_HOLDER, name=name)
            return current is None or current[0] == self.holder or current[1] < tx.now

        async def take(tx: Transaction) -> bool:
            expires_at = tx.now + int(seconds * 1000)
            return bool(await tx.execute(_TAKE, name=name, holder=self.holder, expires_at=expires_at, now=tx.now))

        if not await self.metadata.read(free):
            return False  # spares a write for everyone who only asks
        return await self.metadata.write(take, durable=False)

    async def give_back(self, name: str) -> None:
        """Let go of a lease."""

        async def give_back(tx: Transaction) -> None:
            await tx.execute(_GIVE_BACK, name=name, holder=self.holder)

        await self.metadata.write(give_back, durable=False)
