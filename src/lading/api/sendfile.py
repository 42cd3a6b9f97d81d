"""Files on their way to a socket, copied by the kernel (``sendfile``)."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import cast

_STEP = 1 << 19
_READ_AHEAD = 8 << 20


class FileSender:
    """Copies ``count`` bytes of a file from ``offset`` to a transport's socket, behind ``head``.

    One step each time the socket takes more, so that others get their turn; ``done`` tells when all is sent, ``moved``
    is called for each step.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        file: int,
        offset: int,
        count: int,
        head: bytes,
        moved: Callable[[], None],
    ) -> None:
        self.loop = loop
        self.moved = moved
        self.file = file
        self.offset = offset
        self.left = count
        self.head = memoryview(head)
        self.read_ahead = offset
        self.done: asyncio.Future[None] = self.loop.create_future()
        # the loop's transport watches its own descriptor; a duplicate may be watched beside it
        own = cast("socket.socket", transport.get_extra_info("socket"))
        self.socket = socket.fromfd(own.fileno(), own.family, own.type)
        self.socket.setblocking(False)
        self.loop.add_writer(self.socket.fileno(), self._step)

    def _step(self) -> None:
        if self.done.done():
            return
        try:
            if self.head:
                flags = getattr(socket, "MSG_MORE", 0)
                self.head = self.head[self.socket.send(self.head, flags) :]
                return
            self._advise()
            sent = os.sendfile(self.socket.fileno(), self.file, self.offset, min(self.left, _STEP))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.done.set_exception(error)
            return
        if not sent:
            self.done.set_exception(EOFError("the file is shorter than it was"))
            return
        self.offset += sent
        self.left -= sent
        self.moved()
        if not self.left:
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        """Give up."""
        if not self.done.done():
            self.done.set_exception(error)

    def _advise(self) -> None:
        # have the kernel read ahead, so that a cold file does not stop the loop at each step
        if self.offset >= self.read_ahead:
            self.read_ahead = self.offset + _READ_AHEAD // 2
            os.posix_fadvise(self.file, self.offset, _READ_AHEAD, os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        self.loop.remove_writer(self.socket.fileno())
        self.socket.close()
