"""What the integration tests share: servers that hold content which must not be harmed, and a user of the client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.kept import Kept, keep
from tests.support.client import User
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


@pytest.fixture
def user(tmp_path: Path) -> User:
    """Somebody at a machine of their own, with nothing on it."""
    return User(tmp_path / "home")


@pytest.fixture
def name(registry: Lading, request: pytest.FixtureRequest) -> str:
    """A repository of the test's own in the module's registry."""
    return f"{registry.host}/{re.sub('[^a-z0-9]+', '-', request.node.name).strip('-')}"
