"""registry:2's link files: what its tree says of repositories, read and written (``layout`` draws it).

A link is a small file that holds a digest. A folder without one is what registry:2 leaves behind when it deletes a
link, and means nothing. The folder's name and the digest in the file differ only where a client pushed a blob by
another algorithm than sha256: the bytes lie under the digest in the file.

Everything here blocks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol
from uuid import uuid4

from lading.oci.digest import ALGORITHMS, Digest
from lading.oci.reference import MAX_NAME
from lading.stores.blobs.layout import Layout


class Link(NamedTuple):
    """A link file: ``name`` is ``<algorithm>:<hex>`` by its folders, ``target`` what it holds, whatever that is.

    ``written_at`` in milliseconds since 1970. ``error`` says why it could not be read.
    """

    name: str
    target: str
    written_at: int
    error: str = ""


class Links(Protocol):
    """What a tree says, wherever it lies; :class:`Tree` says it of a directory."""

    def repositories(self) -> Iterator[str]: ...
    def layers(self, repository: str) -> Iterator[Link]: ...
    def revisions(self, repository: str) -> Iterator[Link]: ...
    def tags(self, repository: str) -> Iterator[Link]: ...
    def size(self, digest: str) -> int | None: ...
    def content(self, digest: str, most: int) -> bytes | None: ...
    def alias(self, digest: Digest, target: Digest) -> None: ...


class Tree:
    """The link files below a layout's root."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._repositories = str(layout.repositories)

    def repositories(self) -> Iterator[str]:
        """The names of what looks like a repository, at any depth; sorted by their components."""
        yield from _repositories(self._repositories, "", ())

    def layers(self, repository: str) -> Iterator[Link]:
        """The blobs visible in a repository."""
        yield from _by_digest(f"{self._repositories}/{repository}/_layers")

    def revisions(self, repository: str) -> Iterator[Link]:
        """The manifests of a repository."""
        yield from _by_digest(f"{self._repositories}/{repository}/_manifests/revisions")

    def tags(self, repository: str) -> Iterator[Link]:
        """The tags of a repository; ``name`` is the tag."""
        folder = f"{self._repositories}/{repository}/_manifests/tags"
        for tag in _names(folder):
            link = _read(tag, f"{folder}/{tag}/current/link")
            if link is not None:
                yield link

    def size(self, digest: str) -> int | None:
        """The length of a blob's bytes; None if they are not there."""
        try:
            return os.stat(self.layout.blob(Digest(digest))).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def content(self, digest: str, most: int) -> bytes | None:
        """The bytes of a blob, one more than ``most`` of them where it is longer; None if they are not there."""
        try:
            descriptor = os.open(self.layout.blob(Digest(digest)), os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        with open(descriptor, "rb", buffering=0) as file:
            return file.read(min(os.fstat(descriptor).st_size, most) + 1)

    def alias(self, digest: Digest, target: Digest) -> None:
        """Have the bytes of ``target`` under another digest as well: a second name of the same file."""
        os.makedirs(self.layout.blob_directory(digest), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.link(self.layout.blob(target), self.layout.blob(digest))


def read(path: Path) -> str | None:
    """What a link file holds; None if there is none."""
    try:
        return path.read_bytes()[:256].decode("ascii", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


def write(path: Path, digest: str, written_at: int) -> bool:
    """Make a link that holds ``digest`` and was written at that time; False if it was there already."""
    if read(path) == digest:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid4().hex}")
    try:
        temporary.write_bytes(digest.encode())
        os.utime(temporary, ns=(written_at * 1_000_000, written_at * 1_000_000))
        os.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return True


def remove(folder: Path) -> None:
    """Remove a link's folder, or a tag's, with all there is in it; absent is success."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return


def prune(folder: Path) -> None:
    """Remove a folder if nothing but empty folders is in it."""
    for below in _names(str(folder)):
        child = folder / below
        if child.is_dir() and not child.is_symlink():
            prune(child)
    try:
        folder.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR):
            raise


def _repositories(folder: str, name: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    below = []
    found = False
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in ("_manifests", "_layers"):
                found = True
            elif not entry.name.startswith("_") and entry.is_dir():
                below.append((entry.name, entry.is_symlink()))
    if found and name:
        yield name
    if len(name) > MAX_NAME:
        return
    status = os.stat(folder)
    above = (*above, (status.st_dev, status.st_ino))
    for child, symbolic in sorted(below):
        path = f"{folder}/{child}"
        if symbolic:
            status = os.stat(path)
            if (status.st_dev, status.st_ino) in above:
                continue  # it leads back to where we came from
        yield from _repositories(path, f"{name}/{child}" if name else child, above)


def _by_digest(folder: str) -> Iterator[Link]:
    for algorithm in _names(folder):
        if algorithm not in ALGORITHMS:
            yield Link(algorithm, algorithm, 0, "links by an algorithm that is not supported")
            continue
        for encoded in _names(f"{folder}/{algorithm}"):
            link = _read(f"{algorithm}:{encoded}", f"{folder}/{algorithm}/{encoded}/link")
            if link is not None:
                yield link


def _read(name: str, path: str) -> Link | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return Link(name, "", 0, error.strerror or str(error))
    try:
        target = os.read(descriptor, 256).decode("ascii", "replace")
        return Link(name, target, os.fstat(descriptor).st_mtime_ns // 1_000_000)
    except OSError as error:
        return Link(name, "", 0, error.strerror or str(error))
    finally:
        os.close(descriptor)


def _names(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
