"""What the integration tests share: a server of one worker and one of two, each holding content that must not be harmed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.kept import Kept, keep
from tests.support.http import Client
from tests.support.lading import Lading


@pytest.fixture(scope="session", params=[1, 2], ids=["one-worker", "two-workers"])
def kept_for_long(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    settings = {"limits": {"headersize": "16384"}}
    with Lading(tmp_path_factory.mktemp("bad"), settings, workers=request.param) as server:
        kept = keep(server)
        yield kept
        kept.check()


@pytest.fixture
def kept(kept_for_long: Kept) -> Iterator[Kept]:
    """A server with content, which is looked at again after the test."""
    yield kept_for_long
    kept_for_long.check()


@pytest.fixture
def server(kept: Kept) -> Lading:
    assert isinstance(kept.server, Lading)
    return kept.server


@pytest.fixture
def client(server: Lading) -> Iterator[Client]:
    with Client(server) as one:
        yield one
