"""Collection: what nothing refers to goes away, while pushes and pulls go on.

**What lives.** A tag keeps its manifest. A manifest keeps the manifests and blobs it names, and those that name it as
their subject. What was touched within the period of grace lives as if it were tagged. Everything else may go: also
manifests that only keep each other.

**How it goes.** Manifests go in the transaction that finds them dead. A blob is first *condemned*: a mark, nothing
more. Whoever asks for it, pushes it or mounts it takes the mark off. Only after a wait, in which a client that was told
"I have it" has time to push the manifest that needs it, is it *swept*: made absent under the lock that every
writer takes, its bytes deleted, its row deleted. A crash between any two of these leaves a row that says absent, and
the next run goes on from there; nothing that is present ever lacks its bytes. While a backup holds
the bytes (:mod:`~lading.registry.holds`) nothing is swept.

**Beside writers.** Whoever refers to something locks it for sharing first (``transaction.py``). The collector locks what
it is about to take away for itself alone, and looks only then, in a statement that begins after, whether it may: a
repository while it finds the dead manifests in it, a blob while it hides or deletes it. A blob or an empty repository
that somebody has locked is in use, so it does not wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import BigInteger, and_, bindparam, cast, delete, exists, func, or_, select, text

from lading.jobs.kinds import Task
from lading.oci.digest import Digest
from lading.registry.admission import Admission, ManifestCollected
from lading.registry.collection import Gone, Report, Terms
from lading.registry.holds import held
from lading.stores.blobs.base import BlobStore
from lading.stores.metadata.schema.content import (
    blobs,
    manifest_blobs,
    manifest_children,
    manifests,
    repositories,
    repository_blobs,
    tags,
)
from lading.stores.metadata.transaction import Metadata, Row, Statement, Transaction

log = logging.getLogger(__name__)

_PAGE = 500
_SWEEP_AT_ONCE = 50
_ALONE = 1
_BESIDE_WRITERS = 9
_LONGEST_PAUSE = 1.0


Watch = Callable[[Report], None]


def _unwatched(report: Report) -> None:
    """Nobody wants to know how far it is."""


class Counting(Protocol):
    """Keeps count of collections."""

    def collected(self, manifests: int, blobs: int, size: int) -> None:
        """One ended: what it deleted, and the bytes of the blobs."""
        ...

    def collection_failed(self) -> None:
        """One broke off."""
        ...


_REPOSITORIES = Statement(
    select(repositories.c.id, repositories.c.name)
    .where(
        repositories.c.id > bindparam("after"),
        exists().where(
            manifests.c.repository_id == repositories.c.id,
            manifests.c.touched_at <= bindparam("cutoff"),
            ~exists().where(tags.c.manifest_id == manifests.c.id),
        ),
    )
    .order_by(repositories.c.id)
    .limit(bindparam("limit"))
)
_MANIFESTS = Statement(
    select(manifests.c.id, manifests.c.digest, manifests.c.subject, manifests.c.touched_at, manifests.c.size).where(
        manifests.c.repository_id == bindparam("repository")
    )
)
_TAGGED = Statement(select(tags.c.manifest_id).where(tags.c.repository_id == bindparam("repository")))
_CHILDREN = Statement(
    select(manifest_children.c.manifest_id, manifest_children.c.digest)
    .join(manifests, manifests.c.id == manifest_children.c.manifest_id)
    .where(manifests.c.repository_id == bindparam("repository"))
)
_LOCK_REPOSITORY = Statement(
    select(repositories.c.id).where(repositories.c.id == bindparam("repository")).with_for_update()
)
_DELETE_MANIFEST = Statement(delete(manifests).where(manifests.c.id == bindparam("manifest")))

_unreferenced = and_(
    ~exists().where(manifest_blobs.c.blob_id == blobs.c.id), ~exists().where(manifests.c.blob_id == blobs.c.id)
)
_UNREFERENCED = Statement(
    select(blobs.c.id, blobs.c.digest, blobs.c.size, blobs.c.touched_at)
    .where(
        blobs.c.id > bindparam("after"),
        blobs.c.touched_at <= bindparam("cutoff"),
        blobs.c.condemned_at.is_(None),
        _unreferenced,
    )
    .order_by(blobs.c.id)
    .limit(bindparam("limit"))
)
_CONDEMN = Statement(
    text(
        "UPDATE blobs SET condemned_at = :now WHERE id = :blob AND condemned_at IS NULL AND touched_at <= :cutoff"
        " AND NOT EXISTS (SELECT 1 FROM manifest_blobs m WHERE m.blob_id = blobs.id)"
        " AND NOT EXISTS (SELECT 1 FROM manifests m WHERE m.blob_id = blobs.id)"
    )
)
_CONDEMNED = Statement(
    select(blobs.c.id, blobs.c.digest, blobs.c.size, blobs.c.condemned_at)
    .where(blobs.c.condemned_at <= bindparam("cutoff"), blobs.c.id > bindparam("after"))
    .order_by(blobs.c.id)
    .limit(bindparam("limit"))
)
_LOCK_BLOB = Statement(
    select(blobs.c.id)
    .where(blobs.c.id == bindparam("blob"), blobs.c.condemned_at.is_not(None))
    .with_for_update(skip_locked=True)
)
_IS_DOOMED = Statement(
    select(blobs.c.id).where(blobs.c.id == bindparam("blob"), blobs.c.condemned_at.is_not(None), _unreferenced)
)
_MAKE_ABSENT = Statement(text("UPDATE blobs SET present = :absent WHERE id = :blob"))
_REPRIEVE = Statement(text("UPDATE blobs SET condemned_at = NULL WHERE id = :blob"))
_HIDE = Statement(delete(repository_blobs).where(repository_blobs.c.blob_id == bindparam("blob")))
_DELETE_BLOB = Statement(delete(blobs).where(blobs.c.id == bindparam("blob")))
_IS_ABSENT = Statement(
    select(blobs.c.id).where(
        blobs.c.id == bindparam("blob"),
        blobs.c.condemned_at.is_not(None),
        blobs.c.present.is_(False),
        # a manifest that need not have its blobs may have come to name the row meanwhile
        _unreferenced,
    )
)
_BLOBS_OF = Statement(
    select(blobs.c.id, blobs.c.digest, blobs.c.size, blobs.c.touched_at).where(
        or_(
            exists().where(
                manifest_blobs.c.blob_id == blobs.c.id, manifest_blobs.c.manifest_id == bindparam("manifest")
            ),
            exists().where(manifests.c.blob_id == blobs.c.id, manifests.c.id == bindparam("manifest")),
        )
    )
)
_USERS_OF = Statement(
    text(
        "SELECT manifest_id FROM manifest_blobs WHERE blob_id = :blob"
        " UNION SELECT id FROM manifests WHERE blob_id = :blob"
    )
)
_empty = and_(
    repositories.c.description == "",
    repositories.c.stars == 0,
    repositories.c.official.is_(False),
    ~exists().where(manifests.c.repository_id == repositories.c.id),
    ~exists().where(repository_blobs.c.repository_id == repositories.c.id),
)
_EMPTY = Statement(
    select(repositories.c.id)
    .where(repositories.c.created_at <= bindparam("cutoff"), repositories.c.id > bindparam("after"), _empty)
    .order_by(repositories.c.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_DELETE_EMPTY = Statement(delete(repositories).where(repositories.c.id == bindparam("repository"), _empty))
_NEWEST = Statement(
    select(select(func.max(blobs.c.id)).scalar_subquery(), select(func.max(manifests.c.id)).scalar_subquery())
)
"""What a push changes."""
_STORED = Statement(
    select(func.count(), cast(func.coalesce(func.sum(blobs.c.size), 0), BigInteger))
    .select_from(blobs)
    .where(blobs.c.present)
)


class Collect:
    """Takes away what nothing refers to."""

    def __init__(
        self,
        metadata: Metadata,
        store: BlobStore,
        counting: Counting | None = None,
        admission: Admission | None = None,
    ) -> None:
        self._metadata = metadata
        self._store = store
        self._counting = counting
        self._admission = admission or Admission()
        self._turns = _Turns(metadata)

    async def work(self, terms: Terms, task: Task) -> Mapping[str, int]:
        """The job: collect once. What a run before it left behind it goes on with."""
        try:
            report = await self.run(terms, lambda report: task.progress(report.steps, message=str(report)))
        except Exception:
            if self._counting is not None:
                self._counting.collection_failed()
            raise
        for failure in report.failed:
            task.log(f"could not be deleted: {failure}")
        if self._counting is not None:
            self._counting.collected(report.manifests, report.blobs, report.bytes)
        return report.counts()

    async def run(self, terms: Terms, watch: Watch = _unwatched) -> Report:
        """Collect once; ``watch`` is shown how far it is."""
        report = Report()
        if terms.untagged is not None:
            await self._collect_manifests(terms.untagged, report, watch)
        await self._condemn(terms.grace, report, watch)
        await self._sweep(terms.wait, report, watch)
        await self._forget_repositories(terms.grace, report)
        watch(report)
        log.info("collection: %s", report)
        return report

    async def preview(self, terms: Terms) -> Report:
        """What would go now or, once their wait is over, later; and why. Changes nothing."""
        report = Report()
        dead: set[int] = set()
        if terms.untagged is not None:
            cutoff = self._metadata.now() - terms.untagged
            async for page in self._pages(_REPOSITORIES, _PAGE, cutoff):
                for repository, name in page:
                    found = await self._metadata.scan(lambda tx, r=repository: _dead(tx, r, cutoff))  # type: ignore[misc]
                    dead.update(manifest.id for manifest in found)
                    report.manifests += len(found)
                    report.gone += [_gone(name, manifest, self._metadata.now()) for manifest in found]
        for gone in await self._metadata.scan(lambda tx: _doomed_blobs(tx, dead, tx.now - terms.grace)):
            report.gone.append(gone)
            report.blobs += 1
            report.bytes += gone.size
        return report

    async def stored(self) -> tuple[int, int]:
        """How many blobs are stored, and how many bytes."""
        row = await self._metadata.scan(lambda tx: tx.row(_STORED))
        return (row[0], row[1]) if row else (0, 0)

    # ---- manifests

    async def _collect_manifests(self, untagged: int, report: Report, watch: Watch = _unwatched) -> None:
        cutoff = self._metadata.now() - untagged
        async for page in self._pages(_REPOSITORIES, _PAGE, cutoff):
            for repository, name in page:
                while True:
                    async with self._turns.step():
                        gone = await self._metadata.write(lambda tx, r=repository: self._delete_dead(tx, r, cutoff))  # type: ignore[misc]
                    report.manifests += len(gone)
                    report.gone += [_gone(name, manifest, self._metadata.now()) for manifest in gone]
                    watch(report)
                    if len(gone) < _PAGE:
                        break

    async def _delete_dead(self, tx: Transaction, repository: int, cutoff: int) -> list[_Manifest]:
        await tx.row(_LOCK_REPOSITORY, repository=repository)
        dead = (await _dead(tx, repository, cutoff))[:_PAGE]
        for manifest in dead:
            await self._admission.ask(tx, ManifestCollected(repository, manifest.id))
            await tx.execute(_DELETE_MANIFEST, manifest=manifest.id)
        return dead

    # ---- blobs

    async def _condemn(self, grace: int, report: Report, watch: Watch = _unwatched) -> None:
        cutoff = self._metadata.now() - grace
        async for page in self._pages(_UNREFERENCED, _PAGE, cutoff):
            async with self._turns.step():
                report.condemned += await self._metadata.write(lambda tx, p=page: _mark(tx, p, cutoff))  # type: ignore[misc]
            watch(report)

    async def _sweep(self, wait: int, report: Report, watch: Watch = _unwatched) -> None:
        report.held = await self._metadata.read(held)
        if report.held:
            log.info("collection: nothing is swept while a backup is made")
            return
        async for page in self._pages(_CONDEMNED, _SWEEP_AT_ONCE, self._metadata.now() - wait):
            async with self._turns.step():
                doomed = await self._metadata.write(lambda tx, p=page: _hide(tx, p))  # type: ignore[misc]
                freed: dict[str, int] = {}
                report.add(await self._metadata.write(lambda tx, d=doomed, f=freed: self._delete(tx, d, f)))  # type: ignore[misc]
            watch(report)

    async def _forget_repositories(self, grace: int, report: Report) -> None:
        """Forget repositories that hold nothing, and that nobody described."""

        async def forget(tx: Transaction) -> tuple[int, int]:
            rows = await tx.rows(_EMPTY, cutoff=cutoff, after=after, limit=_PAGE)
            gone = [await tx.execute(_DELETE_EMPTY, repository=row[0]) for row in rows]
            return (rows[-1][0] if len(rows) == _PAGE else 0), sum(gone)

        cutoff, after = self._metadata.now() - grace, -1
        while after:
            after, gone = await self._metadata.write(forget)
            report.repositories += gone

    async def _pages(self, statement: Statement, size: int, cutoff: int) -> AsyncIterator[Sequence[Row]]:
        """Rows page by page; their first column is the id that the next page begins behind."""
        after = 0
        while True:
            page = await self._metadata.scan(
                lambda tx, a=after: tx.rows(statement, after=a, cutoff=cutoff, limit=size)  # type: ignore[misc]
            )
            if page:
                yield page
            if len(page) < size:
                return
            after = page[-1][0]

    async def _delete(self, tx: Transaction, doomed: Sequence[Row], freed: dict[str, int]) -> Report:
        """``freed`` outlives an attempt: what the first one deleted, the next one finds gone."""
        # the bytes go under the lock that every writer takes before it relies on them; whoever touched the row
        # meanwhile took the mark off, and is left alone
        part = Report(held=await held(tx))
        if part.held:
            return part
        absent = [row for row in doomed if await _is_absent(tx, row[0])]
        done = await tx.beside(self._store.delete([Digest(row[1]) for row in absent]))
        for blob, digest, size, condemned_at in absent:
            if digest in done.failed:
                part.failed.append(f"{digest}: {done.failed[digest]}")
                log.warning("blob %s could not be deleted: %s", digest, done.failed[digest])
                continue
            await tx.execute(_DELETE_BLOB, blob=blob)
            found = done.freed.get(digest)
            freed[digest] = max(freed.get(digest, 0), size if found is None else found)
            part.blobs += 1
            part.bytes += freed[digest]
            part.gone.append(Gone("blob", "", digest, size, f"unreferenced; condemned {_ago(condemned_at, tx.now)}"))
        return part


class _Turns:
    """Steps with pauses between them, in which those who push have their turn: they wait for this, as for each other.

    Their turn is nine tenths of the time while somebody pushes, on this replica or any other, and half of it else.
    """

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._newest: Row | None = None

    @asynccontextmanager
    async def step(self) -> AsyncGenerator[None]:
        """Do one."""
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        newest = await self._metadata.read(lambda tx: tx.row(_NEWEST))
        share = _ALONE if newest == self._newest else _BESIDE_WRITERS
        self._newest = newest
        await asyncio.sleep(min(share * took, _LONGEST_PAUSE))


async def _is_absent(tx: Transaction, blob: int) -> bool:
    return await tx.value(_LOCK_BLOB, blob=blob) is not None and await tx.value(_IS_ABSENT, blob=blob) is not None


@dataclass(frozen=True)
class _Manifest:
    id: int
    digest: str
    touched_at: int
    size: int


def _gone(repository: str, manifest: _Manifest, now: int) -> Gone:
    reason = f"untagged and unreferenced since {_ago(manifest.touched_at, now)}"
    return Gone("manifest", repository, manifest.digest, manifest.size, reason)


async def _dead(tx: Transaction, repository: int, cutoff: int) -> list[_Manifest]:
    """The manifests of a repository that nothing living refers to."""
    rows = await tx.rows(_MANIFESTS, repository=repository)
    by_digest = {row[1]: row[0] for row in rows}
    keeps: defaultdict[int, list[int]] = defaultdict(list)
    for parent, digest in await tx.rows(_CHILDREN, repository=repository):
        if digest in by_digest:
            keeps[parent].append(by_digest[digest])
    for manifest, _, subject, _, _ in rows:
        if subject in by_digest:
            keeps[by_digest[subject]].append(manifest)
    roots = [row[0] for row in await tx.rows(_TAGGED, repository=repository)]
    living = _reachable([*roots, *(row[0] for row in rows if row[3] > cutoff)], keeps)
    return [_Manifest(row[0], row[1], row[3], row[4]) for row in rows if row[0] not in living]


def _reachable(roots: Iterable[int], keeps: dict[int, list[int]]) -> set[int]:
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        manifest = waiting.pop()
        if manifest not in found:
            found.add(manifest)
            waiting.extend(keeps.get(manifest, ()))
    return found


async def _mark(tx: Transaction, page: Sequence[Row], cutoff: int) -> int:
    marked = 0
    for row in page:
        marked += await tx.execute(_CONDEMN, blob=row[0], cutoff=cutoff, now=tx.now)
    return marked


async def _hide(tx: Transaction, page: Sequence[Row]) -> list[Row]:
    """Make condemned blobs absent and invisible; those that somebody came to refer to are let off."""
    doomed: list[Row] = []
    if await held(tx):
        return doomed
    for row in page:
        if await tx.value(_LOCK_BLOB, blob=row[0]) is None:
            continue  # the mark was taken off, or somebody is about to
        if await tx.value(_IS_DOOMED, blob=row[0]) is None:
            await tx.execute(_REPRIEVE, blob=row[0])
            continue
        await tx.execute(_HIDE, blob=row[0])
        await tx.execute(_MAKE_ABSENT, blob=row[0], absent=False)
        doomed.append(row)
    return doomed


async def _doomed_blobs(tx: Transaction, dead: set[int], cutoff: int) -> list[Gone]:
    found: dict[int, Gone] = {}
    for blob, digest, size, condemned_at in await _all(tx, _CONDEMNED, tx.now):
        if await tx.value(_IS_DOOMED, blob=blob) is None:
            continue  # something came to need it; the sweep takes the mark off
        found[blob] = Gone("blob", "", digest, size, f"unreferenced; condemned {_ago(condemned_at, tx.now)}")
    for blob, digest, size, touched_at in await _all(tx, _UNREFERENCED, cutoff):
        found[blob] = Gone("blob", "", digest, size, f"unreferenced since {_ago(touched_at, tx.now)}")
    for manifest in dead:
        for blob, digest, size, touched_at in await tx.rows(_BLOBS_OF, manifest=manifest):
            users = {row[0] for row in await tx.rows(_USERS_OF, blob=blob)}
            if touched_at <= cutoff and users <= dead:
                found[blob] = Gone("blob", "", digest, size, "only manifests that go refer to it")
    return list(found.values())


async def _all(tx: Transaction, statement: Statement, cutoff: int) -> list[Row]:
    found: list[Row] = []
    after = 0
    while page := await tx.rows(statement, after=after, cutoff=cutoff, limit=_PAGE):
        found += page
        after = page[-1][0]
    return found


def _ago(moment: int, now: int) -> str:
    minutes = max(0, now - moment) // 60_000
    if minutes < 120:
        return f"{minutes} minutes ago"
    return f"{minutes // 60} hours ago" if minutes < 2880 else f"{minutes // 1440} days ago"
