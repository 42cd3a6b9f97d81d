"""Files on their way to a socket, copied by the kernel (``sendfile``)."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import cast

from lading.stores.blobs.disk import at_hand

_SHORT, _STEP, _STRIDE = 1 << 17, 1 << 19, 1 << 22
_ALONE_AFTER = 0.1
_READ_AHEAD = 8 << 20


class Pace:
    """How much of a file is sent at a time, by one loop.

    Whatever a socket takes at once costs least, and holds up all others for a millisecond. So it is little while there are
    others (while requests that are not for files were answered within the last tenth of a second), and less than all where the
    disk has to be waited for.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._alone_from = 0.0

    def answered(self, now: float) -> None:
        """Something other than a file was sent; ``now`` is the loop's time."""
        self._alone_from = now + _ALONE_AFTER

    def step(self, file: int, offset: int, left: int) -> int:
        """How many of the ``left`` bytes of a file to send now."""
        if self._loop.time() <= self._alone_from:
            return min(left, _SHORT)
        most = min(left, _STRIDE)
        if most > _STEP and at_hand(file, 1, offset + most - 1) is None:
            return _STEP
        return most


class FileSender:
    """Copies parts of files to a transport's socket, one after the other.

    One step each time the socket takes more, so that others get their turn; ``moved`` is called for each.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, pace: Pace, moved: Callable[[], None]
    ) -> None:
        self.loop = loop
        self.pace = pace
        self.moved = moved
        self.file = -1
        self.offset = self.left = self.read_ahead = 0
        self.head = memoryview(b"")
        self.done: asyncio.Future[None] | None = None
        # the loop's transport watches its own descriptor; a duplicate may be watched beside it
        own = cast("socket.socket", transport.get_extra_info("socket"))
        self.socket = socket.fromfd(own.fileno(), own.family, own.type)
        self.socket.setblocking(False)

    async def send(self, file: int, offset: int, count: int, head: bytes) -> None:
        """Return when ``count`` bytes of the file from ``offset`` are sent, behind ``head``."""
        self.head = memoryview(head)
        self.file, self.left = file, count
        if offset != self.offset:
            self.read_ahead = offset
        self.offset = offset
        done = self.done = self.loop.create_future()
        self._step()  # mostly there is room
        watching = not done.done()
        if watching:
            self.loop.add_writer(self.socket.fileno(), self._step)
        try:
            await done
        finally:
            self.done = None
            if watching:
                self.loop.remove_writer(self.socket.fileno())

    def _step(self) -> None:
        done = self.done
        if done is None or done.done():
            return
        try:
            if self.head:
                flags = getattr(socket, "MSG_MORE", 0)
                self.head = self.head[self.socket.send(self.head, flags) :]
                if self.head:
                    return
            self._advise()
            sent = os.sendfile(
                self.socket.fileno(), self.file, self.offset, self.pace.step(self.file, self.offset, self.left)
            )
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            done.set_exception(error)
            return
        if not sent:
            done.set_exception(EOFError("the file is shorter than it was"))
            return
        self.offset += sent
        self.left -= sent
        self.moved()
        if not self.left:
            done.set_result(None)

    def fail(self, error: Exception) -> None:
        """Give up."""
        if self.done is not None and not self.done.done():
            self.done.set_exception(error)

    def _advise(self) -> None:
        # have the kernel read ahead, so that a cold file does not stop the loop at each step
        if self.offset >= self.read_ahead:
            self.read_ahead = self.offset + _READ_AHEAD // 2
            os.posix_fadvise(self.file, self.offset, _READ_AHEAD, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        self.socket.close()
