"""An index that is lost, and what the store alone gives back."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from lading.jobs.kinds import Claim, Task
from lading.oci.digest import Digest
from lading.registry.admission import Admission
from lading.registry.export import export
from lading.registry.mirrored import Keep, expire
from lading.registry.rebuild import rebuild
from lading.registry.verify import Terms, Verify
from lading.stores.metadata.schema.content import manifests
from lading.stores.metadata.transaction import Statement
from tests.support import images
from tests.unit.registry.world import AT_ONCE, Clock, World

pytestmark = pytest.mark.anyio

_ALL = Statement(select(manifests.c.id))
MADE = images.image("made", (500,))
MULTI = images.index("multi")
SIGNATURE = images.artifact("signature", MADE.manifest.descriptor())


@pytest.fixture
async def world(tmp_path: Path, clock: Clock) -> World:
    """One that the test itself closes, when its index gets lost."""
    return World(tmp_path / "store")


async def lost(world: World) -> World:
    """The same store without its index."""
    await world.close()
    for path in world.store.layout.own.glob("index.sqlite*"):
        path.unlink()
    return World(world.root)


async def sound(world: World) -> bool:
    return (await Verify(world.metadata, world.store, world.store.layout).run(Terms())).findings == []


@pytest.mark.parametrize(("mirrors", "marked"), [((), 0), (("hub/", "other/"), 1), (("",), 5)])
async def test_what_is_a_mirrors_then_goes_as_such(
    world: World, clock: Clock, mirrors: tuple[str, ...], marked: int
) -> None:
    """Or it would lie there for ever: nobody has a name for it."""
    await world.put("hub/a", MADE, "1")
    await export(world.metadata, world.store.layout)
    await world.put("elsewhere", MULTI, "2")
    await world.put("elsewhere", SIGNATURE)
    found = await lost(world)
    try:
        report = await rebuild(found.metadata, found.store, found.store.layout, mirrors=mirrors)
        assert report.mirrored == marked
        clock.pass_by(10_000)
        keeps = [Keep(prefix, 9_000, 0) for prefix in mirrors]
        task = Task(Claim(1, "expire-mirror", None, 1, "a"))
        assert await expire(found.metadata, Admission(), keeps, task) == {"manifests": marked}
        assert len(await found.metadata.read(lambda tx: tx.rows(_ALL))) == 5 - marked
    finally:
        await found.close()


async def test_everything_comes_back_without_its_names(world: World, clock: Clock) -> None:
    await world.put("a", MADE, "1")
    await world.put("b/c", MULTI, "2")
    await world.put("a", SIGNATURE)
    before = world.files()
    found = await lost(world)
    try:
        report = await rebuild(found.metadata, found.store, found.store.layout)
        assert report.problems == []
        assert (report.blobs, report.manifests) == (len(before), 5)
        assert report.tags == 2, "what an index names, and what refers to a subject, needs none"
        for made in (MADE, MULTI):
            assert (await found.pull.manifest("recovered", made.digest, by_digest=True)).raw == made.manifest.data
            tag = Digest(made.digest).hex[:12]
            assert (await found.pull.manifest("recovered", tag, by_digest=False)).digest == made.digest
        for blob in (*MADE.blobs, *SIGNATURE.blobs):
            assert await found.read("recovered", blob.digest) == blob.data
        referrers, _ = await found.pull.referrers("recovered", Digest(MADE.digest), "", "", 10)
        assert [each.digest for each in referrers] == [SIGNATURE.digest]
        clock.pass_by(1000)
        await found.run(AT_ONCE)
        assert found.files() == before, "the collector takes nothing that came back"
        assert await sound(found)
        assert (await rebuild(found.metadata, found.store, found.store.layout)).manifests == 0
    finally:
        await found.close()


async def test_link_files_give_names_back(world: World) -> None:
    await world.put("a", MADE, "1")
    await export(world.metadata, world.store.layout)
    await world.put("b", MULTI, "2")
    found = await lost(world)
    try:
        report = await rebuild(found.metadata, found.store, found.store.layout)
        assert report.adopted is not None
        assert report.adopted.counts.tags == 1
        assert (await found.pull.manifest("a", "1", by_digest=False)).digest == MADE.digest
        assert (await found.pull.manifest("recovered", MULTI.digest, by_digest=True)).digest == MULTI.digest
        assert report.manifests == 3
    finally:
        await found.close()


async def test_damaged_bytes_are_told_and_not_taken(world: World) -> None:
    await world.put("a", MADE, "1")
    path = Path(world.store.layout.blob(Digest(MADE.layers[0].digest)))
    path.write_bytes(b"!")
    found = await lost(world)
    try:
        report = await rebuild(found.metadata, found.store, found.store.layout)
        assert [(each.kind, each.what) for each in report.problems] == [("damaged", MADE.layers[0].digest)]
        assert not await found.has_blob("recovered", MADE.layers[0].digest)
    finally:
        await found.close()
