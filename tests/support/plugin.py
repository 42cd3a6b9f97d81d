"""A pytest hook: when a test fails, the report shows the logs of the programs that run meanwhile.

Use it from a ``conftest.py``: ``from tests.support.plugin import pytest_runtest_makereport``.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.support.process import Process


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections += [(f"log of {one.argv[0]} ({one.log})", one.output[-6000:]) for one in Process.running]
    return report
