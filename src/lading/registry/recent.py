"""What a process remembers of what it handed out: bytes of manifests, and answers for when the index is away.

A manifest's bytes never change, so they are kept by digest and need no asking; what a name stands for is asked for
every time. Answers are remembered beside that, for one case alone: the index cannot be reached.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from lading.errors import Unavailable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MOST_BYTES = 32 << 20
MOST_ANSWERS = 20_000


class Contents:
    """The bytes of manifests by digest, those used last; ``most`` bytes in all."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._size = 0
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def get(self, digest: str) -> bytes | None:
        """The bytes, if they are here."""
        found = self._kept.get(digest)
        if found is not None:
            self._kept.move_to_end(digest)
        return found

    def keep(self, digest: str, raw: bytes) -> None:
        """Keep them; what was not used for longest goes when there is no room."""
        if digest in self._kept or len(raw) > self._most // 8:
            return
        self._kept[digest] = raw
        self._size += len(raw)
        while self._size > self._most:
            self._size -= len(self._kept.popitem(last=False)[1])


class Answers(Generic[K, V]):
    """Answers given within the last ``seconds``, for as long as the index is away; 0: none is kept."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._kept: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def keep(self, question: K, answer: V) -> None:
        """Remember what the index just answered."""
        if self._seconds:
            self._kept[question] = time.monotonic(), answer
            self._kept.move_to_end(question)
            if len(self._kept) > MOST_ANSWERS:
                self._kept.popitem(last=False)

    def forget(self, question: K) -> None:
        """The index says that there is no such thing any more."""
        self._kept.pop(question, None)

    def instead_of(self, error: Unavailable, question: K) -> tuple[V, int]:
        """The last answer and its age in seconds, or the error if there is none that is young enough."""
        known = self._kept.get(question)
        age = time.monotonic() - known[0] if known else 0.0
        if known is None or age > self._seconds:
            raise error
        return known[1], int(age)
