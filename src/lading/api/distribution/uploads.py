"""Uploads: end-4a, 4b, 4c (start), 5 (chunk), 6 (finish), 11 (mount), 13 (status), 14 (cancel)."""

from __future__ import annotations

import re

from lading.api.distribution.base import blob_path, digest_header, location, require_writable
from lading.api.request import Headers, Request, Response
from lading.api.services import Services
from lading.errors import DigestInvalid, Invalid, RangeInvalid
from lading.oci import reference as references
from lading.oci.digest import CANONICAL, Digest
from lading.registry.uploads import Progress, Range

_RANGE = re.compile(r"(?:bytes[ =])?(\d{1,18})-(\d{1,18})(?:/(?:\d+|\*))?", re.ASCII)


async def start(request: Request, services: Services, name: str, reference: str) -> Response:  # noqa: ARG001 - every handler is called alike
    """Begin an upload, push a whole blob (``digest``), or mount one (``mount``, with or without ``from``)."""
    require_writable(services.manners, name)
    mount, whole = request.argument("mount"), request.argument("digest")
    if mount is not None:
        digest = Digest.parse(mount)
        source = request.argument("from") or None
        known = request.mountable and (source is not None or services.manners.mount_anywhere)
        if known and await services.uploads.mount(
            name, digest, references.repository(source) if source else None, request.by()
        ):
            return _created(request, services, name, digest)
    elif whole is not None:
        digest = Digest.parse(whole)
        await services.uploads.push(name, digest, request.inflow(), request.by())
        return _created(request, services, name, digest)
    algorithm = request.argument("digest-algorithm") or CANONICAL
    begun = await services.uploads.start(name, algorithm, request.by(), request.principal.subject)
    return _progress(request, services, name, begun, 202)


async def status(request: Request, services: Services, name: str, reference: str) -> Response:
    """How much arrived."""
    progress = await services.uploads.status(name, reference, _ticket(request))
    return _progress(request, services, name, progress, 204)


async def append(request: Request, services: Services, name: str, reference: str) -> Response:
    """A chunk."""
    require_writable(services.manners, name)
    expected = _content_range(request)
    progress = await services.uploads.append(name, reference, _ticket(request), request.inflow(), expected)
    return _progress(request, services, name, progress, 202)


async def finish(request: Request, services: Services, name: str, reference: str) -> Response:
    """The last chunk, or none, and the digest of the whole."""
    require_writable(services.manners, name)
    given = request.argument("digest")
    if not given:
        raise DigestInvalid("the request that ends an upload needs ?digest=, the digest of the whole blob")
    digest = Digest.parse(given)
    expected = _content_range(request)
    await services.uploads.finish(name, reference, _ticket(request), digest, request.inflow(), expected, request.by())
    return _created(request, services, name, digest)


async def cancel(request: Request, services: Services, name: str, reference: str) -> Response:
    """Give an upload up; whoever may push may do that."""
    await services.uploads.cancel(name, reference, _ticket(request))
    return Response(204, [(b"docker-upload-uuid", reference.encode("latin-1", "replace"))])


def _ticket(request: Request) -> str:
    return request.argument("_state") or ""


def _content_range(request: Request) -> Range | None:
    given = request.header(b"content-range")
    if given is None:
        return None
    found = _RANGE.fullmatch(given.decode("latin-1").strip())
    if not found:
        raise Invalid(f"Content-Range {given[:80].decode('latin-1')!r} is not two byte positions; it reads like 0-1023")
    expected = Range(int(found[1]), int(found[2]))
    length = request.content_length
    if expected.last < expected.first:
        raise RangeInvalid("the Content-Range ends before it begins")
    if length is not None and length != expected.length:
        raise RangeInvalid(f"the Content-Range spans {expected.length} bytes, but the body has {length}")
    return expected


def _progress(request: Request, services: Services, name: str, progress: Progress, status: int) -> Response:
    path = f"/v2/{name}/blobs/uploads/{progress.uuid}"
    headers: Headers = [
        (b"location", location(request, services.manners, path, f"_state={progress.ticket}")),
        (b"range", f"0-{max(0, progress.size - 1)}".encode()),
        (b"docker-upload-uuid", progress.uuid.encode()),
    ]
    if status != 204:
        headers.append((b"content-length", b"0"))
    return Response(status, headers)


def _created(request: Request, services: Services, name: str, digest: Digest) -> Response:
    where = location(request, services.manners, blob_path(name, digest))
    return Response(201, [(b"location", where), digest_header(digest), (b"content-length", b"0")])
