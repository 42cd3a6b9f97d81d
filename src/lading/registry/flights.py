"""One at a time, however many ask: in this process, and in all that share the index.

Whoever is first takes a lease and does the work; others in the process wait for the same task, others elsewhere look
again and again whether it was done. When the holder of the lease goes silent, another takes over.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from lading.errors import Unavailable
from lading.jobs.leases import Leases

_LEASE_SECONDS = 20.0
_RENEW_SECONDS = 5.0
_LOOK_SECONDS = 0.05
_LONGEST_LOOK_SECONDS = 0.5


class Flights:
    """Work that is done once at a time, by its name."""

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def close(self) -> None:
        """Break off what is being done."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def settled(self) -> None:
        """Return when nothing is being done."""
        while self._tasks:
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def share(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work, or wait for who does it in this process already; a client that leaves ends nothing."""
        await asyncio.shield(self.begin(name, work))

    def begin(self, name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Begin the work, unless it is being done."""
        task = self._tasks.get(name)
        if task is None:

            async def run() -> None:
                try:
                    await work()
                finally:
                    self._tasks.pop(name, None)

            task = self._tasks[name] = asyncio.create_task(run())
            task.add_done_callback(_heard)
        return task

    async def alone(
        self,
        name: str,
        done: Callable[[], Awaitable[bool]],
        work: Callable[[], Awaitable[None]],
        waits: Callable[[], None] = lambda: None,
    ) -> None:
        """Do the work under a lease of all processes, or return when another has: ``done`` says so.

        ``waits`` is called as long as another is at it, each time before it is asked for.
        """
        lease = "mirror:" + hashlib.blake2b(name.encode(), digest_size=20).hexdigest()
        pause = _LOOK_SECONDS
        while not await self._leases.take(lease, _LEASE_SECONDS):
            waits()
            if await done():
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.25, _LONGEST_LOOK_SECONDS)
        async with self._held(lease):
            if not await done():
                await work()

    @asynccontextmanager
    async def _held(self, lease: str) -> AsyncIterator[None]:
        renewing = asyncio.create_task(self._renew(lease))
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            with suppress(Unavailable):  # it runs out by itself
                await self._leases.give_back(lease)

    async def _renew(self, lease: str) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            with suppress(Unavailable):
                await self._leases.take(lease, _LEASE_SECONDS)


def _heard(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # who waits for it is told; nobody may be waiting
