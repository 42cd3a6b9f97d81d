"""A disk by system calls: bytes and names that survive power loss, and what is told when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import cast
from uuid import UUID, uuid4

from lading.errors import Unavailable
from lading.oci.hasher import Hasher

_READ = 1 << 20
_SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)


class Translated:
    """Within this a failing disk raises :class:`~lading.errors.Unavailable`, as :func:`raise_unavailable` says."""

    __slots__ = ()

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise_unavailable(error)


translated = Translated()  # one for all, and no generator: every step of every push goes through it


def raise_unavailable(error: OSError) -> None:
    """Raise what a client is told where it is the store that fails."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise Unavailable(
            "the store is full; nothing was stored. Free some space and push again", retry_after=60
        ) from error
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE):
        raise Unavailable(f"the store cannot be used right now: {error.strerror}", retry_after=30) from error


def write_all(descriptor: int, chunks: Sequence[bytes | memoryview], offset: int = 0) -> int:
    """Write all of the chunks one behind the other from ``offset``; how many bytes that were."""
    total = sum(map(len, chunks))
    written = os.pwritev(descriptor, chunks[:1024], offset) if chunks else 0
    if written == total:
        return total
    rest = memoryview(b"".join(chunks))
    while written < total:
        written += os.pwrite(descriptor, rest[written:], offset + written)
    return total


def begin_writing(descriptor: int, offset: int, count: int) -> None:
    """Have the disk begin with ``count`` bytes from ``offset``, and return; nothing is promised of them.

    A system keeps what is written in memory until it is synced: the disk would stand still while a body arrives, and
    whoever sent it would wait for all of it at the end.
    """
    if (begin := _sync_file_range()) is not None:
        begin(descriptor, offset, count, _SYNC_FILE_RANGE_WRITE)  # whether it failed, the sync tells


@cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    try:
        function = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):  # Linux has it
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return function


def hash_file(descriptor: int, into: Hasher, offset: int) -> int:
    """Hash a file from ``offset`` to its end; how many bytes that were."""
    start = offset
    while data := os.pread(descriptor, _READ, offset):
        into.update(data)
        offset += len(data)
    return offset - start


def let_go(descriptor: int) -> None:
    """Close a file, beside the loop that runs here where it is the last hold on what has no name any more.

    What was deleted, or replaced by the same bytes, while somebody read or wrote it goes from the disk when it is closed: for a
    large file that takes a tenth of a second and more.
    """
    try:
        if os.fstat(descriptor).st_nlink == 0:
            asyncio.get_running_loop().run_in_executor(None, os.close, descriptor)
            return
    except (OSError, RuntimeError):  # nobody knows; or there is no loop, or one that ends
        pass
    os.close(descriptor)


def at_hand(descriptor: int, count: int, offset: int) -> bytes | None:
    """What the system holds of a part in memory, read without waiting; None when the disk would be asked."""
    if not _NOWAIT:
        return None
    data = bytearray(count)
    try:
        del data[os.preadv(descriptor, [data], offset, _NOWAIT) :]
    except OSError:  # EAGAIN; or a file system that cannot say
        return None
    return cast("bytes", data)  # a copy would cost as much as reading it did


def make(folder: str | Path) -> None:
    """Make a folder, and its parents so that they survive power loss; its own entry is the caller's to sync."""
    try:
        os.mkdir(folder, 0o755)
    except FileExistsError:
        return
    except FileNotFoundError:
        above = Path(folder).parent
        make(above)
        sync_folder(above.parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o755)


def sync_folder(folder: str | Path) -> None:
    """Return when the names in a folder survive power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def folders(folder: Path) -> Iterator[Path]:
    """The folders in one, in the order of their names; none where it is not there."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in found:
        yield folder / name


@cache
def boot() -> bytes:
    """Which start of this machine it is; where it does not say, no two processes are on the same."""
    try:
        return UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip()).bytes
    except (OSError, ValueError):
        return uuid4().bytes
