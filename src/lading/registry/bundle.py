"""A backup as it lies in its directory, drawn once::

    <directory>/
    ├── lading-backup                                 says what this is; the version of this layout
    ├── blobs/<algorithm>/<first two hex digits>/<hex>  each blob once, whichever snapshots have it
    └── snapshots/<time>/
        ├── index.sqlite                              the index as it was
        └── snapshot.json                             what it holds; written last: without it the snapshot is unfinished

Blobs are written under a name of their own, synced and renamed, so that whatever has its name is whole; what a backup that
was killed left under the others, the next one takes away. Everything here blocks.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import msgspec

from lading.errors import StoreError
from lading.oci.digest import ALGORITHMS, Digest
from lading.stores.blobs.disk import sync_folder

_VERSION = "1"
_COPY = 1 << 20


class Snapshot(msgspec.Struct, frozen=True):
    """What a finished snapshot holds; ``made_at`` in milliseconds since 1970, ``bytes`` of all its blobs."""

    name: str
    made_at: int
    lading: str
    repositories: int
    manifests: int
    tags: int
    blobs: int
    bytes: int


class DamagedError(Exception):
    """Bytes that were copied do not have the digest they go by."""


class Bundle:
    """The paths of a backup, and what is done to them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._marker = root / "lading-backup"
        self._snapshots = root / "snapshots"

    def create(self) -> None:
        """Make the directory a backup, if it is empty or not there; :class:`StoreError` if it is something else."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if not self._is_marked():
                if any(path != self._marker for path in self.root.iterdir()):
                    raise StoreError(f"{self.root} is not empty and no backup of Lading's; name a directory of its own")
                with self._marker.open("w") as file:
                    file.write(f"{_VERSION}\n")
                    file.flush()
                    os.fsync(file.fileno())
            self._snapshots.mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot write to {self.root}: {error.strerror}") from error
        self.check()

    def _is_marked(self) -> bool:
        """Whether somebody began a backup here and came as far as to say so."""
        return self._marker.exists() and self._marker.stat().st_size > 0

    def check(self) -> None:
        """:class:`StoreError` unless this is a backup that can be read."""
        try:
            version = self._marker.read_text().strip()
        except OSError:
            raise StoreError(f"{self.root} is no backup that lading backup made") from None
        if version != _VERSION:
            raise StoreError(f"{self.root} was written by a newer Lading (layout {version[:20]}); restore it with that")

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the directory against any other backup into it."""
        descriptor = os.open(self._marker, os.O_RDWR | os.O_CLOEXEC)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(f"another backup into {self.root} is at work; wait until it is done") from None
            yield
        finally:
            os.close(descriptor)

    # ---- snapshots

    def folder(self, name: str) -> Path:
        """A snapshot's folder."""
        return self._snapshots / name

    def index(self, name: str) -> Path:
        """A snapshot's copy of the index."""
        return self.folder(name) / "index.sqlite"

    def snapshots(self) -> list[Snapshot]:
        """The finished snapshots, oldest first."""
        found = []
        for folder in sorted(self._snapshots.iterdir()) if self._snapshots.is_dir() else ():
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
                found.append(msgspec.json.decode((folder / "snapshot.json").read_bytes(), type=Snapshot))
        return found

    def find(self, name: str | None) -> Snapshot:
        """The snapshot of that name, or the newest."""
        found = self.snapshots()
        wanted = [each for each in found if name in (None, each.name)]
        if not wanted:
            there = ", ".join(each.name for each in found[-10:]) or "none"
            raise StoreError(f"{self.root} has no finished snapshot{f' {name}' if name else ''}; there is: {there}")
        return wanted[-1]

    def begin(self, name: str) -> Path:
        """Make a snapshot's folder, and take away what unfinished ones left."""
        done = {each.name for each in self.snapshots()}
        for folder in self._snapshots.iterdir():
            if folder.name not in done:
                shutil.rmtree(folder)
        for path in (self.root / "blobs").glob("*/??/.*"):
            path.unlink()
        self.folder(name).mkdir()
        return self.index(name)

    def finish(self, snapshot: Snapshot) -> None:
        """All of a snapshot's blobs are here: say so, so that it survives power loss."""
        folder = self.folder(snapshot.name)
        temporary = folder / ".snapshot.json"
        with temporary.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(snapshot)))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(folder / "snapshot.json")
        for each in (folder, self._snapshots, self.root):
            sync_folder(each)

    def remove(self, name: str) -> None:
        """Take a snapshot away; its blobs stay until :meth:`sweep`."""
        (self.folder(name) / "snapshot.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder(name))

    # ---- blobs

    def blob(self, digest: Digest) -> Path:
        """The bytes of one blob."""
        return self.root / "blobs" / digest.algorithm / digest.hex[:2] / digest.hex

    def blobs(self) -> Iterator[Digest]:
        """Every blob there is."""
        for algorithm in ALGORITHMS:
            for path in sorted((self.root / "blobs" / algorithm).glob("??/*")):
                if not path.name.startswith("."):
                    yield Digest(f"{algorithm}:{path.name}")

    def sweep(self, wanted: set[str]) -> int:
        """Take away the blobs that are not wanted; how many bytes that freed."""
        freed = 0
        for digest in self.blobs():
            if digest not in wanted:
                freed += self.blob(digest).stat().st_size
                self.blob(digest).unlink()
        return freed


def bring(source: Path, target: Path, digest: Digest, *, link: bool) -> int:
    """Put a blob's bytes at ``target``, by a hard link if asked, else as a copy that was compared with its digest.

    How many bytes were written. Survives power loss once :func:`sync_folder` was called for ``target``'s folder.
    Raises :class:`DamagedError`, and nothing is left at ``target``, if the bytes do not have the digest.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{uuid4().hex}"
    try:
        with source.open("rb") as file:
            if link:
                os.link(source, temporary)
                read = hashlib.file_digest(file, digest.algorithm).hexdigest()
                written = 0
            else:
                read, written = _copy(file, temporary, digest.algorithm)
        if read != digest.hex:
            raise DamagedError(f"its bytes have the digest {read}")
        temporary.rename(target)
        return written
    finally:
        temporary.unlink(missing_ok=True)


def _copy(source: BinaryIO, target: Path, algorithm: str) -> tuple[str, int]:
    hashing, written = hashlib.new(algorithm), 0
    with target.open("xb", buffering=0) as file:
        while data := source.read(_COPY):
            hashing.update(data)
            written += len(data)
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        os.fdatasync(file.fileno())
    return hashing.hexdigest(), written
