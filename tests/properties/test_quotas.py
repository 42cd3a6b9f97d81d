"""Quotas against a model: pushes, mounts, deletions, tags that move, collections, limits that change, many at once.

The model knows what each repository holds and what each manifest needs, so it can say what a project uses: each content
once. After every step the index must say the same, and it must say it of each content; a push alone is refused if and
only if it would not fit; of pushes at once none are taken that do not fit together, and none is refused while all fit.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import text

from lading.control.quotas import UNLIMITED, QuotaRefused, Quotas
from lading.errors import ManifestBlobUnknown, ManifestUnknown, Missing, Unavailable
from lading.jobs.events import By
from lading.oci.digest import Digest
from lading.stores.metadata.transaction import Row, Statement
from tests.support import images
from tests.support.images import Blob
from tests.support.postgres import Postgres
from tests.unit.control.yard import Yard
from tests.unit.registry.world import AT_ONCE, stream

T = TypeVar("T")

BY = By(actor="someone")
CONFIGS = [Blob(images.CONFIG, b"%0200d" % number) for number in range(2)]
LAYERS = [Blob(images.LAYER, bytes([number]) * size) for number, size in enumerate((300, 500, 800, 1300))]
PICTURES = {
    manifest.digest: manifest
    for manifest in (
        images.image_manifest(CONFIGS[0], LAYERS[:2]),
        images.image_manifest(CONFIGS[0], LAYERS[1:3]),
        images.image_manifest(CONFIGS[1], LAYERS[:1]),
        images.image_manifest(CONFIGS[1], LAYERS[2:]),
    )
}
BLOBS = {blob.digest: blob for blob in (*CONFIGS, *LAYERS)}
SIZES = {blob.digest: len(blob.data) for blob in (*CONFIGS, *LAYERS, *PICTURES.values())}
PARTS = {
    digest: [blob for blob in BLOBS.values() if blob.digest.encode() in manifest.data]
    for digest, manifest in PICTURES.items()
}
PROJECTS = ("one", "two")
REPOSITORIES = [f"{project}/{name}" for project in PROJECTS for name in ("a", "b")]

NAMES = st.sampled_from(REPOSITORIES)
IMAGES = st.sampled_from(list(PICTURES))
TAGS = st.sampled_from(["1", "2"])
LIMITS = st.one_of(st.just(UNLIMITED), st.integers(0, 7000))

_MANIFESTS = Statement(text("SELECT r.name, m.digest FROM manifests m JOIN repositories r ON r.id = m.repository_id"))
_SHOWN = Statement(
    text(
        "SELECT r.name, b.digest FROM repository_blobs l JOIN repositories r ON r.id = l.repository_id"
        " JOIN blobs b ON b.id = l.blob_id WHERE b.present"
    )
)
_COUNTED = Statement(
    text("SELECT b.digest, p.size FROM project_blobs p JOIN blobs b ON b.id = p.blob_id WHERE p.project_id = :project")
)

_TAGS = Statement(
    text(
        "SELECT r.name, t.name, m.digest FROM tags t JOIN repositories r ON r.id = t.repository_id"
        " JOIN manifests m ON m.id = t.manifest_id"
    )
)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="lading-quotas-"))
        self.loop = asyncio.new_event_loop()
        url = self.begun()
        self.yards = [self.do(self.opened(url)) for _ in range(2)]
        self.yard = self.yards[0]
        self.ids = {name: self.do(self.yard.project(name)) for name in PROJECTS}
        self.bytes = dict.fromkeys(PROJECTS, UNLIMITED)
        self.repositories = dict.fromkeys(PROJECTS, UNLIMITED)
        self.manifests: set[tuple[str, str]] = set()
        self.shown: set[tuple[str, str]] = set()
        self.tags: dict[tuple[str, str], str] = {}

    def begun(self) -> str:
        """Where a new, empty index is."""
        raise NotImplementedError

    async def opened(self, url: str) -> Yard:
        return Yard(self.root / "store", url)

    def teardown(self) -> None:
        for yard in self.yards:
            self.do(yard.close())
        for left in asyncio.all_tasks(self.loop):
            left.cancel()
        self.do(asyncio.sleep(0))
        self.loop.close()
        shutil.rmtree(self.root)

    def do(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self.loop.run_until_complete(wait())

    def rows(self, statement: Statement, **parameters: object) -> Sequence[Row]:
        return self.do(self.yard.metadata.read(lambda tx: tx.rows(statement, **parameters)))

    def needed(self, project: str, manifests: set[tuple[str, str]] | None = None) -> set[str]:
        """What a project is counted for."""
        found = self.manifests if manifests is None else manifests
        mine = {digest for name, digest in found if name.startswith(f"{project}/")}
        return mine | {blob.digest for digest in mine for blob in PARTS[digest]}

    def used(self, project: str) -> int:
        return sum(SIZES[digest] for digest in self.needed(project))

    def fits(self, name: str, content: set[str]) -> bool:
        """Whether all of this may come into a repository."""
        project = name.partition("/")[0]
        filled = {repository for repository, _ in self.manifests if repository.startswith(f"{project}/")}
        if name not in filled and UNLIMITED != self.repositories[project] <= len(filled):
            return False
        added = sum(SIZES[digest] for digest in content - self.needed(project))
        return not added or self.bytes[project] == UNLIMITED or self.used(project) + added <= self.bytes[project]

    def bring(self, name: str, blob: Blob) -> bool:
        """Push a blob, if it may come; whether it did."""
        taken = self.taken(self.yard.uploads.push(name, Digest(blob.digest), stream(blob.data), BY))
        assert taken == self.fits(name, {blob.digest})
        if taken:
            self.shown.add((name, blob.digest))
        return taken

    def taken(self, work: Awaitable[object]) -> bool:
        try:
            self.do(work)
        except QuotaRefused:
            return False
        return True

    @initialize(one=LIMITS, two=LIMITS)
    def begin(self, one: int, two: int) -> None:
        self.limit("one", one, UNLIMITED)
        self.limit("two", two, UNLIMITED)

    @rule(project=st.sampled_from(PROJECTS), most=LIMITS, repositories=st.sampled_from([UNLIMITED, 0, 1, 2]))
    def limit(self, project: str, most: int, repositories: int) -> None:
        self.do(
            self.yard.metadata.write(
                lambda tx: Quotas(tx).limit(self.ids[project], most_bytes=most, most_repositories=repositories)
            )
        )
        self.bytes[project], self.repositories[project] = most, repositories

    @rule(name=NAMES, digest=IMAGES, tag=TAGS)
    def push(self, name: str, digest: str, tag: str) -> None:
        if not all(self.bring(name, blob) for blob in PARTS[digest]):
            return
        manifest = PICTURES[digest]
        taken = self.taken(
            self.yard.pushes.manifest(name, Digest(digest), [tag], manifest.media_type, manifest.data, BY)
        )
        assert taken == self.fits(name, {digest, *(blob.digest for blob in PARTS[digest])})
        if taken:
            self.manifests.add((name, digest))
            self.tags[name, tag] = digest

    @rule(name=NAMES, source=NAMES, digest=st.sampled_from(list(BLOBS)))
    def mount(self, name: str, source: str, digest: str) -> None:
        try:
            mounted = self.do(self.yard.uploads.mount(name, Digest(digest), source, BY))
        except QuotaRefused:
            assert not self.fits(name, {digest})
            return
        assert mounted == ((source, digest) in self.shown)
        if mounted:
            assert self.fits(name, {digest})
            self.shown.add((name, digest))

    @rule(name=NAMES, digest=IMAGES)
    def delete(self, name: str, digest: str) -> None:
        there = (name, digest) in self.manifests
        try:
            self.do(self.yard.deletes.manifest(name, Digest(digest), BY))
        except Missing:
            assert not there
            return
        assert there
        self.forget(name, digest)

    @rule(name=NAMES, tag=TAGS)
    def untag(self, name: str, tag: str) -> None:
        if self.tags.pop((name, tag), None) is not None:
            self.do(self.yard.deletes.tag(name, tag, BY))

    @rule()
    def collect(self) -> None:
        """What it took is asked of the index; that it takes the right things has a test of its own."""
        self.do(self.yard.collect.run(AT_ONCE))
        self.look()
        assert {(name, digest) for (name, _), digest in self.tags.items()} <= self.manifests

    @rule(project=st.sampled_from(PROJECTS))
    def count_anew(self, project: str) -> None:
        used = self.do(self.yard.metadata.write(lambda tx: Quotas(tx).settle(self.ids[project])))
        assert used == self.used(project)

    @rule(pushes=st.sets(st.tuples(NAMES, IMAGES), min_size=1, max_size=4), deletes=st.booleans(), also=st.booleans())
    def at_once(self, pushes: set[tuple[str, str]], deletes: bool, also: bool) -> None:
        """Two processes push at the same time, while all that was there is deleted and a collection runs."""
        ready = [each for each in sorted(pushes) if all(self.bring(each[0], blob) for blob in PARTS[each[1]])]
        gone = sorted(self.manifests) if deletes else []
        before, room = set(self.manifests), {project: self.used(project) for project in PROJECTS}

        async def run() -> list[str | None]:
            return await asyncio.gather(
                *(self.pushed(self.yards[number % 2], *each) for number, each in enumerate(ready)),
                *(self.deleted(self.yards[number % 2], *each) for number, each in enumerate(gone)),
                *([self.collected(self.yards[1])] if also else []),
            )

        outcomes = self.do(run())
        self.look()
        for project in PROJECTS:
            most = self.bytes[project]
            assert most == UNLIMITED or self.used(project) <= max(most, room[project])
        for each, outcome in zip(ready, outcomes, strict=False):
            project = each[0].partition("/")[0]
            everything = sum(SIZES[digest] for digest in self.needed(project, before | set(ready)))
            if outcome == "taken":
                assert each in self.manifests or deletes
            elif outcome == "refused" and self.repositories[project] == UNLIMITED:
                assert UNLIMITED != self.bytes[project] < everything, "there was room for all of them"

    async def pushed(self, yard: Yard, name: str, digest: str) -> str:
        manifest = PICTURES[digest]
        try:
            await yard.pushes.manifest(name, Digest(digest), ["1"], manifest.media_type, manifest.data, BY)
        except QuotaRefused:
            return "refused"
        except (ManifestBlobUnknown, Unavailable):
            return "collected"
        return "taken"

    async def deleted(self, yard: Yard, name: str, digest: str) -> None:
        try:
            await yard.deletes.manifest(name, Digest(digest), BY)
        except (ManifestUnknown, Missing):
            return  # the collector had it already

    async def collected(self, yard: Yard) -> None:
        await yard.collect.run(AT_ONCE)

    def forget(self, name: str, digest: str) -> None:
        self.manifests.discard((name, digest))
        self.tags = {at: each for at, each in self.tags.items() if (at[0], each) != (name, digest)}

    def look(self) -> None:
        """Believe the index in what is there: it was not said in which order things happened."""
        self.manifests = {(row[0], row[1]) for row in self.rows(_MANIFESTS)}
        self.shown = {(row[0], row[1]) for row in self.rows(_SHOWN)}
        tags = self.rows(_TAGS)
        self.tags = {(row[0], row[1]): row[2] for row in tags}

    @invariant()
    def each_content_is_counted_once(self) -> None:
        assert {(row[0], row[1]) for row in self.rows(_MANIFESTS)} == self.manifests
        for project, own in self.ids.items():
            counted = {row[0]: row[1] for row in self.rows(_COUNTED, project=own)}
            assert counted == {digest: SIZES[digest] for digest in self.needed(project)}
            assert self.do(self.yard.used(own)) == self.used(project)


def test_on_sqlite() -> None:
    class Here(Machine):
        def begun(self) -> str:
            return f"sqlite:///{self.root / 'index.sqlite'}"

    run_state_machine_as_test(Here, settings=settings(max_examples=12, stateful_step_count=20))


def test_on_postgresql(postgres: Postgres) -> None:
    class There(Machine):
        def begun(self) -> str:
            return postgres.emptied()

    run_state_machine_as_test(There, settings=settings(max_examples=8, stateful_step_count=20))
