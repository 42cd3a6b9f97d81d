"""Backups: what is in them, what the next one adds, and what a restore puts back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lading.errors import StoreError
from lading.oci.digest import Digest
from lading.registry import holds
from lading.registry.backup import How, Report, backup, check, restore
from lading.registry.bundle import Bundle
from lading.registry.verify import Terms, Verify
from lading.stores.blobs.layout import Layout
from tests.support import images
from tests.unit.registry.world import AT_ONCE, BY, Clock, World

pytestmark = pytest.mark.anyio

MADE = images.image("made", (5000,))
LATER = images.image("later", (6000,))


@pytest.fixture
async def world(tmp_path: Path, clock: Clock) -> AsyncIterator[World]:
    """One in files, which is what this backup is for."""
    made = World(tmp_path / "store")
    await made.put("a", MADE, "1")
    yield made
    await made.close()


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle(tmp_path / "backup")


async def taken(world: World, bundle: Bundle, *, keep: int | None = None, how: How | None = None) -> Report:
    index = world.store.layout.index
    return await backup(world.metadata, index, world.store.layout, bundle, how=how, keep=keep)


async def restored(bundle: Bundle, root: Path, name: str | None = None) -> World:
    layout = Layout(root)
    report = await restore(bundle, name, layout.index, layout)
    assert report.broken == []
    return World(root)


async def test_there_and_back(world: World, bundle: Bundle, tmp_path: Path) -> None:
    report = await taken(world, bundle)
    made = report.snapshot
    assert (made.repositories, made.manifests, made.tags, made.blobs) == (1, 1, 1, 3)
    assert (report.copied, report.kept, report.broken) == (3, 0, [])
    assert report.bytes == made.bytes
    there = await restored(bundle, tmp_path / "elsewhere")
    try:
        assert (await there.pull.manifest("a", "1", by_digest=False)).raw == MADE.manifest.data
        for blob in MADE.blobs:
            assert await there.read("a", blob.digest) == blob.data
        assert (await Verify(there.metadata, there.store, there.store.layout).run(Terms())).findings == []
        await there.put("a", LATER, "2")
    finally:
        await there.close()


async def test_the_next_one_copies_what_is_new(world: World, bundle: Bundle, clock: Clock) -> None:
    await taken(world, bundle)
    await world.put("a", LATER, "2")
    clock.pass_by(1)
    report = await taken(world, bundle)
    assert (report.copied, report.kept) == (3, 3)
    assert [each.tags for each in bundle.snapshots()] == [1, 2]


async def test_old_snapshots_go_with_what_only_they_need(
    world: World, bundle: Bundle, clock: Clock, tmp_path: Path
) -> None:
    first = await taken(world, bundle)
    await world.put("a", LATER, "2")
    await world.delete.manifest("a", Digest(MADE.digest), BY)
    clock.pass_by(1)
    await world.run(AT_ONCE)
    clock.pass_by(1)
    report = await taken(world, bundle, keep=1)
    assert report.freed == first.bytes
    assert set(bundle.blobs()) == {LATER.digest, *(blob.digest for blob in LATER.blobs)}
    with pytest.raises(StoreError, match="no finished snapshot"):
        await restored(bundle, tmp_path / "elsewhere", first.snapshot.name)


async def test_an_older_snapshot(world: World, bundle: Bundle, clock: Clock, tmp_path: Path) -> None:
    first = await taken(world, bundle)
    await world.delete.tag("a", "1", BY)
    clock.pass_by(1)
    await taken(world, bundle)
    there = await restored(bundle, tmp_path / "elsewhere", first.snapshot.name)
    assert await there.has_manifest("a", "1")
    await there.close()


async def test_hard_links(world: World, bundle: Bundle) -> None:
    report = await taken(world, bundle, how=How(link=True))
    assert report.bytes == 0
    digest = Digest(MADE.layers[0].digest)
    assert bundle.blob(digest).samefile(world.store.layout.blob(digest))


async def test_the_collector_waits_for_a_backup(world: World, clock: Clock) -> None:
    await world.delete.manifest("a", Digest(MADE.digest), BY)
    clock.pass_by(1)
    async with holds.hold(world.metadata, "backup"):
        report = await world.collect.run(AT_ONCE)
        assert report.held
        assert MADE.layers[0].digest in world.files()
    clock.pass_by(1)
    assert not (await world.run(AT_ONCE)).held
    assert world.files() == set()


async def test_a_hold_lapses_when_its_holder_is_gone(world: World, clock: Clock) -> None:
    await world.delete.manifest("a", Digest(MADE.digest), BY)
    holding = holds.hold(world.metadata, "backup")
    await holding.__aenter__()
    clock.pass_by(121_000)
    await world.run(AT_ONCE)
    assert world.files() == set()
    await holding.__aexit__(None, None, None)


async def test_what_is_broken_is_told_and_the_rest_is_there(world: World, bundle: Bundle, tmp_path: Path) -> None:
    layer = Digest(MADE.layers[0].digest)
    Path(world.store.layout.blob(layer)).write_bytes(b"!")
    report = await taken(world, bundle)
    assert [(each.kind, each.what) for each in report.broken] == [("damaged", layer)]
    assert not bundle.blob(layer).exists(), "bytes that are wrong are not kept"
    assert len((await check(bundle, None, rate=None)).broken) == 1


async def test_a_check_reads_everything(world: World, bundle: Bundle, clock: Clock) -> None:
    await taken(world, bundle)
    assert (await check(bundle, None, rate=None)).kept == 3
    bundle.blob(Digest(MADE.layers[0].digest)).write_bytes(b"x" * MADE.layers[0].size)
    assert [each.what for each in (await check(bundle, None, rate=None)).broken] == [MADE.layers[0].digest]
    clock.pass_by(1)
    await taken(world, bundle, how=How(again=True))
    assert (await check(bundle, None, rate=None)).broken == [], "--again mends the backup"


async def test_an_unfinished_snapshot_counts_for_nothing(world: World, bundle: Bundle, clock: Clock) -> None:
    await taken(world, bundle)
    (bundle.folder("20991231T000000.000Z")).mkdir()
    assert bundle.find(None).tags == 1
    clock.pass_by(1)
    await taken(world, bundle)
    assert not bundle.folder("20991231T000000.000Z").exists()


async def test_nothing_is_written_over(world: World, bundle: Bundle, tmp_path: Path) -> None:
    await taken(world, bundle)
    with pytest.raises(StoreError, match="there is an index"):
        await restore(bundle, None, world.store.layout.index, world.store.layout)
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").write_text("mine")
    with pytest.raises(StoreError, match="not empty"):
        await taken(world, Bundle(full))
    with pytest.raises(StoreError, match="is no backup"):
        await check(Bundle(full), None, rate=None)


async def test_one_backup_at_a_time(world: World, bundle: Bundle) -> None:
    bundle.create()
    with bundle.alone():
        with pytest.raises(StoreError, match="another backup"):
            await taken(world, bundle)


async def test_a_backup_that_was_killed_before_it_said_what_it_is_is_gone_on_with(world: World, bundle: Bundle) -> None:
    bundle.root.mkdir()
    (bundle.root / "lading-backup").touch()
    assert (await taken(world, bundle)).copied == 3


async def test_what_a_killed_run_copied_becomes_durable_with_the_next(
    world: World, bundle: Bundle, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await taken(world, bundle)
    clock.pass_by(1)
    synced: list[Path] = []
    monkeypatch.setattr("lading.registry.backup.sync_folder", synced.append)
    await taken(world, bundle)
    assert {bundle.blob(digest).parent for digest in bundle.blobs()} <= set(synced)
    root = tmp_path / "elsewhere"
    for digest in bundle.blobs():
        place = Path(Layout(root).blob(digest))
        place.parent.mkdir(parents=True)
        place.write_bytes(bundle.blob(digest).read_bytes())
    await (await restored(bundle, root)).close()
    assert {Path(Layout(root).blob_directory(digest)) for digest in bundle.blobs()} <= set(synced)


async def test_an_index_that_appears_meanwhile_is_not_written_over(
    world: World, bundle: Bundle, tmp_path: Path
) -> None:
    await taken(world, bundle)
    layout = Layout(tmp_path / "elsewhere")

    def a_server_starts(_: object) -> None:
        layout.index.parent.mkdir(parents=True, exist_ok=True)
        layout.index.write_text("a server's")

    with pytest.raises(StoreError, match="meanwhile somebody made an index"):
        await restore(bundle, None, layout.index, layout, watch=a_server_starts)
    assert layout.index.read_text() == "a server's"


async def test_blobs_stay_while_it_is_not_known_who_needs_them(world: World, bundle: Bundle, clock: Clock) -> None:
    for _ in range(2):
        await taken(world, bundle)
        clock.pass_by(1)
    bundle.index(bundle.find(None).name).write_bytes(b"no database, and long enough to be looked at" * 100)
    before = set(bundle.blobs())
    with pytest.raises(StoreError, match="none is deleted"):
        await taken(world, bundle, keep=2)
    assert set(bundle.blobs()) == before
