"""Manifests by tag and by digest: end-2, end-3, end-7, end-9."""

from __future__ import annotations

from lading.api.distribution.base import STALE, digest_header, location, require_delete, require_writable
from lading.api.request import Headers, Request, Response
from lading.api.services import Services
from lading.api.streaming import not_modified
from lading.errors import TagInvalid
from lading.oci import reference as references
from lading.oci.digest import Digest

MOST_TAGS = 64
"""Tags one PUT may set by ``?tag=``; the specification wants at least 10."""


async def get(request: Request, services: Services, name: str, reference: str) -> Response:
    """The manifest, byte for byte; whatever the client accepts, since a digest has one form only."""
    by_digest = ":" in reference
    if by_digest:
        Digest.parse(reference)
    else:
        references.tag(reference)
    found = await services.pull.manifest(name, reference, by_digest=by_digest)
    etag = f'"{found.digest}"'
    headers = [
        (b"content-type", found.media_type.encode("latin-1")),
        digest_header(found.digest),
        (b"etag", etag.encode()),
    ]
    if found.age is not None:
        headers += [STALE, (b"age", str(found.age).encode())]
    if not_modified(request, etag):
        return Response(304, headers)
    if services.pull.listening:  # a HEAD counts too, as in registry:2: docker names the tag in it, then gets by digest
        services.pull.manifest_pulled(name, found, "" if by_digest else reference, request.by())
    if services.accounts is not None and request.method == "GET":
        tag = "" if by_digest else reference
        services.accounts.recorder.pulled(name, found.digest, tag, request.principal.name, request.address)
    return Response(200, headers, found.raw)


async def put(request: Request, services: Services, name: str, reference: str) -> Response:
    """Store a manifest under a tag, or under its digest with any number of ``?tag=``."""
    require_writable(services.manners, name)
    digest, tags = _targets(request, reference)
    raw = await request.body(services.manners.manifest_bytes)
    manifest = await services.push.manifest(name, digest, tags, request.text(b"content-type"), raw, request.by())
    headers: Headers = [
        (b"location", location(request, services.manners, f"/v2/{name}/manifests/{manifest.digest}")),
        digest_header(manifest.digest),
        (b"content-length", b"0"),
    ]
    if manifest.subject is not None:
        headers.append((b"oci-subject", manifest.subject.encode()))
    if digest is not None:
        headers += [(b"oci-tag", tag.encode()) for tag in tags]
    return Response(201, headers)


async def delete(request: Request, services: Services, name: str, reference: str) -> Response:
    """By tag: the tag alone. By digest: the manifest and every tag on it."""
    require_delete(services.manners)
    if ":" in reference:
        await services.delete.manifest(name, Digest.parse(reference), request.by())
    else:
        await services.delete.tag(name, references.tag(reference), request.by())
    return Response(202, [(b"content-length", b"0")])


def _targets(request: Request, reference: str) -> tuple[Digest | None, list[str]]:
    wanted = [value for name, value in request.arguments() if name == "tag"]
    if ":" not in reference:
        return None, [references.tag(reference)]
    if len(wanted) > MOST_TAGS:
        raise TagInvalid(f"{len(wanted)} tags in one request; at most {MOST_TAGS} are allowed")
    tags = list(dict.fromkeys(references.tag(tag) for tag in wanted))
    return Digest.parse(reference), tags
