"""HTTP for tests that send requests by the hundred thousand: what the standard library has, and nothing else in between."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

Gone = (OSError, http.client.HTTPException)
"""What is raised where the other side went away."""


class Reply(NamedTuple):
    """An answer."""

    status_code: int
    headers: http.client.HTTPMessage
    content: bytes

    @property
    def text(self) -> str:
        return self.content.decode(errors="replace")


class Plain:
    """One connection to a port of this machine, made anew when it broke."""

    def __init__(self, port: int, timeout: float = 30) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def ask(
        self,
        method: str,
        url: str,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request, with more ``params`` than the URL has; raises one of :data:`Gone` where no answer came."""
        where = urlsplit(url)
        query = "&".join(part for part in (where.query, urlencode(params or {})) if part)
        try:
            self._connection.request(method, f"{where.path}?{query}" if query else where.path, content, headers or {})
            answer = self._connection.getresponse()
            return Reply(answer.status, answer.headers, answer.read())
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()
