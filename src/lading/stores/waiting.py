"""Requests that wait in an event loop for what a thread does for many of them at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(kw_only=True)
class Waiting:
    """What waits in ``loop`` for ``future``; the thread puts down what came of it, then calls :func:`settle`."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None

    def settle(self) -> None:
        """Tell whoever waits; in their loop."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


def settle(those: Sequence[Waiting]) -> None:
    """Tell all who wait, with one call into each loop; from any thread."""
    for loop in {one.loop for one in those}:
        try:
            loop.call_soon_threadsafe(_settle_all, [one for one in those if one.loop is loop])
        except RuntimeError:
            continue  # the loop was closed meanwhile: nobody waits any more


def _settle_all(those: Sequence[Waiting]) -> None:
    for one in those:
        one.settle()
