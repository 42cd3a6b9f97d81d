"""What refers to a manifest: end-12."""

from __future__ import annotations

from typing import Any

import msgspec

from lading.api.distribution.base import STALE, next_page, page_size
from lading.api.request import Headers, Request, Response
from lading.api.services import Services
from lading.oci.digest import Digest
from lading.oci.mediatypes import OCI_INDEX
from lading.registry.listed import Stale
from lading.registry.manifests import Referrer

_MOST = 1000
_MOST_BYTES = 3 << 20
"""A page is a manifest to its readers, who need not take more than 4 MiB."""


async def get(request: Request, services: Services, name: str, reference: str) -> Response:
    """An index of the referrers, filtered by ``artifactType``; empty where there are none."""
    subject = Digest.parse(reference)
    artifact_type = request.argument("artifactType") or ""
    asked = page_size(request)
    limit = min(asked or _MOST, _MOST)
    found, more = await services.pull.referrers(name, subject, artifact_type, request.argument("last") or "", limit)
    manifests, cut = _within_bytes(found)
    headers: Headers = [(b"content-type", OCI_INDEX.encode())]
    if isinstance(found, Stale):
        headers.append(STALE)
    if artifact_type:
        headers.append((b"oci-filters-applied", b"artifactType"))
    if (more or cut) and manifests:
        arguments: dict[str, str | int] = {"last": manifests[-1]["digest"], "n": limit, **request.again()}
        if artifact_type:
            arguments["artifactType"] = artifact_type
        headers.append(next_page(services.manners, f"/v2/{request.asked(name)}/referrers/{subject}", **arguments))
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
    return Response(200, headers, msgspec.json.encode(index))


def _within_bytes(found: list[Referrer]) -> tuple[list[dict[str, Any]], bool]:
    manifests: list[dict[str, Any]] = []
    size = 0
    for referrer in found:
        descriptor = _descriptor(referrer)
        size += len(msgspec.json.encode(descriptor))
        if manifests and size > _MOST_BYTES:
            return manifests, True
        manifests.append(descriptor)
    return manifests, False


def _descriptor(referrer: Referrer) -> dict[str, Any]:
    descriptor: dict[str, Any] = {
        "mediaType": referrer.media_type,
        "digest": referrer.digest,
        "size": referrer.size,
    }
    if referrer.artifact_type:
        descriptor["artifactType"] = referrer.artifact_type
    if referrer.annotations:
        descriptor["annotations"] = referrer.annotations
    return descriptor
