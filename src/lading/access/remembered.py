"""What was verified lately, so that the next request need not verify it again."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")


class Remembered(Generic[V]):
    """Values by digest, each until its own time; the least recently used go first.

    Bounded in entries and in weight (whatever the caller counts, bytes say). Keys are digests an outsider cannot
    choose, so that looking one up tells nothing about a secret. One event loop uses it; there is no lock.
    """

    def __init__(self, *, entries: int, weight: int | None = None) -> None:
        self._most = entries
        self._heaviest = weight
        self._weight = 0
        self._held: OrderedDict[bytes, tuple[V, float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: bytes, now: float) -> V | None:
        """The value, or None when it is not here or its time is over."""
        found = self._held.get(key)
        if found is None:
            return None
        if found[1] <= now:
            self._drop(key)
            return None
        self._held.move_to_end(key)
        return found[0]

    def put(self, key: bytes, value: V, until: float, weight: int = 1) -> None:
        """Keep ``value`` until then, dropping what was used longest ago to make room."""
        if key in self._held:
            self._drop(key)
        self._held[key] = (value, until, weight)
        self._weight += weight
        while len(self._held) > self._most or (self._heaviest is not None and self._weight > self._heaviest):
            self._drop(next(iter(self._held)))

    def _drop(self, key: bytes) -> None:
        self._weight -= self._held.pop(key)[2]
