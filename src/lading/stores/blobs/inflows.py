"""What is appended to a blob and still has to be read from where it comes: read, written and hashed in one thread.

A byte then costs no turn of the loop; what others are told of it is told once a megabyte. Who is alone has its hash made
in a second thread, beside the next piece: that costs a little more, and takes less time where a core is idle anyway.
Whoever waits for an answer of a kilobyte does not wait for a body of a gigabyte: these threads stand back behind the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from lading.stores.blobs.base import Inflow
from lading.stores.waiting import to_its_end

_PIECE = 1 << 20
_MOST = 64
_NICE = 5
"""By how much these threads stand back: a third of what a loop gets where both want a core, all of one that is idle."""

Take = Callable[[memoryview], None]
"""What is done with a piece, which is overwritten afterwards."""


class Inflows:
    """The threads in which that is done: each waits for its sender, so they are nobody else's."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_MOST, thread_name_prefix="blobs-arriving", initializer=_stand_back)
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="blobs-hashing", initializer=_stand_back)
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


def _stand_back() -> None:
    if sys.platform != "linux":  # where a priority is a process's
        return
    own = threading.get_native_id()
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, own, min(19, os.getpriority(os.PRIO_PROCESS, own) + _NICE))


def _both(write: Take, update: Take, piece: memoryview) -> None:
    write(piece)
    update(piece)
