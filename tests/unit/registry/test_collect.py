"""What the collector takes, what it spares, and what it says beforehand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lading.errors import ManifestBlobUnknown, Unavailable
from lading.oci.digest import Digest
from lading.registry.blobs import Blobs
from lading.registry.collection import Report, Terms
from lading.registry.push import PushPolicy
from lading.registry.repositories import Repositories
from lading.stores.metadata.transaction import Transaction
from tests.support import images
from tests.support.images import Blob, encode, index
from tests.unit.registry.world import AT_ONCE, BY, HOUR, Clock, World, tiny

pytestmark = pytest.mark.anyio


def names(report: Report) -> set[tuple[str, str]]:
    return {(gone.kind, gone.digest) for gone in report.gone}


def index_of(*children: Blob, subject: Blob | None = None) -> Blob:
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": images.INDEX,
        "manifests": [child.descriptor() for child in children],
    }
    if subject is not None:
        document["subject"] = subject.descriptor()
    return Blob(images.INDEX, encode(document))


class TestWhatLives:
    async def test_a_tag_keeps_its_manifest_and_the_manifest_its_blobs(self, world: World) -> None:
        made = tiny("a")
        await world.put("a", made, "latest")
        assert names(await world.run()) == set()
        assert world.files() == {made.digest, *(blob.digest for blob in made.blobs)}

    async def test_what_no_tag_leads_to_goes_with_its_blobs(self, world: World) -> None:
        kept, gone = tiny("kept"), tiny("gone")
        await world.put("a", kept, "latest")
        await world.put("a", gone)
        report = await world.run()
        assert names(report) == {
            ("manifest", gone.digest), ("blob", gone.digest), *(("blob", blob.digest) for blob in gone.blobs),
        }  # fmt: skip
        assert (report.manifests, report.blobs, report.failed) == (1, 3, [])
        assert report.bytes == sum(blob.size for blob in (*gone.blobs, gone.manifest))
        assert world.files() == set(await world.rows()) == {kept.digest, *(blob.digest for blob in kept.blobs)}
        assert not await world.has_manifest("a", gone.digest)

    async def test_an_index_keeps_its_children(self, world: World) -> None:
        made = index("multi")
        await world.put("a", made, "latest")
        assert names(await world.run()) == set()
        await world.delete.tag("a", "latest", BY)
        assert (await world.run()).manifests == 3
        assert world.files() == set()

    async def test_an_index_in_an_index_keeps_its_children(self, world: World) -> None:
        inner = index("inner")
        outer = index_of(inner.manifest)
        await world.put("a", inner)
        await world.put_manifest("a", outer, "latest")
        assert names(await world.run()) == set()
        assert await world.has_manifest("a", inner.images[0].digest)

    async def test_a_child_with_a_tag_of_its_own_outlives_its_index(self, world: World) -> None:
        made = index("multi")
        await world.put("a", made, "all")
        child = made.images[0]
        await world.put_manifest("a", child.manifest, "amd64")
        await world.delete.tag("a", "all", BY)
        await world.run()
        assert await world.has_manifest("a", child.digest)
        assert not await world.has_manifest("a", made.images[1].digest)

    async def test_a_subject_keeps_its_referrers_and_they_go_with_it(self, world: World) -> None:
        subject = tiny("subject")
        signature = images.artifact("signature", subject.manifest.descriptor())
        of_signature = images.artifact("of the signature", signature.manifest.descriptor())
        for one, tag in ((subject, ("latest",)), (signature, ()), (of_signature, ())):
            await world.put("a", one, *tag)
        assert names(await world.run()) == set()
        await world.delete.tag("a", "latest", BY)
        assert (await world.run()).manifests == 3

    async def test_a_referrer_does_not_keep_its_subject(self, world: World) -> None:
        subject = tiny("subject")
        signature = images.artifact("signature", subject.manifest.descriptor())
        await world.put("a", subject)
        await world.put("a", signature, "signature")
        assert ("manifest", subject.digest) in names(await world.run())
        assert await world.has_manifest("a", signature.digest)

    async def test_a_subject_in_another_repository_keeps_nothing(self, world: World) -> None:
        subject = tiny("subject")
        signature = images.artifact("signature", subject.manifest.descriptor())
        await world.put("a", subject, "latest")
        await world.put("b", signature)
        assert ("manifest", signature.digest) in names(await world.run())

    async def test_what_only_keeps_each_other_goes(self, world: World) -> None:
        """An index that is the referrer of its own child: each is a reason for the other to stay."""
        child = tiny("child")
        ring = index_of(child.manifest, subject=child.manifest)
        await world.put("a", child)
        await world.put_manifest("a", ring, "latest")
        assert names(await world.run()) == set()
        await world.delete.tag("a", "latest", BY)
        report = await world.run()
        assert {("manifest", child.digest), ("manifest", ring.digest)} <= names(report)
        assert world.files() == set()

    async def test_a_blob_of_two_repositories_stays_while_one_needs_it(self, world: World) -> None:
        made = tiny("shared")
        await world.put("a", made, "latest")
        await world.put("b", made, "latest")
        await world.delete.tag("a", "latest", BY)
        await world.run()
        assert not await world.has_manifest("a", made.digest)
        assert await world.read("b", made.layers[0].digest) == made.layers[0].data

    async def test_a_moved_tag_lets_go(self, world: World) -> None:
        old, new = tiny("old"), tiny("new")
        await world.put("a", old, "latest")
        await world.put("a", new, "latest")
        assert ("manifest", old.digest) in names(await world.run())

    async def test_a_deleted_manifest_takes_its_blobs_with_it(self, world: World) -> None:
        made = tiny("a")
        await world.put("a", made, "latest")
        await world.delete.manifest("a", Digest(made.digest), BY)
        await world.run()
        assert world.files() == set()

    async def test_a_blob_made_invisible_stays_while_a_manifest_names_it(self, world: World) -> None:
        made = tiny("a")
        await world.put("a", made, "latest")
        await world.delete.blob("a", Digest(made.layers[0].digest), BY)
        assert names(await world.run()) == set()
        assert made.layers[0].digest in world.files()

    async def test_a_blob_pushed_alone_goes(self, world: World) -> None:
        digest = await world.put_blob("a", b"alone")
        assert names(await world.run()) == {("blob", digest)}


class TestGrace:
    TERMS = Terms(grace=24 * HOUR, untagged=168 * HOUR, wait=HOUR)

    async def test_nothing_new_goes(self, world: World, clock: Clock) -> None:
        await world.put("a", tiny("a"))
        await world.put_blob("a", b"alone")
        clock.pass_by(24 * HOUR - 1)
        assert names(await world.run(self.TERMS)) == set()
        assert all(condemned is None for _, condemned, _ in (await world.rows()).values())

    async def test_a_blob_is_condemned_after_grace_and_swept_after_the_wait(self, world: World, clock: Clock) -> None:
        digest = await world.put_blob("a", b"alone")
        clock.pass_by(24 * HOUR)
        report = await world.run(self.TERMS)
        assert (report.condemned, report.blobs) == (1, 0)
        assert (await world.rows())[digest][0], "a condemned blob is still there"
        clock.pass_by(HOUR - 1)
        assert (await world.run(self.TERMS)).blobs == 0
        clock.pass_by(1)
        assert (await world.run(self.TERMS)).blobs == 1
        assert world.files() == set()

    async def test_an_untagged_manifest_stays_for_its_time(self, world: World, clock: Clock) -> None:
        made = tiny("a")
        await world.put("a", made, "latest")
        clock.pass_by(1000 * HOUR)
        await world.delete.tag("a", "latest", BY)
        clock.pass_by(168 * HOUR - 1)
        assert (await world.run(self.TERMS)).manifests == 0
        clock.pass_by(1)
        assert (await world.run(self.TERMS)).manifests == 1

    async def test_keep_untagged_keeps_them_for_ever(self, world: World, clock: Clock) -> None:
        made = tiny("a")
        await world.put("a", made)
        clock.pass_by(100_000 * HOUR)
        assert names(await world.run(Terms(0, None, 0))) == set()
        assert await world.has_manifest("a", made.digest)

    async def test_a_manifest_pushed_again_is_new(self, world: World, clock: Clock) -> None:
        made = tiny("a")
        await world.put("a", made)
        clock.pass_by(167 * HOUR)
        await world.put_manifest("a", made.manifest)
        clock.pass_by(24 * HOUR)
        assert (await world.run(self.TERMS)).manifests == 0

    async def test_a_young_index_keeps_its_old_children(self, world: World, clock: Clock) -> None:
        made = index("multi")
        await world.put("a", made)
        clock.pass_by(168 * HOUR)
        await world.put_manifest("a", made.manifest)
        assert (await world.run(self.TERMS)).manifests == 0

    @pytest.mark.parametrize(("grace", "wait"), [(0, 0), (HOUR, HOUR // 4), (24 * HOUR, HOUR)])
    async def test_the_usual_wait(self, grace: int, wait: int) -> None:
        assert Terms.of(grace, None).wait == wait


class TestRescue:
    """A mark is only a mark: whoever needs the blob takes it off."""

    TERMS = Terms(grace=HOUR, untagged=HOUR, wait=HOUR)

    async def condemned(self, world: World, clock: Clock) -> Digest:
        digest = await world.put_blob("a", b"condemned")
        clock.pass_by(HOUR)
        assert (await world.run(self.TERMS)).condemned == 1
        clock.pass_by(HOUR)  # from here on the next run would sweep it
        return digest

    async def test_unless_somebody_asks_it_is_swept(self, world: World, clock: Clock) -> None:
        await self.condemned(world, clock)
        assert (await world.run(self.TERMS)).blobs == 1

    async def test_head(self, world: World, clock: Clock) -> None:
        digest = await self.condemned(world, clock)
        assert await world.has_blob("a", digest)
        assert names(await world.run(self.TERMS)) == set()
        assert (await world.rows())[digest][:2] == (True, None)

    async def test_get(self, world: World, clock: Clock) -> None:
        digest = await self.condemned(world, clock)
        assert await world.read("a", digest) == b"condemned"
        assert names(await world.run(self.TERMS)) == set()

    async def test_mount(self, world: World, clock: Clock) -> None:
        digest = await self.condemned(world, clock)
        assert await world.uploads.mount("b", digest, "a", BY)
        assert names(await world.run(self.TERMS)) == set()
        assert await world.read("b", digest) == b"condemned"

    async def test_pushing_it_again(self, world: World, clock: Clock) -> None:
        digest = await self.condemned(world, clock)
        await world.put_blob("b", b"condemned")
        assert names(await world.run(self.TERMS)) == set()
        assert digest in world.files()

    async def test_a_manifest_that_names_it(self, world: World, clock: Clock) -> None:
        await self.condemned(world, clock)
        config = Blob(images.CONFIG, b"condemned")
        await world.put_manifest("a", images.image_manifest(config, []), "latest")
        assert names(await world.run(self.TERMS)) == set()
        assert (await world.rows())[config.digest][:2] == (True, None), "the mark is taken off when the sweep meets it"

    async def test_once_it_is_gone_nobody_is_told_that_it_is_there(self, world: World, clock: Clock) -> None:
        digest = await self.condemned(world, clock)
        await world.run(self.TERMS)
        assert not await world.has_blob("a", digest)
        assert not await world.uploads.mount("b", digest, "a", BY)
        assert not await world.uploads.mount("b", digest, None, BY)
        with pytest.raises(ManifestBlobUnknown):
            await world.put_manifest("a", images.image_manifest(Blob(images.CONFIG, b"condemned"), []), "latest")
        assert await world.put_blob("a", b"condemned") == digest
        assert await world.read("a", digest) == b"condemned"


class TestPushMeetsSweep:
    """Between any two steps of a sweep somebody pushes the same bytes; steps are named as in ``collect``."""

    async def hidden(self, world: World, data: bytes = b"contested") -> tuple[Digest, list[Any]]:
        from lading.registry import collect

        digest = await world.put_blob("a", data)
        report = Report()
        await world.collect._condemn(0, report)
        assert report.condemned == 1
        rows = await world.metadata.read(lambda tx: tx.rows(collect._CONDEMNED, cutoff=1 << 60, after=0, limit=10))
        return digest, await world.write(lambda tx: collect._hide(tx, rows))

    async def test_touched_between_hide_and_delete(self, world: World) -> None:
        digest, doomed = await self.hidden(world)
        await world.write(lambda tx: Blobs(tx).touch(digest, 9))
        report = await world.write(lambda tx: world.collect._delete(tx, doomed, {}))
        assert names(report) == set()
        assert digest in world.files()
        await world.write(lambda tx: Blobs(tx).arrived(digest, 9))
        assert (await world.rows())[digest][:2] == (True, None)

    async def test_pushed_whole_between_hide_and_delete(self, world: World) -> None:
        digest, doomed = await self.hidden(world)
        await world.put_blob("b", b"contested")
        await world.write(lambda tx: world.collect._delete(tx, doomed, {}))
        assert await world.read("b", digest) == b"contested"

    async def test_a_hidden_blob_is_not_visible(self, world: World) -> None:
        digest, _ = await self.hidden(world)
        assert not await world.has_blob("a", digest)
        assert not await world.uploads.mount("b", digest, None, BY)

    async def test_touched_then_collected_before_it_arrives(self, world: World) -> None:
        """Only grace zero lets that happen: the writer is told to push again, never that it has stored."""
        digest = Digest.of(b"late")
        await world.write(lambda tx: Blobs(tx).touch(digest, 4))
        await world.store.put(digest, b"late")
        await world.run(AT_ONCE)
        with pytest.raises(Unavailable, match="push it again"):
            await world.write(lambda tx: Blobs(tx).arrived(digest, 4))
        assert digest not in await world.rows()

    async def test_condemned_before_it_arrives(self, world: World) -> None:
        digest = Digest.of(b"late")
        await world.write(lambda tx: Blobs(tx).touch(digest, 4))
        await world.collect._condemn(0, Report())
        with pytest.raises(Unavailable):
            await world.write(lambda tx: Blobs(tx).arrived(digest, 4))

    async def test_a_sparse_manifest_between_hide_and_delete(self, tmp_path: Path, clock: Clock) -> None:
        """The manifest names the row that is about to be deleted; neither the push nor the run may fail."""
        world = World(tmp_path / "sparse", policy=PushPolicy(blobs_required=False))
        _, doomed = await self.hidden(world)
        await world.put_manifest("b", images.image_manifest(Blob(images.CONFIG, b"contested"), []), "latest")
        report = await world.write(lambda tx: world.collect._delete(tx, doomed, {}))
        assert names(report) == set()
        assert names(await world.run()) == set()
        assert await world.has_manifest("b", "latest")
        await world.close()

    async def test_a_crash_between_bytes_and_row_is_finished_by_the_next_run(self, world: World) -> None:
        digest, _ = await self.hidden(world)
        world.store._delete(digest)
        assert names(await world.run()) == {("blob", digest)}
        assert await world.rows() == {}


class TestSparse:
    async def test_a_placeholder_lives_as_long_as_what_names_it(self, tmp_path: Path, clock: Clock) -> None:
        world = World(tmp_path / "sparse", policy=PushPolicy(blobs_required=False, child_required=lambda child: False))
        made = tiny("absent")
        await world.put_manifest("a", made.manifest, "latest")
        await world.run()
        assert {digest for digest, (present, *_) in (await world.rows()).items() if not present} == {
            blob.digest for blob in made.blobs
        }
        assert not await world.has_blob("a", made.layers[0].digest), "a placeholder is nothing that can be pulled"
        assert not await world.uploads.mount("b", Digest(made.layers[0].digest), None, BY)
        await world.put_blob("a", made.layers[0].data)
        await world.run()
        assert await world.read("a", made.layers[0].digest) == made.layers[0].data
        await world.delete.tag("a", "latest", BY)
        await world.run()
        assert await world.rows() == {}
        await world.close()

    async def test_a_sparse_index_keeps_children_that_come_later(self, tmp_path: Path, clock: Clock) -> None:
        world = World(tmp_path / "sparse", policy=PushPolicy(child_required=lambda child: False))
        made = index("late")
        await world.put_manifest("a", made.manifest, "latest")
        await world.put("a", made.images[1])
        assert names(await world.run()) == set()
        assert await world.has_manifest("a", made.images[1].digest)
        await world.close()


class TestRepositories:
    async def exists(self, world: World, name: str) -> bool:
        return await world.metadata.read(lambda tx: Repositories(tx).find(name)) is not None

    async def test_an_empty_one_goes(self, world: World) -> None:
        await world.put("a", tiny("a"))
        assert (await world.run()).repositories == 1
        assert not await self.exists(world, "a")

    async def test_one_with_something_in_it_stays(self, world: World) -> None:
        await world.put("a", tiny("a"), "latest")
        assert (await world.run()).repositories == 0
        await world.put_blob("b", b"blob")
        assert (await world.run(Terms(HOUR, 0, 0))).repositories == 0

    async def test_a_young_one_stays(self, world: World, clock: Clock) -> None:
        await world.write(lambda tx: Repositories(tx).ensure("young"))
        clock.pass_by(HOUR - 1)
        assert (await world.run(Terms(HOUR, 0, 0))).repositories == 0
        clock.pass_by(1)
        assert (await world.run(Terms(HOUR, 0, 0))).repositories == 1

    async def test_one_that_somebody_described_stays(self, world: World) -> None:
        async def describe(tx: Transaction) -> bool:
            await Repositories(tx).ensure("described")
            return await Repositories(tx).describe("described", description="kept by hand")

        assert await world.write(describe)
        assert (await world.run()).repositories == 0


class TestPreview:
    async def full(self, world: World, clock: Clock) -> None:
        """Something of everything."""
        await world.put("a", index("kept"), "latest")
        await world.put("a", index("gone"))
        await world.put("b", tiny("shared"), "latest")
        await world.put("a", tiny("shared"))
        await world.put_blob("c", b"alone")
        child = tiny("child")
        await world.put("c", child)
        await world.put_manifest("c", index_of(child.manifest, subject=child.manifest))
        clock.pass_by(2 * HOUR)
        await world.put("d", tiny("young"))
        await world.put_blob("d", b"young")

    async def test_it_tells_what_a_run_does_and_changes_nothing(self, world: World, clock: Clock) -> None:
        await self.full(world, clock)
        terms = Terms(HOUR, HOUR, 0)
        before = (await world.rows(), world.files())
        told = await world.collect.preview(terms)
        assert (await world.rows(), world.files()) == before
        done = await world.run(terms)
        assert names(told) == names(done)
        assert (told.manifests, told.blobs, told.bytes) == (done.manifests, done.blobs, done.bytes)
        assert told.manifests == 6
        assert all(gone.reason for gone in told.gone)

    async def test_a_condemned_blob_is_told_of(self, world: World, clock: Clock) -> None:
        digest = await world.put_blob("a", b"alone")
        clock.pass_by(HOUR)
        await world.run(Terms(HOUR, HOUR, HOUR))
        told = await world.collect.preview(Terms(HOUR, HOUR, HOUR))
        assert names(told) == {("blob", digest)}

    async def test_a_condemned_blob_that_a_manifest_names_is_not(self, world: World, clock: Clock) -> None:
        await world.put_blob("a", b"needed")
        clock.pass_by(HOUR)
        terms = Terms(HOUR, HOUR, HOUR)
        assert (await world.run(terms)).condemned == 1
        await world.put_manifest("a", images.image_manifest(Blob(images.CONFIG, b"needed"), []), "latest")
        assert names(await world.collect.preview(terms)) == set()

    async def test_nothing_goes_from_an_empty_registry(self, world: World) -> None:
        assert names(await world.collect.preview(AT_ONCE)) == set()
        assert names(await world.run()) == set()


async def test_more_than_one_page(world: World) -> None:
    """Pages of 500 blobs to condemn and 50 to sweep."""
    for number in range(520):
        digest = Digest.of(b"%d" % number)
        await world.metadata.write(lambda tx, d=digest: Blobs(tx).touch(d, 1), durable=False)  # type: ignore[misc]
    report = await world.run()
    assert (report.condemned, report.blobs) == (520, 520)
    assert await world.rows() == {}


async def test_bytes_that_cannot_be_deleted_are_told_of_and_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = await world.put_blob("a", b"stuck")
    other = await world.put_blob("a", b"free")
    delete = world.store._delete

    def fails(asked: Digest) -> int:
        if asked == digest:
            raise OSError(5, os.strerror(5))
        return delete(asked)

    monkeypatch.setattr(world.store, "_delete", fails)
    report = await world.run()
    assert names(report) == {("blob", other)}
    assert report.failed == [f"{digest}: Input/output error"]
    assert not await world.has_blob("a", digest)
    monkeypatch.undo()
    assert names(await world.run()) == {("blob", digest)}


async def test_stored_counts_what_is_present(world: World) -> None:
    await world.put_blob("a", b"12345")
    await world.put_blob("b", b"123")
    await world.write(lambda tx: Blobs(tx).touch(Digest.of(b"coming"), 6))
    assert await world.collect.stored() == (2, 8)
