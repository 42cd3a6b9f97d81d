"""Waiting for what comes about by itself: no test sleeps and hopes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds; how long is waited for what takes a moment on a machine with nothing else to do."""


def eventually(look: Callable[[], T | None], what: str = "", seconds: float = PATIENCE) -> T:
    """The first answer of ``look`` that is true; ``what`` is waited for is said if there is none."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what or look}"
        time.sleep(0.02)
    return found


async def until(look: Callable[[], T | None], what: str = "", seconds: float = PATIENCE) -> T:
    """:func:`eventually` in an event loop."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what or look}"
        await asyncio.sleep(0.01)
    return found
