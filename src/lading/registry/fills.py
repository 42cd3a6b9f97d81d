"""A blob on its way into the cache, and those who read it meanwhile.

Any number of clients read what arrives from the very file that the store writes it to, as far as it has come; beside a
store that has no such file, from one without a name. The last byte is handed out only when the blob was found to have its
digest: no client ever has the whole of something else. That it is safe on the disk, nobody who reads waits for. What was
fetched before a break is kept for a while, and the next try goes on from there.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

from lading.oci.digest import Digest
from lading.registry.arrivals import Arrival
from lading.stores.blobs import disk
from lading.stores.blobs.base import BlobFile, BlobStore, UploadSession
from lading.stores.blobs.localfile import LocalFile


class _Shared:
    """A file that is closed when the last one who reads it lets go."""

    def __init__(self, file: BlobFile) -> None:
        self.file = file
        self._readers = 1

    def hold(self) -> _Shared:
        self._readers += 1
        return self

    def let_go(self) -> None:
        self._readers -= 1
        if not self._readers:
            self.file.close()


class Fill:
    """A blob of ``size`` bytes of which ``held`` are here. Who reads it, and who fills it, holds it open.

    ``arrival`` is how the processes of this machine follow each other's; None: they do not.
    """

    def __init__(self, digest: Digest, size: int, folder: Path | None, arrival: Arrival | None = None) -> None:
        self.digest = digest
        self.size = size
        self.held = 0
        self.elsewhere = False
        """Whether another process fetches it: it is read from the store when it is there."""
        self.error: BaseException | None = None
        self._before = 0
        self._right = False
        self._done = False
        self._folder = folder
        self._file: _Shared | None = None
        self._next: _Shared | None = None
        self._own = -1
        self._arrival = arrival
        self._watched: LocalFile | None = None
        self._holders = 0
        self._change = asyncio.Event()

    def hold(self) -> None:
        self._holders += 1

    def let_go(self) -> None:
        self._holders -= 1
        if self._holders:
            return
        for file in (self._file, self._next):
            if file is not None:
                file.let_go()
        if self._own >= 0:
            disk.let_go(self._own)

    # ---- who fills it

    def here(self) -> None:
        """It is this process that fetches it, from what is held on; one that was killed may have left more of it."""
        self.read_elsewhere()
        self.elsewhere, self._watched = False, None

    def arrived(self) -> None:
        """Nothing of it comes any more, be it stored or broken off."""
        if self._arrival is not None:
            self._arrival.over()

    def again(self) -> None:
        """Whoever fills it begins once more, behind what is held."""
        self.error, self._before = None, self.held

    def begins(self, session: UploadSession) -> None:
        """What arrives goes into this upload; what is held already comes first, and is read where it is until then."""
        file = session.follow(self._grew)
        if file is not None:
            self._follow(file)
            if self._arrival is not None:
                self._arrival.tell(file)
        elif self._own < 0:
            with tempfile.TemporaryFile(dir=self._folder) as made:
                self._own = os.dup(made.fileno())
            self._file = _Shared(LocalFile(os.dup(self._own)))

    def _follow(self, file: BlobFile) -> None:
        self._next, before = _Shared(file), self._next
        if before is not None:
            before.let_go()

    def _grew(self, size: int) -> None:
        if size <= self.held:
            return
        if self._next is not None:
            self._file, self._next, before = self._next, None, self._file
            if before is not None:
                before.let_go()  # it lost its name when it broke, and goes with who still reads it
        self.held = size
        self._changed()

    @property
    def followed(self) -> bool:
        """Whether what arrives is read where it is stored."""
        return self._own < 0

    def add(self, chunk: bytes) -> None:
        """What arrived; the upload gets the same, and where it is followed that is enough."""
        if self.followed:
            return
        left = memoryview(chunk)
        while left:  # a disk that is nearly full takes less than it is given
            count = os.pwrite(self._own, left, self.held)
            left = left[count:]
            self.held += count
        self._changed()

    async def kept(self) -> AsyncIterator[bytes]:
        """What is held already."""
        if self._file is None:
            return
        shared = self._file.hold()
        try:
            async for data in shared.file.chunks(0, self.held):
                yield data
        finally:
            shared.let_go()

    def checked(self) -> None:
        """It has its digest."""
        self._right = self.held == self.size
        self._changed()

    def read_elsewhere(self) -> None:
        """Another process fetches it: read what it has by now, or from the store when it is there."""
        self.elsewhere = True
        file = self._arrival.look() if self._arrival is not None else None
        if file is not None:
            self._follow(file)
            self._watched = file
        if self._watched is not None:
            self._grew(min(self.size, os.fstat(self._watched.fileno()).st_size))
        self._changed()

    def end(self, error: BaseException | None = None) -> None:
        """It is stored; or it broke."""
        self._watched = None
        self.error = error
        self._done = error is None
        self.elsewhere = self._done and self.held < self.size
        self._changed()

    # ---- who reads it

    async def begun(self) -> None:
        """Return when more arrives; raise what went wrong before it did."""
        while not (self.held > self._before or self._done or self.elsewhere or self.error):
            await self._change.wait()
        if self.error is not None:
            raise self.error

    async def reach(self, offset: int, end: int) -> tuple[_Shared | None, int]:
        """Where the bytes from ``offset`` lie as soon as there are some, and up to where; None: in the store, all of it."""
        while True:
            here = min(end, self.held if self._right else min(self.held, self.size - 1))
            if offset < here:
                return self._file, here
            if self.error is not None:
                raise EOFError(str(self.error))
            if self._done:
                return None, end
            await self._change.wait()

    def _changed(self) -> None:
        self._change.set()
        self._change = asyncio.Event()


class Reader:
    """A :class:`~lading.stores.blobs.base.BlobFile` that reads what arrives."""

    def __init__(self, fill: Fill, store: BlobStore) -> None:
        self.size = fill.size
        self._store = store
        self._fill: Fill | None = fill
        self._shared: _Shared | None = None
        self._stored = False
        fill.hold()

    def fileno(self) -> int | None:
        return None if self._shared is None else self._shared.file.fileno()

    async def reach(self, offset: int, end: int) -> int:
        if self._stored:
            return end
        assert self._fill is not None
        shared, until = await self._fill.reach(offset, end)
        if shared is None:
            file = await self._store.open(self._fill.digest)
            if file is None:
                raise EOFError("it was stored, and is gone")
            self._stored = True
            self._have(_Shared(file))
        elif shared is not self._shared:
            self._have(shared.hold())
        return until

    def _have(self, shared: _Shared | None) -> None:
        before, self._shared = self._shared, shared
        if before is not None:
            before.let_go()

    async def chunks(self, offset: int, count: int) -> AsyncIterator[bytes]:
        end = offset + count
        while offset < end:
            until = await self.reach(offset, end)
            assert self._shared is not None
            async with aclosing(self._shared.file.chunks(offset, until - offset)) as chunks:  # type: ignore[type-var] # a generator
                async for data in chunks:
                    offset += len(data)
                    yield data

    def close(self) -> None:
        fill, self._fill = self._fill, None
        if fill is not None:
            fill.let_go()
        self._have(None)
