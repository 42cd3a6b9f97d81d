"""Things done again and again in the background, by one process at a time."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import bindparam, select, text

from lading.jobs.leases import Leases
from lading.stores.metadata.schema.work import facts
from lading.stores.metadata.transaction import Statement, Transaction

log = logging.getLogger(__name__)

_LEASE_SECONDS = 60.0
_RENEW_SECONDS = 20.0

_LAST = Statement(select(facts.c.value).where(facts.c.name == bindparam("name")))
_NOTE = Statement(
    text(
        "INSERT INTO facts (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    )
)


@dataclass(frozen=True)
class Duty:
    """Something to do every ``seconds``; ``run`` may take as long as it needs."""

    name: str
    seconds: float
    run: Callable[[], Awaitable[object]]


class Duties:
    """Keeps the duties of one process; the lease sees to it that no other process does the same at the same time."""

    def __init__(self, leases: Leases, duties: Sequence[Duty]) -> None:
        self._leases = leases
        self._duties = duties
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin; on the running event loop."""
        self._tasks = [asyncio.create_task(self._keep(duty), name=duty.name) for duty in self._duties]

    async def stop(self) -> None:
        """Break off. Every duty goes on from where it was when it is done the next time."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def _keep(self, duty: Duty) -> None:
        while True:
            try:
                # a little more than that, so that processes do not all ask at once
                await asyncio.sleep(await self._until(duty) + random.uniform(0.05, 0.5))  # noqa: S311 - not a secret
                if await self._leases.take(duty.name, _LEASE_SECONDS):
                    await self._do(duty)
            except asyncio.CancelledError:
                raise
            except Exception:
                log.exception("%s failed; it is tried again", duty.name)
                await asyncio.sleep(min(duty.seconds, 60.0))

    async def _until(self, duty: Duty) -> float:
        """Seconds until it is due."""
        row = await self._leases.metadata.row(_LAST, name=f"last:{duty.name}")
        due = (int(row[0]) if row else self._leases.metadata.now()) + duty.seconds * 1000
        if row is None:
            await self._note(duty)
        return max(0.0, (due - self._leases.metadata.now()) / 1000)

    async def _do(self, duty: Duty) -> None:
        if await self._until(duty) > 0:
            await self._leases.give_back(duty.name)
            return  # another process did it while this one waited for the lease
        renewing = asyncio.create_task(self._renew(duty))
        try:
            await duty.run()
            await self._note(duty)
        finally:
            renewing.cancel()
            with suppress(asyncio.CancelledError):
                await renewing
            await self._leases.give_back(duty.name)

    async def _renew(self, duty: Duty) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            await self._leases.take(duty.name, _LEASE_SECONDS)

    async def _note(self, duty: Duty) -> None:
        async def note(tx: Transaction) -> None:
            await tx.execute(_NOTE, name=f"last:{duty.name}", value=str(tx.now))

        await self._leases.metadata.write(note)
