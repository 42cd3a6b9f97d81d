"""Collect never deletes what is referenced: pushes, tags, deletes, mounts and collections in any order, and a model.

The model knows of each repository which manifests are in it and which tags point to them, and of all manifests what
they name. After every step, whatever a tag leads to must be served whole; after a collection without grace, nothing
else may be left.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lading.errors import ManifestBlobUnknown, Missing, Unavailable
from lading.oci.digest import Digest
from lading.registry.collection import Terms
from tests.support import images
from tests.support.images import Blob, encode
from tests.unit.registry.world import AT_ONCE, BY, HOUR, Clock, World

T = TypeVar("T")

CONFIGS = [Blob(images.CONFIG, b"{}"), Blob(images.CONFIG, b'{"a": 1}')]
LAYERS = [Blob(images.LAYER, b"layer %d" % number) for number in range(3)]
PICTURES = [images.image_manifest(config, LAYERS[n : n + 2]) for n, config in enumerate(CONFIGS)]


def index_of(*children: Blob, subject: Blob | None = None) -> Blob:
    more = {"subject": subject.descriptor()} if subject else {}
    entries = [child.descriptor() for child in children]
    return Blob(images.INDEX, encode({"schemaVersion": 2, "mediaType": images.INDEX, "manifests": entries, **more}))


SIGNATURES = [
    images.image_manifest(CONFIGS[0], [LAYERS[2]], subject=PICTURES[0].descriptor()),
    images.image_manifest(CONFIGS[1], [LAYERS[0]], subject=PICTURES[1].descriptor()),
]
INDEXES = [index_of(*PICTURES), index_of(PICTURES[0], subject=PICTURES[0]), index_of(PICTURES[1], SIGNATURES[0])]
INDEXES.append(index_of(INDEXES[0], subject=SIGNATURES[1]))

BLOBS = {blob.digest: blob for blob in (*CONFIGS, *LAYERS)}
MANIFESTS = {blob.digest: blob for blob in (*PICTURES, *SIGNATURES, *INDEXES)}
NAMES = st.sampled_from(["a", "b"])
TAGS = st.sampled_from(["one", "two"])


def document(digest: str) -> dict[str, Any]:
    return dict(json.loads(MANIFESTS[digest].data))


NEEDS = {
    digest: {d["digest"] for d in (document(digest).get("config"), *document(digest).get("layers", [])) if d}
    for digest in MANIFESTS
}
CHILDREN = {digest: {d["digest"] for d in document(digest).get("manifests", [])} for digest in MANIFESTS}
SUBJECT = {digest: document(digest).get("subject", {}).get("digest") for digest in MANIFESTS}


class Machine(RuleBasedStateMachine):
    terms = AT_ONCE

    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        self.patched = mock.patch("lading.stores.metadata.clock.time", self.clock)
        self.patched.start()
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp(prefix="lading-collect-"))
        self.world = World(self.root)
        self.manifests: dict[str, set[str]] = {"a": set(), "b": set()}
        self.tags: dict[tuple[str, str], str] = {}

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.do(self.world.close())
            self.loop.close()
            self.patched.stop()
            shutil.rmtree(self.root)

    def do(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self.loop.run_until_complete(wait())

    def living(self, name: str) -> set[str]:
        """The manifests a tag of the repository leads to, by way of children and referrers."""
        found: set[str] = set()
        waiting = [digest for (where, _), digest in self.tags.items() if where == name]
        while waiting:
            digest = waiting.pop()
            if digest not in found:
                found.add(digest)
                referrers = {each for each in self.manifests[name] if SUBJECT[each] == digest}
                waiting += (CHILDREN[digest] | referrers) & self.manifests[name]
        return found

    @rule(name=NAMES, blob=st.sampled_from(list(BLOBS.values())))
    def push_a_blob(self, name: str, blob: Blob) -> None:
        assert self.do(self.world.put_blob(name, blob.data)) == blob.digest

    @rule(name=NAMES, digest=st.sampled_from(list(MANIFESTS)), tag=st.none() | TAGS)
    def push_a_manifest(self, name: str, digest: str, tag: str | None) -> None:
        """Taken if what it names is there: that is for the registry to say, and to stand by."""
        try:
            self.do(self.world.put_manifest(name, MANIFESTS[digest], *([tag] if tag else [])))
        except (ManifestBlobUnknown, Unavailable):
            return
        assert CHILDREN[digest] <= self.manifests[name]
        self.manifests[name].add(digest)
        if tag:
            self.tags[name, tag] = digest

    @rule(name=NAMES, digest=st.sampled_from(list(MANIFESTS)), tag=TAGS)
    def push_everything(self, name: str, digest: str, tag: str) -> None:
        """As a client does that pushes whatever is not there."""

        def walk(each: str) -> None:
            for child in sorted(CHILDREN[each]):
                walk(child)
            for blob in sorted(NEEDS[each]):
                if not self.do(self.world.has_blob(name, blob)):
                    self.push_a_blob(name, BLOBS[blob])
            self.push_a_manifest(name, each, tag if each == digest else None)

        walk(digest)
        assert self.tags.get((name, tag)) == digest

    @rule(name=NAMES, other=NAMES, blob=st.sampled_from(list(BLOBS)))
    def mount(self, name: str, other: str, blob: str) -> None:
        there = self.do(self.world.has_blob(other, blob))
        assert self.do(self.world.uploads.mount(name, Digest(blob), other, BY)) == there

    @rule(name=NAMES, tag=TAGS)
    def delete_a_tag(self, name: str, tag: str) -> None:
        there = self.tags.pop((name, tag), None) is not None
        assert self.tried(self.world.delete.tag(name, tag, BY)) == there

    @rule(name=NAMES, digest=st.sampled_from(list(MANIFESTS)))
    def delete_a_manifest(self, name: str, digest: str) -> None:
        there = digest in self.manifests[name]
        assert self.tried(self.world.delete.manifest(name, Digest(digest), BY)) == there
        self.manifests[name].discard(digest)
        self.tags = {at: each for at, each in self.tags.items() if (at[0], each) != (name, digest)}

    @rule(name=NAMES, blob=st.sampled_from(list(BLOBS)))
    def delete_a_blob(self, name: str, blob: str) -> None:
        """Unlinks it: a manifest that names it keeps the bytes, though clients of this repository cannot ask for them."""
        if not any(blob in NEEDS[digest] for digest in self.manifests[name]):
            self.tried(self.world.delete.blob(name, Digest(blob), BY))

    def tried(self, work: Awaitable[Any]) -> bool:
        try:
            self.do(work)
        except Missing:
            return False
        return True

    @rule(hours=st.integers(0, 30))
    def time_passes(self, hours: int) -> None:
        self.clock.pass_by(hours * HOUR)

    @rule()
    def collect(self) -> None:
        told = self.do(self.world.collect.preview(self.terms))
        report = self.do(self.world.run(self.terms))
        assert report.failed == []
        gone = {(each.kind, each.digest) for each in report.gone}
        assert gone <= {(each.kind, each.digest) for each in told.gone}
        for each in report.gone:
            if each.kind == "manifest":
                assert each.digest not in self.living(each.repository), "a tag leads to it"
                self.manifests[each.repository].discard(each.digest)
        self.after(gone)

    def after(self, gone: set[tuple[str, str]]) -> None:
        """Without grace exactly what is referenced is left."""
        wanted = set()
        for name in self.manifests:
            assert self.manifests[name] == self.living(name)
            wanted |= self.manifests[name] | {blob for digest in self.manifests[name] for blob in NEEDS[digest]}
        assert self.world.files() == wanted

    @invariant()
    def what_a_tag_leads_to_is_served_whole(self) -> None:
        if not hasattr(self, "world"):
            return
        for (name, tag), digest in self.tags.items():
            found = self.do(self.world.pull.manifest(name, tag, by_digest=False))
            assert (found.digest, found.raw) == (digest, MANIFESTS[digest].data)
        files = self.world.files()
        for name in self.manifests:
            for digest in self.living(name):
                assert NEEDS[digest] <= files
                assert digest in files


class Graceful(Machine):
    """With grace, what is younger than it stays as well."""

    terms = Terms(grace=24 * HOUR, untagged=48 * HOUR, wait=HOUR)

    def after(self, gone: set[tuple[str, str]]) -> None:
        for digest, (present, condemned, touched) in self.do(self.world.rows()).items():
            assert condemned is None or touched <= self.clock.milliseconds - 24 * HOUR
            assert present or condemned is None or digest not in self.world.files()


TestWithoutGrace = Machine.TestCase
TestWithoutGrace.settings = settings(max_examples=25, stateful_step_count=30)
TestWithGrace = Graceful.TestCase
TestWithGrace.settings = settings(max_examples=25, stateful_step_count=30)
