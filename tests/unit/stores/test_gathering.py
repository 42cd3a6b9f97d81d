"""What is noted in memory and written a while later: all of it, once, also beside a close and an index that is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from lading.errors import Unavailable
from lading.stores.metadata.gathering import Gathering
from tests.support.patience import until

pytestmark = pytest.mark.anyio


class Notes:
    """Numbers that are noted, and those that were written; a write takes as long as ``gate`` is shut."""

    def __init__(self, seconds: float) -> None:
        self.waiting: list[int] = []
        self.written: list[int] = []
        self.failures = 0
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.gathering = Gathering("notes", seconds, self._write)

    def note(self, number: int) -> None:
        self.waiting.append(number)
        self.gathering.noted()

    async def _write(self) -> None:
        taken, self.waiting = self.waiting, []
        self.begun.set()
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            self.waiting = taken + self.waiting
            raise Unavailable("not now")
        self.written += taken


async def test_it_is_written_by_itself_and_again_after_a_pause() -> None:
    notes = Notes(0.01)
    for number in range(3):
        notes.note(number)
        await until(lambda: not notes.waiting)
        await asyncio.sleep(0.03)
    assert notes.written == [0, 1, 2]


async def test_what_is_noted_during_a_write_is_written_too() -> None:
    notes = Notes(0.01)
    notes.gate.clear()
    notes.note(1)
    await notes.begun.wait()
    notes.note(2)
    notes.gate.set()
    await until(lambda: notes.written == [1, 2])


@pytest.mark.parametrize("end", [Gathering.flush, Gathering.close], ids=["flush", "close"])
async def test_who_flushes_or_closes_waits_for_the_write_that_began(
    end: Callable[[Gathering], Awaitable[None]],
) -> None:
    notes = Notes(0.0)
    notes.gate.clear()
    notes.note(1)
    await notes.begun.wait()
    notes.note(2)
    ending = asyncio.ensure_future(end(notes.gathering))
    await asyncio.sleep(0.01)
    assert not ending.done()
    assert notes.written == []
    notes.gate.set()
    await ending
    assert notes.written == [1, 2]


async def test_an_index_that_is_away_gets_it_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    notes = Notes(0.01)
    notes.failures = 2
    with caplog.at_level(logging.WARNING):
        notes.note(1)
        await until(lambda: notes.written == [1])
    assert [record.getMessage() for record in caplog.records] == ["notes wait to be written: not now"] * 2


async def test_a_close_without_an_index_says_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    notes = Notes(100.0)
    notes.failures = 1
    notes.note(1)
    with caplog.at_level(logging.WARNING):
        await notes.gathering.close()
    assert [record.getMessage() for record in caplog.records] == ["notes were not written, and are lost: not now"]
