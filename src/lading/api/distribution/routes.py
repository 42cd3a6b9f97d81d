"""The endpoints of ``/v2/``: one table of path, method, handler and what a caller needs.

Paths are matched on the bytes that were sent: a slash that was percent-encoded is no separator, and names, tags and
digests are decoded one by one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from lading.access import scopes
from lading.access.scopes import Scope
from lading.api.distribution import base, blobs, catalog, manifests, referrers, tags, uploads
from lading.api.request import Request, Response
from lading.api.services import Services
from lading.errors import NameInvalid
from lading.oci import reference as references

Handler = Callable[[Request, Services, str, str], Awaitable[Response]]
Permission = Callable[[Request, str], tuple[Scope, ...]]


def known(request: Request, name: str) -> tuple[Scope, ...]:  # noqa: ARG001 - every permission is called alike
    """Anybody who is known."""
    return ()


def pull(request: Request, name: str) -> tuple[Scope, ...]:  # noqa: ARG001 - every permission is called alike
    """To read from the repository."""
    return (scopes.pull(name),)


def push(request: Request, name: str) -> tuple[Scope, ...]:  # noqa: ARG001 - every permission is called alike
    """To read from it and write to it."""
    return (scopes.push(name),)


def push_or_mount(request: Request, name: str) -> tuple[Scope, ...]:
    """The same; and to read from where a blob is mounted from."""
    source = request.argument("from")
    if source and request.argument("mount"):
        return (scopes.push(name), scopes.pull(references.repository(source)))
    return (scopes.push(name),)


def delete(request: Request, name: str) -> tuple[Scope, ...]:  # noqa: ARG001 - every permission is called alike
    """To delete from it."""
    return (scopes.delete(name),)


def list_all(request: Request, name: str) -> tuple[Scope, ...]:  # noqa: ARG001 - every permission is called alike
    """To see which repositories there are."""
    return (scopes.catalog(),)


@dataclass(frozen=True)
class Route:
    """One endpoint: ``path`` as the specification writes it."""

    path: str
    methods: dict[str, tuple[Handler, Permission]]


def _read(handler: Handler, permission: Permission) -> dict[str, tuple[Handler, Permission]]:
    return {"GET": (handler, permission), "HEAD": (handler, permission)}


BASE = Route("/v2/", _read(base.get, known))
CATALOG = Route("/v2/_catalog", _read(catalog.get, list_all))
MANIFEST = Route(
    "/v2/<name>/manifests/<reference>",
    {**_read(manifests.get, pull), "PUT": (manifests.put, push), "DELETE": (manifests.delete, delete)},
)
BLOB = Route("/v2/<name>/blobs/<digest>", {**_read(blobs.get, pull), "DELETE": (blobs.delete, delete)})
UPLOADS = Route("/v2/<name>/blobs/uploads/", {"POST": (uploads.start, push_or_mount)})
UPLOAD = Route(
    "/v2/<name>/blobs/uploads/<reference>",
    {
        **_read(uploads.status, push),
        "PATCH": (uploads.append, push),
        "PUT": (uploads.finish, push),
        "DELETE": (uploads.cancel, push),
    },
)
TAGS = Route("/v2/<name>/tags/list", _read(tags.get, pull))
REFERRERS = Route("/v2/<name>/referrers/<digest>", _read(referrers.get, pull))

ROUTES = (BASE, CATALOG, MANIFEST, BLOB, UPLOADS, UPLOAD, TAGS, REFERRERS)

_BY_KIND = {b"manifests": MANIFEST, b"blobs": BLOB, b"referrers": REFERRERS}


def find(path: bytes) -> tuple[Route, str, str] | None:
    """The endpoint at a path (which begins with ``/v2``), the repository's name and the last part; None if none.

    A name outside the grammar raises :class:`NameInvalid`.
    """
    if not path.startswith(b"/v2/"):
        return (BASE, "", "") if path == b"/v2" else None
    head, _, last = path.rpartition(b"/")
    head, _, kind = head.rpartition(b"/")
    route = _BY_KIND.get(kind)
    if route is BLOB and last == b"uploads":
        return UPLOADS, _name(head), ""
    if route is not None and last:
        return route, _name(head), _decode(last)
    if kind == b"uploads" and head.endswith(b"/blobs"):
        name = _name(head.removesuffix(b"/blobs"))
        return (UPLOAD, name, _decode(last)) if last else (UPLOADS, name, "")
    if kind == b"tags" and last == b"list":
        return TAGS, _name(head), ""
    if path == b"/v2/":
        return BASE, "", ""
    if path == b"/v2/_catalog":
        return CATALOG, "", ""
    return None


def _name(head: bytes) -> str:
    text = _decode(head[4:])
    if b"%" in head and text.count("/") != head[4:].count(b"/"):
        raise NameInvalid("a slash in a repository name is written as it is, not as %2F", detail={"name": text[:256]})
    return references.repository(text)


def _decode(part: bytes) -> str:
    return (unquote_to_bytes(part) if b"%" in part else part).decode("utf-8", "replace")
