"""Requests to an object store's own REST interface, over aiohttp: tried again while that may help, told in our words.

What a vendor's file adds is how a request is signed and what its answers mean.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from lading.errors import LadingError, StartError, Unavailable
from lading.stores.blobs.batches import batch, statuses
from lading.stores.blobs.objects import apart

log = logging.getLogger(__name__)

_CONNECT_SECONDS = 5
_READ_SECONDS = 30
_ATTEMPTS = 4
_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
_CONNECTIONS = 64
_DELETED_AT_ONCE = 16
_BUFFER = 1 << 18
_PASSING = {408, 429, 500, 502, 503, 504}

Sign = Callable[[str, str, dict[str, str], int], Awaitable[dict[str, str]]]
"""Method, URL, headers and length of the body to the headers of a request that the store believes."""


@dataclass(frozen=True)
class Answer:
    """What the store said; the names in ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RefusedError(Exception):
    """The store said no: ``status``, and ``code``, the vendor's word for it where there is one."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code or status}: {message}"[:300])
        self.status = status
        self.code = code


class Web:
    """One store. ``hints``: what to do about an answer, by the vendor's code or the status; ``extra`` names our extra."""

    def __init__(self, extra: str, sign: Sign, hints: Mapping[str, str], *, skip_verify: bool = False) -> None:
        self._http = library("aiohttp", extra)
        self._address = library("yarl", extra).URL
        self._sign = sign
        self._hints = hints
        self._skip_verify = skip_verify
        self._session: Any = None
        self._errors = (self._http.ClientError, TimeoutError, OSError)

    async def call(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, content: bytes = b""
    ) -> Answer:
        """Ask until there is an answer: :class:`RefusedError` if it is no, ``Unavailable`` if there is none.

        Every call may be made twice: an answer can get lost.
        """
        return await apart(self._call(method, url, headers, content))

    async def _call(self, method: str, url: str, headers: Mapping[str, str] | None, content: bytes) -> Answer:
        for last in (False, True):
            answer = await self._ask(method, url, headers, content)
            try:
                return Answer(answer.status, _lower(answer.headers), await answer.read())
            except self._errors as error:
                if last:
                    raise _broken(error) from error
            finally:
                answer.release()
        raise AssertionError

    async def told(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, content: bytes = b""
    ) -> Answer:
        """Ask where no is no answer to go on with."""
        try:
            return await self.call(method, url, headers, content)
        except RefusedError as error:
            raise self.explain(error) from error

    async def stream(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
        """A body as it comes."""
        try:
            answer = await self._ask("GET", url, headers, b"")
        except RefusedError as error:
            raise self.explain(error) from error
        try:
            async for data in answer.content.iter_any():
                yield data
        except self._errors as error:
            raise _broken(error) from None
        finally:
            answer.close()

    async def batches(
        self, url: str, keys: Sequence[str], at: Callable[[str], str], sign: Sign, size: int
    ) -> dict[str, str]:
        """Delete objects, ``size`` by a request; ``at`` is where a key lies, ``sign`` signs for it within the batch.

        What a batch did not delete is asked for again by itself: so whatever does not take batches works as well, and
        there is one place that knows what an answer means. Returns as :meth:`each`.
        """
        failed: dict[str, str] = {}
        left: list[str] = []
        for first in range(0, len(keys), size):
            some = keys[first : first + size]
            requests = [("DELETE", at(key), await sign("DELETE", at(key), {}, 0)) for key in some]
            kind, content = batch(requests)
            try:
                answer = await self.call("POST", url, {"Content-Type": kind}, content)
                told = statuses(answer.headers.get("content-type", ""), answer.body)
            except RefusedError as error:
                log.info("the store takes no batch of deletions, each is asked for by itself: %s", error)
                told = {}
            except Unavailable as error:
                failed |= dict.fromkeys(some, error.message)
                continue
            done = {number for number, status in told.items() if 200 <= status < 300 or status == 404}
            left += [key for number, key in enumerate(some) if number not in done]
        return failed | await self.each(left, lambda key: self.call("DELETE", at(key)))

    async def each(self, keys: Sequence[str], delete: Callable[[str], Awaitable[object]]) -> dict[str, str]:
        """Delete objects, many at once, each by a request; absent is success. What could not be deleted, and why."""
        failed: dict[str, str] = {}
        turns = asyncio.Semaphore(_DELETED_AT_ONCE)

        async def one(key: str) -> None:
            async with turns:
                try:
                    await delete(key)
                except RefusedError as error:
                    if error.status != 404:
                        failed[key] = self.explain(error).message
                except LadingError as error:
                    failed[key] = error.message

        await asyncio.gather(*map(one, keys))
        return failed

    def explain(self, error: RefusedError) -> Unavailable:
        """A refusal as clients are told; the operator reads the hint in the log."""
        hint = self._hints.get(error.code) or self._hints.get(str(error.status))
        if hint is not None:
            log.error("the object store refuses (%s); %s", error, hint)
            return Unavailable(f"the object store refuses: {hint}", retry_after=30)
        log.warning("the object store refuses: %s (status %d)", error, error.status)
        return Unavailable(f"the object store refuses for now: {error.code or error.status}")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(self, method: str, url: str, headers: Mapping[str, str] | None, content: bytes) -> Any:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer = await self._once(method, url, headers, content)
            except self._errors as error:
                if attempt == _ATTEMPTS:
                    said = str(error) or type(error).__name__
                    raise Unavailable(f"the object store cannot be reached: {said[:300]}") from error
                await asyncio.sleep(_pause(attempt))
                continue
            if answer.status < 300:
                return answer
            wait = answer.headers.get("Retry-After", "")
            refused = await self._refusal(answer)
            if answer.status not in _PASSING or attempt == _ATTEMPTS:
                raise refused
            await asyncio.sleep(_pause(attempt, wait))
        raise AssertionError

    async def _once(self, method: str, url: str, headers: Mapping[str, str] | None, content: bytes) -> Any:
        signed = await self._sign(method, url, {"Accept-Encoding": "identity", **(headers or {})}, len(content))
        return await self._open().request(
            method,
            self._address(url, encoded=True),
            headers=signed,
            data=io.BytesIO(content) if method in {"PUT", "POST"} else None,
            allow_redirects=False,
            skip_auto_headers=("Content-Type", "User-Agent"),
            ssl=not self._skip_verify,
        )

    async def _refusal(self, answer: Any) -> RefusedError:
        try:
            body = (await answer.content.read(4096)).decode("utf-8", "replace")
        except self._errors:
            body = ""
        finally:
            answer.release()
        code = answer.headers.get("x-ms-error-code", "")
        message = re.search(r"<Message>(.*?)</Message>|\"message\": ?\"(.*?)\"", body, re.DOTALL)
        return RefusedError(answer.status, code, (message[1] or message[2] or "") if message else "")

    def _open(self) -> Any:
        if self._session is None:
            http = self._http
            self._session = http.ClientSession(
                connector=http.TCPConnector(limit=_CONNECTIONS),
                timeout=http.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS),
                auto_decompress=False,
                read_bufsize=_BUFFER,
                cookie_jar=http.DummyCookieJar(),
                trust_env=True,
            )
        return self._session


def library(name: str, extra: str) -> Any:
    """An optional library; what to install where it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise StartError(
            f"storage.{extra} needs a library that is not installed ({error.name}). "
            f"Install it: pip install 'lading[{extra}]'"
        ) from error


def escaped(text: str, safe: str = "") -> str:
    """Part of a URL, percent-encoded as signatures want it."""
    return quote(text, safe=f"-_.~{safe}")


def query(**values: str) -> str:
    """The query of a URL, by name; what is empty is left out."""
    return "&".join(f"{escaped(name)}={escaped(value)}" for name, value in sorted(values.items()) if value)


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _pause(attempt: int, wait: str = "") -> float:
    asked = float(wait) if wait.isdecimal() else 0.0
    return min(max(_PAUSE * (1 << attempt - 1), asked), _LONGEST_PAUSE)


def _broken(error: BaseException) -> Unavailable:
    return Unavailable(f"the transfer from the object store broke off: {str(error) or type(error).__name__}")
