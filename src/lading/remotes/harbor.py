"""What a Harbor says of itself over its API v2.0, page by page, and the little that is changed there."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any, Self
from urllib.parse import urlencode

from lading.errors import BadAnswer, Missing, Unavailable, Unreachable
from lading.remotes import answers
from lading.remotes.transport import DEFAULT_POLICY, Policy, Transport

MAX_ANSWER = 32 << 20
"""Bytes one answer may have."""
_MAX_PAGES = 10_000
_PAGE = 100
_MAX_WAIT = 60.0


class Harbor:
    """One Harbor, as somebody who may (nobody, without a name). Use it as an asynchronous context manager."""

    def __init__(self, host: str, username: str, password: str, policy: Policy = DEFAULT_POLICY) -> None:
        self.host = host
        self._policy = policy
        self._transport = Transport(host, policy)
        coded = base64.b64encode(f"{username}:{password}".encode()).decode()
        self._headers = {"accept": "application/json"}
        if username:
            self._headers["authorization"] = f"Basic {coded}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close connections."""
        await self._transport.close()

    async def get(self, path: str, **query: str | int) -> Any:
        """What is at a path below ``/api/v2.0``; None where that Harbor has no such thing (404, 501).

        Raises ``Unauthenticated``, ``Denied``, or what else kept it from answering.
        """
        url = f"{await self._transport.base()}/api/v2.0{path}"
        return await self._read(f"{url}?{urlencode(query)}" if query else url, path)

    async def all(self, path: str, **query: str | int) -> AsyncIterator[dict[str, Any]]:
        """Every entry of a list, page after page."""
        for page in range(1, _MAX_PAGES + 1):
            found = await self.get(path, page=page, page_size=_PAGE, **query)
            if found is None:
                return
            if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
                raise BadAnswer(f"{self.host} answers {path} with something that is no list of Harbor's")
            for entry in found:
                yield entry
            if len(found) < _PAGE:
                return
        raise BadAnswer(f"{self.host} has no end of pages at {path}")

    async def change(self, method: str, path: str, body: Any = None, *, expect: tuple[int, ...] = (200,)) -> int:
        """Ask for a change; the status, one of ``expect``. Not tried again where nobody knows whether it was done."""
        url = f"{await self._transport.base()}/api/v2.0{path}"
        content = b"" if body is None else json.dumps(body).encode()
        headers = {**self._headers, **({"content-type": "application/json"} if content else {})}
        answer = await self._transport.send(method, url, headers, content)
        try:
            if answer.status_code not in expect:
                raise await answers.refusal(answer, self.host, f"{method} {path}")
            return answer.status_code
        finally:
            await answer.aclose()

    async def _read(self, url: str, path: str) -> Any:
        for attempt in range(1, self._policy.attempts + 1):
            last = attempt == self._policy.attempts
            try:
                answer = await self._transport.send("GET", url, self._headers)
            except Unreachable:
                if last:
                    raise
                await asyncio.sleep(self._policy.backoff * 2**attempt)
                continue
            try:
                if answer.status_code == 200:
                    raw = await answers.read(answer, MAX_ANSWER, path)
                    return _parsed(raw, self.host, path) if raw else None  # a schedule that was never set is no bytes
                if answer.status_code in (404, 501):
                    return None
                if answer.status_code not in answers.TRY_AGAIN or last:
                    raise await answers.refusal(answer, self.host, path)
                wait = min(answers.retry_after(answer), _MAX_WAIT) or self._policy.backoff * 2**attempt
            finally:
                await answer.aclose()
            await asyncio.sleep(wait)
        raise Unavailable(f"{self.host} does not answer {path}")

    async def require(self, path: str) -> dict[str, Any]:
        """The same for what every Harbor has; raises ``Missing`` where there is none."""
        found = await self.get(path)
        if not isinstance(found, dict):
            raise Missing(f"{self.host} does not answer {path} as a Harbor does; is that its address?")
        return found


def _parsed(raw: bytes, host: str, path: str) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise BadAnswer(f"{host} answers {path} with something that is no JSON; is there a Harbor?") from None
