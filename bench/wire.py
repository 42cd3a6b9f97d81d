"""A small HTTP/1.1 client on a plain socket, so that the measuring costs little beside what is measured.

It knows what registries answer with: a status line, headers, and a body of a stated length (or chunked).
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

ACCEPTED_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)
"""What docker says it accepts; one ``Accept`` line each."""

READ_SIZE = 1 << 20
_SOCKET_TIMEOUT = 120.0
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_LOCATION = re.compile(rb"\r\nlocation: *([^\r]+)", re.IGNORECASE)


class AnswerError(Exception):
    """A server answered with another status, or another length, than the figure is about."""


class Connection:
    """One TCP connection to ``127.0.0.1:port``, used by one thread."""

    def __init__(self, port: int, *, tls: bool = False) -> None:
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_SOCKET_TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            # Nobody stands between: the certificate was made a moment ago by the benchmark itself.
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, method: str, path: str, headers: Iterable[str] = (), body: bytes = b"") -> None:
        """Send a request's head (``headers`` are whole lines), and ``body`` with it."""
        lines = (f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", "User-Agent: bench", *headers)
        self.socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def send_parts(self, parts: Sequence[bytes | memoryview]) -> None:
        """Send buffers one after the other without joining them (at most 1024: the kernel's ``IOV_MAX``)."""
        waiting = [memoryview(part) for part in parts]
        while waiting:
            sent = self.socket.sendmsg(waiting)
            while waiting and sent >= len(waiting[0]):
                sent -= len(waiting.pop(0))
            if sent:
                waiting[0] = waiting[0][sent:]

    def head(self) -> tuple[bytes, bytes]:
        """Read a response's head; return it and whatever of the body came along."""
        received = b""
        while b"\r\n\r\n" not in received:
            more = self.socket.recv(65536)
            if not more:
                raise AnswerError(f"the connection was closed in the middle of a head: {received[:200]!r}")
            received += more
        head, _, rest = received.partition(b"\r\n\r\n")
        return head + b"\r\n", rest

    def expect(self, status: int, *, method: str = "GET") -> bytes:
        """Read a whole response and return its head; any other status raises :class:`AnswerError`."""
        head, rest = self.head()
        length = 0 if method == "HEAD" else _length(head)
        while len(rest) < length:
            more = self.socket.recv(READ_SIZE)
            if not more:
                break
            rest += more
        if int(head[9:12]) != status:
            raise AnswerError(f"expected {status}, got {head.splitlines()[0]!r} {rest[:300]!r}")
        return head

    def answer(self, status: int) -> bytes:
        """Read a whole response, chunked or not, and return its body."""
        head, rest = self.head()
        if int(head[9:12]) != status:
            raise AnswerError(f"expected {status}, got {head.splitlines()[0]!r} {rest[:300]!r}")
        if not _CHUNKED.search(head):
            length = _length(head)
            while len(rest) < length:
                rest += self._more()
            return rest
        body = b""
        while True:
            while b"\r\n" not in rest:
                rest += self._more()
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            while len(rest) < length + 2:
                rest += self._more()
            if not length:
                return body
            body, rest = body + rest[:length], rest[length + 2 :]

    def _more(self) -> bytes:
        more = self.socket.recv(READ_SIZE)
        if not more:
            raise AnswerError("the connection was closed in the middle of an answer")
        return more

    def body(self, buffer: bytearray, *, status: int = 200) -> Iterable[memoryview]:
        """Yield a response's body piece by piece in ``buffer``, which is used again for each."""
        head, rest = self.head()
        if int(head[9:12]) != status:
            raise AnswerError(f"expected {status}, got {head.splitlines()[0]!r} {rest[:300]!r}")
        left = _length(head) - len(rest)
        yield memoryview(rest)
        view = memoryview(buffer)
        while left > 0:
            count = self.socket.recv_into(view)
            if not count:
                raise AnswerError(f"the connection was closed {left} bytes before the end of the body")
            left -= count
            yield view[:count]


def location(head: bytes) -> str:
    """The path (and query) of a response's ``Location``, whether it is absolute or not."""
    found = _LOCATION.search(head)
    if found is None:
        raise AnswerError(f"no Location in {head!r}")
    return re.sub(r"^https?://[^/]+", "", found[1].decode())


def answers(port: int, *, tls: bool = False) -> bool:
    """Whether something at ``port`` answers HTTP."""
    with suppress(OSError, AnswerError), Connection(port, tls=tls) as connection:
        connection.send("GET", "/v2/", ["Connection: close"])
        return connection.head()[0].startswith(b"HTTP/1.1 ")
    return False


def download(port: int, path: str) -> int:
    """GET a body and throw it away; how many bytes it had."""
    with Connection(port) as connection:
        connection.send("GET", path)
        return sum(map(len, connection.body(bytearray(READ_SIZE))))


def _length(head: bytes) -> int:
    found = _CONTENT_LENGTH.search(head)
    if found is None:
        if head[9:12] in (b"204", b"304"):
            return 0
        raise AnswerError(f"no Content-Length in {head!r}")
    return int(found[1])
