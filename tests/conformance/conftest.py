"""A registry for the whole folder, and a fresh repository for each test."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.content import Checked
from tests.support.lading import Lading

_numbers = itertools.count(1)

Serve = Callable[..., Checked]
"""Start a registry with these settings; a client of it."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A module's tests on servers of its own run in one process, so that each of these starts once."""
    for item in items:
        own = {"serve", "catalog"} & set(getattr(item, "fixturenames", ()))
        if own and item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings that name an index of its own kind; every test of this folder runs on each."""
    return {} if request.param == "sqlite" else {"url": request.getfixturevalue("postgres").fresh()}


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory, database: dict[str, str]) -> Iterator[Lading]:
    variables = {"REGISTRY_DATABASE_URL": database["url"]} if database else {}
    with Lading(tmp_path_factory.mktemp("conformance"), environment=variables) as server:
        yield server
    assert "Traceback" not in server.output


@pytest.fixture
def client(registry: Lading) -> Iterator[Checked]:
    with Checked(registry) as one:
        yield one


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A repository nobody else uses, with a name of two components."""
    return f"{re.sub('[^a-z0-9]+', '-', request.node.name.lower())[:80].strip('-')}/r{next(_numbers)}"


@pytest.fixture
def other(name: str) -> str:
    """A second repository."""
    return f"{name}-other"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def serve(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """A registry with settings of its own, until the module's tests are over: one for equal settings."""
    with ExitStack() as stack:
        running: dict[str, Checked] = {}

        def start(root: Any = None, **configuration: Any) -> Checked:
            key = f"{root} {configuration}"
            if key not in running:
                folder = root or tmp_path_factory.mktemp("own")
                if request.param == "postgresql":
                    database = {"url": request.getfixturevalue("postgres").fresh()}
                    configuration = {**configuration, "database": database}
                server = stack.enter_context(Lading(folder, configuration))
                stack.callback(lambda: _no_traceback(server))
                running[key] = stack.enter_context(Checked(server))
            return running[key]

        yield start


def _no_traceback(server: Lading) -> None:
    assert "Traceback" not in server.output
