"""Blobs: end-2, end-10."""

from __future__ import annotations

from lading.api.distribution.base import OCTETS, digest_header, require_delete
from lading.api.request import FilePart, Headers, Request, Response
from lading.api.services import Services
from lading.api.streaming import RangeUnsatisfiable, byte_range, not_modified
from lading.oci.digest import Digest
from lading.registry.pull import Elsewhere


async def get(request: Request, services: Services, name: str, reference: str) -> Response:
    """A blob or a part of it."""
    digest = Digest.parse(reference)
    etag = f'"{digest}"'
    headers: Headers = [
        OCTETS,
        digest_header(digest),
        (b"etag", etag.encode()),
        (b"cache-control", b"max-age=31536000"),
        (b"accept-ranges", b"bytes"),
    ]
    if not_modified(request, etag):
        await services.pull.blob_size(name, digest)
        return Response(304, headers)
    if request.method == "HEAD":
        size = await services.pull.blob_size(name, digest)
        if services.pull.listening:  # a HEAD counts too, as in registry:2
            services.pull.blob_pulled(name, digest, size, request.by())
        return Response(200, [*headers, (b"content-length", str(size).encode())])
    file = await services.pull.blob(name, digest)
    if isinstance(file, Elsewhere):
        # the range, if the client wants one, goes to the store with the request it sends there
        if services.pull.listening:
            services.pull.blob_pulled(name, digest, file.size, request.by())
        where = [digest_header(digest), (b"location", file.url.encode()), (b"cache-control", b"no-store")]
        return Response(307, [*where, (b"content-length", b"0")])
    try:
        part = byte_range(request, file.size, etag)
    except RangeUnsatisfiable:
        file.close()
        raise
    if services.pull.listening:
        services.pull.blob_pulled(name, digest, file.size, request.by())
    if part is None:
        headers.append((b"content-length", str(file.size).encode()))
        return Response(200, headers, FilePart(file, 0, file.size))
    first, count = part
    headers += [
        (b"content-range", f"bytes {first}-{first + count - 1}/{file.size}".encode()),
        (b"content-length", str(count).encode()),
    ]
    return Response(206, headers, FilePart(file, first, count))


async def delete(request: Request, services: Services, name: str, reference: str) -> Response:
    """Take a blob out of a repository."""
    require_delete(services.manners)
    digest = Digest.parse(reference)
    await services.delete.blob(name, digest, request.by())
    return Response(202, [digest_header(digest), (b"content-length", b"0")])
