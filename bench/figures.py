"""What a figure is: a name, the numbers it gives, and how one sample of them is taken from one server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from bench.fixture import Fixture
from bench.servers import Server

T = TypeVar("T")

Sample = Mapping[str, float]
"""The numbers of one server in one round, by metric key."""


@dataclass(frozen=True)
class Metric:
    """One number of a figure; ``better`` says which direction is the good one."""

    key: str
    label: str
    unit: str
    better: Literal["more", "less"]


@dataclass(frozen=True)
class Options:
    """How much is done in one round. Sizes in bytes."""

    seconds: float
    connections: int = 32
    downloads: int = 8
    crowd: int = 64
    pushers: int = 8
    uploads: int = 4
    large: int = 100_000_000
    large_count: int = 8
    layer: int = 20_000_000
    small: int = 1_000
    small_count: int = 400
    huge: int = 1_000_000_000
    requests: int = 100_000
    many: int = 1_000_000
    unreferenced: int = 100_000
    audited: int = 10_000_000


class Kept:
    """What figures started or prepared once, for all rounds; ``stack`` ends it."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self._stack = stack
        self._things: dict[str, Any] = {}

    def get(self, name: str, make: Callable[[], AbstractContextManager[T]]) -> T:
        """The thing of that name, made when it is first asked for."""
        if name not in self._things:
            self._things[name] = self._stack.enter_context(make())
        thing: T = self._things[name]
        return thing


@dataclass(frozen=True)
class Round:
    """What a figure may use: the running server, the volume it serves, a directory of its own, a seed, and what is kept."""

    server: Server
    fixture: Fixture
    directory: Path
    options: Options
    seed: int
    kept: Kept


@dataclass(frozen=True)
class Figure:
    """Something measured.

    ``static`` figures are taken from nginx too; nginx takes no pushes. ``volume``: of the rest, those that ask the servers which
    run over the volume all the time.
    """

    name: str
    title: str
    metrics: tuple[Metric, ...]
    sample: Callable[[Round], Sample]
    static: bool = True
    volume: bool = False
