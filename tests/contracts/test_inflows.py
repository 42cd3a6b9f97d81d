"""What every ``UploadSession`` promises of bytes that are still to be read, and of those who read along."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from lading.stores.blobs import inflows
from lading.stores.blobs.base import BlobStore
from tests.contracts.test_blob_store import DATA, DIGEST, begin, content, open_uploads, pieces, read

pytestmark = pytest.mark.anyio


class Coming:
    """Bytes that are still to be read; after them whoever reads waits until it is stopped, if ``endless``."""

    def __init__(self, data: bytes, *, endless: bool = False) -> None:
        self.left = len(data) + endless
        self.stopped = threading.Event()
        self._data = data
        self._place = 0
        self._endless = endless

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in pieces(self._data, 300_000):
            self.left -= len(piece)
            yield piece
        if self._endless:
            await asyncio.Event().wait()

    def read_into(self, buffer: memoryview) -> int:
        piece = self._data[self._place : self._place + min(len(buffer), 300_000)]
        if not piece and self._endless:
            assert self.stopped.wait(60)
        buffer[: len(piece)] = piece
        self._place += len(piece)
        self.left -= len(piece)
        return len(piece)

    def stop(self) -> None:
        self.stopped.set()


async def arriving(*parts: bytes | Coming) -> AsyncIterator[bytes | Coming]:
    for part in parts:
        yield part


@pytest.mark.parametrize("crowded", [False, True], ids=["", "crowded"])
async def test_what_is_still_to_be_read_is_taken_in_between_pieces(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch, crowded: bool
) -> None:
    """Others read it in the file it goes to, where there is one, as far as they were told; also where no thread is left."""
    if crowded:
        monkeypatch.setattr(inflows, "_MOST", 0)
    session = await store.begin("a/b", "sha256", aim=DIGEST)
    told: list[int] = []
    file = session.follow(told.append)
    await session.append(arriving(DATA[:70_000], Coming(DATA[70_000:-100]), DATA[-100:]))
    assert session.size == len(DATA)
    if file is None:
        assert not told
    else:
        await asyncio.sleep(0)
        assert told == sorted(told)
        assert told[-1] == len(DATA)
        assert len(told) > 3
        assert await read(file, 0, len(DATA)) == DATA
    assert await session.digest() == DIGEST
    await session.publish(DIGEST)
    await session.close()
    assert await content(store, DIGEST) == DATA
    if file is not None:
        assert await read(file, 5, 10) == DATA[5:15]
        file.close()


async def test_a_sender_that_waits_keeps_nobody_from_giving_up(store: BlobStore) -> None:
    session = await begin(store)
    coming = Coming(DATA[:100_000], endless=True)
    appending = asyncio.ensure_future(session.append(arriving(coming)))
    await asyncio.wait([appending], timeout=0.2)
    appending.cancel()
    async with asyncio.timeout(30):
        with pytest.raises(asyncio.CancelledError):
            await appending
    await session.cancel()
    await session.close()
    assert not await open_uploads(store)
