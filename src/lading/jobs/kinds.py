"""What a job is to the code that does it: a kind says how, a task is one attempt under way."""

from __future__ import annotations

import asyncio
import enum
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

MOST_LINE = 2000
"""How many characters a line of a job's log, its message and its error have at most."""

_MOST_LINES_WAITING = 500


@dataclass(frozen=True)
class Claim:
    """A job that this process has: ``holder`` is a name no other claim has, ``attempt`` counts from 1."""

    job: int
    kind: str
    payload: Any
    attempt: int
    holder: str


class Reason(enum.Enum):
    """Why a task is told to end before it is done."""

    LOST = "its lease was lost"
    CANCEL = "it was cancelled"
    DRAIN = "the process stops"


class Task:
    """One attempt at a job, as the code that does it sees it. Telling is cheap: a heartbeat writes what was told."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.stopping = asyncio.Event()
        """Set when the process stops; a standing job ends then by itself, others are cancelled."""
        self.done = 0
        self.total: int | None = None
        self.message = ""
        self._lines: list[str] = []
        self._dropped = 0

    @property
    def payload(self) -> Any:
        """What it was enqueued with: JSON."""
        return self.claim.payload

    def progress(self, done: int, total: int | None = None, message: str = "") -> None:
        """Tell how far it is; ``total`` where that is known."""
        self.done, self.total, self.message = done, total, message[:MOST_LINE]

    def log(self, line: str) -> None:
        """Tell something worth reading afterwards; what comes too fast to be written is counted and dropped."""
        if len(self._lines) >= _MOST_LINES_WAITING:
            self._dropped += 1
            return
        self._lines.append(line[:MOST_LINE])

    def take_lines(self) -> list[str]:
        """The lines that nobody has taken yet."""
        taken, self._lines = self._lines, []
        if self._dropped:
            taken.append(f"({self._dropped} more lines came at once and were dropped)")
            self._dropped = 0
        return taken


@dataclass(frozen=True)
class Kind:
    """How jobs of a kind are done. Durations in seconds.

    ``run`` answers a result that becomes JSON. It is tried ``attempts`` times (0: for ever), counting those whose
    process died, after pauses that double from ``backoff`` to ``longest``; not again after a ``hopeless`` error. A process has to say every fraction of
    ``lease`` that it is alive. A *standing* job never ends by itself: it goes on for as long as a process does, which
    lets it end within ``patience``, and then on another. ``beside`` is for work that may take days and waits for others most
    of the time: a process does so many besides its slots, so that it keeps nothing else from being done. 0: it takes a slot.
    """

    run: Callable[[Task], Awaitable[Any]]
    attempts: int = 5
    lease: float = 15.0
    backoff: float = 5.0
    longest: float = 3600.0
    hopeless: tuple[type[Exception], ...] = ()
    standing: bool = False
    beside: int = 0
    patience: float = 0.0

    def tired(self, attempt: int, error: BaseException | None = None) -> bool:
        """Whether an attempt that failed was the last one."""
        return isinstance(error, self.hopeless) or (self.attempts > 0 and attempt >= self.attempts)

    def pause(self, attempt: int, luck: float | None = None) -> float:
        """Seconds between an attempt and the next; ``luck`` from 0 to 1 spreads what failed at the same time."""
        luck = random.random() if luck is None else luck  # noqa: S311 - not a secret
        whole = min(self.backoff * 2 ** min(attempt - 1, 30), self.longest)
        return float(whole * (0.5 + luck / 2))
