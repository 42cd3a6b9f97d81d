"""A far side that does what a test says: one function from request to answer, with cuts where they hurt."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Asked:
    """A request; names of headers are lower-case. ``read`` gives the body, or its first bytes."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    read: Callable[..., bytes] = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """What to send. ``cut`` ends the connection after so many bytes of the body; ``length`` lies about how many come.

    ``endless`` repeats the body for ever. ``body`` None hangs up without an answer. ``hold`` is waited for, at most 20 s,
    before the connection is cut.
    """

    status: int = 200
    body: bytes | None = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    length: int | None = None
    endless: bool = False
    hold: threading.Event | None = None


class Scripted:
    """``with Scripted(answer) as far_side:``; ``asked`` has every request so far, in order."""

    @property
    def handler(self) -> type[Handler]:
        """What serves a connection."""
        return Handler

    def __init__(self, answer: Callable[[Asked], Answer], address: str = "127.0.0.1") -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self._server = _Server(address, self, self.handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def host(self) -> str:
        return f"{self._server.server_address[0]!s}:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def paths(self, method: str) -> list[str]:
        return [one.path for one in self.asked if one.method == method]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: str, scripted: Scripted, handler: type[Handler]) -> None:
        self.scripted = scripted
        super().__init__((address, 0), handler)


class Handler(BaseHTTPRequestHandler):
    """Asks the script what to answer."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are written one after the other
    timeout = 20
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_PATCH(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        self._left = int(self.headers.get("content-length", 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, parts.path, parse_qs(parts.query), headers, self._read)
        self.server.scripted.asked.append(asked)
        answer = self.server.scripted.answer(asked)
        if answer.body is None:
            self._hang_up()
            return
        self._read()
        self._send(answer, answer.body)

    def _read(self, most: int | None = None) -> bytes:
        count = self._left if most is None else min(most, self._left)
        self._left -= count
        return self.rfile.read(count)

    def _send(self, answer: Answer, body: bytes) -> None:
        self.send_response(answer.status)
        length = len(body) if answer.length is None else answer.length
        headers = {"content-length": str(length), **answer.headers}
        if answer.endless:
            del headers["content-length"]
            headers["connection"] = "close"
            self.close_connection = True
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body[: answer.cut])
        while answer.endless:
            self.wfile.write(body)
        if answer.cut is not None or length != len(body):
            self.wfile.flush()
            if answer.hold:
                answer.hold.wait(20)
            self._hang_up()

    def _hang_up(self) -> None:
        self.close_connection = True
        # a reset, as a broken line shows it
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def finish(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().finish()

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (OSError, ValueError):  # the client has had enough
            self.close_connection = True

    def log_message(self, *words: object) -> None:
        """Say nothing: pytest shows what matters."""


def json_answer(document: Any, status: int = 200, **headers: str) -> Answer:
    """A JSON document."""
    return Answer(status, json.dumps(document).encode(), {"content-type": "application/json", **headers})
