"""Bytes out: ranges and conditions (RFC 9110, sections 13 and 14), and files on their way to the socket."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

from lading.api.request import FilePart, Request
from lading.errors import RangeInvalid

_RANGE = re.compile(r"\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", re.ASCII)


class RangeUnsatisfiable(RangeInvalid):
    """A range that does not lie in what is there; ``size`` is what is there."""

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message, detail={"size": size})
        self.size = size


def byte_range(request: Request, size: int, etag: str) -> tuple[int, int] | None:
    """The part a request asks for, as first byte and count; None for all of it.

    Only one range is served; a request for several gets everything, as RFC 9110 allows. A range that is none, or does
    not lie in the content, raises :class:`RangeUnsatisfiable`.
    """
    given = request.text(b"range")
    unit, _, ranges = given.partition("=")
    if unit.strip().lower() != "bytes" or "," in ranges:
        return None
    if_range = request.text(b"if-range").strip()
    if if_range and if_range != etag:
        return None
    found = _RANGE.fullmatch(ranges)
    if not found or found[1] == found[2] == "":
        raise RangeUnsatisfiable(f"{given[:80]!r} is not a range of bytes; one reads like bytes=0-99", size)
    if not found[1]:
        count = min(int(found[2]), size)
        first = size - count
    else:
        first = int(found[1])
        last = min(int(found[2]), size - 1) if found[2] else size - 1
        if found[2] and int(found[2]) < first:
            raise RangeUnsatisfiable(f"the range {given[:80]!r} ends before it begins", size)
        count = last - first + 1
    if count <= 0 or first >= size:
        raise RangeUnsatisfiable(f"the range {given[:80]!r} lies outside the {size} bytes there are", size)
    return first, count


def not_modified(request: Request, etag: str) -> bool:
    """Whether the client says that it has this already (``If-None-Match``)."""
    given = request.header(b"if-none-match")
    if given is None:
        return False
    named = {tag.strip().removeprefix("W/") for tag in given.decode("latin-1").split(",")}
    return "*" in named or etag in named or etag.strip('"') in named


async def send_file(scope: dict[str, Any], part: FilePart, send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
    """Send a part of a blob: by the kernel where it lies in a file and the connection can, else as it is read."""
    file, place, end = part.file, part.offset, part.offset + part.count
    kernel = "http.response.zerocopysend" in scope["extensions"]
    while place < end:
        until = await file.reach(place, end)
        if kernel and file.fileno() is not None:
            about = {"file": file, "offset": place, "count": until - place, "more_body": until < end}
            await send({"type": "http.response.zerocopysend", **about})
            place = until
            continue
        async with aclosing(file.chunks(place, until - place)) as chunks:  # type: ignore[type-var] # both are generators
            async for data in chunks:
                place += len(data)
                await send({"type": "http.response.body", "body": data, "more_body": place < end})
    if not part.count:
        await send({"type": "http.response.body", "body": b""})
