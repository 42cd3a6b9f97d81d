"""What holds for every test."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.counts import add_option, count, long, show
from tests.support.directory import Slapd
from tests.support.plugin import pytest_runtest_makereport
from tests.support.postgres import Postgres

__all__ = ["count", "long", "pytest_runtest_makereport"]

HEAVY = ("e2e", "peer", "faults")
"""Tests with one of these markers run one after the other, on one worker: they start engines and measure time."""


def pytest_addoption(parser: pytest.Parser) -> None:
    add_option(parser)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What was counted on the way."""
    show(terminalreporter)


def pytest_configure() -> None:
    # whoever is started in the background ignores Ctrl-C, and so would every program that a test starts and interrupts
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Asynchronous tests run on asyncio, as the server does."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL for the tests of this process; each takes a database of its own."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def slapd() -> Iterator[Slapd]:
    """An OpenLDAP for the tests of this process."""
    with Slapd() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def index_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new, empty index is: a test that asks for it runs on every database there is."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'index.sqlite'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.emptied()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(tests).parts[0] if item.path.is_relative_to(tests) else ""
        if folder in HEAVY:
            item.add_marker(folder)
        if any(item.get_closest_marker(name) for name in HEAVY):
            item.add_marker(pytest.mark.xdist_group("heavy"))


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Reports travel between processes as UTF-8; what a fuzz test shows of its input may be no text at all."""
    return _text((yield))


def _text(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_text(key): _text(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_text(each) for each in value)
    return value


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skip of what should have run is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and reporter.stats.get("skipped") and session.exitstatus == pytest.ExitCode.OK:
        reporter.write_line("A test was skipped, which counts as a failure here.", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
