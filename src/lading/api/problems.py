"""From an error's kind to each face's status and body (distribution spec, "Error Codes")."""

from __future__ import annotations

import msgspec

from lading import errors
from lading.api.request import Headers, Response

_STATUSES: tuple[tuple[type[errors.LadingError], int], ...] = (
    (errors.RangeInvalid, 416),
    (errors.TooLarge, 413),
    (errors.Missing, 404),
    (errors.Conflict, 409),
    (errors.Unsupported, 405),
    (errors.Unauthenticated, 401),
    (errors.Denied, 403),
    (errors.TooMany, 429),
    (errors.Unavailable, 503),
    (errors.RemoteError, 502),
    (errors.Invalid, 400),
)


def status_of(error: errors.LadingError) -> int:
    """The HTTP status for an error; 500 for what is none of the caller's business."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


def distribution(error: errors.LadingError) -> Response:
    """An error as ``/v2/`` tells it: ``{"errors": [{"code", "message", "detail"}]}``."""
    headers: Headers = []
    if isinstance(error, errors.Unauthenticated):
        headers.append((b"www-authenticate", error.challenge.encode("latin-1", "replace")))
    if isinstance(error, errors.TooMany | errors.Unavailable):
        headers.append((b"retry-after", str(error.retry_after).encode()))
    return body(status_of(error), error.code, error.message, error.detail, headers)


def body(status: int, code: str, message: str, detail: object = None, headers: Headers | None = None) -> Response:
    """One error in the distribution spec's form."""
    entry = {"code": code, "message": message}
    # a digest is a string of its own kind, which the encoder does not know
    content = msgspec.json.encode({"errors": [entry if detail is None else {**entry, "detail": detail}]}, enc_hook=str)
    return Response(status, [(b"content-type", b"application/json"), *(headers or ())], content)
