"""What another registry listed, remembered for a while and within bounds; and lists that are not of now."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

_MOST = 32 << 20
_ENTRY = 1000
"""About how many bytes a list takes besides what is in it."""


class Stale(list[T]):
    """A list, or a page of one, as it was or as far as it is here: the registry whose it is could not be asked."""


class Lists:
    """Lists by their names, each believed for ``seconds``; the oldest go beyond 32 MiB of all that is in them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._kept: OrderedDict[str, tuple[float, Sequence[Any], int]] = OrderedDict()
        self._size = 0

    def find(self, name: str) -> Sequence[Any] | None:
        """The list of that name, if it is to be believed still."""
        kept = self._kept.get(name)
        return None if kept is None or kept[0] <= time.monotonic() else kept[1]

    def last(self, name: str) -> Sequence[Any] | None:
        """The list of that name, however old it is."""
        kept = self._kept.get(name)
        return None if kept is None else kept[1]

    def keep(self, name: str, items: Sequence[Any], size: int) -> None:
        """Remember a list of about so many bytes."""
        if name in self._kept:
            self._size -= self._kept.pop(name)[2]
        self._kept[name] = time.monotonic() + self._seconds, items, size + _ENTRY
        self._size += size + _ENTRY
        while self._size > _MOST and len(self._kept) > 1:
            self._size -= self._kept.popitem(last=False)[1][2]
