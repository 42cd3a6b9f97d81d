"""Many requests in one: ``multipart/mixed`` with an HTTP message in each part, as Google and Azure take deletions.

Google: "Batch requests" of the JSON API. Azure: "Blob Batch" of the Blob service's REST API.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from email.message import Message
from email.parser import BytesParser
from urllib.parse import urlsplit
from uuid import uuid4

_ID = re.compile(r"(\d+)>?$")
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})\b")


def batch(requests: Sequence[tuple[str, str, Mapping[str, str]]]) -> tuple[str, bytes]:
    """Requests without a body (method, URL, headers) as one body, and its ``Content-Type``."""
    border = f"batch_{uuid4()}"
    parts = []
    for number, (method, url, headers) in enumerate(requests):
        where = urlsplit(url)
        target = f"{where.path}?{where.query}" if where.query else where.path
        told = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        parts.append(
            f"--{border}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n"
            f"Content-ID: {number}\r\n\r\n{method} {target} HTTP/1.1\r\n{told}Content-Length: 0\r\n\r\n\r\n"
        )
    return f"multipart/mixed; boundary={border}", "".join([*parts, f"--{border}--\r\n"]).encode()


def statuses(content_type: str, body: bytes) -> dict[int, int]:
    """What each request of a batch came to, by its number; those whose answer cannot be read are missing."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    found: dict[int, int] = {}
    for part in BytesParser().parsebytes(head + body).walk():
        number = _ID.search(str(part.get("Content-ID", "")).strip())
        status = _STATUS.match(_payload(part))
        if number is not None and status is not None:
            found[int(number[1])] = int(status[1])
    return found


def _payload(part: Message) -> bytes:
    content = part.get_payload(decode=True)
    return content.lstrip() if isinstance(content, bytes) else b""
