"""Large bodies on their way in, read by the thread that hashes and writes them.

What a transport reads comes in small pieces, each copied once more and each a turn of the loop, which hands it to a thread at
last. A large body goes the short way: the thread reads the socket itself, into the one buffer that is hashed and written.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, cast

import httptools

LARGE = 1 << 19
"""A body of which so many bytes are still to come is worth it."""

_WORTH_WAKING = 1 << 18
_LOOK_MS = 250
_MOST_BETWEEN = 1 << 16
_LOWAT = getattr(socket, "SO_RCVLOWAT", None)


class Source(Protocol):
    """What an intake needs of its connection."""

    transport: asyncio.Transport
    parser: Any

    def moved(self) -> None:
        """Bytes moved: the deadline begins anew."""

    def taken_in(self, intake: Intake, error: Exception | None) -> None:
        """Nobody reads past the transport any more; ``error``: why the body broke off, if it did other than by its end."""


class Intake:
    """The rest of a request's body; an :class:`~lading.stores.blobs.base.Inflow`.

    ``left`` bytes of it are to come where its length is known. Else (``chunked``) the connection's parser is fed in the
    thread, and gives its pieces to :meth:`took`. The transport does not read until :meth:`finish`; ``receive`` is ASGI's,
    for what it reads after that.
    """

    def __init__(self, source: Source, receive: Callable[[], Awaitable[dict[str, Any]]], left: int | None) -> None:
        self.chunked = left is None
        self.left = left or 0
        self.received = 0
        self.complete = False
        self.broken = False
        self.overrun = False
        """Whether something came behind the end: whoever sent it must send it again, on another connection."""
        self._source = source
        self._parser = source.parser  # the connection lets go of it when it is lost
        self._receive = receive
        self._pieces: list[bytes] = []
        self._unread = 0
        self._error: Exception | None = None
        self._stopped = self._finished = False
        own = cast("socket.socket", source.transport.get_extra_info("socket"))
        self._socket = socket.fromfd(own.fileno(), own.family, own.type)
        self._socket.setblocking(False)
        self._waiting = select.poll()
        self._waiting.register(self._socket, select.POLLIN)
        self._wake_at = 1

    # ---- in the thread

    def read_into(self, buffer: memoryview) -> int:
        """Wait for the next bytes, and put them into the buffer; how many they are, 0 at the end, or where it broke."""
        while not (self.complete or self.broken or self._stopped):
            count = self._received(buffer if self.chunked else buffer[: self.left])
            if count and self.chunked:
                count = self._decoded(buffer, count)
            elif count:
                self.left -= count
                self.complete = not self.left
            if count:
                self.received += count
                self._source.moved()
                return count
        return 0

    def _received(self, buffer: memoryview) -> int:
        if not self.chunked:
            self._wake(min(self.left, _WORTH_WAKING))
        self._waiting.poll(_LOOK_MS)  # fewer bytes than the socket wakes for are taken when it is over
        try:
            count = self._socket.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self.broken, self._error = True, error
            return 0
        self.broken = not count
        return count

    def _decoded(self, buffer: memoryview, count: int) -> int:
        try:
            self._parser.feed_data(buffer[:count])
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            self.broken, self._error = True, error
        pieces, self._pieces = self._pieces, []
        size = 0
        for piece in pieces:
            buffer[size : size + len(piece)] = piece
            size += len(piece)
        self._unread = 0 if size or self.complete else self._unread + count
        if self._unread > _MOST_BETWEEN:  # trailers, or a chunk's head, without an end
            self.broken, self._error = True, httptools.HttpParserError("too much between two chunks")
        return size

    def took(self, piece: bytes) -> None:
        """A piece of the body, from the parser."""
        if self.complete:
            self.overrun = True
        else:
            self._pieces.append(piece)

    def ended(self) -> None:
        """The parser saw the end."""
        self.complete = True

    # ---- in the loop

    def stop(self) -> None:
        """End it; a thread that reads returns within a moment."""
        self._stopped = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The same in pieces, through the transport, for who has no thread for it."""
        self.finish()
        more = not self.complete
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return
            more = message["more_body"]
            if message["body"]:
                self.received += len(message["body"])
                yield message["body"]
        self.complete = True

    def finish(self) -> None:
        """Let go of the socket, when no thread reads it any more."""
        if not self._finished:
            self._finished = True
            self._wake(1)
            self._socket.close()
            self._source.taken_in(self, self._error)

    def _wake(self, at: int) -> None:
        """Have the socket wake a thread when so many bytes are there: a turn of one costs more than a copy."""
        if at != self._wake_at and _LOWAT is not None:
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _LOWAT, at)
                self._wake_at = at
            except OSError:  # the connection broke: the next read tells
                pass
