"""What is appended to a blob and still has to be read from where it comes: read, written and hashed in one thread.

A byte then costs no turn of the loop; what others are told of it is told once a megabyte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from lading.stores.blobs.base import Inflow
from lading.stores.waiting import to_its_end

_PIECE = 1 << 20
_MOST = 64


class Inflows:
    """The threads in which that is done: each waits for its sender, so they are nobody else's."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_MOST, thread_name_prefix="blobs-arriving")
        self._busy = 0

    async def empty(self, inflow: Inflow, take: Callable[[memoryview], None]) -> None:
        """Call ``take`` in a thread with each piece there is; it is not called again when this was cancelled.

        Where all threads wait already, the loop reads.
        """
        if self._busy >= _MOST:
            async for piece in inflow:
                await to_its_end(asyncio.to_thread(take, memoryview(piece)))
            return
        self._busy += 1
        try:
            reading = asyncio.get_running_loop().run_in_executor(self._threads, _read, inflow, take)
            await to_its_end(reading, inflow.stop)
        finally:
            self._busy -= 1

    def close(self) -> None:
        self._threads.shutdown(wait=False)


def _read(inflow: Inflow, take: Callable[[memoryview], None]) -> None:
    buffer = memoryview(bytearray(_PIECE))
    while count := inflow.read_into(buffer):
        take(buffer[:count])
