"""What is told of a request when it is over: the access log's line, the figures, and a line of the log if asked for."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from typing import Protocol

from lading.api.request import Request
from lading.telemetry.logs import escaped
from lading.telemetry.secrets import redacted, redacted_query

log = logging.getLogger(__name__)

_ATOMIC = 4096
"""A write of no more than this to a pipe is never torn apart by another process's (POSIX, PIPE_BUF on Linux)."""
_LONGEST_URI = 2000
_LONGEST_HEADER = 400
_ODD = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")
_SUSPECT = re.compile(r"(?i)://|bearer|basic|token|password|secret|eyJ")


class Counting(Protocol):
    """Keeps count of requests."""

    def began(self) -> None:
        """A request arrived."""
        ...

    def request(self, route: str, method: str, status: int, received: int, sent: int, seconds: float) -> None:
        """One more: bytes of its body and of the answer's, and how long it took."""
        ...


class AccessLog:
    """Writes one line for each request in Apache's combined format, as registry:2 does.

    Lines of one round of the event loop leave in one write, so that under load a line costs no system call.
    """

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor
        self._waiting: list[bytes] = []
        self._scheduled = False
        self._second = -1
        self._stamp = ""
        self._known: dict[bytes, str] = {}

    def line(self, request: Request, status: int, size: int) -> None:
        """Note a request that was answered."""
        scope = request.scope
        client = scope["client"]
        target: bytes = scope["raw_path"]
        query: bytes = scope["query_string"]
        uri = target.decode("latin-1")
        if query:
            uri = f"{uri}?{redacted_query(query.decode('latin-1'))}"
        referer, agent = "", ""
        for name, value in scope["headers"]:
            if name == b"user-agent":
                agent = self._header(value)
            elif name == b"referer":
                referer = self._header(value)
        user = request.principal.name
        self._waiting.append(
            f"{client[0] if client else '-'} - {_clean(user.replace(' ', '_'), 200) if user else '-'} [{self._now()}] "
            f'"{request.method} {_clean(uri, _LONGEST_URI)} HTTP/{scope["http_version"]}" {status} {size} '
            f'"{referer}" "{agent}"\n'.encode()
        )
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write what waits."""
        self._scheduled = False
        lines, self._waiting = self._waiting, []
        part = b""
        try:
            for line in lines:
                if part and len(part) + len(line) > _ATOMIC:
                    os.write(self._descriptor, part)
                    part = b""
                part += line
            os.write(self._descriptor, part)
        except OSError:
            return  # nobody reads any more: requests go on

    def _now(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._stamp = time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(second))
        return self._stamp

    def _header(self, value: bytes) -> str:
        # clients say the same again and again
        known = self._known.get(value)
        if known is None:
            text = value[:_LONGEST_HEADER].decode("latin-1")
            known = _clean(redacted(text) if _SUSPECT.search(text) or "?" in text else text, _LONGEST_HEADER)
            if len(self._known) > 1000:
                self._known.clear()
            self._known[value] = known
        return known


def _clean(text: str, most: int) -> str:
    if len(text) > most:
        text = text[:most] + "..."
    if not _ODD.search(text):
        return text
    text = escaped(text).encode("ascii", "backslashreplace").decode()
    return text if len(text) <= most else text[:most] + "..."


class RequestObserver:
    """Tells of every request; ``access`` and ``counting`` are None where they are switched off.

    ``lines`` asks for registry:2's ``response completed`` line of the log. It says nothing the access log does not, so
    it takes its place where that is off and the log's form is one for machines; otherwise it is there on level debug.
    """

    def __init__(self, access: AccessLog | None, counting: Counting | None, *, lines: bool = False) -> None:
        self._access = access
        self._counting = counting
        self._level = logging.INFO if lines else logging.DEBUG
        self._lines = log.isEnabledFor(self._level)

    def began(self, request: Request) -> None:
        """See :class:`~lading.api.application.Observer`."""
        if self._lines or self._access is not None:
            request.scope["client"]
        if self._counting is not None:
            self._counting.began()

    def answered(self, request: Request, route: str, status: int, size: int, seconds: float) -> None:
        """See :class:`~lading.api.application.Observer`."""
        if self._access is not None:
            self._access.line(request, status, size)
        if self._counting is not None:
            self._counting.request(route, request.method, status, request.received, size, seconds)
        if self._lines:
            self._line(request, status, size, seconds)

    def _line(self, request: Request, status: int, size: int, seconds: float) -> None:
        scope = request.scope
        client = scope["client"]
        query: bytes = scope["query_string"]
        uri = scope["raw_path"].decode("latin-1") + (f"?{redacted_query(query.decode('latin-1'))}" if query else "")
        about = {
            "http.request.host": request.text(b"host")[:_LONGEST_HEADER],
            "http.request.id": request.id,
            "http.request.method": request.method,
            "http.request.remoteaddr": f"{client[0]}:{client[1]}" if client else "",
            "http.request.uri": uri[:_LONGEST_URI],
            "http.request.useragent": request.text(b"user-agent")[:_LONGEST_HEADER],
            "http.response.duration": f"{seconds * 1000:.6f}ms",
            "http.response.status": status,
            "http.response.written": size,
        }
        if request.principal.name:
            about["auth.user.name"] = request.principal.name
        log.log(self._level, "response completed", extra=about)
