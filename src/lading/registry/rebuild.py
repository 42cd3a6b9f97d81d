"""Rebuild: an index from nothing but the store.

The bytes of all blobs are there, manifests among them. What only an index knows is lost: which names led to them. So:

1. Where link files of registry:2 lie in the volume (it was adopted once, or ``lading export`` wrote them) they are
   adopted, with everything they say: names, tags, what is in which repository.
2. Manifests that no repository has are put into one, ``recovered``; those that no other manifest names get a tag there
   (the first digits of their digest), so that they can be pulled, looked at, and given their names again, and the
   collector keeps them. Images that were deleted, and whose bytes were still there, come back with them.
3. Every blob whose bytes are sound gets its row. This comes last, since a row that no manifest names is the collector's: what is
   killed before leaves bytes that it knows nothing of.

What lies below a mirror's prefix then counts as brought by the mirror, from which it can be fetched again: in a server that
is a mirror as a whole, all of it.

An index that is lost is made beside its place, and put there when it is whole: a server that ran on half of one would let the
collector have the blobs of the other half. Done again it goes on where it was interrupted, since what has a row is passed over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import bindparam, exists, select

from lading.errors import ManifestInvalid
from lading.oci.digest import Digest
from lading.oci.manifest import Manifest, parse
from lading.registry.adopt import Progress, Watch, take_over
from lading.registry.adopt import Report as Adopted
from lading.registry.blobs import Blobs
from lading.registry.manifests import Manifests
from lading.registry.mirrored import Mirrored
from lading.registry.repositories import Repositories
from lading.registry.soundness import Pace, Soundness
from lading.registry.tags import Tags
from lading.registry.volume import Problem, alone
from lading.stores.blobs.base import BlobStore
from lading.stores.blobs.layout import Layout
from lading.stores.blobs.links import Tree
from lading.stores.metadata.engine import SQLITE, open_index
from lading.stores.metadata.schema.content import blobs, manifests
from lading.stores.metadata.snapshot import put_in_place
from lading.stores.metadata.transaction import Metadata, Statement, Transaction

REPOSITORY = "recovered"
"""Where manifests go whose repository nobody knows."""

_THREADS = 4
_LARGEST_MANIFEST = 4 << 20
_TAG_DIGITS = 12

_KNOWN = Statement(select(blobs.c.present).where(blobs.c.digest == bindparam("digest")))
_SOMEWHERE = Statement(select(exists().where(manifests.c.digest == bindparam("digest"))))


@dataclass
class Report:
    """What was brought back: ``adopted`` by link files, and ``manifests`` and ``tags`` without a name of their own.

    ``mirrored`` counts the manifests that are a mirror's.
    """

    adopted: Adopted | None = None
    blobs: int = 0
    bytes: int = 0
    manifests: int = 0
    tags: int = 0
    mirrored: int = 0
    problems: list[Problem] = field(default_factory=list)


async def rebuild(
    metadata: Metadata,
    store: BlobStore,
    layout: Layout,
    *,
    mirrors: Collection[str] = (),
    rate: int | None = None,
    watch: Watch = lambda progress: None,
) -> Report:
    """Bring into the index what the store has and the index does not; see the module. ``rate`` in bytes a second.

    ``mirrors`` are the prefixes of those that are configured.

    Raises :class:`~lading.errors.StoreError` while an adoption or export works on the volume.
    """
    with alone(layout), ThreadPoolExecutor(_THREADS, thread_name_prefix="rebuild") as threads:
        run = _Rebuild(metadata, store, Soundness(store, threads, Pace(rate)), watch)
        if layout.repositories.is_dir() and next(Tree(layout).repositories(), None) is not None:
            run.report.adopted = await take_over(metadata, layout, watch, everything=True)
        await run.survey()
        await run.manifests()
        await run.blobs()
        for prefix in mirrors:
            run.report.mirrored += await metadata.write(lambda tx, p=prefix: Mirrored(tx).mark(p))  # type: ignore[misc]
        return run.report


async def rebuild_lost(
    index: Path,
    store: BlobStore,
    layout: Layout,
    *,
    mirrors: Collection[str] = (),
    rate: int | None = None,
    watch: Watch = lambda progress: None,
) -> Report:
    """:func:`rebuild` for an index of which there is no file any more; :class:`~lading.errors.StoreError` if one appears."""
    unfinished = index.with_name(f".{index.name}.rebuilding")
    metadata = open_index(f"{SQLITE}{unfinished}")
    try:
        report = await rebuild(metadata, store, layout, mirrors=mirrors, rate=rate, watch=watch)
    finally:
        await metadata.close()
    await asyncio.to_thread(put_in_place, unfinished, index)
    return report


class _Rebuild:
    def __init__(self, metadata: Metadata, store: BlobStore, sound: Soundness, watch: Watch) -> None:
        self._metadata = metadata
        self._store = store
        self._sound = sound
        self._watch = watch
        self._manifests: list[Digest] = []
        self._unknown: list[tuple[Digest, int]] = []
        self._named: set[str] = set()
        self.report = Report()

    async def survey(self) -> None:
        """Read every blob, and note which are manifests, and which sound ones have no row."""
        progress = Progress("rebuild", sum([size async for _, size in self._store.walk()]))
        async for digest, size in self._store.walk():
            self._watch(progress)
            await self._look(digest, size)
            progress.done += size
        self._watch(progress)

    async def _look(self, digest: Digest, size: int) -> None:
        manifest = await self._manifest(digest) if size <= _LARGEST_MANIFEST else None
        if manifest is not None:
            self._named.update(child.digest for child in manifest.children)
            if not await self._metadata.read(lambda tx: tx.value(_SOMEWHERE, digest=digest)):
                self._manifests.append(digest)
        if await self._metadata.read(lambda tx: tx.value(_KNOWN, digest=digest)):
            return
        damage = None if manifest is not None else await self._sound.damage(digest)
        if damage is not None:
            self.report.problems.append(Problem(damage.kind, "", digest, damage.detail))
            return
        self._unknown.append((digest, size))
        self.report.blobs += 1
        self.report.bytes += size

    async def blobs(self) -> None:
        """Give every sound blob its row."""
        for digest, size in self._unknown:
            await self._metadata.write(lambda tx, d=digest, s=size: Blobs(tx).found({d: s}), durable=False)  # type: ignore[misc]
        # the last one is durable, and all before it with it
        await self._metadata.write(lambda tx: Repositories(tx).find(REPOSITORY))

    async def _manifest(self, digest: Digest) -> Manifest | None:
        raw = await self._sound.content(digest, _LARGEST_MANIFEST)
        if raw is None or raw[:1] not in (b"{", b" ", b"\n", b"\t", b"\r"):
            return None
        try:
            return parse(raw, "", digest.algorithm)
        except ManifestInvalid:
            return None

    async def manifests(self) -> None:
        """Put the manifests that no repository has into one."""
        progress = Progress("manifests", len(self._manifests))
        for digest in self._manifests:
            manifest = await self._manifest(digest)
            if manifest is not None:
                await self._metadata.write(lambda tx, m=manifest: self._record(tx, m), durable=False)  # type: ignore[misc]
            progress.done += 1
            self._watch(progress)

    async def _record(self, tx: Transaction, manifest: Manifest) -> None:
        own = await Repositories(tx).ensure(REPOSITORY)
        blob = (await Blobs(tx).found({manifest.digest: manifest.size}))[manifest.digest]
        needed = [descriptor for descriptor in manifest.blobs() if not descriptor.urls]
        named = [await Blobs(tx).reserve(Digest(each.digest), each.size) for each in needed]
        await Blobs(tx).show(own, named)
        row = await Manifests(tx).found(own, blob, manifest, named, tx.now)
        self.report.manifests += 1
        if manifest.digest not in self._named and manifest.subject is None:
            await Tags(tx).found(own, manifest.digest.hex[:_TAG_DIGITS], row, tx.now)
            self.report.tags += 1
