"""Bodies that a thread reads: each piece written, and hashed after that, whoever does it."""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
from collections.abc import AsyncIterator

import pytest

from lading.stores.blobs.inflows import Inflows

pytestmark = pytest.mark.anyio

DATA = random.Random("inflows").randbytes(5_300_000)


class Sent:
    """An inflow of these bytes; what was read may be waited for, and held up, at a place."""

    def __init__(self, data: bytes = DATA) -> None:
        self.data = data
        self.left = len(data)
        self.place = 0
        self.hold_at = -1
        self.held, self.go_on = threading.Event(), threading.Event()
        self.stopped = False

    def read_into(self, buffer: memoryview) -> int:
        if self.hold_at >= 0 and self.place >= self.hold_at:
            self.held.set()
            assert self.go_on.wait(30)
        if self.stopped:
            return 0
        piece = self.data[self.place : self.place + len(buffer)]
        buffer[: len(piece)] = piece
        self.place += len(piece)
        return len(piece)

    def stop(self) -> None:
        self.stopped = True
        self.go_on.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := self.data[self.place : self.place + 100_000]:
            self.place += len(piece)
            yield piece


class Kept:
    """What was written and hashed, and by which threads."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.hash = hashlib.sha256()
        self.hashed = 0
        self.threads: set[str] = set()

    def write(self, piece: memoryview) -> None:
        self.written += piece

    def update(self, piece: memoryview) -> None:
        assert self.hashed + len(piece) <= len(self.written), "nothing is hashed before it is written"
        self.hash.update(piece)
        self.hashed += len(piece)
        self.threads.add(threading.current_thread().name.rpartition("_")[0])

    def check(self) -> None:
        """All of it, in order, both times."""
        assert self.written == DATA
        assert self.hash.digest() == hashlib.sha256(DATA).digest()


async def test_who_is_alone_is_hashed_beside_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    inflows = Inflows()
    monkeypatch.setattr(inflows, "_cores", 2)
    alone = Kept()
    await inflows.empty(Sent(), alone.write, alone.update)
    alone.check()
    assert alone.threads == {"blobs-hashing"}
    slow, waiting, quick = Sent(), Kept(), Kept()
    slow.hold_at = 2_000_000
    first = asyncio.ensure_future(inflows.empty(slow, waiting.write, waiting.update))
    await asyncio.to_thread(slow.held.wait, 30)
    await inflows.empty(Sent(), quick.write, quick.update)
    quick.check()
    assert quick.threads == {"blobs-arriving"}
    slow.go_on.set()
    await first
    waiting.check()
    inflows.close()


async def test_with_one_core_one_thread_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    inflows, kept = Inflows(), Kept()
    monkeypatch.setattr(inflows, "_cores", 1)
    await inflows.empty(Sent(), kept.write, kept.update)
    kept.check()
    assert kept.threads == {"blobs-arriving"}
    inflows.close()


async def test_where_all_threads_wait_the_loop_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    inflows, kept = Inflows(), Kept()
    monkeypatch.setattr("lading.stores.blobs.inflows._MOST", 0)
    await inflows.empty(Sent(), kept.write, kept.update)
    kept.check()
    inflows.close()


async def test_what_was_written_is_hashed_when_a_write_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no thread touches the hash any more when the error is told."""
    inflows, kept = Inflows(), Kept()
    monkeypatch.setattr(inflows, "_cores", 2)

    def full(piece: memoryview) -> None:
        if len(kept.written) > 3_000_000:
            raise OSError(28, "no space left on device")
        kept.write(piece)

    with pytest.raises(OSError, match="no space"):
        await inflows.empty(Sent(), full, kept.update)
    assert kept.hashed == len(kept.written) == 3 << 20
    assert kept.hash.digest() == hashlib.sha256(DATA[: 3 << 20]).digest()
    inflows.close()


async def test_who_is_cancelled_leaves_whole_pieces_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    inflows, kept, sent = Inflows(), Kept(), Sent()
    monkeypatch.setattr(inflows, "_cores", 2)
    sent.hold_at = 2_000_000
    taking = asyncio.ensure_future(inflows.empty(sent, kept.write, kept.update))
    await asyncio.to_thread(sent.held.wait, 30)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert kept.hashed == len(kept.written) == 2 << 20
    inflows.close()
