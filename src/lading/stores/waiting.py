"""Requests that wait in an event loop for what a thread does: for one of them, or for many at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


async def to_its_end(work: Awaitable[T], stop: Callable[[], None] | None = None) -> T:
    """Wait for what a thread does, also where one is cancelled (``stop`` is called then, to hasten it).

    For work with what is closed or taken back next: a descriptor's number is another file's as soon as it was closed.
    """
    future = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if stop is not None:
            stop()
        while not future.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([future])
        raise


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
