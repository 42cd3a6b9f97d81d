"""A day of a large registry, minute by minute: what is assumed, each with where it comes from, and what follows.

Nobody publishes the traffic of such a registry. What is public is taken as it is; the rest is called an assumption, and
``bench.simulation --set NAME=VALUE`` changes any of it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

MINUTES = 24 * 60

_HUB_2020 = (
    "Docker: 30 billion pulls of 8.3 million repositories in the fourth quarter of 2020, 39 a repository and day"
)
_HUB_STORE = "Docker, August 2020: 15 PB in 150 million images; here a tenth of that an image, as 10 PB were not in use"
_GITLAB = "GitLab.com's design page for its registry: 150 to 200 thousand images pushed a day; here twice the upper end"
_TRACES = "Anwar et al., FAST '18 (75 days, five data centres): small layers dominate, and few are asked for often"
_GOAL = "what the design is planned for"
_ASSUMED = "assumption"


def _given(value: Any, source: str) -> Any:
    return field(default=value, metadata={"source": source})


@dataclass(frozen=True)
class Workload:
    """What the registry holds and what a day brings. Sizes in bytes."""

    repositories: int = _given(10_000_000, _GOAL)
    manifests: int = _given(100_000_000, _GOAL)
    stored: float = _given(1e15, f"{_GOAL}; {_HUB_STORE}")
    pulls_a_repository: float = _given(39.0, _HUB_2020)
    pushes: int = _given(400_000, _GITLAB)
    kept: float = _given(0.5, f"{_ASSUMED}: retention removes the other half of what is pushed")
    day_to_mean: float = _given(1.6, f"{_ASSUMED}: the busiest hour beside the mean of the day")
    on_the_hour: float = _given(0.10, f"{_ASSUMED}: share of an hour's pulls that come in its first minute (cron, CI)")
    noise: float = _given(0.05, f"{_ASSUMED}: spread of a minute around what its hour expects")
    second_manifest: float = _given(0.6, f"{_ASSUMED}: pulls that go from an index on to one platform's manifest")
    cold: float = _given(0.25, f"{_ASSUMED}: pulls whose client lacks layers; the others only look whether a tag moved")
    blobs_a_cold_pull: float = _given(6.0, f"{_ASSUMED}: a config and the layers the client lacks")
    new_blobs_a_push: float = _given(3.0, f"{_ASSUMED}: a config and two layers nobody has")
    known_blobs_a_push: float = _given(6.0, f"{_ASSUMED}: layers that a HEAD finds there")
    layer_median: float = _given(200_000.0, _TRACES)
    skew: float = _given(0.9, f"{_TRACES}; the exponent is an assumption")

    def __post_init__(self) -> None:
        for name in ("kept", "on_the_hour", "cold", "second_manifest"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share: from 0 to 1")
        if self.day_to_mean < 1 or self.day_to_mean > 2:
            raise ValueError("day_to_mean is from 1 to 2: a sine around the mean")
        if min(self.repositories, self.manifests, self.stored, self.layer_median) <= 0:
            raise ValueError("what the registry holds is more than nothing")

    @property
    def pulls(self) -> int:
        """Pulls a day."""
        return round(self.repositories * self.pulls_a_repository)

    @property
    def layer_mean(self) -> float:
        """Mean size of a blob that is stored once: what is stored, divided among what every push brings."""
        return self.stored / (self.manifests * self.new_blobs_a_push)

    def layers_below(self, size: float) -> float:
        """The share of layers smaller than *size*: log-normal, with the given median and the mean that follows."""
        if self.layer_mean <= self.layer_median:
            return 1.0 if size > self.layer_median else 0.0
        spread = math.sqrt(2 * math.log(self.layer_mean / self.layer_median))
        return 0.5 * (1 + math.erf(math.log(size / self.layer_median) / spread / math.sqrt(2)))

    def sources(self) -> dict[str, str]:
        """Where each number comes from."""
        return {each.name: each.metadata["source"] for each in fields(self)}


@dataclass(frozen=True)
class Minute:
    """What arrives in one minute, in requests."""

    pulls: int
    pushes: int


def day(workload: Workload, seed: int = 1) -> list[Minute]:
    """Every minute of a day. The same seed gives the same day; no pull and no push is lost in the rounding."""
    chosen = random.Random(seed)
    weights = [
        _of_the_day(minute, workload.day_to_mean) * max(0.0, chosen.gauss(1.0, workload.noise))
        for minute in range(MINUTES)
    ]
    pushes = split(workload.pushes, weights)
    pulls = split(workload.pulls, _with_bursts(weights, workload.on_the_hour))
    return [Minute(*both) for both in zip(pulls, pushes, strict=True)]


def _of_the_day(minute: int, day_to_mean: float) -> float:
    """Most at 14:00, least at 02:00, 1 on average."""
    return 1 + (day_to_mean - 1) * math.sin(2 * math.pi * (minute / MINUTES - 8 / 24))


def _with_bursts(weights: Sequence[float], share: float) -> list[float]:
    """Each hour keeps its sum, of which its first minute gets *share* before the rest is dealt out as it was."""
    found: list[float] = []
    for start in range(0, len(weights), 60):
        hour = weights[start : start + 60]
        found += [one * (1 - share) for one in hour]
        found[start] += sum(hour) * share
    return found


def split(whole: int, weights: Sequence[float]) -> list[int]:
    """*whole* in parts as the weights say, which add up to it exactly (largest remainder)."""
    total = sum(weights)
    exact = [whole * weight / total for weight in weights]
    parts = [math.floor(one) for one in exact]
    missing = whole - sum(parts)
    for index in sorted(range(len(exact)), key=lambda one: (parts[one] - exact[one], one))[:missing]:
        parts[index] += 1
    return parts
