"""A proxy in front of an object store that fails as a test says: status, silence, half an answer, another body."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Self
from urllib.parse import urlsplit


class Call(NamedTuple):
    """A request: ``path`` with its query."""

    method: str
    path: str
    number: int


class Fault(NamedTuple):
    """What happens to a request. ``passed``: the store gets it all the same, and only the answer is lost.

    ``kind``: ``status`` (answered with ``value``), ``stall`` (for so many seconds, then cut), ``reset``, ``truncate``
    (the answer ends after so many bytes), ``damage`` (a byte of the request's body is another), ``listing`` (an empty
    list is answered).
    """

    kind: str
    value: float = 0
    passed: bool = False


Script = Callable[[Call], Fault | None]

_ERROR = b'<?xml version="1.0"?><Error><Code>%s</Code><Message>scripted</Message></Error>'
_NOTHING = b'<?xml version="1.0"?><ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>'


class Faulty:
    """``with Faulty(url) as proxy:``; set ``proxy.script``. ``calls`` are the requests so far."""

    def __init__(self, target: str) -> None:
        self.calls: list[Call] = []
        self.script: Script = lambda call: None
        self.target = urlsplit(target).netloc
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def decide(self, method: str, path: str) -> Fault | None:
        with self._lock:
            call = Call(method, path, len(self.calls) + 1)
            self.calls.append(call)
            return self.script(call)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return type("Handler", (_Handler,), {"proxy": self})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Faulty

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        fault = self.proxy.decide(self.command, self.path)
        try:
            self.answer(body, fault)
        except OSError:
            self.close_connection = True

    def answer(self, body: bytes, fault: Fault | None) -> None:
        if fault is None:
            self.relay(*self.ask(body))
            return
        if fault.passed:
            self.ask(body)
        if fault.kind == "truncate":
            self.relay(*self.ask(body), most=int(fault.value))
        elif fault.kind == "damage":
            self.relay(*self.ask(bytes([body[0] ^ 1]) + body[1:] if body else body))
        elif fault.kind == "status":
            code = {503: b"SlowDown", 403: b"AccessDenied"}.get(int(fault.value), b"InternalError")
            self.relay(int(fault.value), [("Content-Type", "application/xml")], _ERROR % code)
        elif fault.kind == "listing":
            self.relay(200, [("Content-Type", "application/xml")], _NOTHING)
        else:
            threading.Event().wait(fault.value)
            self.cut()

    def cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection(self.proxy.target, timeout=30)
        try:
            upstream.request(self.command, self.path, body, dict(self.headers.items()))
            response = upstream.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            upstream.close()

    def relay(self, status: int, headers: list[tuple[str, str]], body: bytes, most: int | None = None) -> None:
        self.send_response_only(status)
        dropped = {"connection", "transfer-encoding", "keep-alive"}
        if self.command != "HEAD":
            dropped.add("content-length")
            self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            if name.lower() not in dropped:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if most is None else body[:most])
        self.wfile.flush()
        if most is not None and most < len(body):
            self.cut()
