"""An index as several processes see it, and a database whose clock stands still until a test moves it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from lading.stores.metadata.engine import open_index
from lading.stores.metadata.transaction import Metadata
from tests.unit.jobs.timed import Timed


@pytest.fixture
def open_metadata(index_url: str) -> Callable[[], Metadata]:
    """Opens the index; twice, as two processes do."""
    return lambda: open_index(index_url, wait=60)


@pytest.fixture
async def metadata(open_metadata: Callable[[], Metadata]) -> AsyncIterator[Metadata]:
    made = open_metadata()
    yield made
    await made.close()


@pytest.fixture
async def other(open_metadata: Callable[[], Metadata]) -> AsyncIterator[Metadata]:
    """The same index, as another process sees it."""
    made = open_metadata()
    yield made
    await made.close()


@pytest.fixture
def timed(metadata: Metadata) -> Timed:
    return Timed(metadata)


@pytest.fixture
def timed_other(timed: Timed, other: Metadata) -> Timed:
    """The same index and the same clock, as another process sees them."""
    return Timed(other, timed.clock)
