"""``/v2/`` itself, and what every handler under it needs."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from lading.api.request import Headers, Request, Response
from lading.api.services import Manners, Services
from lading.errors import Missing, PageInvalid, Unsupported

OCTETS = (b"content-type", b"application/octet-stream")
STALE = (b"warning", b'110 - "Response is Stale"')
"""Of a mirror's answer that is as it was, since its upstream could not be asked (RFC 7234 section 5.5.1)."""
JSON = (b"content-type", b"application/json")


async def get(request: Request, services: Services, name: str, reference: str) -> Response:  # noqa: ARG001 - every handler is called alike
    """End-1: whoever gets here is known and speaks to a registry."""
    return Response(200, [JSON], b"{}")


def location(request: Request, manners: Manners, path: str, query: str = "") -> bytes:
    """A URL of this registry for a ``Location`` header: absolute, unless it is to be relative."""
    origin = "" if manners.relative else manners.external or request.origin
    return f"{origin}{manners.prefix}{path}{'?' + query if query else ''}".encode("latin-1")


def blob_path(name: str, digest: str) -> str:
    """The path of a blob."""
    return f"/v2/{name}/blobs/{digest}"


def next_page(manners: Manners, path: str, **arguments: str | int) -> tuple[bytes, bytes]:
    """The ``Link`` to the next page: a relative reference."""
    query = urlencode({name: str(value) for name, value in arguments.items()}, quote_via=quote)
    return (b"link", f'<{manners.prefix}{path}?{query}>; rel="next"'.encode())


def page_size(request: Request) -> int | None:
    """The ``n`` of a request for a list; None if it has none."""
    given = request.argument("n")
    if given is None:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > 18:
        raise PageInvalid(f"n is {given[:40]!r}, but must be a whole number from 0 on", detail={"n": given[:40]})
    return int(given)


def require_writable(manners: Manners, name: str = "") -> None:
    """Refuse a change while the registry is read-only, or because it, or the repository ``name``, mirrors another."""
    for prefix, url in manners.mirrors.items():
        if name.startswith(prefix):
            what = f"what is below {prefix}" if prefix else "this registry"
            raise Unsupported(f"{what} is a mirror of {url}; push there")
    if manners.read_only:
        raise Unsupported("this registry is read-only now (storage.maintenance.readonly); pulls work, pushes do not")


def require_delete(manners: Manners) -> None:
    """Refuse to delete where it is switched off."""
    require_writable(manners)
    if not manners.delete:
        raise Unsupported(
            "deleting is switched off here; storage.delete.enabled: true (REGISTRY_STORAGE_DELETE_ENABLED) allows it"
        )


class NoSuchPath(Missing):
    code = "UNSUPPORTED"  # the specification's list has no code for this


def no_such_path(path: str, manners: Manners) -> NoSuchPath:
    """For a path that is no endpoint of the API."""
    return NoSuchPath(f"there is nothing at {path[:200]!r}; the registry API is under {manners.prefix}/v2/")


def digest_header(digest: str) -> tuple[bytes, bytes]:
    """``Docker-Content-Digest``."""
    return (b"docker-content-digest", digest.encode())


EMPTY: Headers = [(b"content-length", b"0")]
