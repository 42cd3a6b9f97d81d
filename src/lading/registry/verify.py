"""Verify: check index and store against each other, in both directions, and every digest; mend what can be mended.

It runs beside a server. Nothing is told that is only half done by somebody else: whatever looks wrong is looked at once
more, and mended under the lock that all writers take. What is found has a *weight*:

- ``broken``: something cannot be served as it was pushed.
- ``incomplete``: an image lacks what it may lack by the settings (a platform of an index, a blob deleted by its name).
- ``garbage``: bytes that nothing refers to. They cost room and nothing else.

**What mends what.** The bytes of a manifest are kept twice, in the store and in the index: each mends the other. Rows are
written anew from the manifests they came from. A blob whose bytes are gone or damaged becomes absent: clients see that
it is not there, and the next push of an image that has it mends it, everywhere. Bytes without a row get one, so that the
collector takes them after its period of grace; those that a link of registry:2 names are left alone, since they were
never taken over. Nothing else can be known from what is left, and is said to be lost.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import bindparam, func, select

from lading.errors import Unavailable
from lading.oci.digest import Digest
from lading.registry.adopt import Progress, Watch
from lading.registry.blobs import Blobs
from lading.registry.records import Record, Records
from lading.registry.soundness import PRESENT, Damage, Pace, Soundness, lose, still
from lading.registry.volume import Problem
from lading.stores.blobs.base import BlobStore
from lading.stores.blobs.layout import Layout
from lading.stores.blobs.links import Tree
from lading.stores.blobs.remote import RemoteStore
from lading.stores.blobs.remotelinks import RemoteTree
from lading.stores.blobs.strays import Stray, strays
from lading.stores.metadata.schema.content import blobs, contents, manifests
from lading.stores.metadata.transaction import Metadata, Row, Statement, Transaction

_THREADS = 4
_PAGE = 100
_MANIFESTS = 200
_WALK = 500
_LARGEST_MANIFEST = 64 << 20

_ROW = Statement(select(blobs.c.id, blobs.c.present).where(blobs.c.digest == bindparam("digest")))
_BYTES = Statement(
    select(contents.c.bytes).join(blobs, blobs.c.id == contents.c.blob_id).where(blobs.c.digest == bindparam("digest"))
)
_TOTAL = Statement(
    select(func.count(), func.coalesce(func.sum(blobs.c.size), 0)).select_from(blobs).where(blobs.c.present)
)
_MANIFEST_COUNT = Statement(select(func.count()).select_from(manifests))
_ABSENT = Statement(
    select(blobs.c.size, blobs.c.touched_at).where(blobs.c.digest == bindparam("digest"), ~blobs.c.present)
)


class Finding(Problem, frozen=True):
    """Something that is not as it should be; ``mended`` says what was done about it, empty: nothing.

    ``kind``: ``index-damaged``; of a blob ``no-data``, ``unreadable``, ``unavailable``, ``damaged``, ``wrong-size``; of a manifest
    ``not-a-manifest``, ``contents-missing``, ``contents-differ``, ``row-differs``, ``references-missing``, ``missing-layer``,
    ``missing-child``, ``hidden-layer``; of the store ``orphan``, ``not-adopted``, ``left-over``, ``foreign-file``.
    """

    weight: str = "broken"
    mended: str = ""


@dataclass
class Report:
    """What was looked at, and what was found. ``whole`` unless the index was too damaged to go on."""

    manifests: int = 0
    blobs: int = 0
    bytes: int = 0
    files: int = 0
    findings: list[Finding] = field(default_factory=list)
    whole: bool = True

    @property
    def sound(self) -> bool:
        """Whether nothing is broken that was not mended."""
        return not any(finding.weight == "broken" and not finding.mended for finding in self.findings)

    def weights(self) -> Counter[str]:
        """How many findings of each weight were not mended, and under ``mended`` how many were."""
        return Counter("mended" if finding.mended else finding.weight for finding in self.findings)


@dataclass(frozen=True)
class Terms:
    """How to verify: ``quick`` reads no blob; ``rate`` in bytes a second.

    In milliseconds: ``grace`` is how old left-overs must be to be deleted, ``patience`` how long a push may be on its
    way to bring what is absent.
    """

    quick: bool = False
    repair: bool = False
    rate: int | None = None
    grace: int = 24 * 3_600_000
    patience: int = 60_000


class Verify:
    """Checks one index and one store; ``integrity`` asks the database what it finds wrong with itself.

    ``layout`` is that of a store in files, where more may lie than blobs.
    """

    def __init__(
        self,
        metadata: Metadata,
        store: BlobStore,
        layout: Layout | None,
        integrity: Callable[[], list[str]] = list,
    ) -> None:
        self._metadata = metadata
        self._store = store
        self._layout = layout
        self._integrity = integrity

    async def run(self, terms: Terms, watch: Watch = lambda progress: None) -> Report:
        """Verify once."""
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="verify") as threads:
            sound = Soundness(self._store, threads, Pace(terms.rate), quick=terms.quick)
            run = _Run(self._metadata, self._store, self._layout, terms, sound, watch)
            for said in await sound.in_thread(self._integrity):
                advice = "restore a backup, or move the index away and run lading verify --rebuild"
                run.tell("index-damaged", "index", f"{said}; {advice}")
            if run.report.findings:
                run.report.whole = False
                return run.report
            await run.manifests()
            await run.blobs()
            await run.files()
            await run.strays()
            return run.report


class _Run:
    def __init__(
        self, metadata: Metadata, store: BlobStore, layout: Layout | None, terms: Terms, sound: Soundness, watch: Watch
    ) -> None:
        self._metadata = metadata
        self._store = store
        self._layout = layout
        self._terms = terms
        self._sound = sound
        self._watch = watch
        self._absent: dict[str, str] = {}
        self._linked: frozenset[str] | None = None
        self.report = Report()

    def tell(self, kind: str, what: str, detail: str, **more: Any) -> None:
        self.report.findings.append(Finding(kind, more.pop("repository", ""), str(what), detail, **more))

    def _progress(self, phase: str, total: int) -> Progress:
        progress = Progress(phase, total)
        self._watch(progress)
        return progress

    # ---- manifests: rows against the bytes they came from

    async def manifests(self) -> None:
        total = await self._metadata.scan(lambda tx: tx.value(_MANIFEST_COUNT))
        progress = self._progress("manifests", total)
        after = 0
        while page := await self._metadata.scan(lambda tx, a=after: Records(tx).page(a, _MANIFESTS)):  # type: ignore[misc]
            for record in page:
                if record.faults:
                    await self._manifest(record)
            self.report.manifests += len(page)
            progress.done += len(page)
            self._watch(progress)
            after = page[-1].id

    async def _manifest(self, record: Record) -> None:
        mended: dict[str, str] = {}
        if self._terms.repair and any(fault.mendable for fault in record.faults):
            raw = record.raw if record.raw is not None else await self._sound.content(record.digest, _LARGEST_MANIFEST)
            if raw is not None:
                mended = await self._metadata.write(lambda tx: Records(tx).mend(record.id, raw))
        for fault in record.faults:
            done = mended.get(fault.kind, "")
            if fault.kind == "missing-layer":
                done = await self._absent_layer(fault.what)
                if done == "young":
                    continue
            self.tell(
                fault.kind,
                record.digest,
                fault.detail,
                repository=record.repository,
                weight=fault.weight,
                mended=done,
            )

    async def _absent_layer(self, digest: str) -> str:
        """What was done about a blob that manifests name and that counts as absent."""
        if digest in self._absent:
            return self._absent[digest]
        done = ""
        row = await self._metadata.read(lambda tx: tx.row(_ABSENT, digest=digest))
        if row is None or row[1] > self._metadata.now() - self._terms.patience:
            done = "young"  # a push is bringing it, or has just brought it
        elif self._terms.repair and not self._terms.quick and await self._sound.damage(Digest(digest), row[0]) is None:
            done = await self._make_present(Digest(digest))
        self._absent[digest] = done
        return done

    async def _make_present(self, digest: Digest) -> str:
        size = await self._size(digest)
        if size is None:
            return ""
        await self._metadata.write(lambda tx: Blobs(tx).found({digest: size}))
        if await self._size(digest) is None:  # the collector keeps away only from now on
            await self._metadata.write(lambda tx: Blobs(tx).lost(digest))
            return ""
        return "its bytes are there and sound: made present"

    # ---- blobs: rows against bytes

    async def blobs(self) -> None:
        total = await self._metadata.scan(lambda tx: tx.row(_TOTAL)) or (0, 0)
        progress = self._progress("blobs" if self._terms.quick else "verify", int(total[0 if self._terms.quick else 1]))
        after = 0
        while page := await self._metadata.scan(lambda tx, a=after: tx.rows(PRESENT, after=a, limit=_PAGE)):  # type: ignore[misc]
            damages = await asyncio.gather(*(self._sound.damage(Digest(row[1]), row[2]) for row in page))
            for row, damage in zip(page, damages, strict=True):
                self.report.blobs += 1
                self.report.bytes += row[2]
                progress.done += 1 if self._terms.quick else row[2]
                if damage is not None and await still(self._metadata, row):
                    await self._damaged(row, damage)
            self._watch(progress)
            after = page[-1][0]

    async def _damaged(self, row: Row, damage: Damage) -> None:
        digest, mended = Digest(row[1]), ""
        if damage.kind == "wrong-size":
            if self._terms.repair:
                mended = await self._make_present(digest)
            self.tell(damage.kind, digest, damage.detail, mended=mended)
            return
        if self._terms.repair and damage.lasting:
            try:
                mended = await self._write_again(digest)
            except (OSError, Unavailable) as error:  # a full disk, or something in its place that is no file
                why = (error.strerror if isinstance(error, OSError) else "") or str(error)
                self.tell(damage.kind, digest, f"{damage.detail}. It could not be written again: {why}")
                return
            if not mended and not await lose(self._metadata, row):
                return  # somebody brought it meanwhile
        detail = (
            damage.detail
            if mended or not (self._terms.repair and damage.lasting)
            else f"{damage.detail}. It counts as absent now"
        )
        self.tell(damage.kind, digest, detail, mended=mended)

    async def _write_again(self, digest: Digest) -> str:
        """Write the bytes of a manifest that the index has."""
        raw = await self._metadata.scan(lambda tx: tx.value(_BYTES, digest=digest))
        if raw is None or Digest.of(raw, digest.algorithm) != digest:
            return ""
        if not await self._metadata.write(lambda tx: Blobs(tx).rescue(digest)):
            return ""
        await self._store.put(digest, raw)
        return "written again from the index"

    # ---- the store: bytes against rows

    async def files(self) -> None:
        progress = self._progress("store", self.report.blobs)
        async for batch in _batches(self._store.walk(), _WALK):
            unknown = await self._metadata.scan(lambda tx, b=batch: _without_row(tx, b))  # type: ignore[misc]
            for digest, size in unknown:
                await self._orphan(digest, size)
            self.report.files += len(batch)
            progress.done += len(batch)
            self._watch(progress)

    async def _orphan(self, digest: Digest, size: int) -> None:
        if await self._size(digest) is None:
            return  # collected since
        if digest in await self._links():
            detail = "a link of registry:2 names it, and it was not taken over; it is left alone"
            self.tell("not-adopted", digest, detail, weight="garbage")
            return
        mended = ""
        if self._terms.repair:
            await self._metadata.write(lambda tx: _hand_over(tx, digest, size))
            mended = "handed to the collector"
        self.tell("orphan", digest, f"{size} bytes that the index does not know", weight="garbage", mended=mended)

    async def _links(self) -> frozenset[str]:
        if self._linked is None:
            tree: Tree | RemoteTree | None = None
            if isinstance(self._store, RemoteStore):
                tree = await RemoteTree.load(self._store)
            elif self._layout is not None and self._layout.repositories.is_dir():
                tree = Tree(self._layout)
            found = tree
            self._linked = frozenset() if found is None else await self._sound.in_thread(lambda: _linked(found))
        return self._linked

    async def strays(self) -> None:
        layout = self._layout
        if layout is None:
            return
        for stray in await self._sound.in_thread(lambda: list(strays(layout))):
            self._stray(stray)

    def _stray(self, stray: Stray) -> None:
        if not stray.own:
            self.tell("foreign-file", stray.path.name, f"{stray.path} is none of ours", weight="garbage")
        elif stray.modified_at < self._metadata.now() - self._terms.grace:
            mended = ""
            if self._terms.repair:
                stray.path.unlink(missing_ok=True)
                mended = "deleted"
            self.tell(
                "left-over",
                stray.path.name,
                f"a write that was broken off: {stray.path}",
                weight="garbage",
                mended=mended,
            )

    async def _size(self, digest: Digest) -> int | None:
        """The size of a blob that lies in the store, or None."""
        file = await self._store.open(digest)
        if file is None:
            return None
        file.close()
        return file.size


async def _batches(walk: AsyncIterator[tuple[Digest, int]], size: int) -> AsyncIterator[list[tuple[Digest, int]]]:
    batch: list[tuple[Digest, int]] = []
    async for each in walk:
        batch.append(each)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


async def _without_row(tx: Transaction, batch: list[tuple[Digest, int]]) -> list[tuple[Digest, int]]:
    return [(digest, size) for digest, size in batch if await tx.row(_ROW, digest=digest) is None]


async def _hand_over(tx: Transaction, digest: Digest, size: int) -> None:
    if await tx.row(_ROW, digest=digest) is None:
        await Blobs(tx).touch(digest, size)


def _linked(tree: Tree | RemoteTree) -> frozenset[str]:
    """Every digest that a link names."""
    found: set[str] = set()
    for repository in tree.repositories():
        for link in (*tree.revisions(repository), *tree.layers(repository)):
            found |= {link.name, link.target}
    return frozenset(found)


def document(report: Report, root: str, terms: Terms) -> bytes:
    """A report as JSON: what was asked, what was looked at, what was found."""
    return msgspec.json.encode(
        {
            "root": root,
            "quick": terms.quick,
            "repair": terms.repair,
            "sound": report.sound,
            "whole": report.whole,
            "manifests": report.manifests,
            "blobs": report.blobs,
            "bytes": report.bytes,
            "files": report.files,
            "found": dict(report.weights()),
            "findings": report.findings,
        }
    )
