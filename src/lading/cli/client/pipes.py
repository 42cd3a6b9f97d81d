"""An archive on standard input or output: kept in a file on its way, since an archive is neither read nor written in one go."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.errors import Invalid, LocalError, ManifestInvalid
from lading.remotes import files

if TYPE_CHECKING:
    from lading.remotes.layout import ReadableLayout

STANDARD = Path("-")
"""How standard input and output are written."""


async def opened(scratch: Path) -> ReadableLayout:
    """The archive that is on standard input."""
    from lading.remotes.unpack import opened

    path = await _kept(scratch)
    try:
        found = await opened(path, scratch)
        found.where = "standard input"
        return found
    except (LocalError, Invalid, ManifestInvalid) as error:
        raise type(error)(error.message.replace(str(path), "standard input")) from None


async def _kept(folder: Path) -> Path:
    """The file that has what is on standard input: that itself where it is one, else what came, below ``folder``."""
    if sys.stdin is None or sys.stdin.isatty():
        raise LocalError(
            "there is no archive on standard input; name a file, or pipe one in: docker save APP | lading …"
        )
    target = folder / "standard-input.tar"
    with files.told("read standard input"):
        if _is_file(sys.stdin):
            return Path("/dev/stdin")
        await _apart(_taken, target)
    return target


def _is_file(stream: Any) -> bool:
    try:
        return stat.S_ISREG(Path(f"/dev/fd/{stream.fileno()}").stat().st_mode)
    except (OSError, ValueError):
        return False


def _taken(target: Path) -> None:
    with target.open("wb") as out:
        while piece := os.read(sys.stdin.fileno(), files.PIECE):
            out.write(piece)


def check_output() -> None:
    """:class:`LocalError` where standard output would not take an archive."""
    if sys.stdout is None or sys.stdout.isatty():
        raise LocalError("an archive is not written to a terminal; name a file, or pipe it on: lading … | docker load")


@asynccontextmanager
async def given(path: Path) -> AsyncGenerator[None]:
    """What is in the file when the block has ended well goes to standard output."""
    yield
    await _apart(_given, path)


def _given(path: Path) -> None:
    with path.open("rb") as archive:
        while piece := archive.read(files.PIECE):
            left = memoryview(piece)
            while left:
                left = left[os.write(sys.stdout.fileno(), left) :]


async def _apart(function: Callable[[Path], None], path: Path) -> None:
    """Call in a thread that nobody waits for when the command is ended: the other end of a pipe may do nothing for ever.

    What is called there holds no lock of Python's streams, which would be wanted when the program ends.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def work() -> None:
        failure: BaseException | None = None
        try:
            function(path)
        except BaseException as error:  # noqa: BLE001 - whoever waits raises it
            failure = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, failure)

    threading.Thread(target=work, daemon=True).start()
    await done
