"""What tests counted, shown at the end of the run: how many kills, cuts, requests it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Count = Callable[[str], None]
_NAME = "counted"


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Count:
    """Call it with a line of figures."""
    return lambda line: record_property(_NAME, line)


@pytest.fixture(scope="session")
def long(pytestconfig: pytest.Config) -> bool:
    """Whether the long run was asked for (``--long``)."""
    return bool(pytestconfig.getoption("--long"))


def add_option(parser: pytest.Parser) -> None:
    """Let ``--long`` be asked for."""
    parser.addoption("--long", action="store_true", help="run what breaks things for hours instead of minutes")


def show(reporter: Any) -> None:
    """Print the lines of all tests."""
    lines = [
        line
        for outcome in ("passed", "failed")
        for report in reporter.stats.get(outcome, ())
        for name, line in getattr(report, "user_properties", ())
        if name == _NAME and report.when == "call"
    ]
    if lines:
        reporter.section("counted")
        for line in lines:
            reporter.write_line(line)
