"""HTTP/1.1 by hand: exactly these bytes over a socket, and what comes back, so that nothing is tidied up in between."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.support.server import RegistryServer

Content = Mapping[str, str] | None


@dataclass(frozen=True)
class Answer:
    """A response; header names in lower case, the last of several values."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The code of an error in the registry's form; the form is checked on the way."""
        assert self.headers["content-type"] == "application/json"
        document = json.loads(self.body)
        assert set(document) == {"errors"}
        (error,) = document["errors"]
        assert set(error) <= {"code", "message", "detail"}
        assert error["message"]
        return str(error["code"])


class Wire:
    """One connection to a server. Reading ends with the answer, the end of the connection (None) or a failed test."""

    def __init__(self, server: RegistryServer, timeout: float = 60) -> None:
        self.server = server
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=timeout)
        self._seen = b""

    def send(self, *parts: bytes | str) -> Self:
        """Send bytes (text as Latin-1); that the other side has closed already is not our business."""
        try:
            for part in parts:
                self.socket.sendall(part.encode("latin-1") if isinstance(part, str) else part)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return self

    def request(self, method: str, target: str | bytes, headers: Content = None, body: bytes | None = None) -> Self:
        """Send a request in good form with this target as it is; Content-Length goes with a body."""
        own = {"Host": self.server.host, **(headers or {})}
        if body is not None:
            own.setdefault("Content-Length", str(len(body)))
        raw = target.encode("latin-1") if isinstance(target, str) else target
        head = b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in own.items())
        return self.send(method.encode() + b" " + raw + b" HTTP/1.1\r\n" + head + b"\r\n" + (body or b""))

    def end(self) -> Self:
        """Send no more, but still read."""
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def answer(self, *, to_head: bool = False) -> Answer | None:
        """The next response, None if the connection ends before it begins."""
        head = self._until(b"\r\n\r\n")
        if head is None:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, *_ = first.split(" ")
        assert version == "HTTP/1.1", first
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        code = int(status)
        if to_head or code < 200 or code in (204, 304):
            return Answer(code, headers, b"")
        return Answer(code, headers, self._body(headers))

    def expect(self, *, to_head: bool = False) -> Answer:
        """The next response, which must come."""
        found = self.answer(to_head=to_head)
        assert found is not None, "the server closed the connection without an answer"
        return found

    def closed(self) -> bool:
        """Whether nothing more comes and the server closes."""
        rest = self._seen
        try:
            while data := self.socket.recv(65536):
                rest += data
        except ConnectionResetError:
            pass
        return not rest

    def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self._until(b"\r\n") or b"0", 16):
                body += self._exactly(size)
                self._exactly(2)
            self._exactly(2)
            return body
        if "content-length" in headers:
            return self._exactly(int(headers["content-length"]))
        while data := self.socket.recv(65536):
            self._seen += data
        return self._exactly(len(self._seen))

    def _until(self, mark: bytes) -> bytes | None:
        while mark not in self._seen:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                assert not self._seen, f"the connection ended in the middle of {self._seen[:200]!r}"
                return None
            self._seen += data
        found, _, self._seen = self._seen.partition(mark)
        return found

    def _exactly(self, count: int) -> bytes:
        while len(self._seen) < count:
            data = self.socket.recv(min(1 << 20, count))
            assert data, f"the connection ended {count - len(self._seen)} bytes before the body's end"
            self._seen += data
        found, self._seen = self._seen[:count], self._seen[count:]
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()


def ask(
    server: RegistryServer, method: str, target: str | bytes, headers: Content = None, body: bytes | None = None
) -> Answer:
    """One request on a connection of its own."""
    with Wire(server) as wire:
        return wire.request(method, target, headers, body).expect(to_head=method == "HEAD")
