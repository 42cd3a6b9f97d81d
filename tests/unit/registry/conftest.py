"""A registry in a temporary folder, and a clock that stands still until a test moves it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.registry.world import Clock, World


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    made.take_the_place(monkeypatch)
    return made


@pytest.fixture
async def world(tmp_path: Path, clock: Clock, index_url: str) -> AsyncIterator[World]:
    made = World(tmp_path / "store", index_url)
    yield made
    await made.close()
