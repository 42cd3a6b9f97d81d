"""When a directory that is silent is asked again: not at each login, which would take as long as waiting for it does.

After a question that nobody answered the directory is left alone for a pause, which doubles with each question that goes
unanswered behind it; then one question is let through, and the others wait for what becomes of that one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from lading.access.directory.away import Away

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds."""


class Breaker:
    """See the module. Used by many threads; ``clock`` tells seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._silences = 0
        self._until = 0.0
        self._why = ""
        self._trying = False

    def enter(self) -> bool:
        """Ask for leave to ask; raises :class:`Away` during a pause. Whether this question is the one that tries."""
        with self._lock:
            if not self._silences:
                return False
            left = self._until - self._clock()
            if left > 0 or self._trying:
                raise Away(self._why, silent=True, pause=max(1, round(left)))
            self._trying = True
            return True

    def leave(self, away: Away | None, *, tried: bool) -> None:
        """Tell what became of a question: an answer of any kind ends the silence."""
        with self._lock:
            if tried:
                self._trying = False
            if away is None or not away.silent:
                self._silences = 0
            elif tried or not self._silences:  # of many that were under way together the first counts
                self._silences += 1
                self._until = self._clock() + min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._silences - 1, 16))
                self._why = away.why
