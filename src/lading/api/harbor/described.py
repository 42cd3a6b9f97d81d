"""What an artifact tells of itself: its kind, its parts, and how it was built; and how one is copied."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from lading.api.harbor.call import Model
from lading.api.services import Services
from lading.errors import BlobUnknown, Invalid, ManifestBlobUnknown, ManifestUnknown, TooLarge
from lading.jobs.events import By
from lading.oci import mediatypes
from lading.oci import reference as references
from lading.oci.digest import Digest
from lading.oci.manifest import Descriptor, Manifest, parse
from lading.registry.artifacts import Artifact
from lading.registry.manifests import Manifests
from lading.registry.pull import Pull
from lading.registry.repositories import Repositories
from lading.stores.metadata.transaction import Transaction

_IMAGES = frozenset(["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"])
_KIND = re.compile(r"application/vnd\.[^./]+\.([^./]+)\.config\.[^/]+")
_MOST_CONFIG = 1 << 20
_MOST_DEEP = 8
_ACCESSORIES = {
    "application/vnd.cncf.notary.signature": "signature.notation",
    "application/vnd.dev.cosign.artifact.sig.v1+json": "signature.cosign",
    "application/vnd.dev.sigstore.bundle.v0.3+json": "signature.cosign",
    "application/vnd.dev.cosign.artifact.sbom.v1+json": "sbom.harbor",
    "application/spdx+json": "sbom.harbor",
    "application/vnd.cyclonedx+json": "sbom.harbor",
}


class Platform(Model, rename={"os_version": "os.version", "os_features": "os.features"}):
    """What an image runs on."""

    architecture: str
    os: str
    os_version: str | None = None
    os_features: list[str] | None = None
    variant: str | None = None


class Reference(Model):
    """An artifact that an index names; ``child_id`` is 0 for one that is not in the repository."""

    parent_id: int
    child_id: int
    child_digest: str
    platform: Platform | None = None
    annotations: dict[str, str] | None = None


@dataclass(frozen=True)
class Told:
    """``type`` as Harbor names kinds: IMAGE, CHART, …; ``media_type`` is the configuration's, where there is one."""

    type: str
    media_type: str


class _Image(msgspec.Struct):
    created: str | None = None
    author: str | None = None
    architecture: str | None = None
    os: str | None = None
    config: dict[str, Any] | None = None
    history: list[dict[str, Any]] | None = None


def manifest(one: Artifact) -> Told:
    """What the manifest says it is."""
    read = _parsed(one)
    if one.media_type in mediatypes.INDEXES:
        return Told("IMAGE", one.media_type)
    config = read.config.media_type if read.config else ""
    if config in _IMAGES:
        return Told("IMAGE", config)
    # Harbor's rule for what it does not know: application/vnd.cncf.helm.config.v1+json is a HELM
    found = _KIND.fullmatch(config if config != mediatypes.OCI_EMPTY else one.artifact_type)
    kind = found[1].upper() if found else "UNKNOWN"
    return Told("CHART" if kind == "HELM" else kind, config)


async def children(tx: Transaction, one: Artifact) -> list[Reference]:
    """What an index names."""
    if one.media_type not in mediatypes.INDEXES:
        return []
    manifests = Manifests(tx)
    return [
        Reference(
            parent_id=one.id,
            child_id=await manifests.find(one.repository, Digest(child.digest)) or 0,
            child_digest=child.digest,
            platform=_platform(child),
            annotations=child.annotations or None,
        )
        for child in _parsed(one).children
    ]


def accessory_type(artifact_type: str) -> str:
    """Harbor's word for the type of an accessory."""
    return _ACCESSORIES.get(artifact_type, "subject.accessory")


async def attributes(pull: Pull, repository: str, one: Artifact) -> dict[str, Any] | None:
    """What an image's configuration tells of it; None for what is no image, or has none that can be read."""
    image = await _image(pull, repository, one)
    if image is None:
        return None
    told = {name: getattr(image, name) for name in ("created", "author", "architecture", "os", "config")}
    return {name: value for name, value in told.items() if value is not None}


async def history(pull: Pull, repository: str, one: Artifact) -> list[dict[str, Any]]:
    """The steps in which an image was built, the first one first."""
    image = await _image(pull, repository, one)
    if image is None:
        raise Invalid("this artifact is no image with a configuration, so nothing tells how it was built")
    return image.history or []


def source(text: str) -> tuple[str, str]:
    """Repository and reference of ``project/repository:tag`` or ``…@digest``."""
    name, at, digest = text.partition("@")
    if at:
        # a tag before a digest says nothing more
        name = name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name
        return references.repository(name), str(Digest.parse(digest))
    name, colon, tag = text.rpartition(":")
    if not colon or "/" not in name:
        raise Invalid("from is project/repository:tag, or project/repository@digest")
    return references.repository(name), references.tag(tag)


async def repository(tx: Transaction, name: str) -> int | None:
    """The row of a repository."""
    return await Repositories(tx).find(name)


async def copy(services: Services, origin: str, target: str, one: Artifact, tag: str, by: By) -> None:
    """Copy an artifact with everything it refers to into another repository; no bytes move."""
    await _copy(services, origin, target, one.raw, one.media_type, one.digest, tag, by, 0)


async def _copy(
    services: Services, origin: str, target: str, raw: bytes, kind: str, digest: str, tag: str, by: By, depth: int
) -> None:
    known = Digest(digest)
    read = parse(raw, kind, known.algorithm, len(raw))
    for child in read.children if depth < _MOST_DEEP else ():
        try:
            found = await services.pull.manifest(origin, child.digest, by_digest=True)
        except ManifestUnknown:
            continue  # an index may name what is not here
        await _copy(services, origin, target, found.raw, found.media_type, found.digest, "", by, depth + 1)
    for blob in read.blobs():
        if not await services.uploads.mount(target, Digest(blob.digest), origin, by):
            raise ManifestBlobUnknown(f"{origin} does not have the blob {blob.digest} any more")
    await services.push.manifest(target, known, [tag] if tag else [], kind, raw, by)


def _parsed(one: Artifact) -> Manifest:
    return parse(one.raw, one.media_type, Digest(one.digest).algorithm, len(one.raw))


def _platform(child: Descriptor) -> Platform | None:
    found = child.platform
    if found is None:
        return None
    return Platform(architecture=found.architecture, os=found.os, variant=found.variant or None)


async def _image(pull: Pull, repository: str, one: Artifact) -> _Image | None:
    config = _parsed(one).config
    if config is None or config.media_type not in _IMAGES:
        return None
    try:
        raw = await pull.small(repository, Digest(config.digest), _MOST_CONFIG)
    except (BlobUnknown, TooLarge):
        return None
    try:
        return msgspec.json.decode(raw, type=_Image)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
