"""Adopt: take over the volume of a registry:2 in place.

The bytes stay where they are and the tree of link files is only read (one exception: a blob that was pushed by sha512
gets that name beside the one it lies under). What the links say goes into the index:

- A manifest is taken over when its bytes are there, have its digest and can be read. Docker's schema 1 is not served
  here: such manifests are reported and left alone on disk, with the blobs that only they name.
- A blob is visible in a repository by its layer link, or because a manifest of the repository names it: registry:2
  checks that at every push, so a link that is missing got lost. It does not check layers that may lie elsewhere
  (foreign ones, and those with URLs): they need their link.
- A tag is what its ``current`` link says. A tag whose manifest has no link was deleted, and stays so.
- Everything counts as touched now, so that the collector's period of grace begins with the adoption. Nobody is
  notified.

**Going on.** Repositories are taken in order, each with the note of how far this came in its own transaction, so that
an adoption that was killed goes on behind the last repository it finished.

**Again.** Adopting once more brings what registry:2 wrote meanwhile: links written after the last adoption or export
began. A tag that both have moved goes where it was moved last. What Lading deleted since does not come back, and
nothing is ever taken out of the index.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
from msgspec.structs import replace
from sqlalchemy import BigInteger, cast, exists, func, select

from lading.errors import StoreError
from lading.oci.digest import Digest
from lading.registry.blobs import Blobs
from lading.registry.manifests import Manifests
from lading.registry.repositories import Repositories
from lading.registry.soundness import PRESENT, Pace, Soundness, lose
from lading.registry.tags import Tags
from lading.registry.volume import Part, Problem, Reader, alone, check
from lading.stores.blobs.filesystem import FilesystemStore
from lading.stores.blobs.layout import Layout
from lading.stores.blobs.links import Links, Tree
from lading.stores.blobs.remote import RemoteStore
from lading.stores.blobs.remotelinks import RemoteTree
from lading.stores.metadata import facts
from lading.stores.metadata.schema.content import blobs, repositories
from lading.stores.metadata.transaction import Metadata, Statement, Transaction

T = TypeVar("T")

_READERS = 4
_AHEAD = 64
_MANIFESTS_AT_ONCE = 500
_BLOBS_AT_ONCE = 4000
_PAGE = 100

_FACT = "adopted"
_BROKEN = "adopted-broken:"

_ANY = Statement(select(exists().select_from(repositories)))
_STORED = Statement(
    select(func.count(), cast(func.coalesce(func.sum(blobs.c.size), 0), BigInteger))
    .select_from(blobs)
    .where(blobs.c.present)
)


class Counts(msgspec.Struct):
    """What was taken over.

    ``blobs`` counts one once for each repository it is visible in; ``mended`` those whose layer link was lost.
    """

    repositories: int = 0
    manifests: int = 0
    tags: int = 0
    blobs: int = 0
    mended: int = 0

    def add(self, other: Counts) -> None:
        """Add the other's numbers."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass
class Report:
    """What an adoption did; when it went on with an interrupted one (``resumed``), what that did as well.

    ``again`` when the volume had been adopted before. ``stored`` and ``bytes`` are the blobs the index has now,
    ``verified`` those whose bytes were read.
    """

    counts: Counts = field(default_factory=Counts)
    problems: list[Problem] = field(default_factory=list)
    resumed: bool = False
    again: bool = False
    stored: int = 0
    bytes: int = 0
    verified: int = 0


@dataclass
class Progress:
    """How far a run is: ``done`` of ``total``, in the unit of the phase; ``counts`` is what was taken over so far."""

    phase: str
    total: int
    done: int = 0
    counts: Counts | None = None


Watch = Callable[[Progress], None]


class _Run(msgspec.Struct):
    """How far an adoption came: links written after ``since`` count; ``done`` is the last repository it finished."""

    started: int
    since: int
    done: str = ""
    lists: int = 0
    counts: Counts = msgspec.field(default_factory=Counts)


class _Fact(msgspec.Struct):
    """What the index remembers: since when it knows all of the tree (0: never), and the run that is under way."""

    synced: int = 0
    run: _Run | None = None


async def needs_adoption(metadata: Metadata, linked: Callable[[], Awaitable[bool]]) -> bool:
    """Whether there is a tree (``linked``) that the index knows nothing of, or an adoption was begun and not finished."""
    fact = await _remembered(metadata)
    if fact.run is not None:
        return True
    row = await metadata.row(_ANY)
    known = fact.synced or (row and row[0])
    return not known and await linked()


async def has_links(layout: Layout) -> bool:
    """Whether a registry:2 left links in a volume. Cheap: it looks no further than the first repository it finds."""
    if not layout.repositories.is_dir():
        return False
    return await asyncio.to_thread(lambda: next(Tree(layout).repositories(), None)) is not None


async def bucket_has_links(store: RemoteStore) -> bool:
    """The same of a bucket; it looks at one page of its keys at most."""
    looked_at = 0
    async for each in store.objects.list(f"{store.layout.repositories}/"):
        looked_at += 1
        if each.key.endswith("/link") or looked_at == _PAGE:
            return each.key.endswith("/link")
    return False


async def adopt_bucket(metadata: Metadata, store: RemoteStore, watch: Watch = lambda progress: None) -> Report:
    """:func:`adopt` for what a registry:2 wrote into a bucket; its links are only read."""
    tree = await RemoteTree.load(store)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="adopt") as threads:
        report = await _Adoption(metadata, tree, threads, watch).run(everything=False)
    report.stored, report.bytes = await metadata.scan(lambda tx: tx.row(_STORED)) or (0, 0)
    return report


async def adopt(
    metadata: Metadata,
    layout: Layout,
    watch: Watch = lambda progress: None,
    *,
    verify: bool = False,
    everything: bool = False,
) -> Report:
    """Take over the tree below ``layout``; see the module.

    ``verify`` reads every blob and compares its digest: one that is damaged or gone becomes absent, so that a client
    that pushes it again mends it. ``everything`` takes what the index does not have even where its link is old.
    Raises :class:`StoreError` for a directory that is no registry:2 volume, that cannot be read or written, or that
    another adoption or export works on.
    """
    check(layout)
    with alone(layout):
        return await take_over(metadata, layout, watch, verify=verify, everything=everything)


async def take_over(
    metadata: Metadata,
    layout: Layout,
    watch: Watch = lambda progress: None,
    *,
    verify: bool = False,
    everything: bool = False,
) -> Report:
    """:func:`adopt` for whoever holds the volume (:func:`~lading.registry.volume.alone`)."""
    with ThreadPoolExecutor(_READERS, thread_name_prefix="adopt") as threads:
        adoption = _Adoption(metadata, Tree(layout), threads, watch)
        report = await adoption.run(everything=everything)
        if verify:
            await adoption.verify(report, layout)
    report.stored, report.bytes = await metadata.scan(lambda tx: tx.row(_STORED)) or (0, 0)
    return report


async def synchronised(metadata: Metadata) -> None:
    """Remember that index and tree say the same now."""
    value = msgspec.json.encode(_Fact(synced=metadata.now())).decode()
    await metadata.write(lambda tx: facts.write(tx, _FACT, value))


async def _remembered(metadata: Metadata) -> _Fact:
    fact = await facts.read(metadata, _FACT)
    return msgspec.json.decode(fact, type=_Fact) if fact else _Fact()


class _Adoption:
    def __init__(self, metadata: Metadata, tree: Links, threads: ThreadPoolExecutor, watch: Watch) -> None:
        self._metadata = metadata
        self._tree = tree
        self._threads = threads
        self._watch = watch
        self._fact = _Fact()
        self._run = _Run(0, 0)
        self._unfinished = Counts()

    async def run(self, *, everything: bool) -> Report:
        self._fact = await _remembered(self._metadata)
        resumed, again = self._fact.run is not None, self._fact.synced > 0
        self._run = self._fact.run or _Run(started=self._metadata.now(), since=self._fact.synced)
        if everything:
            self._run.since = 0
        self._fact.run = self._run
        names = await self._names()
        progress = Progress("adopt", len(names), counts=self._run.counts)
        behind = self._run.done.split("/")
        left = [name for name in names if not self._run.done or name.split("/") > behind]
        progress.done = len(names) - len(left)
        self._watch(progress)
        async for group in self._groups(left):
            await self._metadata.write(self._taking(group), durable=False)
            progress.done += sum(part.last for part in group)
            progress.counts = self._run.counts
            self._watch(progress)
        problems = await self._metadata.write(self._finish)
        return Report(self._run.counts, problems, resumed, again)

    async def _names(self) -> list[str]:
        try:
            return await self._in_thread(lambda: list(self._tree.repositories()))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(
                f"cannot read the volume at {error.filename}: {error.strerror}. Run this as a user who can"
            ) from error

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    async def _groups(self, names: list[str]) -> AsyncIterator[list[Part]]:
        """The parts of all repositories in order, as many at once as make a good transaction."""
        group: list[Part] = []
        manifests = visible = 0
        async for part in self._parts(names):
            if group and (
                manifests + len(part.manifests) > _MANIFESTS_AT_ONCE or visible + len(part.visible) > _BLOBS_AT_ONCE
            ):
                yield group
                group, manifests, visible = [], 0, 0
            group.append(part)
            manifests += len(part.manifests)
            visible += len(part.visible)
        if group:
            yield group

    async def _parts(self, names: list[str]) -> AsyncIterator[Part]:
        """The parts of all repositories in order; the first ones of those to come are read ahead."""
        reader = Reader(self._tree, self._run.since)
        waiting = deque(names)
        ahead: deque[tuple[Iterator[Part], asyncio.Future[Part]]] = deque()
        while waiting or ahead:
            while waiting and len(ahead) < _AHEAD:
                parts = reader.parts(waiting.popleft())
                ahead.append((parts, asyncio.ensure_future(self._in_thread(lambda p=parts: next(p)))))  # type: ignore[misc]
            parts, first = ahead.popleft()
            part = await first
            yield part
            while not part.last:
                part = await self._in_thread(lambda p=parts: next(p))  # type: ignore[misc]
                yield part

    # ---- in a transaction

    def _taking(self, group: list[Part]) -> Callable[[Transaction], Awaitable[None]]:
        run, unfinished = self._run, self._unfinished

        async def take(tx: Transaction) -> None:
            # which may be run more than once: each time from what was counted before
            self._run = self._fact.run = replace(run, counts=replace(run.counts))
            self._unfinished = replace(unfinished)
            await self._take(tx, group)

        return take

    async def _take(self, tx: Transaction, group: list[Part]) -> None:
        for part in group:
            await self._take_part(tx, part)
        problems = [problem for part in group for problem in part.problems]
        if problems:
            self._run.lists += 1
            listed = msgspec.json.encode(problems).decode()
            await facts.write(tx, f"{_BROKEN}{self._run.lists:08}", listed)
        await facts.write(tx, _FACT, msgspec.json.encode(self._fact).decode())

    async def _take_part(self, tx: Transaction, part: Part) -> None:
        counts = Counts(mended=part.mended)
        if part.manifests or part.visible or part.tags:
            repository = await Repositories(tx).ensure(part.repository)
            visible = await self._take_blobs(tx, repository, part)
            manifests = await self._take_manifests(tx, repository, part, visible)
            counts.blobs, counts.manifests = len(visible), len(manifests)
            counts.tags = await _take_tags(tx, repository, part, manifests)
        self._unfinished.add(counts)
        if part.last:
            self._run.done = part.repository
            self._run.counts.add(self._unfinished)
            self._run.counts.repositories += int(not self._run.since or self._unfinished != Counts())
            self._unfinished = Counts()

    async def _take_blobs(self, tx: Transaction, repository: int, part: Part) -> dict[str, int]:
        """Make a part's blobs visible; their ids."""
        named = [digest for found in part.manifests for digest in found.blobs]
        ids = await self._found(tx, {*named, *part.visible})
        await Blobs(tx).show(repository, ids.values())
        return ids

    async def _found(self, tx: Transaction, digests: Iterable[str]) -> dict[str, int]:
        """Those of the blobs whose bytes lie there: their ids."""
        sizes = {digest: size for digest in digests if (size := self._tree.size(digest)) is not None}
        ids = await Blobs(tx).found(sizes)
        for digest in sizes:
            # looked at again under the lock that the collector takes to delete it
            if self._tree.size(digest) is None:
                await Blobs(tx).lost(digest)
                del ids[digest]
        return ids

    async def _take_manifests(
        self, tx: Transaction, repository: int, part: Part, visible: dict[str, int]
    ) -> dict[str, int]:
        ids = {}
        stored = await self._found(tx, {found.manifest.digest for found in part.manifests})
        for found in part.manifests:
            manifest = found.manifest
            if manifest.digest not in stored:
                continue
            blob = stored[manifest.digest]
            named = [visible[digest] for digest in found.blobs if digest in visible]
            named += [await Blobs(tx).reserve(Digest(digest), size) for digest, size in found.missing.items()]
            ids[str(manifest.digest)] = await Manifests(tx).found(repository, blob, manifest, named, found.pushed_at)
        return ids

    async def _finish(self, tx: Transaction) -> list[Problem]:
        """Forget how far this came, and remember that the index knows the tree as it was when this started."""
        lists = await facts.below(tx, _BROKEN)
        await facts.forget_below(tx, _BROKEN)
        value = msgspec.json.encode(_Fact(synced=self._run.started)).decode()
        await facts.write(tx, _FACT, value)
        return [problem for listed in lists.values() for problem in msgspec.json.decode(listed, type=list[Problem])]

    # ---- bytes

    async def verify(self, report: Report, layout: Layout) -> None:
        """Read every blob the index has; make those absent that are damaged or gone."""
        sound = Soundness(FilesystemStore(layout.root), self._threads, Pace())
        total = await self._metadata.scan(lambda tx: tx.row(_STORED)) or (0, 0)
        progress = Progress("verify", int(total[1]), counts=report.counts)
        after = 0
        while page := await self._metadata.scan(lambda tx, a=after: tx.rows(PRESENT, after=a, limit=_PAGE)):  # type: ignore[misc]
            self._watch(progress)
            for row, found in zip(page, await asyncio.gather(*(sound.damage(Digest(r[1])) for r in page)), strict=True):
                report.verified += 1
                progress.done += row[2]
                if found is not None and (not found.lasting or await lose(self._metadata, row)):
                    report.problems.append(Problem(found.kind, "", row[1], found.detail))
            after = page[-1][0]
        self._watch(progress)


async def _take_tags(tx: Transaction, repository: int, part: Part, manifests: dict[str, int]) -> int:
    taken = 0
    for tag, digest, moved_at in part.tags:
        manifest = manifests.get(digest) or await Manifests(tx).find(repository, Digest(digest))
        if manifest is not None:
            taken += await Tags(tx).found(repository, tag, manifest, moved_at)
    return taken
