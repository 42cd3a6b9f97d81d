"""Uploads that nobody finishes are given up."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from lading.errors import UploadUnknown
from lading.registry.purge import Purge
from tests.unit.registry.world import World, stream

pytestmark = pytest.mark.anyio

WEEK = timedelta(days=7)


def age(upload: Path, days: float) -> None:
    moment = time.time() - days * 86400
    for path in [upload, *(upload.iterdir() if upload.is_dir() else ())]:
        os.utime(path, (moment, moment))


async def begin(world: World, repository: str, days: float) -> str:
    progress = await world.uploads.start(repository, "sha256")
    await world.uploads.append(repository, progress.uuid, progress.ticket, stream(b"bytes"), None)
    age(Path(world.store.layout.upload(repository, progress.uuid)), days)
    return progress.uuid


async def test_old_ones_go_and_young_ones_stay(world: World) -> None:
    old, young = await begin(world, "a/b", 8), await begin(world, "a", 6)
    [gone] = await Purge(world.store, age=WEEK).run()
    assert (gone.repository, gone.uuid, gone.size) == ("a/b", old, 5)
    assert [found.uuid for found in world.store._uploads()] == [young]
    with pytest.raises(UploadUnknown):
        await world.uploads.status("a/b", old, "")


async def test_one_that_grew_lately_stays(world: World) -> None:
    uuid = await begin(world, "a", 8)
    await world.uploads.append("a", uuid, "", stream(b"more"), None)
    assert await Purge(world.store, age=WEEK).run() == []


async def test_one_that_a_request_works_on_stays(world: World) -> None:
    progress = await world.uploads.start("a", "sha256")
    session = await world.store.resume(world.uploads._tickets.read("a", progress.uuid, progress.ticket))
    assert session is not None
    age(Path(world.store.layout.upload("a", progress.uuid)), 8)
    assert await Purge(world.store, age=WEEK).run() == []
    await session.close()
    assert len(await Purge(world.store, age=WEEK).run()) == 1


async def test_a_dry_run_tells_and_leaves(world: World) -> None:
    uuid = await begin(world, "a", 8)
    assert [found.uuid for found in await Purge(world.store, age=WEEK, dry_run=True).run()] == [uuid]
    assert [found.uuid for found in world.store._uploads()] == [uuid]


async def test_a_folder_without_bytes_goes(world: World) -> None:
    folder = Path(world.store.layout.upload("a", "0b5f0d8c-3f0f-4a63-8f63-1f0f3f0f4a63"))
    folder.mkdir(parents=True)
    age(folder, 8)
    assert len(await Purge(world.store, age=WEEK).run()) == 1
    assert not folder.exists()
