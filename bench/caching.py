"""How often a cache of a process has what is asked for: Che's approximation of an LRU cache under Zipf's law.

A cache of C entries behaves as if each entry stayed for one and the same time T after it was last asked for; T is where
the expected number of entries is C. Ranks are taken together in groups that grow, so that a hundred million take as
long as a thousand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_GROWTH = 1.05


@dataclass(frozen=True)
class Hits:
    """The share of requests that is answered from the cache, and T in requests to it."""

    share: float
    stays: float


def popularity(number: int, skew: float) -> list[tuple[float, float]]:
    """Groups of ranks as (how many, the probability of each one), most popular first; probabilities add up to 1."""
    groups: list[tuple[int, float]] = []
    first = 1
    while first <= number:
        last = min(number, max(first, math.floor(first * _GROWTH)))
        count = last - first + 1
        groups.append((count, _sum(first, last, skew) / count))
        first = last + 1
    total = sum(count * weight for count, weight in groups)
    return [(float(count), weight / total) for count, weight in groups]


def hits(groups: Sequence[tuple[float, float]], entries: float) -> Hits:
    """What a cache of *entries* answers when requests are independent of each other."""
    if entries <= 0:
        return Hits(0.0, 0.0)
    if entries >= sum(count for count, _ in groups):
        return Hits(1.0, math.inf)
    low, high = 0.0, 1.0
    while _held(groups, high) < entries:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _held(groups, middle) < entries else (low, middle)
    return Hits(sum(count * chance * -math.expm1(-chance * high) for count, chance in groups), high)


def _held(groups: Sequence[tuple[float, float]], stays: float) -> float:
    return sum(count * -math.expm1(-chance * stays) for count, chance in groups)


def _sum(first: int, last: int, skew: float) -> float:
    """The sum of rank to the power of -skew, by the integral where there are many."""
    if last - first < 50:
        return sum(float(rank) ** -skew for rank in range(first, last + 1))
    low, high = first - 0.5, last + 0.5
    if abs(skew - 1) < 1e-9:
        return math.log(high / low)
    power = 1 - skew
    return float((high**power - low**power) / power)
