"""A service that takes notifications, as a registry's operator would run one."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.support.ports import free_port


class Receiver:
    """Keeps what is posted to it: ``requests`` are (path, headers, body); it answers with ``status``.

    ``location`` is sent along if set; ``status`` may be changed, and the service stopped and started, while it is used.
    """

    def __init__(self, status: int = 200, location: str = "") -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self.status = status
        self.location = location
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self._server: ThreadingHTTPServer | None = None

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events taken, in the order in which they came, without those that came again."""
        seen: dict[str, dict[str, Any]] = {}
        for _, _, body in list(self.requests):
            for event in json.loads(body)["events"]:
                seen.setdefault(event["id"], event)
        return list(seen.values())

    def wait(self, count: int, seconds: float = 30) -> list[dict[str, Any]]:
        """The events, once there are ``count``."""
        deadline = time.monotonic() + seconds
        while len(self.events) < count:
            assert time.monotonic() < deadline, f"{len(self.events)} of {count} events came"
            time.sleep(0.02)
        return self.events

    def start(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _handler(outer) -> type[BaseHTTPRequestHandler]:  # noqa: N805  (self is the request's, below)
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                body = self.rfile.read(length)
                if len(body) < length:  # whoever sent it was killed meanwhile
                    self.close_connection = True
                    return
                status = outer.status
                if status < 400:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    outer.requests.append((self.path, headers, body))
                self.send_response(status)
                if outer.location and status in range(300, 400):
                    self.send_header("location", outer.location)
                self.send_header("content-length", "0")
                self.end_headers()

            def do_HEAD(self) -> None:
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *words: object) -> None:
                """Say nothing: pytest shows what matters."""

        return Handler
