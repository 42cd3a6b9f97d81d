"""Events leave through a table: written in the transaction of what happened, read by whoever listens.

So none is lost, and none is sent for a change that was rolled back. Where nobody listens nothing is written. A pull
changes nothing that a transaction could carry; pulls wait in memory for a moment and are written together.

**The order of commits.** On PostgreSQL an event gets its number before it is committed, so 8 may be there before 7 is;
a reader that went on behind 8 would never see 7. Whoever writes events therefore holds the lock ``outbox`` from before
the first number it takes, shared with all others who do. The reader notes the newest number it can see and waits until
those who hold the lock at that moment are done (nobody who comes after is kept waiting): whatever has a smaller number
was given it before, so it is committed now, or never will be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy import bindparam, delete, func, insert, select

from lading.errors import Unavailable
from lading.jobs.events import AnyEvent, Event, decode, encode
from lading.stores.metadata.gathering import Gathering
from lading.stores.metadata.schema.work import outbox
from lading.stores.metadata.transaction import Metadata, Statement, Transaction

_INSERT = Statement(
    insert(outbox).values(kind=bindparam("kind"), payload=bindparam("payload"), happened_at=bindparam("happened_at"))
)
_AFTER = Statement(
    select(outbox.c.id, outbox.c.happened_at, outbox.c.payload)
    .where(outbox.c.id > bindparam("position"), outbox.c.id <= bindparam("newest"))
    .order_by(outbox.c.id)
    .limit(bindparam("limit"))
)
_FORGET = Statement(delete(outbox).where(outbox.c.id <= bindparam("position")))
_NEWEST = Statement(select(func.coalesce(func.max(outbox.c.id), 0)))

_LOCK = "outbox"
_MOST_PULLS_WAITING = 10_000
_PULLS_WAIT_SECONDS = 0.2


Reaction = Callable[[Transaction, Event, int], Awaitable[None]]
"""What follows from an event in the very transaction that makes it true; the number is when, in milliseconds."""


class Outbox:
    """Takes events in, and hands them out in the order in which they were committed.

    ``reactions`` see every event but pulls in the transaction it belongs to, whether somebody listens or not.
    """

    def __init__(self, metadata: Metadata, *, listening: bool, reactions: Sequence[Reaction] = ()) -> None:
        self._metadata = metadata
        self.reactions = reactions
        self.listening = listening
        self._pulls: deque[tuple[Event, int]] = deque(maxlen=_MOST_PULLS_WAITING)
        self._gathering = Gathering("notes of pulls", _PULLS_WAIT_SECONDS, self._write_pulls)

    async def emit(self, tx: Transaction, event: Event) -> None:
        """Record an event in the transaction that makes it true."""
        for react in self.reactions:
            await react(tx, event, tx.now)
        if self.listening:
            await tx.lock(_LOCK, shared=True)
            await tx.execute(_INSERT, kind=type(event).__name__, payload=encode(event), happened_at=tx.now)

    def emit_soon(self, event: Event) -> None:
        """Record an event that no transaction carries (a pull); lost if the process is killed within a moment."""
        if not self.listening:
            return
        self._pulls.append((event, self._metadata.now()))
        self._gathering.noted()

    async def flush(self) -> None:
        """Write the pulls that wait."""
        await self._gathering.flush()

    async def close(self) -> None:
        """Write the pulls that wait, at the end of the program."""
        await self._gathering.close()

    async def _write_pulls(self) -> None:
        waiting, self._pulls = self._pulls, deque(maxlen=_MOST_PULLS_WAITING)
        if not waiting:
            return

        async def record(tx: Transaction) -> None:
            await tx.lock(_LOCK, shared=True)
            await tx.execute_many(_INSERT, rows)

        rows = [{"kind": type(e).__name__, "payload": encode(e), "happened_at": at} for e, at in waiting]
        try:
            await self._metadata.write(record)
        except Unavailable:
            self._pulls.extendleft(reversed(waiting))
            raise

    async def after(self, position: int, limit: int) -> Sequence[tuple[int, int, AnyEvent]]:
        """Up to ``limit`` events behind ``position``: id, when (milliseconds), event."""
        newest = (await self._metadata.row(_NEWEST) or (0,))[0]
        if newest <= position:
            return []
        await self._metadata.settled(_LOCK)

        async def read(tx: Transaction) -> list[tuple[int, int, AnyEvent]]:
            rows = await tx.rows(_AFTER, position=position, newest=newest, limit=limit)
            return [(row[0], row[1], decode(row[2])) for row in rows]

        return await self._metadata.read(read)

    async def newest(self) -> int:
        """The id of the newest event, 0 if there is none."""

        async def read(tx: Transaction) -> int:
            return int(await tx.value(_NEWEST))

        return await self._metadata.read(read)

    async def forget(self, tx: Transaction, position: int) -> int:
        """Delete the events up to ``position``, when every consumer is done with them; how many."""
        return await tx.execute(_FORGET, position=position)
