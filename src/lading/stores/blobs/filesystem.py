"""Blobs and uploads as plain files, in registry:2's layout.

What makes a blob survive power loss: its bytes are synced, the file is renamed into its place, and the folders that
name it are synced, each before the next; what several requests want synced is synced together (``group.py``). A blob's
place is only ever written by a rename, so nobody reads half of one; storing the same digest again replaces the file,
which also mends one that was damaged.

An upload is a file with the bytes so far; its length is the truth about how much arrived. Whoever works on it holds
a lock on the file, so two requests (of any process) cannot mix their bytes. The hash of what arrived is saved in the
:class:`~lading.stores.blobs.base.UploadState` that the client carries, so that a chunk that reaches another process
does not make it read the whole upload again. That hash is of bytes that were handed to the system, not of bytes that
are synced: a machine that was started anew since may have lost some of them, so there the bytes are read again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import shutil
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

from lading.errors import Conflict, SizeInvalid, StoreError, Unavailable
from lading.oci.digest import ALGORITHMS, Digest, Hasher, hasher, resume
from lading.oci.reference import is_name
from lading.stores.blobs.base import Deleted, FoundUpload, Inflow, UploadState, is_uuid
from lading.stores.blobs.disk import folders, hash_file, make, raise_unavailable, sync_folder, translated, write_all
from lading.stores.blobs.group import Group, Steps
from lading.stores.blobs.inflows import Inflows
from lading.stores.blobs.layout import Layout
from lading.stores.blobs.localfile import LocalFile

T = TypeVar("T")

_BATCH = 1 << 20
_PAGE = 1000
_LOCK_SECONDS = 5.0
_SMALL = 1 << 16
"""The end of a body of no more than this waits until it is synced, so that it costs one turn of a thread, not two; and
what has no more bytes than this is synced together with others of its kind."""


class FilesystemStore:
    """Blobs below ``root``; see the module. ``threads`` do the blocking work."""

    def __init__(self, root: Path, *, threads: int = 16) -> None:
        self.layout = Layout(root)
        self._settled: set[Path] = set()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="blobs")
        self._group = Group("blobs-together")
        self.inflows = Inflows()

    async def _blocking(self, function: Any, *arguments: Any) -> Any:
        with translated():
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def _together(self, steps: Steps[T]) -> T:
        with translated():
            return await self._group.run(steps)

    # ---- blobs

    async def open(self, digest: Digest) -> LocalFile | None:
        try:
            return LocalFile(os.open(self.layout.blob(digest), os.O_RDONLY | os.O_CLOEXEC))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise_unavailable(error)
            raise

    async def redirect(self, digest: Digest) -> str | None:  # noqa: ARG002 - a file has no URL of its own
        return None

    async def put(self, digest: Digest, content: bytes) -> None:
        with _collected_meanwhile(digest):
            await self._together(self._put(digest, content))

    def _put(self, digest: Digest, content: bytes) -> Steps[None]:
        folder = self._place(digest)
        temporary = folder / f".{uuid4().hex}"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                write_all(descriptor, [content])
                yield (descriptor,)
            finally:
                os.close(descriptor)
            os.rename(temporary, folder / "data")
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        yield folder, folder.parent

    def _place(self, digest: Digest) -> Path:
        """The folder for a blob; its own entry is the caller's to sync, whoever else made it at the same time."""
        folder = self.layout.blob_directory(digest)
        self._settle(folder.parent)
        make(folder)
        return folder

    def _settle(self, folder: Path) -> None:
        """Have a folder, and those above it up to the root, survive power loss, whoever made them, and when."""
        if folder in self._settled:
            return
        if folder == self.layout.root:
            make(folder)
            with contextlib.suppress(PermissionError):  # what is above the root is the administrator's
                sync_folder(folder.parent)
        else:
            self._settle(folder.parent)
            make(folder)
            sync_folder(folder.parent)
        self._settled.add(folder)

    async def delete(self, digests: Sequence[Digest]) -> Deleted:
        done = Deleted()
        for digest in digests:
            try:
                done.freed[digest] = self._delete(digest)
            except OSError as error:
                done.failed[digest] = error.strerror or str(error)
        return done

    def _delete(self, digest: Digest) -> int:
        folder = self.layout.blob_directory(digest)
        try:
            freed = os.stat(folder / "data").st_size
        except (FileNotFoundError, NotADirectoryError):
            freed = 0
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(folder / "data")
            os.rmdir(folder)
        except OSError:  # something else is in it, or it is no folder
            shutil.rmtree(folder, ignore_errors=True)
        if (folder / "data").exists():
            raise OSError(errno.EIO, "could not delete the blob", str(folder))
        return freed

    async def walk(self) -> AsyncIterator[tuple[Digest, int]]:
        async for found in self._each(self._blobs()):
            yield found

    def _blobs(self) -> Iterator[tuple[Digest, int]]:
        for algorithm in ALGORITHMS:
            for prefix in folders(self.layout.blobs / algorithm):
                for folder in folders(prefix):
                    with contextlib.suppress(Exception):
                        yield Digest.parse(f"{algorithm}:{folder.name}"), os.stat(folder / "data").st_size

    async def _each(self, found: Iterator[T]) -> AsyncIterator[T]:
        """What a walk that blocks finds, looked for in a thread."""
        while page := await self._blocking(lambda: list(islice(found, _PAGE))):
            for one in page:
                yield one

    async def probe(self) -> None:
        await self._blocking(self._probe)

    async def close(self) -> None:
        self._group.close()
        self._threads.shutdown(wait=False)
        self.inflows.close()

    def _probe(self) -> None:
        place = self.layout.own
        try:
            make(place)
            sample = place / f".probe-{os.getpid()}-{uuid4().hex[:8]}"
            sample.write_bytes(b"lading")
            sample.unlink()
        except OSError as error:
            raise StoreError(
                f"cannot write to the store {self.layout.root}: {error.strerror or error}. Give this user the right to "
                "write there, or set storage.filesystem.rootdirectory (REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY) to "
                "another directory"
            ) from error

    # ---- uploads

    async def begin(self, repository: str, algorithm: str, *, aim: Digest | None = None) -> LocalUpload:
        state = UploadState(repository, str(uuid4()), algorithm)
        descriptor = await self._together(_create(self.layout.upload(repository, state.uuid)))
        session = LocalUpload(self, state, descriptor, 0)
        if aim is not None:
            session.aim(aim)
        return session

    async def resume(self, state: UploadState) -> LocalUpload | None:
        if not is_uuid(state.uuid):
            return None
        path = self.layout.upload(state.repository, state.uuid)
        try:
            descriptor, size = await self._lock(path)
        except (FileNotFoundError, IsADirectoryError):  # a folder is an upload that registry:2 began
            return None
        return LocalUpload(self, state, descriptor, size)

    async def _lock(self, path: Path) -> tuple[int, int]:
        # the connection an upload broke on may not have been noticed yet; whoever reads it lets go when it is
        deadline = time.monotonic() + _LOCK_SECONDS
        while time.monotonic() < deadline:
            try:
                with translated():
                    return _open_locked(path)
            except BlockingIOError:
                await asyncio.sleep(0.05)
        raise Conflict("another request is writing to this upload; wait for it, then ask for its status")

    async def uploads(self) -> AsyncIterator[FoundUpload]:
        async for found in self._each(self._uploads()):
            yield found

    async def clear(self, before: datetime, *, dry_run: bool = False) -> int:  # noqa: ARG002 - all an upload has is in its file
        return 0

    def _uploads(self) -> Iterator[FoundUpload]:
        for path in _find_uploads(self.layout.repositories):
            repository = path.parent.parent.relative_to(self.layout.repositories).as_posix()
            if is_name(repository):
                yield _found(repository, path)

    async def discard_upload(self, repository: str, uuid: str) -> bool:
        return bool(await self._blocking(self._discard, repository, uuid))

    def _discard(self, repository: str, uuid: str) -> bool:
        path = self.layout.upload(repository, uuid)
        try:
            descriptor, _ = _open_locked(path)
        except BlockingIOError:
            return False
        except FileNotFoundError:
            return True
        except IsADirectoryError:
            shutil.rmtree(path, ignore_errors=True)
            return True
        try:
            _remove(path)
        finally:
            os.close(descriptor)
        return True


class LocalUpload:
    """One request's hold on an upload; see the module."""

    def __init__(self, store: FilesystemStore, state: UploadState, descriptor: int, size: int) -> None:
        self._store = store
        self._state = state
        self._descriptor = descriptor
        self.size = size
        self._hasher: Hasher | None = None
        self._hashed = 0
        self._aimed = False
        self._grew: Callable[[int], None] | None = None
        self._unwritten: list[bytes] = []

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
                if waiting < _BATCH and not (self._grew and (pending is None or pending.done())):
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
            await self._store._blocking(self._take_back, before, hasher_before)
            raise SizeInvalid(f"the body is not the {exact} bytes it was said to be; nothing of it was kept")

    def _write(self, batch: list[bytes]) -> asyncio.Future[None]:
        return asyncio.ensure_future(self._written(batch))

    async def _written(self, batch: list[bytes]) -> None:
        await self._store._blocking(self._write_now, batch)
        if self._grew:
            self._grew(self.size)

    def _write_now(self, batch: list[bytes]) -> None:
        self._took(batch, write_all(self._descriptor, batch, self.size))

    async def _take_in(self, inflow: Inflow) -> int:
        """Write and hash what comes; how many bytes that were."""
        before, loop, into = self.size, asyncio.get_running_loop(), self._hasher
        assert into is not None

        def take(piece: memoryview) -> None:
            write_all(self._descriptor, [piece], self.size)
            self.size += len(piece)
            if self._grew:
                loop.call_soon_threadsafe(self._grew, self.size)
            into.update(piece)
            self._hashed = self.size

        with translated():
            await self._store.inflows.empty(inflow, take)
        return self.size - before

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
        self._hasher = resume(self._state.algorithm, hash_state) if hash_state is not None else None
        self._hashed = size if self._hasher else 0

    async def _catch_up(self) -> None:
        """Have a hasher that has seen all the bytes there are."""
        if self._hasher is None:
            state, boot = self._state, _boot()
            if state.hash_state is not None and state.hash_state.startswith(boot) and state.hashed <= self.size:
                self._hasher = resume(state.algorithm, state.hash_state.removeprefix(boot))
                self._hashed = state.hashed
            if self._hasher is None:
                self._hasher, self._hashed = hasher(state.algorithm), 0
        if self._hashed < self.size:
            self._hashed += await self._store._blocking(hash_file, self._descriptor, self._hasher, self._hashed)

    async def digest(self) -> Digest:
        await self._catch_up()
        assert self._hasher is not None
        return self._hasher.digest()

    async def digest_as(self, algorithm: str) -> Digest:
        if algorithm == self._state.algorithm:
            return await self.digest()
        again = hasher(algorithm)
        await self._store._blocking(self._write_rest)
        await self._store._blocking(hash_file, self._descriptor, again, 0)
        return again.digest()

    def state(self) -> UploadState:
        state = self._state
        saved = self._hasher.save() if self._hasher else None
        if saved is None or not self._hashed:
            return state
        return UploadState(state.repository, state.uuid, state.algorithm, self._hashed, _boot() + saved)

    async def sync(self) -> None:
        if self.size <= _SMALL:
            await self._store._together(self._sync_together())
        else:
            await self._store._blocking(self._sync)

    def _sync(self) -> None:
        self._write_rest()
        os.fdatasync(self._descriptor)

    def _sync_together(self) -> Steps[None]:
        self._write_rest()
        yield (self._descriptor,)

    async def publish(self, digest: Digest) -> None:
        with _collected_meanwhile(digest):
            await self._store._together(self._publish(digest))

    def _publish(self, digest: Digest) -> Steps[None]:
        place = self._store._place(digest)
        os.rename(self._path, place / "data")
        yield place, place.parent

    async def cancel(self) -> None:
        await self._store._blocking(_remove, self._path)

    @property
    def _path(self) -> Path:
        return self._store.layout.upload(self._state.repository, self._state.uuid)

    async def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


@contextlib.contextmanager
def _collected_meanwhile(digest: Digest) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise Unavailable(f"{digest} was collected while it arrived; push it again", retry_after=1) from error


@cache
def _boot() -> bytes:
    """Which start of this machine it is; where it does not say, no other process takes up a hash."""
    try:
        return UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip()).bytes
    except (OSError, ValueError):
        return uuid4().bytes


def _create(path: Path) -> Steps[int]:
    """Make the file of an upload; its descriptor, locked. Nothing of it need survive power loss."""
    yield ()
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o644)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, flags, 0o644)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def _open_locked(path: Path) -> tuple[int, int]:
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


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _find_uploads(folder: Path) -> Iterator[Path]:
    for child in folders(folder):
        if child.name == "_uploads":
            with contextlib.suppress(OSError):
                yield from sorted(child.iterdir())
        elif not child.name.startswith("_"):
            yield from _find_uploads(child)


def _found(repository: str, path: Path) -> FoundUpload:
    """An upload's file, or the folder of one that registry:2 began."""
    moment, size = 0.0, 0
    for part in (path, path / "data"):
        with contextlib.suppress(OSError):
            status = part.stat()
            moment = max(moment, status.st_mtime)
            size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    return FoundUpload(repository, path.name, datetime.fromtimestamp(moment, UTC), size)
