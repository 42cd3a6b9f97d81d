"""Uploads as files, where a request ends before the thread that works for it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lading.oci.digest import CANONICAL, Digest
from lading.stores.blobs.disk import write_all
from lading.stores.blobs.filesystem import FilesystemStore

pytestmark = pytest.mark.anyio

PIECE = bytes(1 << 20)


async def endless() -> AsyncIterator[bytes]:
    """A body that goes on."""
    while True:
        yield PIECE


async def small() -> AsyncIterator[bytes]:
    """A body of a few bytes."""
    yield b"small"


async def test_a_thread_that_still_writes_for_a_cancelled_request_writes_to_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upload is closed when the thread is done, so that its descriptor's number goes to nobody else before."""
    writes, go_on = threading.Event(), threading.Event()

    def held_up(descriptor: int, chunks: list[bytes], offset: int = 0) -> int:
        writes.set()
        assert go_on.wait(30)
        return write_all(descriptor, chunks, offset)

    monkeypatch.setattr("lading.stores.blobs.localupload.write_all", held_up)
    store = FilesystemStore(tmp_path / "store")
    session = await store.begin("some/where", CANONICAL)

    async def request() -> None:
        try:
            await session.append(endless())
        finally:
            await session.close()

    task = asyncio.create_task(request())
    assert await asyncio.to_thread(writes.wait, 30)
    others = []
    for number in range(3):  # more than once: a server that stops is not patient
        task.cancel()
        await asyncio.sleep(0)
        others.append(os.open(tmp_path / f"other-{number}", os.O_RDWR | os.O_CREAT))
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [os.fstat(other).st_size for other in others] == [0, 0, 0]
    (left,) = [found async for found in store.uploads()]
    assert left.size
    for other in others:
        os.close(other)
    assert await store.discard_upload("some/where", left.uuid)
    await store.close()


async def test_an_upload_that_is_closed_while_it_is_synced_stays_open_until_then(tmp_path: Path) -> None:
    """As where the row that goes beside it cannot be written: the sync goes on by itself."""
    store = FilesystemStore(tmp_path / "store")
    sessions = [await store.begin("some/where", CANONICAL) for _ in range(20)]
    for session in sessions:
        session.aim(Digest.of(b"small"))
        await session.append(small())
    syncs = [asyncio.create_task(session.sync()) for session in sessions]
    await asyncio.sleep(0)
    for session in sessions:
        await session.close()
    await asyncio.gather(*syncs)
    assert [found.size async for found in store.uploads()] == [5] * 20
    await store.close()
