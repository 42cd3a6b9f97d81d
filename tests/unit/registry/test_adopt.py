"""Adoption: what is sound, what is broken, which of two moves counts, and which content stays whose."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from lading.errors import StoreError
from lading.oci.digest import Digest
from lading.registry.adopt import Progress, Report, adopt, has_links, needs_adoption
from lading.registry.export import export
from lading.registry.volume import alone
from lading.stores.metadata.transaction import Statement
from tests.support import images
from tests.support.images import Blob
from tests.support.volume import Volume
from tests.unit.registry.world import AT_ONCE, BY, Clock, World

pytestmark = pytest.mark.anyio

PLAIN = images.image("plain")
OTHER = images.image("other")
MULTI = images.index("multi")


@pytest.fixture
def volume(world: World) -> Volume:
    return Volume(world.root)


def at(clock: Clock, ago: float = 3600) -> float:
    """That many seconds before the clock's time, in seconds since 1970."""
    return clock.milliseconds / 1000 - ago


async def taken(world: World, *, verify: bool = False, everything: bool = False) -> Report:
    return await adopt(world.metadata, world.store.layout, verify=verify, everything=everything)


async def value(world: World, sql: str) -> object:
    row = await world.metadata.row(Statement(text(sql)))
    return row[0] if row else None


def kinds(report: Report) -> set[tuple[str, str]]:
    return {(problem.kind, problem.what) for problem in report.problems}


def manifest_of(*layers: dict[str, object], config: Blob = PLAIN.config) -> Blob:
    document = {"schemaVersion": 2, "mediaType": images.MANIFEST, "config": config.descriptor(), "layers": layers}
    return Blob(images.MANIFEST, images.encode(document))


async def test_times_are_those_of_the_links(world: World, volume: Volume, clock: Clock) -> None:
    volume.push("a", PLAIN, "1", at=at(clock, 5000))
    volume.point("a", "2", PLAIN.digest, at(clock, 100))
    await taken(world)
    pushed = await value(world, "SELECT pushed_at FROM manifests")
    assert pushed == clock.milliseconds - 5_000_000
    assert await value(world, "SELECT touched_at FROM manifests") == clock.milliseconds
    assert await value(world, "SELECT moved_at FROM tags WHERE name = '2'") == clock.milliseconds - 100_000
    assert await value(world, "SELECT min(touched_at) FROM blobs") == clock.milliseconds


async def test_a_layer_link_that_got_lost_is_mended_by_the_manifest(world: World, volume: Volume) -> None:
    volume.push("a", PLAIN, "1")
    volume.layer("a", PLAIN.layers[0].digest).unlink()
    report = await taken(world)
    assert report.counts.mended == 1
    assert await world.has_blob("a", PLAIN.layers[0].digest)


@pytest.mark.parametrize(
    "descriptor",
    [
        {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"},
        {"mediaType": images.LAYER, "urls": ["https://example.org/layer"]},
    ],
    ids=["foreign", "with URLs"],
)
async def test_a_layer_that_may_lie_elsewhere_is_nobodys_without_a_link(
    world: World, volume: Volume, descriptor: dict[str, object]
) -> None:
    secret = Blob(images.LAYER, b"of another repository")
    volume.push_blob("private", secret)
    volume.push_blob("public", PLAIN.config)
    thief = manifest_of({**secret.descriptor(), **descriptor})
    volume.push_manifest("public", thief, "x")
    volume.push_blob("owner", PLAIN.config)
    volume.push_blob("owner", secret)
    volume.push_manifest("owner", thief, "x")
    report = await taken(world)
    assert report.problems == []
    assert await world.has_manifest("public", "x")
    assert not await world.has_blob("public", secret.digest)
    assert await world.has_blob("owner", secret.digest)
    await world.collect.run(AT_ONCE)
    await world.collect.run(AT_ONCE)
    assert await world.has_blob("owner", secret.digest), "the manifest beside it keeps it"


async def test_a_blob_pushed_by_sha512_is_served_by_both_names(world: World, volume: Volume) -> None:
    data = b"twice named"
    blob = Blob("", data)
    alias = f"sha512:{hashlib.sha512(data).hexdigest()}"
    volume.push_blob("a", blob)
    volume.link(volume.layer("a", alias), blob.digest)
    report = await taken(world)
    assert report.problems == []
    assert await world.read("a", alias) == data
    assert volume.data(alias).stat().st_ino == volume.data(blob.digest).stat().st_ino


async def test_each_kind_of_damage_is_told(world: World, volume: Volume) -> None:
    volume.push("a", PLAIN, "fine")
    gone = volume.push_manifest("a", OTHER.manifest, "gone")
    volume.data(gone).unlink()
    prose = volume.push_manifest("a", Blob("", b"no JSON"), "text")
    signed = volume.push_manifest("a", Blob("", b'{"schemaVersion": 1, "fsLayers": []}'), "signed")
    torn = volume.push_manifest("a", Blob("", MULTI.manifest.data), "torn")
    volume.data(torn).write_bytes(MULTI.manifest.data[:-5])
    lacking = volume.push_manifest("a", MULTI.images[0].manifest, "lacking")
    childless = volume.push_manifest("a", Blob("", images.index("another").manifest.data), "childless")
    volume.link(volume.tag("a", "dangling"), PLAIN.layers[0].digest)
    volume.link(volume.tag("a", "empty"), "")
    volume.link(volume.tag("a", "-bad"), PLAIN.digest)
    volume.link(volume.layer("a", gone), "sha256:short")
    volume.link(volume.layer("a", lacking), PLAIN.digest)
    volume.link(volume.base / "repositories/a/_layers/tarsum/v1/link", PLAIN.digest)
    volume.push("Bad_Name", PLAIN, "1")
    report = await taken(world)
    assert kinds(report) == {
        ("no-data", gone),
        ("tag-without-manifest", "gone"),
        ("not-a-manifest", prose),
        ("tag-without-manifest", "text"),
        ("schema-1", signed),
        ("tag-without-manifest", "signed"),
        ("wrong-digest", torn),
        ("tag-without-manifest", "torn"),
        ("missing-layer", lacking),
        ("missing-child", childless),
        ("tag-without-manifest", "dangling"),
        ("bad-link", "empty"),
        ("bad-tag", "-bad"),
        ("bad-link", gone),
        ("bad-link", lacking),
        ("bad-link", "tarsum"),
        ("bad-name", "Bad_Name"),
    }
    tags, _ = await world.pull.tags("a", "", 100)
    assert tags == ["childless", "fine", "lacking"]


async def test_what_only_unserved_manifests_name_is_not_collected(world: World, volume: Volume) -> None:
    old, both = Blob("", b"old layer"), PLAIN.layers[0]
    volume.push("a", PLAIN, "1")
    volume.push_blob("a", old)
    document = {"schemaVersion": 1, "fsLayers": [{"blobSum": old.digest}, {"blobSum": both.digest}]}
    ancient = volume.push_manifest("a", Blob("", images.encode(document)), "ancient")
    await taken(world)
    await world.collect.run(AT_ONCE)
    await world.collect.run(AT_ONCE)
    assert volume.data(old.digest).exists()
    assert volume.data(ancient).exists()
    assert await world.has_blob("a", both.digest)
    assert not await world.has_blob("a", old.digest)


async def test_of_two_moves_of_a_tag_the_later_one_counts(world: World, volume: Volume, clock: Clock) -> None:
    volume.push("a", PLAIN, "here", "there", at=at(clock))
    await taken(world)
    volume.push("a", OTHER, "here", "there", at=at(clock, -10))
    clock.pass_by(20_000)
    await world.put("a", MULTI, "there")
    clock.pass_by(20_000)
    report = await taken(world)
    assert report.again
    assert report.counts.tags == 1
    assert (await world.pull.manifest("a", "here", by_digest=False)).digest == OTHER.digest
    assert (await world.pull.manifest("a", "there", by_digest=False)).digest == MULTI.digest
    assert await value(world, f"SELECT touched_at FROM manifests WHERE digest = '{PLAIN.digest}'") == clock.milliseconds


async def test_what_was_deleted_since_stays_deleted(world: World, volume: Volume, clock: Clock) -> None:
    volume.push("a", PLAIN, "1", at=at(clock))
    volume.push("a", OTHER, "2", "3", at=at(clock))
    await taken(world)
    await world.delete.manifest("a", Digest(PLAIN.digest), BY)
    await world.delete.tag("a", "3", BY)
    await world.delete.blob("a", Digest(OTHER.layers[0].digest), BY)
    report = await taken(world)
    assert report.counts.repositories == 0
    assert await world.pull.tags("a", "", 10) == (["2"], False)
    assert not await world.has_manifest("a", PLAIN.digest)
    assert not await world.has_blob("a", OTHER.layers[0].digest)
    report = await taken(world, everything=True)
    assert await world.pull.tags("a", "", 10) == (["1", "2", "3"], False)
    assert await world.has_blob("a", OTHER.layers[0].digest)


async def test_a_new_tag_on_an_old_index_brings_what_it_names(world: World, volume: Volume, clock: Clock) -> None:
    volume.push("a", MULTI, "1", at=at(clock))
    await taken(world)
    for digest in (MULTI.digest, *(one.digest for one in MULTI.images)):
        await world.delete.manifest("a", Digest(digest), BY)
    volume.point("a", "again", MULTI.digest, at(clock, -10))
    clock.pass_by(20_000)
    report = await taken(world)
    assert (report.counts.manifests, report.counts.tags) == (3, 1)
    for one in MULTI.images:
        assert await world.has_manifest("a", one.digest)
        assert await world.has_blob("a", one.layers[0].digest)


async def test_a_large_repository_goes_in_by_parts(world: World, volume: Volume) -> None:
    volume.push_blob("big", PLAIN.config)
    digests = []
    for number in range(1201):
        layer = Blob(images.LAYER, b"%d" % number)
        volume.push_blob("big", layer)
        digests.append(volume.push_manifest("big", manifest_of(layer.descriptor()), f"v{number}"))
    volume.push("small", PLAIN, "1")
    seen: list[tuple[int, int]] = []
    report = await adopt(
        world.metadata, world.store.layout, lambda progress: seen.append((progress.done, progress.total))
    )
    assert (report.counts.manifests, report.counts.tags, report.counts.repositories) == (1202, 1202, 2)
    assert seen[0] == (0, 2)
    assert seen[-1] == (2, 2)
    assert len(seen) > 3, "one transaction held it all"
    for digest in digests[::300]:
        assert await world.has_manifest("big", digest)


async def test_symbolic_links_are_followed_and_loops_are_not(world: World, volume: Volume, tmp_path: Path) -> None:
    volume.push("real/app", PLAIN, "1")
    (volume.base / "repositories" / "alias").symlink_to("real")
    (volume.base / "repositories" / "real" / "loop").symlink_to("..")
    await taken(world)
    assert await world.pull.catalog("", 10) == (["alias/app", "real/app"], False)


async def test_a_file_where_a_folder_should_be_is_no_obstacle(world: World, volume: Volume) -> None:
    volume.push("a", PLAIN, "1")
    (volume.base / "repositories" / "README").write_text("hello")
    (volume.base / "repositories/a/_manifests/tags/notes").write_text("hello")
    (volume.base / "repositories/a/_layers/sha256/notes").write_text("hello")
    report = await taken(world)
    assert report.problems == []
    assert await world.pull.tags("a", "", 10) == (["1"], False)


async def test_whether_to_adopt(world: World, volume: Volume) -> None:
    layout = world.store.layout
    assert not await needs_adoption(world.metadata, partial(has_links, layout))
    upload = await world.store.begin("some/where", "sha256")
    await upload.close()
    assert not await needs_adoption(world.metadata, partial(has_links, layout)), "unfinished uploads are no tree"
    volume.push("a", PLAIN, "1")
    assert await needs_adoption(world.metadata, partial(has_links, layout))
    await taken(world)
    assert not await needs_adoption(world.metadata, partial(has_links, layout))


async def test_a_registry_that_lading_began_is_not_adopted(world: World, volume: Volume) -> None:
    await world.put("a", PLAIN, "1")
    await export(world.metadata, world.store.layout)
    assert not await needs_adoption(world.metadata, partial(has_links, world.store.layout))


async def test_an_adoption_that_broke_off_is_needed_still(world: World, volume: Volume) -> None:
    for number in range(3):
        volume.push(f"r{number}", PLAIN, "1")

    def break_off(progress: Progress) -> None:
        if progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await adopt(world.metadata, world.store.layout, break_off)
    assert await needs_adoption(world.metadata, partial(has_links, world.store.layout))
    report = await taken(world)
    assert report.resumed
    assert report.counts.repositories == 3


async def test_nothing_else_works_on_the_volume_meanwhile(world: World, volume: Volume) -> None:
    with alone(world.store.layout), pytest.raises(StoreError, match="another adoption or export"):
        await taken(world)
    with alone(world.store.layout), pytest.raises(StoreError, match="another adoption or export"):
        await export(world.metadata, world.store.layout)


async def test_verify_counts_and_finds_what_is_gone(world: World, volume: Volume, clock: Clock) -> None:
    volume.push("a", PLAIN, "1", at=at(clock))
    await taken(world)
    volume.data(PLAIN.layers[0].digest).unlink()
    volume.data(PLAIN.config.digest).write_bytes(b"{}")
    report = await taken(world, verify=True)
    assert report.verified == 3
    assert kinds(report) == {("no-data", PLAIN.layers[0].digest), ("damaged", PLAIN.config.digest)}
    assert not await world.has_blob("a", PLAIN.layers[0].digest)
    assert (await taken(world, verify=True)).problems == [], "what is known to be lost is told once"
    await world.put("a", PLAIN, "1")
    assert await world.has_blob("a", PLAIN.config.digest)


async def test_a_report_can_be_written(world: World, volume: Volume) -> None:
    volume.push_manifest("a", Blob("", b"no JSON"), "x")
    report = await taken(world)
    assert [msgspec.to_builtins(problem) for problem in report.problems] == [
        {
            "kind": "not-a-manifest",
            "repository": "a",
            "what": images.digest_of(b"no JSON"),
            "detail": report.problems[0].detail,
        },
        {
            "kind": "tag-without-manifest",
            "repository": "a",
            "what": "x",
            "detail": f"its manifest {images.digest_of(b'no JSON')} cannot be served",
        },
    ]
