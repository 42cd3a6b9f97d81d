"""Verification: each thing that can be wrong is found, by its name, and mended where it can be."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from lading.errors import BlobUnknown
from lading.oci.digest import Digest
from lading.registry import soundness
from lading.registry import verify as verification
from lading.registry.soundness import Pace
from lading.registry.verify import Report, Terms, Verify, document
from lading.stores.metadata.engine import file_of
from lading.stores.metadata.snapshot import integrity
from lading.stores.metadata.transaction import Statement
from tests.support import images
from tests.support.volume import Volume
from tests.unit.registry.world import BY, HOUR, Clock, World

pytestmark = pytest.mark.anyio

MADE = images.image("made", (500, 700))
MULTI = images.index("multi")
LAYER = MADE.layers[0]


@pytest.fixture
async def world(world: World, clock: Clock) -> World:
    await world.put("a", MADE, "1")
    await world.put("b", MULTI, "2")
    clock.pass_by(HOUR)
    return world


def place(world: World, digest: str) -> Path:
    return Path(world.store.layout.blob(Digest(digest)))


async def sql(world: World, statement: str, **values: Any) -> None:
    await world.write(lambda tx: tx.execute(Statement(text(statement)), **values))


async def verify(world: World, **terms: Any) -> Report:
    file = file_of(world.url)
    check = functools.partial(integrity, file) if file is not None else list
    return await Verify(world.metadata, world.store, world.store.layout, check).run(Terms(**terms))


def told(report: Report) -> set[tuple[str, str]]:
    return {(finding.kind, finding.what) for finding in report.findings}


async def remove(world: World) -> None:
    place(world, LAYER.digest).unlink()


async def damage(world: World) -> None:
    path = place(world, LAYER.digest)
    path.write_bytes(b"!" + path.read_bytes()[1:])


async def cut(world: World) -> None:
    path = place(world, LAYER.digest)
    path.write_bytes(path.read_bytes()[:-1])


async def test_a_sound_registry(world: World) -> None:
    for terms in ({}, {"quick": True}, {"repair": True}):
        report = await verify(world, **terms)
        assert report.findings == []
        assert report.sound
        assert (report.manifests, report.blobs, report.files) == (4, 11, 11)


@pytest.mark.parametrize(
    ("harm", "kind", "quick"), [(remove, "no-data", True), (damage, "damaged", False), (cut, "damaged", True)]
)
async def test_a_layer_that_is_lost_is_mended_by_a_push(
    world: World, harm: Callable[[World], Awaitable[None]], kind: str, quick: bool
) -> None:
    await harm(world)
    assert told(await verify(world, quick=True)) == ({(kind, LAYER.digest)} if quick else set())
    report = await verify(world)
    assert told(report) == {(kind, LAYER.digest)}
    assert not report.sound
    assert await world.has_blob("a", LAYER.digest), "looking changes nothing"
    report = await verify(world, repair=True)
    assert not report.sound, "its bytes are nowhere"
    assert not await world.has_blob("a", LAYER.digest), "clients are told so, and push it"
    assert not (await verify(world)).sound, "it stays broken until then"
    await world.put_blob("a", LAYER.data)
    assert await world.read("a", LAYER.digest) == LAYER.data
    assert (await verify(world)).findings == []


@pytest.mark.parametrize("what", ["folder", "pipe"])
async def test_what_is_no_file_in_a_place_holds_nothing_up(world: World, what: str) -> None:
    """A manifest's bytes cannot be written where a folder is; all the rest is looked at, and mended, as ever."""
    for digest in (MADE.digest, LAYER.digest):
        path = place(world, digest)
        path.unlink()
        path.mkdir() if what == "folder" else os.mkfifo(path)
    with pytest.raises(BlobUnknown, match="damaged"):
        await world.read("a", LAYER.digest)
    report = await verify(world, repair=True)
    kind = "unreadable" if what == "folder" else "damaged"
    assert told(report) == {(kind, MADE.digest), (kind, LAYER.digest)}
    [manifest] = [each for each in report.findings if each.what == MADE.digest]
    if what == "folder":
        assert "could not be written again: Is a directory" in manifest.detail
    else:
        assert place(world, MADE.digest).read_bytes() == MADE.manifest.data
    assert not await world.has_blob("a", LAYER.digest)


@pytest.mark.parametrize("harm", ["gone", "damaged"])
async def test_the_bytes_of_a_manifest_are_written_again_from_the_index(world: World, harm: str) -> None:
    path = place(world, MADE.digest)
    path.unlink() if harm == "gone" else path.write_bytes(b"{}")
    assert told(await verify(world)) == {("no-data" if harm == "gone" else "damaged", MADE.digest)}
    report = await verify(world, repair=True)
    assert report.sound
    assert path.read_bytes() == MADE.manifest.data
    assert (await verify(world)).findings == []


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("DELETE FROM contents WHERE blob_id = (SELECT id FROM blobs WHERE digest = :digest)", "contents-missing"),
        (
            "UPDATE contents SET bytes = :other WHERE blob_id = (SELECT id FROM blobs WHERE digest = :digest)",
            "contents-differ",
        ),
        ("UPDATE manifests SET subject = 'sha256:00' WHERE digest = :digest", "row-differs"),
        ('UPDATE manifests SET annotations = \'{"a": "b"}\' WHERE digest = :digest', "row-differs"),
        (
            "DELETE FROM manifest_blobs WHERE manifest_id = (SELECT id FROM manifests WHERE digest = :digest)",
            "references-missing",
        ),
    ],
)
async def test_rows_are_written_anew_from_the_manifest(world: World, statement: str, kind: str) -> None:
    await sql(world, statement, digest=MADE.digest, **({"other": b"{}"} if ":other" in statement else {}))
    report = await verify(world, quick=True)
    assert told(report) == {(kind, MADE.digest)}
    assert not report.sound
    assert (await verify(world, quick=True, repair=True)).sound
    assert (await verify(world)).findings == []
    found = await world.pull.manifest("a", "1", by_digest=False)
    assert found.raw == MADE.manifest.data


async def test_an_index_that_forgot_its_children(world: World) -> None:
    await sql(world, "DELETE FROM manifest_children")
    assert told(await verify(world)) == {("references-missing", MULTI.digest)}
    assert (await verify(world, repair=True)).sound
    assert (await verify(world)).findings == []


async def test_a_wrong_size_in_the_index(world: World) -> None:
    await sql(world, "UPDATE blobs SET size = 1 WHERE digest = :digest", digest=LAYER.digest)
    assert told(await verify(world)) == {("wrong-size", LAYER.digest)}
    assert (await verify(world, repair=True)).sound
    assert (await verify(world)).findings == []


async def test_bytes_that_count_as_absent_though_they_are_sound(world: World, clock: Clock) -> None:
    await sql(world, "UPDATE blobs SET present = false WHERE digest = :digest", digest=LAYER.digest)
    report = await verify(world)
    assert told(report) == {("missing-layer", MADE.digest)}
    assert not report.sound
    assert (await verify(world, repair=True)).sound
    assert await world.read("a", LAYER.digest) == LAYER.data


async def test_a_push_that_is_under_way_is_not_told(world: World, clock: Clock) -> None:
    """Its blob's row says absent, and its bytes are in place or are about to be."""
    sql_now = "UPDATE blobs SET present = false, touched_at = :now WHERE digest = :digest"
    await sql(world, sql_now, digest=LAYER.digest, now=clock.milliseconds)
    assert (await verify(world, repair=True)).findings == []


async def test_orphans_go_to_the_collector(world: World, clock: Clock) -> None:
    data = b"nobody knows me"
    digest = Digest.of(data)
    await world.store.put(digest, data)
    report = await verify(world)
    assert told(report) == {("orphan", digest)}
    assert report.sound, "garbage harms nothing"
    await verify(world, repair=True)
    assert digest in world.files()
    clock.pass_by(HOUR)
    await world.run()
    assert digest not in world.files()
    assert (await verify(world)).findings == []


async def test_what_registry2_knows_and_was_not_taken_over_is_left_alone(world: World) -> None:
    foreign = images.image("foreign").layers[0]
    Volume(world.root).push_blob("other", foreign)
    report = await verify(world, repair=True)
    assert told(report) == {("not-adopted", foreign.digest)}
    assert foreign.digest not in await world.rows()


async def test_left_overs_go_when_they_are_old(world: World, clock: Clock) -> None:
    left = place(world, LAYER.digest).with_name("." + "0" * 32)
    other = place(world, LAYER.digest).with_name("notes.txt")
    left.write_bytes(b"half")
    other.write_bytes(b"mine")
    clock.milliseconds = int(time.time() * 1000)
    assert told(await verify(world)) == {("foreign-file", "notes.txt")}, "it may be written to right now"
    clock.pass_by(25 * HOUR)
    assert ("left-over", left.name) in told(await verify(world))
    await verify(world, repair=True)
    assert (left.exists(), other.exists()) == (False, True)


async def test_what_settings_allow_is_incomplete_and_not_broken(world: World) -> None:
    await world.delete.manifest("b", Digest(MULTI.images[0].digest), BY)
    await world.delete.blob("a", Digest(LAYER.digest), BY)
    report = await verify(world)
    assert told(report) == {("missing-child", MULTI.digest), ("hidden-layer", MADE.digest)}
    assert report.sound


async def test_an_index_that_sqlite_finds_damaged(world: World) -> None:
    report = await Verify(world.metadata, world.store, world.store.layout, lambda: ["row 3 missing"]).run(Terms())
    assert told(report) == {("index-damaged", "index")}
    assert not report.sound
    assert not report.whole


async def test_a_push_while_damage_is_mended_wins(world: World, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """The bytes are read as damaged, somebody pushes good ones, and only then is the row about to be made absent."""
    await damage(world)
    lose = soundness.lose

    async def later(*arguments: Any) -> bool:
        clock.pass_by(1)
        await world.put_blob("a", LAYER.data)
        return await lose(*arguments)

    monkeypatch.setattr(verification, "lose", later)
    await verify(world, repair=True)
    assert await world.read("a", LAYER.digest) == LAYER.data


async def test_the_report_as_json(world: World) -> None:
    await damage(world)
    found = json.loads(document(await verify(world), "/srv", Terms()))
    assert found["sound"] is False
    assert found["found"] == {"broken": 1}
    assert found["findings"][0]["kind"] == "damaged"
    assert found["findings"][0]["weight"] == "broken"


async def test_a_rate_is_kept(world: World) -> None:
    total = sum(len(place(world, digest).read_bytes()) for digest in world.files())
    began = time.monotonic()
    await verify(world, rate=total * 2)
    assert time.monotonic() - began > 0.35, "half a second's worth of bytes"


async def test_a_pace_counts_all_readers_together() -> None:
    pace, began = Pace(1000), time.monotonic()
    await asyncio.gather(*(asyncio.to_thread(pace.wait, 100) for _ in range(5)))
    assert time.monotonic() - began > 0.35
