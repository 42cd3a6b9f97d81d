"""How far a task is, in its log: bytes, now and then, while large blobs move.

A line comes after some seconds, the next after twice as many, and so on up to five minutes: soon enough for who looks, and
so few that a transfer of days leaves room in the log for what else is told.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from lading.oci.manifest import Descriptor

FIRST_SECONDS = 4.0
_LONGEST_SECONDS = 300.0
_MOST_NAMED = 4


class Progress:
    """Hears how far the blobs of a task are, and writes lines of it to ``log``."""

    def __init__(self, log: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._pause = FIRST_SECONDS
        self._due = clock() + self._pause
        self._moving: dict[str, list[int]] = {}
        self._moved = 0

    def reads(self, blob: Descriptor, start: int) -> None:
        """A blob is read from that byte on, perhaps anew."""
        self._moving[blob.digest] = [start, blob.size]

    def moved(self, blob: Descriptor, count: int) -> None:
        """So many bytes more of it."""
        self._moving[blob.digest][0] += count
        self._moved += count
        now = self._clock()
        if now < self._due:
            return
        self._pause = min(2 * self._pause, _LONGEST_SECONDS)
        self._due = now + self._pause
        named = [
            f"{place} of {size} bytes of {digest[:19]}"
            for digest, (place, size) in list(self._moving.items())[:_MOST_NAMED]
        ]
        self._log(f"{self._moved} bytes moved so far; on their way: {', '.join(named)}")

    def broken(self) -> None:
        """Nothing is on its way any more."""
        self._moving.clear()

    def end(self, blob: Descriptor) -> None:
        """It is there."""
        self._moving.pop(blob.digest, None)
