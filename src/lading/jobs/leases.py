"""Who looks after something for all processes: one holder at a time, taken over when it goes silent.

What is work is a job, which has a lease of its own (``queue.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy import bindparam, delete, select, text

from lading.errors import Unavailable
from lading.stores.metadata.schema.work import leases
from lading.stores.metadata.transaction import Metadata, Statement, Transaction

COLLECTION = "collection"
"""Held by whoever takes away what nothing refers to, or records a whole volume at once."""

_SECONDS = 15.0
_LOOK_SECONDS = 1.0

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

    @asynccontextmanager
    async def holding(self, name: str, waits: Callable[[], None]) -> AsyncIterator[None]:
        """Hold a lease meanwhile, once nobody else does; ``waits`` is called if that is not at once.

        If it cannot be renewed in time, what is done under it is ended, with ``Unavailable``.
        """
        had = await self.take(name, _SECONDS)
        if not had:
            waits()
        while not had:
            await asyncio.sleep(_LOOK_SECONDS)
            had = await self.take(name, _SECONDS)
        body = asyncio.current_task()
        assert body is not None
        renewing = asyncio.create_task(self._renew(name, body))
        try:
            yield
        except asyncio.CancelledError:
            if not renewing.done():
                raise
            body.uncancel()
            raise Unavailable(
                f"the lease {name!r} was lost, and another may have it: it was ended; run it again"
            ) from None
        finally:
            renewing.cancel()
            with contextlib.suppress(Unavailable):  # it runs out by itself
                await self.give_back(name)

    async def _renew(self, name: str, body: asyncio.Task[object]) -> None:
        """Renew until that fails, and end ``body`` then."""
        until = time.monotonic() + _SECONDS
        while True:
            await asyncio.sleep(_SECONDS / 6)
            moment = time.monotonic()
            try:
                held = await self.take(name, _SECONDS)
                until = moment + _SECONDS
            except Unavailable:
                held = time.monotonic() < until - _SECONDS / 3
            if not held:
                body.cancel()
                return
