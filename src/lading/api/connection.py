"""One HTTP/1.1 connection: uvicorn's protocol, written for a registry.

Requests are parsed by httptools (llhttp) and handed to the ASGI application. What differs from uvicorn's own protocol:

* **files leave by sendfile**: the ASGI extension ``http.response.zerocopysend`` copies from the file to the socket in
  the kernel, one step each time round the loop, a short one where there are small requests to hold up;
* **bodies come in as they arrived**, chunk by chunk and uncopied, and the sender is held back when the application is
  slower than it is; large ones are read by the threads that write them (``intake.py``);
* **time is bounded without timers**: every connection has a deadline that moves when it makes progress, and one sweep
  a second closes those past it (slow headers, idle connections, stalled bodies, readers that do not read);
* the head of a request is bounded in size, and what is no HTTP gets an answer in the registry's error form;
* a response sent before the whole request was read closes the connection only after the client had time to read it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from dataclasses import dataclass
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from lading.api.exchange import STATUS_LINES, Exchange
from lading.api.intake import LARGE, Intake
from lading.api.sendfile import Pace
from lading.api.sweeper import Sweeper

log = logging.getLogger(__name__)

_LINGER_SECONDS = 3.0
_FAREWELL_SECONDS = 0.2  # longer than a request is on its way from a proxy that holds the connection open

_ASGI = {"version": "3.0", "spec_version": "2.4"}
_PLAIN_EXTENSIONS: dict[str, Any] = {"http.response.zerocopysend": {}}
_TLS_EXTENSIONS: dict[str, Any] = {}


@dataclass(frozen=True)
class Timing:
    """How long a connection may take, in seconds, and how large the head of a request may be, in bytes."""

    head: float = 30.0
    idle: float = 75.0
    stall: float = 60.0
    head_bytes: int = 65_536
    most_connections: int = 10_000


class Protocol:
    """What uvicorn calls for each connection: a factory that remembers the limits, and what the connections of a loop share."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._shared: tuple[Sweeper, Pace] | None = None

    def __call__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Connection:
        loop = _loop or asyncio.get_running_loop()
        if self._shared is None:
            self._shared = Sweeper(loop), Pace(loop)
        return Connection(config, server_state, app_state, loop, self._timing, *self._shared)


class Connection(asyncio.Protocol):
    """One client's connection."""

    # what most connections never change is not set for each: many have one request
    transport: asyncio.Transport = cast("asyncio.Transport", None)
    scheme = "http"
    reading_paused = False
    writable: asyncio.Future[None] | None = None
    exchange: Exchange | None = None  # whose response is being sent
    incoming: Exchange | None = None  # whose body is being read
    intake: Intake | None = None  # reads it in the transport's place
    url = b""
    pending_bytes = 0  # read since a head or a part of a body was complete
    recent_bytes = 0  # the same, with the read that completed it
    in_head = True
    progress = False
    refusal = b""
    closing = False
    stopping = False
    lingering = False
    half_closed = False

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
        timing: Timing,
        sweeper: Sweeper,
        pace: Pace,
    ) -> None:
        self.app = config.loaded_app
        self.loop = loop
        self.state = server_state
        self.app_state = app_state
        self.timing = timing
        self.sweeper = sweeper
        self.pace = pace
        self.deadline = loop.time() + timing.head
        self.parser = httptools.HttpRequestParser(self)
        self.waiting: deque[Exchange] = deque()
        self.headers: list[tuple[bytes, bytes]] = []
        self.far_side: dict[str, Any] = {}  # what the scope was asked of it

    # ---- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.scheme = "https" if is_ssl(self.transport) else "http"
        self.state.connections.add(self)  # type: ignore[arg-type]
        self.sweeper.watch(self)
        if len(self.state.connections) > self.timing.most_connections:
            self._refuse(503, "UNAVAILABLE", "this server has all the connections it can hold; try again in a moment")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.state.connections.discard(self)
        self.sweeper.connections.discard(self)
        self.closing = True
        for exchange in (self.exchange, self.incoming, *self.waiting):
            if exchange is not None:
                exchange.lost()
        self.waiting.clear()
        if self.intake is not None:
            self.intake.stop()
        self._writable_again()
        # nothing comes any more: a connection is freed here and now, and is no work for the cyclic garbage collector
        self.exchange = self.incoming = None
        self.parser = cast("httptools.HttpRequestParser", None)

    def data_received(self, data: bytes) -> None:
        if self.closing or self.refusal:
            return
        if not self.in_head:
            self.moved()
        self.progress = False
        self.recent_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # an offer of another protocol may be ignored: the request is answered, then the connection ends
        except httptools.HttpParserError as error:
            self._refuse_syntax(error)
        if self.progress:
            self.pending_bytes = 0
            self.recent_bytes = len(data)
        else:  # a head, or trailers, that does not come to an end
            self.pending_bytes += len(data)
            if self.pending_bytes > self.timing.head_bytes:
                self._refuse_head()

    def eof_received(self) -> bool:
        # a client may shut its side down and still wait for the answer, be it only that its body was too short
        self.half_closed = True
        if self.incoming is None or self.incoming.complete:
            return False
        self.incoming.cut_off()
        return self.scheme == "http"

    def pause_writing(self) -> None:
        if self.writable is None:
            self.writable = self.loop.create_future()

    def resume_writing(self) -> None:
        self.deadline = self.loop.time() + self.timing.stall
        self._writable_again()

    def _writable_again(self) -> None:
        if self.writable is not None:
            if not self.writable.done():
                self.writable.set_result(None)
            self.writable = None

    # ---- httptools

    def on_message_begin(self) -> None:
        if self.intake is not None:
            self.intake.overrun = True
            return
        self.url = b""
        self.headers = []
        self.in_head = True

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self.intake is not None:
            return
        self.in_head = False
        self.progress = True
        headers, self.headers = self.headers, []  # behind the body come trailers, which nobody here wants
        most = self.timing.head_bytes
        if self.recent_bytes > most and _size(self.url, headers) > most:  # no head is larger than what was read of late
            self._refuse_head()
            return
        version = self.parser.get_http_version()
        names = [name for name, _ in headers]
        if version != "1.0" and names.count(b"host") != 1:
            self._refuse(400, "UNSUPPORTED", "a request has one Host header (RFC 9112, section 3.2)")
            return
        path, _, query = self.url.partition(b"?")
        if not path.startswith(b"/"):  # the absolute form, as a proxy gets it
            parsed = httptools.parse_url(self.url)
            path, query = parsed.path or b"/", parsed.query or b""
        scope = _Scope(
            {
                "type": "http",
                "asgi": _ASGI,
                "http_version": version,
                "method": self.parser.get_method().decode("ascii"),
                "scheme": self.scheme,
                "raw_path": path,
                "query_string": query,
                "root_path": "",
                "headers": headers,
                "state": self.app_state,
                "extensions": _PLAIN_EXTENSIONS if self.scheme == "http" else _TLS_EXTENSIONS,
            }
        )
        scope.connection = self
        keep_alive = version != "1.0" and self.parser.should_keep_alive() and not self.parser.should_upgrade()
        exchange = Exchange(self, scope, keep_alive, expects_continue=b"expect" in names and _expects_continue(headers))
        self.incoming = exchange
        self.deadline = self.loop.time() + self.timing.stall
        if self.exchange is None:
            self._start(exchange)
        else:
            # as many as one read brought may wait; nothing more is read until they are answered
            self.waiting.append(exchange)
            self.hold_back()

    def on_body(self, body: bytes) -> None:
        if self.intake is not None:
            self.intake.took(body)
            return
        self.progress = True
        if self.incoming is not None:
            self.incoming.took(body)

    def on_message_complete(self) -> None:
        if self.intake is not None:
            self.intake.ended()
            return
        self.in_head = self.progress = True
        if self.incoming is not None:
            self.incoming.all_read()
            if self.lingering:
                self.transport.close()

    # ---- large bodies

    def take_in(self, scope: dict[str, Any]) -> Intake | None:
        """The rest of a request's body, to be read past this connection; None where it is not worth it, or cannot be."""
        exchange = self.incoming
        if exchange is None or not exchange.more_body or exchange.chunks or exchange.scope is not scope:
            return None
        if self.scheme != "http" or self.closing or self.refusal:
            return None
        left = exchange.body_left()
        if (exchange.received if left is None else left) < LARGE:
            return None
        try:
            self.intake = Intake(self, exchange.receive, left)
        except OSError:  # no descriptor is left for it
            return None
        if not self.reading_paused:
            self.transport.pause_reading()
        exchange.wants_body = True
        self.moved()
        return self.intake

    def answered(self) -> None:
        """The application is done with a request, and so is whoever read its body."""
        if self.intake is not None:
            self.intake.finish()

    def taken_in(self, intake: Intake, error: Exception | None) -> None:
        """Read here again, behind what was taken in."""
        self.intake = None
        if self.closing or self.incoming is None:
            return
        self.incoming.wants_body = False
        if intake.overrun:
            self.incoming.keep_alive = False
        if intake.complete:
            if not intake.chunked:
                self.parser = httptools.HttpRequestParser(self)  # the other still waits for that body
            self.on_message_complete()
        elif isinstance(error, OSError):
            self.transport.abort()
        elif error is not None:
            self._refuse_syntax(error)
        elif intake.broken and not self.eof_received():
            self.transport.close()
        if not self.reading_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    # ---- the life of an exchange

    def _start(self, exchange: Exchange) -> None:
        self.exchange = exchange
        if self.stopping and not self.waiting:
            exchange.keep_alive = False
        # the server waits for these when it stops; each takes itself off, for a callback costs a turn of the loop
        exchange.task = task = self.loop.create_task(exchange.run(self.app, self.state.tasks))
        self.state.tasks.add(task)

    def finished(self, exchange: Exchange) -> None:
        """A response was sent whole."""
        self.state.total_requests += 1
        self.exchange = None
        now = self.loop.time()
        if exchange.sender is None:
            self.pace.answered(now)
        if exchange.keep_alive and not self.closing and not self.half_closed:
            self.deadline = now + self.timing.idle
            if self.waiting:
                self._start(self.waiting.popleft())
            elif self.refusal:
                self._close_with(self.refusal)
            else:
                self.go_on()
        elif exchange.more_body and not self.half_closed:
            self._linger()
        else:
            self.closing = True
            self.transport.close()

    def _linger(self) -> None:
        # closing with unread bytes would make the kernel reset the connection, and the client might never see the
        # answer: stop sending, and read on for a moment
        self.lingering = True
        self.deadline = self.loop.time() + _LINGER_SECONDS
        self.go_on()
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()

    def expire(self) -> None:
        """The deadline has passed."""
        exchange = self.exchange
        if exchange is not None and not exchange.started and exchange.more_body and exchange.wants_body:
            self._refuse(408, "UNSUPPORTED", "the request did not arrive in time")
        elif exchange is not None and not exchange.started:
            self.deadline = self.loop.time() + self.timing.stall  # it is the application that takes its time
        elif exchange is None:
            self.transport.close()
        else:
            self.transport.abort()

    def shutdown(self) -> None:
        """The server stops: finish what was begun, and say with the next answer that it is the last.

        A connection that is idle stays a moment longer: a proxy that keeps it open may just have sent a request, and
        to close under it would be a reset, after which a push cannot be sent again by anybody but the client.
        """
        self.stopping = True
        if self.exchange is None:
            self.loop.call_later(_FAREWELL_SECONDS, self._close_if_idle)
        elif not self.waiting:
            self.exchange.keep_alive = False

    def _close_if_idle(self) -> None:
        if self.exchange is None and not self.lingering:
            self.transport.close()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """Headers that go with every response."""
        return self.state.default_headers

    def moved(self) -> None:
        """Bytes moved, or somebody waits for some: the deadline begins anew."""
        self.deadline = self.loop.time() + self.timing.stall

    def hold_back(self) -> None:
        """Read no more for now."""
        if not self.reading_paused and not self.transport.is_closing():
            self.reading_paused = True
            if self.intake is None:
                self.transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        if self.reading_paused:
            self.reading_paused = False
            if self.intake is None and not self.transport.is_closing():
                self.transport.resume_reading()

    def _refuse_syntax(self, error: Exception) -> None:
        log.debug("not HTTP from %s: %s", get_remote_addr(self.transport), error)
        why = "its target cannot be read" if isinstance(error, httptools.HttpParserCallbackError) else str(error)[:160]
        if self.scheme == "http" and isinstance(error, httptools.HttpParserInvalidMethodError):
            why += " (is this TLS sent to a plain port?)"
        self._refuse(400, "UNSUPPORTED", f"this is not an HTTP/1.1 request: {why}")

    def _refuse_head(self) -> None:
        self._refuse(431, "SIZE_INVALID", f"the head of a request may have {self.timing.head_bytes} bytes")

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer what is no request, behind the answers that are owed before; then close."""
        if self.refusal or self.closing:
            return
        if self.lingering:  # the answer was given already
            self.transport.close()
            return
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self.refusal = (
            STATUS_LINES[status]
            + b"\r\nContent-Type: application/json\r\nConnection: close\r\n"
            + (b"Retry-After: 1\r\n" if status == 503 else b"")
            + b"Content-Length: %d\r\n\r\n" % len(body)
            + body
        )
        self.hold_back()
        if self.intake is not None:
            self.intake.stop()
        broken = self.incoming
        if broken is not None and broken.more_body and broken in self.waiting:
            self.waiting.remove(broken)
        elif broken is not None and broken.more_body and broken is self.exchange:
            if broken.started:
                broken.cut_off()
                return
            broken.lost()
            self.exchange = None
        if self.exchange is None:
            self._close_with(self.refusal)

    def _close_with(self, last: bytes) -> None:
        self.closing = True
        self.transport.write(last)
        self.transport.close()


def _size(url: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    return len(url) + sum(len(name) + len(value) + 4 for name, value in headers)


def _expects_continue(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)


class _Scope(dict[str, Any]):
    """A scope that asks for the addresses and the client's certificate only when somebody looks, once a connection.

    ``take_in`` is :meth:`Connection.take_in`, which is not ASGI's.
    """

    __slots__ = ("connection",)
    connection: Connection

    def __missing__(self, key: str) -> Any:
        if key == "path":
            self[key] = self["raw_path"].decode("latin-1")
            return self[key]
        known = self.connection.far_side
        if key not in known:
            transport = self.connection.transport
            if key == "client":
                known[key] = get_remote_addr(transport)
            elif key == "server":
                known[key] = get_local_addr(transport)
            elif key == "certificate":
                tls = transport.get_extra_info("ssl_object")
                known[key] = tls.getpeercert(binary_form=True) if tls is not None else None
            elif key == "take_in":
                known[key] = self.connection.take_in
            else:
                raise KeyError(key)
        self[key] = known[key]
        return self[key]
