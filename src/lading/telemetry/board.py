"""Memory that all worker processes share to count in: each adds in a place of its own, anyone reads them all.

Counting is an addition in memory, with no file, lock or system call. The parent makes the board before it forks. A
worker takes a place that nobody holds; what a dead one counted stays, and its successor counts on from there.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator

PLACES = 256
CELLS = 8192
_BYTES = CELLS * 8


class Board:
    """``PLACES`` rows of ``CELLS`` numbers; rows never touched take no memory. Cell 0 is the holder's process id."""

    def __init__(self) -> None:
        # a file, since its record locks tell which places are held, and end with their process
        self._descriptor = os.memfd_create("lading-metrics")
        os.ftruncate(self._descriptor, PLACES * _BYTES)
        self._memory = mmap.mmap(self._descriptor, PLACES * _BYTES)
        self._cells = memoryview(self._memory).cast("d")

    def take_place(self) -> memoryview[float]:
        """A row for this process alone, until it ends."""
        for place in range(PLACES):
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            except OSError:
                continue
            row = self._row(place)
            row[0] = os.getpid()
            return row
        raise RuntimeError(f"more than {PLACES} processes count")

    def rows(self) -> Iterator[tuple[int, list[float]]]:
        """Every row that was ever taken, with its place."""
        for place in range(PLACES):
            if self._cells[place * CELLS]:
                yield place, list(self._row(place))

    def close(self) -> None:
        """Let go of it; the memory goes with the last process that has it."""
        os.close(self._descriptor)

    def _row(self, place: int) -> memoryview[float]:
        return self._cells[place * CELLS : (place + 1) * CELLS]
