"""A vendor's own service beside the registry: JSON over https, page after page."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any
from urllib.parse import urljoin

from lading.errors import BadAnswer
from lading.remotes import answers
from lading.remotes.session import Session

_MAX_ANSWER = 32 << 20
_MAX_PAGES = 10_000


class Service:
    """What is at ``base``, asked over the connections of a registry's session; ``headers`` sign each request."""

    def __init__(self, session: Session, base: str, headers: Callable[[], Awaitable[dict[str, str]]]) -> None:
        self._session = session
        self._base = base
        self._headers = headers

    async def get(self, path: str, what: str) -> Any:
        """The document at a path below ``base``."""
        return (await self._page(self._base + path, what))[0]

    async def all(self, path: str, what: str) -> AsyncGenerator[dict[str, Any]]:
        """Every entry of a list, as long as a ``Link`` names a next page (RFC 8288)."""
        url = self._base + path
        for _ in range(_MAX_PAGES):
            found, following = await self._page(url, what)
            if not isinstance(found, list):
                raise BadAnswer(f"{self._base} answers with something that is no list of {what}")
            for entry in found:
                if isinstance(entry, dict):
                    yield entry
            if not following:
                return
            url = urljoin(url, following)
            if not url.startswith(f"{self._base}/"):
                raise BadAnswer(f"{self._base} names a next page elsewhere, {url[:200]!r}")
        raise BadAnswer(f"{self._base} has no end of {what}")

    async def send(self, method: str, path: str, what: str, document: Any = None, *, expect: tuple[int, ...]) -> int:
        """Do something; its status, one of those in ``expect``."""
        headers = await self._headers()
        body = b"" if document is None else json.dumps(document).encode()
        if document is not None:
            headers = {**headers, "content-type": "application/json"}
        async with self._session.open(
            method, self._base + path, headers=headers, body=body, expect=expect, what=what
        ) as answer:
            return answer.status_code

    async def _page(self, url: str, what: str) -> tuple[Any, str]:
        async with self._session.open("GET", url, headers=await self._headers(), what=what) as answer:
            raw = await answers.read(answer, _MAX_ANSWER, what)
            following = answer.following()
        try:
            return json.loads(raw), following
        except (ValueError, RecursionError):
            raise BadAnswer(f"{self._base} answers with something that is no JSON, asked for {what}") from None
