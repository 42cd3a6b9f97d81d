"""From an error's kind to Harbor's statuses, codes and body: ``{"errors": [{"code", "message"}]}``."""

from __future__ import annotations

import logging
from collections.abc import Awaitable

import msgspec

from lading import errors
from lading.access.authenticate import LoginRefused
from lading.api.request import Headers, Request, Response

log = logging.getLogger(__name__)

JSON = (b"content-type", b"application/json; charset=utf-8")


class Precondition(errors.Conflict):
    """Something else has to be done first."""


class NotYet(errors.Unsupported):
    """An operation of Harbor's that is not here."""


_KINDS: tuple[tuple[type[errors.LadingError], int, str], ...] = (
    (LoginRefused, 401, "UNAUTHORIZED"),
    (NotYet, 501, "NOT_IMPLEMENTED"),
    (Precondition, 412, "PRECONDITION"),
    (errors.RangeInvalid, 416, "BAD_REQUEST"),
    (errors.TooLarge, 413, "REQUEST_ENTITY_TOO_LARGE"),
    (errors.Missing, 404, "NOT_FOUND"),
    (errors.Conflict, 409, "CONFLICT"),
    (errors.Unsupported, 405, "METHOD_NOT_ALLOWED"),
    (errors.Unauthenticated, 401, "UNAUTHORIZED"),
    (errors.Denied, 403, "FORBIDDEN"),
    (errors.TooMany, 429, "TOO_MANY_REQUEST"),
    (errors.Unavailable, 503, "UNAVAILABLE"),
    (errors.Invalid, 400, "BAD_REQUEST"),
)


def answer(error: errors.LadingError) -> Response:
    """An error as Harbor tells it."""
    status, code = next(((status, code) for kind, status, code in _KINDS if isinstance(error, kind)), (500, "UNKNOWN"))
    headers: Headers = [JSON]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="lading", charset="UTF-8"'))
    if isinstance(error, errors.TooMany | errors.Unavailable):
        headers.append((b"retry-after", str(error.retry_after).encode()))
    return Response(status, headers, body(code, error.message))


def failed(request_id: str) -> Response:
    """For what is the registry's own fault."""
    return Response(500, [JSON], body("UNKNOWN", f"the registry failed; its log says more about request {request_id}"))


async def told(request: Request, answering: Awaitable[Response]) -> Response:
    """What is answered, or why it is not."""
    try:
        return await answering
    except errors.LadingError as error:
        return answer(error)
    except ConnectionError:
        raise
    except Exception:
        log.exception("request %s failed: %s %s", request.id, request.method, request.scope["path"])
        return failed(request.id)


def body(code: str, message: str) -> bytes:
    """One error."""
    return msgspec.json.encode({"errors": [{"code": code, "message": message}]})
