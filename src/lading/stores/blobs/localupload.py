"""An upload that is a plain file: the bytes so far, whose length is the truth about how much arrived.

Whoever works on it holds a lock on the file, so two requests (of any process) cannot mix their bytes. The hash of what arrived is
saved in the :class:`~lading.stores.blobs.base.UploadState` that the client carries, so that a chunk that reaches another process
does not make it read the whole upload again. That hash is of bytes that were handed to the system, not of bytes that
are synced: a machine that was started anew since may have lost some of them, so there the bytes are read again.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol, TypeVar

from lading.errors import SizeInvalid, Unavailable
from lading.oci.digest import Digest
from lading.oci.hasher import Hasher, hasher, resume
from lading.stores.blobs.base import Inflow, UploadState
from lading.stores.blobs.disk import begin_writing, boot, hash_file, let_go, translated, write_all
from lading.stores.blobs.group import Group, Steps
from lading.stores.blobs.inflows import Inflows
from lading.stores.blobs.layout import Layout
from lading.stores.blobs.localfile import LocalFile
from lading.stores.waiting import to_its_end

T = TypeVar("T")

_BATCH = 1 << 20
_STRETCH = 8 << 20
"""The disk begins with so many bytes while the next arrive."""
_SMALL = 1 << 16
"""The end of a body of no more than this waits until it is synced, so that it costs one turn of a thread, not two; and
what has no more bytes than this is synced together with others of its kind."""


class Store(Protocol):
    """What an upload needs of the store it is in."""

    layout: Layout
    inflows: Inflows
    group: Group

    async def blocking(self, function: Any, *arguments: Any) -> Any:
        """Call it in a thread."""
        ...

    async def together(self, steps: Steps[T]) -> T:
        """Run steps together with those of others."""
        ...

    def place(self, digest: Digest) -> str:
        """The folder for a blob; its own entry is the caller's to sync."""
        ...


class LocalUpload:
    """One request's hold on an upload in a store; see the module."""

    def __init__(self, store: Store, state: UploadState, descriptor: int, size: int) -> None:
        self._store = store
        self._state = state
        self._descriptor = descriptor
        self.size = size
        self._hasher: Hasher | None = None
        self._hashed = 0
        self._begun = size
        self._aimed = False
        self._working = 0
        self._closed = False
        self._grew: Callable[[int], None] | None = None
        self._unwritten: list[bytes] = []

    async def _held(self, function: Any, *arguments: Any) -> Any:
        """Work in a thread with the file, which stays open until it is done."""
        self._working += 1
        try:
            return await to_its_end(self._store.blocking(function, *arguments))
        finally:
            self._worked()

    def _worked(self) -> None:
        self._working -= 1
        self._close_unused()

    def aim(self, digest: Digest) -> None:  # noqa: ARG002 - a file is renamed into its place, whatever its digest
        """From now on a few bytes may wait until they are synced."""
        self._aimed = True

    def follow(self, grew: Callable[[int], None]) -> LocalFile:
        self._grew = grew
        return LocalFile(os.open(self._path, os.O_RDONLY | os.O_CLOEXEC))

    async def append(self, chunks: AsyncIterator[bytes | Inflow], *, exact: int | None = None) -> None:
        await self._catch_up()
        before, hasher_before = self.size, self._hasher and self._hasher.save()
        pending: asyncio.Future[None] | None = None
        batch: list[bytes] = []
        waiting = total = 0
        try:
            async for chunk in chunks:
                if not isinstance(chunk, bytes | bytearray):
                    if pending is not None:
                        await pending
                    pending, written, batch = None, batch, []
                    if written:
                        await self._write(written)
                    total, waiting = total + waiting + await self._take_in(chunk), 0
                    continue
                batch.append(chunk)
                waiting += len(chunk)
                if waiting < _BATCH and not self._grew:
                    continue
                # one batch is hashed and written in a thread while the next arrives
                if pending is not None:
                    await pending
                total += waiting
                pending, batch, waiting = self._write(batch), [], 0
                if exact is not None and total > exact:
                    break
        finally:
            if pending is not None:
                await pending
            if batch and self._aimed and waiting <= _SMALL and not self._grew:
                self._unwritten = batch
                self._took(batch, waiting)
            elif batch:
                await self._write(batch)
        if exact is not None and total + waiting != exact:
            await self._held(self._take_back, before, hasher_before)
            raise SizeInvalid(f"the body is not the {exact} bytes it was said to be; nothing of it was kept")

    def _write(self, batch: list[bytes]) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._written(batch))

    async def _written(self, batch: list[bytes]) -> None:
        await self._held(self._write_now, batch)
        if self._grew:
            self._grew(self.size)

    def _write_now(self, batch: list[bytes]) -> None:
        self._took(batch, write_all(self._descriptor, batch, self.size))
        self._have_written()

    async def _take_in(self, inflow: Inflow) -> int:
        """Write and hash what comes; how many bytes that were."""
        before, loop, into = self.size, asyncio.get_running_loop(), self._hasher
        assert into is not None

        def write(piece: memoryview) -> None:
            write_all(self._descriptor, [piece], self.size)
            self.size += len(piece)
            if self._grew:
                loop.call_soon_threadsafe(self._grew, self.size)
            self._have_written()

        def update(piece: memoryview) -> None:
            into.update(piece)
            self._hashed += len(piece)

        self._working += 1
        try:
            with translated:
                await self._store.inflows.empty(inflow, write, update)
        finally:
            self._worked()
        return self.size - before

    def _have_written(self) -> None:
        if self.size - self._begun >= _STRETCH:
            begin_writing(self._descriptor, self._begun, self.size - self._begun)
            self._begun = self.size

    def _took(self, batch: list[bytes], count: int) -> None:
        assert self._hasher is not None
        for chunk in batch:
            self._hasher.update(chunk)
        self.size += count
        self._hashed = self.size

    def _write_rest(self) -> None:
        batch, self._unwritten = self._unwritten, []
        write_all(self._descriptor, batch, self.size - sum(map(len, batch)))

    def _take_back(self, size: int, hash_state: bytes | None) -> None:
        self._unwritten = []
        os.ftruncate(self._descriptor, size)
        self.size = size
        self._begun = min(self._begun, size)
        self._hasher = resume(self._state.algorithm, hash_state) if hash_state is not None else None
        self._hashed = size if self._hasher else 0

    async def _catch_up(self) -> None:
        """Have a hasher that has seen all the bytes there are."""
        if self._hasher is None:
            state, start = self._state, boot()
            if state.hash_state is not None and state.hash_state.startswith(start) and state.hashed <= self.size:
                self._hasher = resume(state.algorithm, state.hash_state.removeprefix(start))
                self._hashed = state.hashed
            if self._hasher is None:
                self._hasher, self._hashed = hasher(state.algorithm), 0
        if self._hashed < self.size:
            self._hashed += await self._held(hash_file, self._descriptor, self._hasher, self._hashed)

    async def digest(self) -> Digest:
        await self._catch_up()
        assert self._hasher is not None
        return self._hasher.digest()

    async def digest_as(self, algorithm: str) -> Digest:
        if algorithm == self._state.algorithm:
            return await self.digest()
        again = hasher(algorithm)
        await self._held(self._write_rest)
        await self._held(hash_file, self._descriptor, again, 0)
        return again.digest()

    def state(self) -> UploadState:
        state = self._state
        saved = self._hasher.save() if self._hasher else None
        if saved is None or not self._hashed:
            return state
        return UploadState(state.repository, state.uuid, state.algorithm, self._hashed, boot() + saved)

    async def sync(self) -> None:
        if self.size > _SMALL:
            await self._held(self._sync)
            return
        self._working += 1
        try:
            with translated:
                await to_its_end(self._store.group.run(self._sync_together()))
        finally:
            self._worked()

    def _sync(self) -> None:
        self._write_rest()
        os.fdatasync(self._descriptor)

    def _sync_together(self) -> Steps[None]:
        self._write_rest()
        yield (self._descriptor,)

    async def publish(self, digest: Digest) -> None:
        with collected_meanwhile(digest):
            await self._store.together(self._publish(digest))

    def _publish(self, digest: Digest) -> Steps[None]:
        place, layout = self._store.place(digest), self._store.layout
        os.rename(self._path, layout.blob(digest))
        yield place, layout.blob_neighbours(digest)

    async def cancel(self) -> None:
        await self._store.blocking(remove, self._path)

    @property
    def _path(self) -> str:
        return self._store.layout.upload(self._state.repository, self._state.uuid)

    async def close(self) -> None:
        self._closed = True
        self._close_unused()

    def _close_unused(self) -> None:
        # whoever asked may have gone: cancelled, or as something else failed beside; the number is another file's then
        if self._closed and not self._working and self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            let_go(descriptor)


@contextlib.contextmanager
def collected_meanwhile(digest: Digest) -> Iterator[None]:
    """Within this the collector may take the folder away that a blob was to be put into."""
    try:
        yield
    except FileNotFoundError as error:
        raise Unavailable(f"{digest} was collected while it arrived; push it again", retry_after=1) from error


def create(path: str) -> Steps[int]:
    """Make the file of an upload; its descriptor, locked. Nothing of it need survive power loss."""
    yield from ()
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o644)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, flags, 0o644)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def open_locked(path: str) -> tuple[int, int]:
    """The descriptor of an upload's file, locked, and how many bytes it has."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # whoever held the lock before may have published or cancelled the upload
        mine = os.fstat(descriptor)
        if mine.st_ino != os.stat(path).st_ino:
            raise FileNotFoundError(path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, mine.st_size


def remove(path: str) -> None:
    """Have the file of an upload be gone."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
