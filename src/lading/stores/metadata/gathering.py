"""What is noted in memory, and written together a while later: pulls, logins, what was asked for.

A pull must not wait for a transaction of its own. What is noted is lost if the process is killed before it was written,
and only then: the program's end writes it, and an index that is away for a while gets it when it is back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from lading.errors import Unavailable

log = logging.getLogger(__name__)


class Gathering:
    """Calls ``write`` some ``seconds`` after the first :meth:`noted`, never twice at a time.

    ``write`` takes what its owner noted and writes it; where it fails it puts that back. ``what`` is its name in the log.
    """

    def __init__(self, what: str, seconds: float, write: Callable[[], Awaitable[None]]) -> None:
        self._what = what
        self._seconds = seconds
        self._write = write
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._more = False

    def noted(self) -> None:
        """There is something to write; in the loop that writes it."""
        self._more = True
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._keep(), name=self._what)

    async def flush(self) -> None:
        """Write now; when this returns, all that was noted before is written, whoever wrote it."""
        async with self._writing:
            await self._write()

    async def close(self) -> None:
        """Write what is there for the last time."""
        async with self._writing:  # so the task is not cancelled while it writes
            if self._task is not None:
                self._task.cancel()
            try:
                await self._write()
            except Unavailable as error:
                log.warning("%s were not written, and are lost: %s", self._what, error.message)

    async def _keep(self) -> None:
        try:
            while self._more:
                await asyncio.sleep(self._seconds)
                self._more = False
                try:
                    await self.flush()
                except Unavailable as error:
                    log.warning("%s wait to be written: %s", self._what, error.message)
                    self._more = True
        finally:
            self._task = None
