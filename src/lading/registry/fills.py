"""A blob on its way into the cache, and those who read it meanwhile.

What arrives goes to the store and, beside it, into a file without a name, from which any number of clients read as far
as it has come. The last byte is handed out only when the blob was found to have its digest: no client ever has the whole of
something else. That it is safe on the disk, nobody who reads waits for. What was fetched before a break is kept for a while, and the next try goes on from there.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from lading.oci.digest import Digest
from lading.stores.blobs.base import BlobFile, BlobStore

_PIECE = 1 << 20


class Fill:
    """A blob of ``size`` bytes of which ``held`` are here. Who reads it, and who fills it, holds it open."""

    def __init__(self, digest: Digest, size: int, store: BlobStore, folder: Path | None) -> None:
        self.digest = digest
        self.size = size
        self.held = 0
        self.elsewhere = False
        """Whether another process fetches it: it is read from the store when it is there."""
        self.error: BaseException | None = None
        self._before = 0
        self._right = False
        self._done = False
        self._store = store
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by who lets go of it last
        self._holders = 0
        self._change = asyncio.Event()

    def hold(self) -> None:
        self._holders += 1

    def let_go(self) -> None:
        self._holders -= 1
        if not self._holders:
            self._file.close()

    def again(self) -> None:
        """Whoever fills it begins once more, behind what is held."""
        self.error, self._before = None, self.held

    def add(self, chunk: bytes) -> None:
        left = memoryview(chunk)
        while left:  # a disk that is nearly full takes less than it is given
            count = os.pwrite(self._file.fileno(), left, self.held)
            left = left[count:]
            self.held += count
        self._changed()

    def checked(self) -> None:
        """It has its digest."""
        self._right = self.held == self.size
        self._changed()

    def read_elsewhere(self) -> None:
        self.elsewhere = True
        self._changed()

    def end(self, error: BaseException | None = None) -> None:
        """It is stored; or it broke."""
        self.error = error
        self._done = error is None
        self.elsewhere = self._done and self.held < self.size
        self._changed()

    async def begun(self) -> None:
        """Return when more arrives; raise what went wrong before it did."""
        while not (self.held > self._before or self._done or self.elsewhere or self.error):
            await self._change.wait()
        if self.error is not None:
            raise self.error

    async def kept(self) -> AsyncIterator[bytes]:
        """What is held already."""
        place, until = 0, self.held
        while place < until:
            yield (data := self._read(place, until - place))
            place += len(data)

    async def chunks(self, offset: int, count: int) -> AsyncIterator[bytes]:
        """``count`` bytes from ``offset``, as they come; ``EOFError`` where they do not."""
        end = offset + count
        while offset < end:
            here = min(end, self.held if self._right else min(self.held, self.size - 1))
            if offset < here:
                yield (data := self._read(offset, here - offset))
                offset += len(data)
            elif self.error is not None:
                raise EOFError
            elif self._done:
                async for data in self._stored(offset, end - offset):
                    yield data
                return
            else:
                await self._change.wait()

    async def _stored(self, offset: int, count: int) -> AsyncIterator[bytes]:
        file: BlobFile | None = await self._store.open(self.digest)
        if file is None:
            raise EOFError
        try:
            async for data in file.chunks(offset, count):
                yield data
        finally:
            file.close()

    def _read(self, offset: int, count: int) -> bytes:
        return os.pread(self._file.fileno(), min(count, _PIECE), offset)

    def _changed(self) -> None:
        self._change.set()
        self._change = asyncio.Event()


class Reader:
    """A :class:`~lading.stores.blobs.base.BlobFile` that reads what arrives."""

    def __init__(self, fill: Fill) -> None:
        self.size = fill.size
        self._fill: Fill | None = fill
        fill.hold()

    def fileno(self) -> int | None:
        return None

    def chunks(self, offset: int, count: int) -> AsyncIterator[bytes]:
        assert self._fill is not None
        return self._fill.chunks(offset, count)

    def close(self) -> None:
        fill, self._fill = self._fill, None
        if fill is not None:
            fill.let_go()
