"""What is appended to a blob and still has to be read from where it comes: read, written and hashed in one thread.

A byte then costs no turn of the loop; what others are told of it is told once a megabyte. Who is alone has its hash made
in a second thread, beside the next piece: that costs a little more, and takes less time where a core is idle anyway.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from lading.stores.blobs.base import Inflow
from lading.stores.waiting import to_its_end

_PIECE = 1 << 20
_MOST = 64

Take = Callable[[memoryview], None]
"""What is done with a piece, which is overwritten afterwards."""


class Inflows:
    """The threads in which that is done: each waits for its sender, so they are nobody else's."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_MOST, thread_name_prefix="blobs-arriving")
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="blobs-hashing")
        self._cores = len(os.sched_getaffinity(0))
        self._busy = 0

    async def empty(self, inflow: Inflow, write: Take, update: Take) -> None:
        """Call ``write`` in a thread with each piece there is, and then ``update``; neither when this was cancelled.

        Where all threads wait already, the loop reads.
        """
        if self._busy >= _MOST:
            async for piece in inflow:
                await to_its_end(asyncio.to_thread(_both, write, update, memoryview(piece)))
            return
        self._busy += 1
        try:
            reading = asyncio.get_running_loop().run_in_executor(self._threads, self._read, inflow, write, update)
            await to_its_end(reading, inflow.stop)
        finally:
            self._busy -= 1

    def _read(self, inflow: Inflow, write: Take, update: Take) -> None:
        buffer, other = memoryview(bytearray(_PIECE)), None
        hashing: Future[None] | None = None
        try:
            while count := inflow.read_into(buffer):
                piece = buffer[:count]
                write(piece)
                if hashing is not None:
                    hashing = hashing.result()
                if self._busy > 1 or self._cores == 1:
                    update(piece)
                    continue
                hashing = self._beside.submit(update, piece)
                buffer, other = other or memoryview(bytearray(_PIECE)), buffer
        finally:
            if hashing is not None:
                hashing.result()

    def close(self) -> None:
        self._threads.shutdown(wait=False)
        self._beside.shutdown(wait=False)


def _both(write: Take, update: Take, piece: memoryview) -> None:
    write(piece)
    update(piece)
