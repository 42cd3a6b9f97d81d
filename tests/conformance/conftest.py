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
from tests.support.objects import Moto

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


@pytest.fixture(scope="session", params=["sqlite", "postgresql", "bucket"])
def variables(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """The settings for an index or a store of its own kind; every test of this folder runs on each."""
    if request.param == "sqlite":
        return {}
    if request.param == "postgresql":
        return {"REGISTRY_DATABASE_URL": request.getfixturevalue("postgres").fresh()}
    settings = request.getfixturevalue("moto").settings
    return {
        "REGISTRY_DATABASE_URL": f"sqlite:///{tmp_path_factory.mktemp('bucket')}/index.sqlite",
        "REGISTRY_STORAGE": "s3",
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": None,
        "REGISTRY_STORAGE_REDIRECT_DISABLE": "true",
        **{f"REGISTRY_STORAGE_S3_{name.upper()}": value for name, value in settings.items()},
    }


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with Moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str | None]) -> Iterator[Lading]:
    with Lading(tmp_path_factory.mktemp("conformance"), environment=variables, timeout=60) as server:
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
