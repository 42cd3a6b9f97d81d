"""What mirrors brought: it goes when nobody asks for it, or when there is too much; nothing else does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import select

from lading.jobs.kinds import Claim, Task
from lading.registry import mirrored
from lading.registry.admission import Admission, ManifestArrives, ManifestCollected, Question
from lading.registry.mirrored import IN_USE, Keep, Mirrored, Uses, brought, evict, expire
from lading.registry.push import Push, PushPolicy
from lading.stores.metadata.schema.content import manifests
from lading.stores.metadata.transaction import Statement, Transaction
from tests.support.images import Blob, Image, Index, image, image_manifest, index
from tests.unit.registry.world import HOUR, Clock, World

pytestmark = pytest.mark.anyio

GONE: list[int] = []
"""The rows of manifests whose going was told."""


async def _hear(tx: Transaction, question: Question) -> None:
    assert isinstance(question, ManifestCollected)
    row = await tx.row(Statement(select(manifests.c.repository_id).where(manifests.c.id == question.row)))
    assert row == (question.repository,), "it is told while the manifest is still there"
    GONE.append(question.row)


HEARS = Admission({ManifestCollected: (_hear,)})

SHARED = image("shared", (40_000,)).layers[0]


def made(seed: str) -> Image:
    """An image of a layer of its own and the shared one."""
    own = image(seed, (10_000,))
    layers = (*own.layers, SHARED)
    return Image({}, own.config, layers, (), image_manifest(own.config, layers))


def size(*images: Image) -> int:
    blobs: dict[str, Blob] = {blob.digest: blob for one in images for blob in (*one.blobs, one.manifest)}
    return sum(blob.size for blob in blobs.values())


def task() -> Task:
    return Task(Claim(1, "evict-mirror", None, 1, "a"))


async def bring(world: World, repository: str, content: Image | Index, tag: str) -> None:
    """As a mirror does."""
    admission = Admission({ManifestArrives: (brought,)})
    pushed, world.push = world.push, Push(world.metadata, world.store, world.outbox, PushPolicy(), admission)
    await world.put(repository, content, tag)
    world.push = pushed


async def test_what_nobody_asks_for_expires_and_what_is_used_or_was_pushed_stays(world: World, clock: Clock) -> None:
    old, used, pushed = made("old"), made("used"), made("pushed")
    await bring(world, "hub/a", old, "1")
    await bring(world, "hub/a", used, "2")
    await bring(world, "hubs/a", old, "1")
    await world.put("hub/a", pushed, "3")
    clock.pass_by(HOUR)
    uses = Uses(world.metadata)
    uses.note("hub/a", used.digest)
    uses.note("hub/gone", old.digest)
    await uses.close()
    clock.pass_by(HOUR)
    assert await expire(world.metadata, HEARS, [Keep("hub/", 0, 0)], task()) == {"manifests": 0}
    GONE.clear()
    assert await expire(world.metadata, HEARS, [Keep("hub/", HOUR + 1, 0)], task()) == {"manifests": 1}
    assert len(GONE) == 1
    assert [await world.has_manifest("hub/a", tag) for tag in "123"] == [False, True, True]
    assert await world.has_manifest("hubs/a", "1")
    assert not await world.has_manifest("hub/a", old.digest)


async def test_what_is_here_of_an_index_is_in_use_as_long_as_the_index_is_asked_for(world: World, clock: Clock) -> None:
    """A node that has the image asks whether its tag moved, and nothing more; another one needs all of it."""
    many, other = index("many", layers=(5000,)), index("other", layers=(5000,))
    await bring(world, "hub/a", many, "1")
    await bring(world, "hub/a", other, "2")
    clock.pass_by(HOUR)
    uses = Uses(world.metadata)
    uses.note("hub/a", many.digest)
    await uses.close()
    assert (await expire(world.metadata, HEARS, [Keep("hub/", HOUR - 1, 0)], task()))["manifests"] == 3
    await world.run()
    for one in many.images:
        assert await world.has_manifest("hub/a", one.digest)
        assert await world.read("hub/a", one.layers[0].digest) == one.layers[0].data
    assert not await world.has_manifest("hub/a", other.images[0].digest)


async def test_where_there_is_too_much_what_was_longest_not_used_goes(world: World, clock: Clock) -> None:
    images = [made(str(number)) for number in range(6)]
    for number, one in enumerate(images):
        await bring(world, f"hub/{number % 2}", one, str(number))
        clock.pass_by(1000)
    local = made("local")
    await world.put("local/a", local, "1")
    clock.pass_by(IN_USE)
    uses = Uses(world.metadata)
    uses.note("hub/0", images[0].digest)
    await uses.close()
    clock.pass_by(IN_USE)
    whole = size(*images)
    assert await world.metadata.read(lambda tx: Mirrored(tx).size("hub/")) == whole
    assert await world.metadata.read(lambda tx: Mirrored(tx).size("")) == whole
    assert await evict(world.metadata, HEARS, [Keep("hub/", 0, whole), Keep("other/", 0, 1)], task()) == {
        "manifests": 0,
        "bytes": 0,
    }
    gone = images[1:3]
    freed = whole - size(*(one for one in images if one not in gone))
    assert await evict(world.metadata, HEARS, [Keep("hub/", 0, whole - freed)], task()) == {
        "manifests": 2,
        "bytes": freed,
    }
    assert [await world.has_manifest(f"hub/{n % 2}", str(n)) for n in range(6)] == [n not in (1, 2) for n in range(6)]
    await world.run()
    for number, one in enumerate(images):
        for layer in one.layers:
            there = layer is SHARED or one not in gone
            assert (layer.digest in world.files()) is there
        if one not in gone:
            assert await world.read(f"hub/{number % 2}", SHARED.digest) == SHARED.data
    # all but what somebody pushed may go; the layer that is shared with it stays
    assert (await evict(world.metadata, HEARS, [Keep("", 0, 1)], task()))["manifests"] == 4
    await world.run()
    assert await world.read("local/a", SHARED.digest) == SHARED.data
    assert await world.metadata.read(lambda tx: Mirrored(tx).size("")) == 0


async def test_what_is_being_pulled_is_not_taken_away(world: World, clock: Clock) -> None:
    one = made("one")
    await bring(world, "hub/a", one, "1")
    clock.pass_by(IN_USE - 1)
    asked = task()
    assert await evict(world.metadata, HEARS, [Keep("hub/", 0, 10)], asked) == {"manifests": 0, "bytes": 0}
    assert "in use" in asked.take_lines()[0]
    assert await world.has_manifest("hub/a", "1")


async def test_uses_are_told_without_anybody_closing(
    world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrored, "_TELL_SECONDS", 0.01)
    one = made("one")
    await bring(world, "hub/a", one, "1")
    clock.pass_by(HOUR)
    uses = Uses(world.metadata)

    async def unused(before: int) -> Sequence[tuple[int, int]]:
        return await world.metadata.read(lambda tx: Mirrored(tx).unused("hub/", before, 1))

    for _ in range(2):  # also after it had nothing to tell for a while
        before = world.metadata.now() - 1
        uses.note("hub/a", one.digest)
        async with asyncio.timeout(30):
            while await unused(before):  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.01)
        clock.pass_by(HOUR)
    await uses.close()
