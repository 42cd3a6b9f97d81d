"""One blob's way into a registry (distribution spec, "Pushing blobs").

A small blob goes in a POST and a PUT. A large one goes in a PATCH between them, and when that breaks, the registry is
asked how far it got and another PATCH goes on from there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

from lading import errors
from lading.oci.manifest import Descriptor
from lading.remotes import answers
from lading.remotes.base import Source
from lading.remotes.transport import Answer, joined

if TYPE_CHECKING:
    from lading.remotes.session import Body, Session

SMALL = 1 << 20
"""Up to this many bytes a blob is kept in memory and sent with the request that ends its upload."""

_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,19})", re.ASCII)
_BINARY = {"content-type": "application/octet-stream"}


class Upload:
    """A blob for a repository of the registry behind ``session``."""

    def __init__(self, session: Session, repository: str, blob: Descriptor) -> None:
        self._session = session
        self._blob = blob
        self._path = f"/v2/{repository}/blobs/uploads/"
        self._scopes = (f"repository:{repository}:pull,push",)
        self._what = f"to store {blob.digest} in {repository}"

    async def mount(self, origin: str) -> bool:
        """Ask the registry to take the blob over from the repository ``origin``; an upload it begins instead is given up."""
        path = f"{self._path}?mount={quote(self._blob.digest)}&from={quote(origin)}"
        scopes = (*self._scopes, f"repository:{origin}:pull")
        try:
            async with self._session.open("POST", path, scopes, expect=(201, 202), what=self._what) as answer:
                if answer.status_code == 201:
                    return True
                location = self._location(answer)
            await self._cancel(location)
        except (errors.Denied, errors.Unauthenticated, errors.Missing, errors.Unsupported, errors.Invalid):
            pass  # it may not read the other repository, or knows no mounts: then the bytes are sent
        return False

    async def send(self, source: Source) -> None:
        """Store the blob; a break of the connection is mended as often as something gets through between."""
        attempts = self._session.policy.attempts
        tries, best = 0, 0
        location, place = "", 0
        while True:
            try:
                if not location:
                    location, place = await self._begin(), 0
                if self._blob.size <= SMALL:
                    return await self._put(location, await _whole(source, self._blob.size))
                if place < self._blob.size:
                    location = await self._append(location, place, source)
                return await self._put(location, b"")
            except (errors.Unreachable, errors.Unavailable, errors.TooMany, errors.UploadUnknown) as error:
                tries += 1
                wait = max(self._session.pause(tries), _asked(error))
                if tries >= attempts or wait > self._session.policy.patience:
                    raise
                await asyncio.sleep(wait)
                location, place = await self._where(location, error)
                if not location and await self._is_there():
                    return None  # it was the answer that got lost
                if place > best:
                    tries, best = 0, place

    async def _begin(self) -> str:
        headers = {"content-length": "0"}
        async with self._session.open(
            "POST", self._path, self._scopes, headers=headers, body=b"", expect=(202,), what=self._what
        ) as answer:
            return self._location(answer)

    async def _append(self, location: str, place: int, source: Source) -> str:
        size = self._blob.size
        headers = {**_BINARY, "content-length": str(size - place)}
        if place:
            headers["content-range"] = f"{place}-{size - 1}"

        async def bytes_from_place() -> AsyncIterator[bytes]:
            left = size - place
            async with source(place) as chunks:
                async for chunk in chunks:
                    left -= len(chunk)
                    if left < 0:  # it would be taken for another request
                        raise errors.SizeInvalid(f"more than the {size} bytes of {self._blob.digest} were to be sent")
                    yield chunk

        async with self._open("PATCH", location, headers, bytes_from_place, (201, 202, 204)) as answer:
            return self._location(answer)

    async def _put(self, location: str, content: bytes) -> None:
        url = f"{location}{'&' if '?' in location else '?'}digest={quote(self._blob.digest, safe='')}"
        async with self._open("PUT", url, {**_BINARY, "content-length": str(len(content))}, content, (201, 204)):
            return

    async def _where(self, location: str, why: errors.LadingError) -> tuple[str, int]:
        """Where to go on: the upload's address and how many bytes are there; nothing where it must begin anew."""
        if not location or isinstance(why, errors.UploadUnknown) or self._blob.size <= SMALL:
            return "", 0
        try:
            async with self._session.open("GET", location, self._scopes, expect=(200, 204), what=self._what) as answer:
                found = _RANGE.fullmatch(answer.headers.get("range", "").strip())
                place = int(found[1]) + 1 if found else 0
                # "0-0" is also how some say "nothing": one byte is sent again with the rest of a new upload
                if place <= 1 or place > self._blob.size:
                    return "", 0
                return self._location(answer, location), place
        except errors.LadingError:
            return "", 0

    async def _is_there(self) -> bool:
        path = self._path.removesuffix("uploads/") + self._blob.digest
        try:
            async with self._session.open("HEAD", path, self._scopes, expect=(200, 404), what=self._what) as answer:
                return answer.status_code == 200
        except errors.LadingError:
            return False

    async def _cancel(self, location: str) -> None:
        """Give an upload up; the registry would do so by itself after a while."""
        try:
            async with self._session.open("DELETE", location, self._scopes, expect=(200, 202, 204), again=False):
                return
        except errors.LadingError:
            return

    @asynccontextmanager
    async def _open(
        self, method: str, url: str, headers: dict[str, str], body: Body, expect: tuple[int, ...]
    ) -> AsyncGenerator[Answer]:
        """One request of an upload that has begun: not to be repeated blindly."""
        try:
            async with self._session.open(
                method, url, self._scopes, headers=headers, body=body, expect=expect, again=False, what=self._what
            ) as answer:
                yield answer
        except errors.Missing as error:
            raise errors.UploadUnknown(error.message) from None

    def _location(self, answer: Answer, otherwise: str = "") -> str:
        location = answer.headers.get("location", "")
        if not location and not otherwise:
            raise errors.BadAnswer(f"{self._session.host} begins an upload and does not say where it goes on")
        if not location:
            return otherwise
        there = joined(answer.url, location)
        self._session.transport.check(there, "goes on with an upload at")
        return there


def _asked(error: errors.LadingError) -> float:
    """How long the registry asked to wait, in seconds."""
    return error.retry_after if isinstance(error, errors.TooMany | answers.Later) else 0.0


async def _whole(source: Source, size: int) -> bytes:
    content = bytearray()
    async with source(0) as chunks:
        async for chunk in chunks:
            content += chunk
    assert len(content) == size, "who reads, verifies"
    return bytes(content)
