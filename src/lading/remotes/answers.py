"""What a registry answered, when that is not what was asked for: an error that says so (distribution spec, "Errors")."""

from __future__ import annotations

import json
import math
import time
from typing import Any

from lading import errors
from lading.remotes.transport import Answer

MAX_ERROR = 64 << 10
"""How much of an error's body is read, in bytes."""

TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may go well."""


class Later(errors.Unavailable):
    """Not now, but after as many seconds as the registry says."""


async def read(answer: Answer, most: int, what: str) -> bytes:
    """The body, at most so many bytes; :class:`~lading.errors.BadAnswer` when it is longer."""
    body = bytearray()
    async for chunk in answer.pieces():
        body += chunk
        if len(body) > most:
            raise errors.BadAnswer(f"{answer.host} sends more than {most:,} bytes as {what}; that is refused")
    return bytes(body)


async def document(answer: Answer, most: int, what: str) -> dict[str, Any]:
    """The body as a JSON object."""
    try:
        value = json.loads(await read(answer, most, what))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise errors.BadAnswer(f"{answer.host} sends as {what} something that is no JSON object")
    return value


def listed(value: Any, name: str) -> list[Any]:
    """The list that an object of JSON has by that name; an empty one where it has none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


async def refusal(answer: Answer, host: str, what: str) -> errors.LadingError:
    """The error that an answer stands for; ``what`` was asked for. Reads the body."""
    said = _said(await _some(answer))
    status = answer.status_code
    tail = f": {said}" if said else ""
    if status == 401:
        challenge = answer.headers.get("www-authenticate", "")
        return errors.Unauthenticated(f"{host} wants to know who you are for {what}{tail}", challenge=challenge)
    if status == 403:
        return errors.Denied(f"{host} does not allow {what}{tail}")
    if status == 404:
        thing = what.removeprefix("to delete ")
        said = (
            f"refuses {thing}, as something is missing there" if thing.startswith("to ") else f"does not have {thing}"
        )
        return errors.Missing(f"{host} {said}{tail}")
    if status == 405:
        return errors.Unsupported(f"{host} does not do that ({what}){tail}")
    if status == 407:
        return errors.Unreachable(
            f"the proxy on the way to {host} wants a login: write http://USER:PASSWORD@PROXY{tail}"
        )
    wait = math.ceil(retry_after(answer))
    when = f"; it may go again in {wait} s" if wait else ""
    if status == 429:
        return errors.TooMany(f"{host} has had too many requests from here{tail}{when}", retry_after=wait or 1)
    if status in TRY_AGAIN:
        why = f"{host} cannot do it now ({status}, {what}){tail}{when}"
        return Later(why, retry_after=wait) if wait else errors.Unavailable(why)
    if status in {400, 413, 416, 422}:
        return errors.Invalid(f"{host} refuses {what} ({status}){tail}")
    asked = what if what.startswith("to ") else f"for {what}"
    return errors.BadAnswer(f"{host} answers {status}, asked {asked}{tail}")


def retry_after(answer: Answer) -> float:
    """How long the answer asks to wait, in seconds; 0 when it does not say (RFC 9110 section 10.2.3)."""
    value = answer.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(min(int(value[:9]), 1 << 30))
    if not value:
        return 0.0
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - dear to import, and hardly anybody sends a date

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return 0.0


async def _some(answer: Answer) -> bytes:
    """The beginning of an error's body: whatever comes of it."""
    try:
        return await read(answer, MAX_ERROR, "an error")
    except errors.RemoteError:
        return b""


def _said(body: bytes) -> str:
    """The registry's own words, short and on one line."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    words: list[str] = []
    if isinstance(value, dict):
        listed = value.get("errors") if isinstance(value.get("errors"), list) else [value]
        for one in listed or ():
            if isinstance(one, dict):
                text = one.get("message") or one.get("details") or one.get("error_description") or one.get("code") or ""
                detail = one.get("detail")
                words.append(f"{text} ({detail})" if isinstance(detail, str) and detail else str(text))
    elif body[:1] not in {b"<", b"{", b"["}:
        words.append(body[:300].decode("utf-8", "replace"))
    text = "; ".join(word for word in words if word)
    return "".join(letter if letter.isprintable() else " " for letter in text)[:400].strip().rstrip(".")
