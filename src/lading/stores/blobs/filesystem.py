"""Blobs and uploads as plain files, in registry:2's layout.

What makes a blob survive power loss: its bytes are synced, the file is renamed into its place, and the folders that
name it are synced, each before the next; what several requests want synced is synced together (``group.py``). A blob's
place is only ever written by a rename, so nobody reads half of one; storing the same digest again replaces the file,
which also mends one that was damaged.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import stat
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from lading.errors import Conflict, StoreError, StoreFull
from lading.oci.digest import ALGORITHMS, Digest
from lading.oci.reference import is_name
from lading.stores.blobs.base import Deleted, FoundUpload, UploadState, is_uuid
from lading.stores.blobs.disk import folders, make, raise_unavailable, sync_folder, translated, write_all
from lading.stores.blobs.group import Group, Steps
from lading.stores.blobs.inflows import Inflows
from lading.stores.blobs.layout import Layout
from lading.stores.blobs.localfile import LocalFile
from lading.stores.blobs.localupload import LocalUpload, collected_meanwhile, create, open_locked, remove

T = TypeVar("T")

_PAGE = 1000
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe that somebody put in a blob's place must not be waited for
_LOCK_SECONDS = 5.0


class FilesystemStore:
    """Blobs below ``root``; see the module. ``threads`` do the blocking work."""

    def __init__(self, root: Path, *, threads: int = 16) -> None:
        self.layout = Layout(root)
        self._settled: set[str] = set()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="blobs")
        self.group = Group("blobs-together")
        self.inflows = Inflows()

    async def blocking(self, function: Any, *arguments: Any) -> Any:
        with translated:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def together(self, steps: Steps[T]) -> T:
        with translated:
            return await self.group.run(steps)

    # ---- blobs

    async def open(self, digest: Digest) -> LocalFile | None:
        try:
            return LocalFile(os.open(self.layout.blob(digest), _READ))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise_unavailable(error)
            raise

    async def redirect(self, digest: Digest) -> str | None:  # noqa: ARG002 - a file has no URL of its own
        return None

    async def put(self, digest: Digest, content: bytes) -> None:
        with collected_meanwhile(digest):
            await self.together(self._put(digest, content))

    def _put(self, digest: Digest, content: bytes) -> Steps[None]:
        folder = self.place(digest)
        temporary = f"{folder}/.{uuid4().hex}"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            try:
                write_all(descriptor, [content])
                yield (descriptor,)
            finally:
                os.close(descriptor)
            os.rename(temporary, self.layout.blob(digest))
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        yield folder, self.layout.blob_neighbours(digest)

    def place(self, digest: Digest) -> str:
        """The folder for a blob; its own entry is the caller's to sync, whoever else made it at the same time."""
        self._settle(self.layout.blob_neighbours(digest))
        folder = self.layout.blob_directory(digest)
        make(folder)
        return folder

    def _settle(self, folder: str) -> None:
        """Have a folder, and those above it up to the root, survive power loss, whoever made them, and when."""
        if folder in self._settled:
            return
        path = Path(folder)
        if path == self.layout.root:
            make(path)
            with contextlib.suppress(PermissionError):  # what is above the root is the administrator's
                sync_folder(path.parent)
        else:
            self._settle(str(path.parent))
            make(path)
            sync_folder(path.parent)
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
        folder, data = self.layout.blob_directory(digest), self.layout.blob(digest)
        try:
            freed = os.stat(data).st_size
        except (FileNotFoundError, NotADirectoryError):
            freed = 0
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(data)
            os.rmdir(folder)
        except OSError:  # something else is in it, or it is no folder
            shutil.rmtree(folder, ignore_errors=True)
        if os.path.exists(data):
            raise OSError(errno.EIO, "could not delete the blob", folder)
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
        while page := await self.blocking(lambda: list(islice(found, _PAGE))):
            for one in page:
                yield one

    async def probe(self) -> None:
        await self.blocking(self._probe)

    async def close(self) -> None:
        self.group.close()
        self._threads.shutdown(wait=False)
        self.inflows.close()

    def _probe(self) -> None:
        place = self.layout.own
        try:
            make(place)
            sample = place / f".probe-{os.getpid()}-{uuid4().hex[:8]}"
            try:
                sample.write_bytes(b"lading")
            finally:  # on a full disk a file is made, and not written
                sample.unlink(missing_ok=True)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFull(
                    f"the store {self.layout.root} is full: {error.strerror}. What is in it can be pulled, and nothing can be "
                    "pushed before there is room: make the file system larger, or delete what is not needed, there or here, "
                    "and run lading collect"
                ) from error
            raise StoreError(
                f"cannot write to the store {self.layout.root}: {error.strerror or error}. Give this user the right to "
                "write there, or set storage.filesystem.rootdirectory (REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY) to "
                "another directory"
            ) from error

    # ---- uploads

    async def begin(self, repository: str, algorithm: str, *, aim: Digest | None = None) -> LocalUpload:
        state = UploadState(repository, str(uuid4()), algorithm)
        descriptor = await self.together(create(self.layout.upload(repository, state.uuid)))
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

    async def _lock(self, path: str) -> tuple[int, int]:
        # the connection an upload broke on may not have been noticed yet; whoever reads it lets go when it is
        deadline = time.monotonic() + _LOCK_SECONDS
        while time.monotonic() < deadline:
            try:
                with translated:
                    return open_locked(path)
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
        return bool(await self.blocking(self._discard, repository, uuid))

    def _discard(self, repository: str, uuid: str) -> bool:
        path = self.layout.upload(repository, uuid)
        try:
            descriptor, _ = open_locked(path)
        except BlockingIOError:
            return False
        except FileNotFoundError:
            return True
        except IsADirectoryError:
            shutil.rmtree(path, ignore_errors=True)
            return True
        try:
            remove(path)
        finally:
            os.close(descriptor)
        return True


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
