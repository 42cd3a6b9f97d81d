"""What refers to a manifest, where a registry has no referrers API: an index under a tag (distribution spec, "Pushing Manifests with Subject")."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from lading import errors
from lading.oci import mediatypes
from lading.oci.manifest import Descriptor, Manifest, parse
from lading.remotes.base import RegistryClient

BESIDE = ("sig", "att", "sbom")
"""What cosign's tags end in, which refer to a manifest by their names alone: ``sha256-HEX.sig``."""

Put = Callable[[str, str, Manifest], Awaitable[object]]
"""Stores a manifest in a repository under a reference."""

_FALLBACK = re.compile(r"[a-z0-9]+-[0-9a-f]{32,}", re.ASCII)


def fallback_tag(subject: str) -> str:
    """The tag of the index that lists what refers to ``subject``."""
    return subject.replace(":", "-")[:128]


def tag_beside(digest: str, ending: str) -> str:
    """The tag by which cosign finds a signature, an attestation or an SBOM of a manifest."""
    return f"{digest.replace(':', '-')}.{ending}"


def described(manifest: Manifest) -> Descriptor:
    """A manifest as the referrers API lists it."""
    return Descriptor(
        media_type=manifest.media_type,
        digest=str(manifest.digest),
        size=manifest.size,
        artifact_type=manifest.artifact_type or None,
        annotations=manifest.annotations or None,
    )


def is_fallback(reference: str) -> bool:
    """Whether a tag may be one that lists what refers to a manifest."""
    return _FALLBACK.fullmatch(reference) is not None


async def note(
    client: RegistryClient, repository: str, subject: str, found: Sequence[Descriptor], put: Put | None = None
) -> None:
    """List under the tag what is not listed there; ``put`` writes it, where that is not the client's own."""
    tag = fallback_tag(subject)
    try:
        there = list((await client.manifest(repository, tag)).children)
    except errors.ManifestUnknown:
        there = []
    missing = [one for one in found if one.digest not in {each.digest for each in there}]
    if missing:
        listed = [_plain(one) for one in (*there, *missing)]
        document = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": listed}
        index = parse(msgspec.json.encode(document), mediatypes.OCI_INDEX)
        await (put or client.put_manifest)(repository, tag, index)


def _plain(descriptor: Descriptor) -> dict[str, object]:
    return {name: value for name, value in msgspec.to_builtins(descriptor).items() if value is not None}
