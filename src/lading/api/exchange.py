"""One request and its response: the ASGI side of a connection."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from itertools import chain
from typing import Any, Protocol, cast

from lading.api.sendfile import FileSender, Pace

log = logging.getLogger(__name__)

_HIGH_WATER = 1 << 20
_LOW_WATER = 1 << 18

STATUS_LINES = {int(status): f"HTTP/1.1 {int(status)} {status.phrase}".encode() for status in HTTPStatus}
"""Without their ends: each header's name brings the end of the line before it along."""


_SPELT = {
    b"etag": b"ETag",
    b"oci-filters-applied": b"OCI-Filters-Applied",
    b"oci-subject": b"OCI-Subject",
    b"oci-tag": b"OCI-Tag",
    b"www-authenticate": b"WWW-Authenticate",
}


class _WireNames(dict[bytes, bytes]):
    """Headers' names as they are written, with what stands before and behind them.

    They are case-insensitive, but people grep for ``Docker-Content-Digest``.

    There are few, and all are our own or the operator's, so each is kept.
    """

    def __missing__(self, name: bytes) -> bytes:
        written = self[name] = b"\r\n%b: " % _SPELT.get(name, name.title())
        return written


_WIRE_NAMES = _WireNames()


class Line(Protocol):
    """What an exchange needs of its connection."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    pace: Pace
    writable: asyncio.Future[None] | None

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """Headers that go with every response."""

    def moved(self) -> None:
        """Bytes moved, or somebody waits for some: the deadline begins anew."""

    def hold_back(self) -> None:
        """Read no more for now."""

    def go_on(self) -> None:
        """Read again."""

    def finished(self, exchange: Exchange) -> None:
        """A response was sent whole."""

    def answered(self) -> None:
        """The application is done with a request."""


class Exchange:
    """One request and its response."""

    # what most requests never change is not set for each
    buffered = 0
    received = 0
    more_body = True
    wants_body = False
    arrival: asyncio.Future[None] | None = None
    started = False
    complete = False
    disconnected = False
    truncated = False
    sender: FileSender | None = None
    chunked = False
    task: asyncio.Task[None] | None = None

    def __init__(
        self, connection: Line, scope: dict[str, Any], keep_alive: bool, *, expects_continue: bool = False
    ) -> None:
        self.connection = connection
        self.scope = scope
        self.keep_alive = keep_alive
        self.chunks: deque[bytes] = deque()
        self.head: list[bytes] = []
        self.expects_continue = expects_continue

    async def run(self, app: Callable[..., Any], running: set[asyncio.Task[None]]) -> None:
        """Answer; ``task``, which does this, is taken off those ``running`` at the end."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:
            log.exception("the application failed")
        finally:
            running.discard(cast("asyncio.Task[None]", self.task))
            self.task = None  # which holds this exchange
            self.connection.answered()
            if self.sender is not None:
                self.sender.close()
                self.sender = None
        if not self.complete and not self.disconnected:
            self.connection.transport.abort()

    # ---- the request's body

    def took(self, body: bytes) -> None:
        if self.complete:
            return
        self.chunks.append(body)
        self.buffered += len(body)
        self.received += len(body)
        if self.buffered > _HIGH_WATER:
            self.connection.hold_back()
        self._arrived()

    def body_left(self) -> int | None:
        """How many bytes of the body are still to come; None where that is not known."""
        for name, value in self.scope["headers"]:
            if name == b"content-length":
                return int(value) - self.received
        return None

    def all_read(self) -> None:
        self.more_body = False
        self._arrived()

    def cut_off(self) -> None:
        """No more will arrive, whatever the request said."""
        if self.more_body:
            self.truncated = True
            self.keep_alive = False
            self._arrived()

    def lost(self) -> None:
        """The connection is gone."""
        self.disconnected = True
        if self.sender is not None:
            self.sender.fail(ConnectionResetError("the client went away"))
        self._arrived()

    def _arrived(self) -> None:
        if self.arrival is not None:
            if not self.arrival.done():
                self.arrival.set_result(None)
            self.arrival = None

    async def receive(self) -> dict[str, Any]:
        """ASGI: the next part of the body, as it arrived."""
        connection = self.connection
        if self.expects_continue and self.more_body and not self.started:
            self.expects_continue = False
            if not connection.transport.is_closing():  # the client may have gone since it asked
                connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.wants_body = True
        while not self.chunks and (self.more_body or self.complete):
            if self.disconnected or self.complete or self.truncated:
                return {"type": "http.disconnect"}
            connection.moved()
            connection.go_on()
            self.arrival = connection.loop.create_future()
            await self.arrival
        if not self.chunks:
            self.wants_body = False
            return {"type": "http.request", "body": b"", "more_body": False}
        chunk = self.chunks.popleft()
        self.buffered -= len(chunk)
        if self.buffered < _LOW_WATER:
            connection.go_on()
        self.wants_body = False
        return {"type": "http.request", "body": chunk, "more_body": self.more_body or bool(self.chunks)}

    # ---- the response

    async def send(self, message: dict[str, Any]) -> None:
        """ASGI: the response's start, its body, or a part of a file."""
        connection = self.connection
        if self.disconnected:
            raise ConnectionResetError("the client went away")
        kind = message["type"]
        if kind == "http.response.start":
            self._begin(message)
            return
        self.started = True
        if kind == "http.response.zerocopysend":
            await self._send_file(message["file"], message["offset"], message["count"])
        else:
            self._write(message.get("body", b""), last=not message.get("more_body", False))
            if connection.writable is not None:
                connection.moved()
                await connection.writable
        if not message.get("more_body", False):
            self._end()

    def _begin(self, message: dict[str, Any]) -> None:
        status: int = message["status"]
        head = [STATUS_LINES[status]]
        sized = False
        for name, value in chain(message["headers"], self.connection.default_headers):
            head += (_WIRE_NAMES[name], value)
            if name == b"content-length":
                sized = True
        if self.more_body:
            self.keep_alive = False  # what is left of the body would be taken for the next request
        if status >= 200 and status not in (204, 304) and not sized:
            self.chunked = self.scope["http_version"] != "1.0"
            if self.chunked:
                head.append(b"\r\nTransfer-Encoding: chunked")
            else:
                self.keep_alive = False
        head.append(b"\r\n\r\n" if self.keep_alive else b"\r\nConnection: close\r\n\r\n")
        self.head = head

    def _write(self, body: bytes, *, last: bool) -> None:
        parts, self.head = self.head, []
        if self.scope["method"] == "HEAD":
            pass
        elif self.chunked:
            if body:
                parts += (b"%x\r\n" % len(body), body, b"\r\n")
            if last:
                parts.append(b"0\r\n\r\n")
        elif body:
            parts.append(body)
        if parts:
            self.connection.transport.write(b"".join(parts) if len(parts) > 1 else parts[0])

    async def _send_file(self, file: Any, offset: int, count: int) -> None:
        connection = self.connection
        head, self.head = b"".join(self.head), []
        if self.scope["method"] == "HEAD" or not count:
            connection.transport.write(head)
            return
        while connection.transport.get_write_buffer_size():
            # something is still queued in the transport (a 100 Continue); bytes may not overtake it
            await asyncio.sleep(0.001)
            if self.disconnected:
                raise ConnectionResetError("the client went away")
        if self.sender is None:
            self.sender = FileSender(connection.transport, connection.loop, connection.pace, connection.moved)
        await self.sender.send(file.fileno(), offset, count, head)

    def _end(self) -> None:
        self.complete = True
        self.connection.finished(self)
