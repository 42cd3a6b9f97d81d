"""Questions about several rows at once, in one round trip: with as many parameters as there may be, so that they are made once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import BigInteger, BindParameter, bindparam

MOST = 100
"""Numbers of one statement."""


def parameters(name: str) -> list[BindParameter[Any]]:
    """What a column is held against: ``column.in_(parameters("project"))``."""
    return [bindparam(f"{name}_{place}", type_=BigInteger()) for place in range(MOST)]


def groups(name: str, numbers: Sequence[int]) -> Iterator[dict[str, int]]:
    """The values for them, for each :data:`MOST` of the numbers; the last of these stands in for those that are missing."""
    for start in range(0, len(numbers), MOST):
        part = numbers[start : start + MOST]
        yield {f"{name}_{place}": part[min(place, len(part) - 1)] for place in range(MOST)}
