"""The time, as the index keeps it: milliseconds since 1970-01-01 UTC."""

from __future__ import annotations

import time


def local() -> int:
    """What this machine's clock says."""
    return time.time_ns() // 1_000_000


class DatabaseClock:
    """The database's time, which all processes on it share however their own clocks go.

    A measurement says how far the database's clock is ahead of this process's *monotonic* one, so that a step of this
    machine's clock changes nothing. Clocks drift apart by some 50 ms in a thousand seconds: measure again now and then.
    Until the first measurement it is the machine's time.
    """

    __slots__ = ("_ahead", "_measured_at")

    def __init__(self) -> None:
        self._ahead: int | None = None
        self._measured_at = 0.0

    def now(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        return local() if self._ahead is None else time.monotonic_ns() // 1_000_000 + self._ahead

    def measured(self, database: int, asked_at: int) -> None:
        """The database said ``database`` (ms) when asked at ``asked_at`` (monotonic ns): half of the way was there."""
        answered_at = time.monotonic_ns()
        self._ahead = database - (asked_at + answered_at) // 2_000_000
        self._measured_at = answered_at / 1e9

    def is_older_than(self, seconds: float) -> bool:
        """Whether the last measurement is."""
        return time.monotonic() - self._measured_at > seconds
