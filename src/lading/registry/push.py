"""Push a manifest (distribution spec, "Pushing Manifests")."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from lading.config.model import Configuration
from lading.errors import Denied, DigestInvalid, ManifestBlobUnknown, ManifestInvalid
from lading.jobs.events import By, ManifestPushed, Target
from lading.jobs.outbox import Outbox
from lading.oci import mediatypes
from lading.oci.digest import CANONICAL, Digest
from lading.oci.manifest import Descriptor, Manifest, parse
from lading.registry.admission import Admission, ManifestArrives, UploadBegins
from lading.registry.blobs import Blobs
from lading.registry.manifests import Manifests
from lading.registry.repositories import Repositories
from lading.registry.tags import Tags
from lading.stores.blobs.base import BlobStore
from lading.stores.metadata.transaction import Metadata, Transaction

_CLASSES = {
    mediatypes.DOCKER_CONFIG: "image",
    mediatypes.OCI_CONFIG: "image",
    mediatypes.DOCKER_PLUGIN: "plugin",
}


@dataclass(frozen=True)
class PushPolicy:
    """Which manifests are taken (``validation`` in the configuration).

    ``child_required`` says of a descriptor in an index whether that manifest must be in the repository already;
    ``blobs_required`` whether config and layers must. ``urls_allowed`` and ``urls_denied`` judge the URLs of foreign
    layers: the registry hands them out, so that clients fetch from there. ``most_depth`` bounds how deep the JSON of
    a manifest is nested. ``classes`` (``policy.repository.classes``): which of ``image`` and ``plugin`` are taken;
    empty: whatever comes.
    """

    child_required: Callable[[Descriptor], bool] = lambda child: True
    blobs_required: bool = True
    urls_checked: bool = True
    urls_allowed: Sequence[re.Pattern[str]] = field(default_factory=tuple)
    urls_denied: Sequence[re.Pattern[str]] = field(default_factory=tuple)
    most_depth: int = 32
    classes: frozenset[str] = frozenset()


def push_policy(configuration: Configuration) -> PushPolicy:
    """Which manifests are taken, as configured."""
    validation = configuration.validation
    manifests = validation.manifests
    return PushPolicy(
        child_required=_child_required(configuration) if validation.active else lambda child: False,
        blobs_required=validation.active and manifests.layers == "all",
        urls_checked=validation.active,
        urls_allowed=tuple(re.compile(pattern) for pattern in manifests.urls.allow),
        urls_denied=tuple(re.compile(pattern) for pattern in manifests.urls.deny),
        classes=frozenset(configuration.policy.repository.classes),
        most_depth=configuration.limits.manifestdepth,
    )


def _child_required(configuration: Configuration) -> Callable[[Descriptor], bool]:
    indexes = configuration.validation.manifests.indexes
    if indexes.platforms == "all":
        return lambda child: True
    if indexes.platforms == "none":
        return lambda child: False
    wanted = {(platform.os, platform.architecture) for platform in indexes.platformlist}
    return lambda child: child.platform is not None and (child.platform.os, child.platform.architecture) in wanted


class Push:
    """Takes manifests in."""

    def __init__(
        self,
        metadata: Metadata,
        store: BlobStore,
        outbox: Outbox,
        policy: PushPolicy,
        admission: Admission | None = None,
    ) -> None:
        self._admission = admission or Admission()
        self._metadata = metadata
        self._store = store
        self._outbox = outbox
        self._policy = policy

    async def manifest(
        self, repository: str, digest: Digest | None, tags: Sequence[str], content_type: str, raw: bytes, by: By
    ) -> Manifest:
        """Store a manifest and point ``tags`` at it; ``digest`` is what the client says it is, if it says.

        The manifest's own digest is in the same algorithm. References come last: a crash leaves garbage, never a
        manifest whose content is not there.
        """
        manifest = parse(raw, content_type, digest.algorithm if digest else CANONICAL, self._policy.most_depth)
        if digest is not None and manifest.digest != digest:
            raise DigestInvalid(
                "the manifest does not have the digest it was pushed by",
                detail={"expected": digest, "actual": manifest.digest},
            )
        _check_urls(manifest, self._policy)
        _check_class(manifest, self._policy)
        await self._metadata.read(lambda tx: self._judge(tx, repository, manifest, by))
        await self._metadata.write(lambda tx: Blobs(tx).touch(manifest.digest, manifest.size), durable=False)
        await self._store.put(manifest.digest, raw)
        await self._metadata.write(lambda tx: self._record(tx, repository, manifest, tags, by))
        return manifest

    async def _judge(self, tx: Transaction, repository: str, manifest: Manifest, by: By) -> None:
        """Whether anything may come in there at all, and then whether what it names is there."""
        await self._admission.ask(tx, UploadBegins(repository, by))
        await self._find_content(tx, repository, manifest)

    async def _record(self, tx: Transaction, repository: str, manifest: Manifest, tags: Sequence[str], by: By) -> None:
        own = await Repositories(tx).ensure(repository)
        found = await self._find_content(tx, repository, manifest, locked=True)
        blobs = Blobs(tx)
        named = sorted(manifest.blobs(), key=lambda descriptor: descriptor.digest)  # all pushes in one order
        content = [found.get(d.digest) or await blobs.reserve(Digest(d.digest), d.size) for d in named]
        stored = await blobs.arrived(manifest.digest, manifest.size)
        row = await Manifests(tx).put(own, stored, manifest, content)
        await self._admission.ask(tx, ManifestArrives(repository, own, manifest, row, tags, by))
        for tag in sorted(tags):
            await Tags(tx).point(own, tag, row)
        target = Target(manifest.digest, manifest.media_type, manifest.size)
        for tag in tags or ("",):
            pushed = ManifestPushed(
                repository=repository, by=by, target=target, tag=tag, references=references(manifest)
            )
            await self._outbox.emit(tx, pushed)

    async def _find_content(
        self, tx: Transaction, repository: str, manifest: Manifest, *, locked: bool = False
    ) -> dict[str, int]:
        """The ids of the blobs a manifest names; raises if one that must be in the repository is not."""
        own = await Repositories(tx).find(repository)
        named = manifest.blobs()
        found: dict[str, int] = {}
        children: set[str] = set()
        if own is not None:
            found = await Blobs(tx).linked(own, [blob.digest for blob in named], locked=locked)
            children = await Manifests(tx).among(own, [child.digest for child in manifest.children])
        missing = [blob for blob in named if self._policy.blobs_required and blob.digest not in found]
        missing += [
            child for child in manifest.children if child.digest not in children and self._policy.child_required(child)
        ]
        if missing:
            raise ManifestBlobUnknown(
                f"{len(missing)} of the blobs or manifests this manifest names are not in {repository}; push them "
                f"first: {', '.join(d.digest for d in missing[:10])}",
                detail=[{"digest": d.digest, "mediaType": d.media_type, "size": d.size} for d in missing[:100]],
            )
        return found


def references(manifest: Manifest) -> tuple[Target, ...]:
    """Everything a manifest names, as events tell it."""
    config = (manifest.config,) if manifest.config else ()
    return tuple(Target(d.digest, d.media_type, d.size) for d in (*config, *manifest.layers, *manifest.children))


def _check_urls(manifest: Manifest, policy: PushPolicy) -> None:
    if not policy.urls_checked:
        return
    for url in manifest.urls():
        if not _fetchable(url):
            raise ManifestInvalid(f"{url[:200]!r} is not a URL that clients could fetch a layer from")
        if policy.urls_allowed and not any(pattern.search(url) for pattern in policy.urls_allowed):
            raise ManifestInvalid(
                f"{url[:200]!r} is not among the URLs this registry allows (validation.manifests.urls)"
            )
        if any(pattern.search(url) for pattern in policy.urls_denied):
            raise ManifestInvalid(f"{url[:200]!r} is among the URLs this registry denies (validation.manifests.urls)")


def _check_class(manifest: Manifest, policy: PushPolicy) -> None:
    # an index is of the class of what it names, which was checked when it came
    if not policy.classes or manifest.config is None:
        return
    found = _CLASSES.get(manifest.config.media_type, "")
    if found not in policy.classes:
        raise Denied(
            f"this registry takes {' and '.join(sorted(policy.classes))} only (policy.repository.classes); the config of "
            f"this manifest is {manifest.config.media_type[:160]!r}"
        )


def _fetchable(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return url.isprintable() and parts.scheme in ("http", "https") and bool(parts.netloc) and not parts.fragment
