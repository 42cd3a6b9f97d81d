"""Files of this machine, written so that nothing half-written stays, and locks between processes."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from lading.errors import LocalError
from lading.remotes.base import Chunks

T = TypeVar("T")

PIECE = 1 << 20
"""How many bytes are read at once."""

PARTIAL = ".partial-"
"""What the name of an unfinished file begins with."""
_SCRATCH = "scratch-"
_JUST_BEGUN = 60
"""For how many seconds an unfinished file is nobody else's, locked or not."""


@contextmanager
def told(what: str) -> Generator[None]:
    """Failures of the file system as :class:`LocalError`; ``what`` was being done: "write /x/y"."""
    try:
        yield
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            why = "the disk is full; nothing unfinished was kept"
        raise LocalError(f"cannot {what}: {why}") from None


async def aside(function: Callable[..., T], *arguments: Any) -> T:
    """Call in a thread where a loop runs, whose others would wait; at once where none does (``places.here``)."""
    if "asyncio" not in sys.modules:
        return function(*arguments)
    import asyncio  # noqa: PLC0415 - what needs no loop starts without it, in two thirds of the time

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return function(*arguments)
    return await asyncio.to_thread(function, *arguments)


async def read(path: Path, offset: int, size: int) -> AsyncGenerator[bytes]:
    """``size`` bytes of a file from ``offset`` on, in pieces; fewer where the file is shorter."""
    with told(f"read {path}"):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        end = offset + size
        while offset < end:
            with told(f"read {path}"):
                piece = await aside(os.pread, handle, min(PIECE, end - offset), offset)
            if not piece:
                return
            yield piece
            offset += len(piece)
    finally:
        os.close(handle)


async def write(handle: int, chunks: Chunks, offset: int, path: Path) -> int:
    """Write what comes at ``offset``; where it ended."""
    async for chunk in chunks:
        with told(f"write {path}"):
            await aside(write_all, handle, chunk, offset)
        offset += len(chunk)
    return offset


def write_all(handle: int, chunk: bytes, offset: int) -> None:
    """Write all of ``chunk`` at ``offset``."""
    view = memoryview(chunk)
    while view:
        count = os.pwrite(handle, view, offset)
        view, offset = view[count:], offset + count


def _begun(folder: Path) -> tuple[int, Path]:
    """An unfinished file in a folder."""
    import tempfile  # noqa: PLC0415 - most commands write none, and compression comes with it

    handle, name = tempfile.mkstemp(prefix=PARTIAL, dir=folder)
    return handle, Path(name)


def tidy(folder: Path) -> None:
    """Delete what processes that were killed left unfinished in a folder; it may not be there."""
    with suppress(OSError), os.scandir(folder) as listed:
        for entry in listed:
            # whoever has just begun one may not have locked it yet
            if entry.name.startswith(PARTIAL) and entry.is_file() and entry.stat().st_mtime < time.time() - _JUST_BEGUN:
                with suppress(LocalError), locked(Path(entry.path), fcntl.LOCK_EX | fcntl.LOCK_NB) as alone:
                    if alone:
                        Path(entry.path).unlink()


@contextmanager
def scratch(home: Path) -> Generator[Path]:
    """A folder below ``home`` for what is only needed now; what killed processes left of theirs goes first."""
    import shutil  # noqa: PLC0415 - few commands need any, and compression comes with it
    import tempfile  # noqa: PLC0415

    with told(f"make a folder in {home}"):
        home.mkdir(parents=True, exist_ok=True)
        with locked(home):
            for left in home.glob(f"{_SCRATCH}*"):
                with suppress(LocalError), locked(left, fcntl.LOCK_EX | fcntl.LOCK_NB) as alone:
                    if alone:
                        shutil.rmtree(left, ignore_errors=True)
            made = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=home))
            handle = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(handle)


@asynccontextmanager
async def published(target: Path, *, sync: bool) -> AsyncGenerator[int]:
    """A file to write to (its descriptor), which takes its name when the block ends well and vanishes otherwise.

    It is locked meanwhile, so that whoever tidies up can tell it from what a killed process left.
    """
    with told(f"write {target}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = _begun(target.parent)
    try:
        with told(f"write {target}"):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
        with told(f"write {target}"):
            os.fchmod(handle, 0o644)
            if sync:
                await aside(os.fdatasync, handle)
            partial.rename(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)


def replace(target: Path, content: bytes, *, sync: bool) -> None:
    """Give a file another content in one step."""
    with told(f"write {target}"):
        handle, partial = _begun(target.parent)
        try:
            try:
                write_all(handle, content, 0)
                os.fchmod(handle, 0o644)
                if sync:
                    os.fsync(handle)
            finally:
                os.close(handle)
            partial.rename(target)
            if sync:
                _sync_folder(target.parent)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path, kind: int = fcntl.LOCK_EX) -> Generator[bool]:
    """Hold a lock on a file or folder; with ``LOCK_NB`` in ``kind`` it may not be had: then False."""
    flags = os.O_RDONLY | os.O_CLOEXEC if path.is_dir() else os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    with told(f"lock {path}"):
        handle = os.open(path, flags, 0o644)
    try:
        try:
            fcntl.flock(handle, kind)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(handle)
