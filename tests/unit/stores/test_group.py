"""What waits goes on together; what fails fails for whoever asked for it, and for nobody else."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path

import pytest

from lading.stores.blobs.group import Group, Steps

pytestmark = pytest.mark.anyio


def writes(path: Path, then: list[str]) -> Steps[str]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        os.write(descriptor, b"x")
        yield (descriptor,)
        then.append(f"{path.name} synced")
        yield (str(path.parent),)
    finally:
        os.close(descriptor)
    return path.name


async def test_each_has_its_own_result(tmp_path: Path) -> None:
    group = Group("test")
    done: list[str] = []
    names = [f"{number}" for number in range(50)]
    assert await asyncio.gather(*(group.run(writes(tmp_path / name, done)) for name in names)) == names
    assert sorted(done) == sorted(f"{name} synced" for name in names)
    group.close()


async def test_a_folder_that_many_ask_for_is_synced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group("test", threads=1)
    held, synced, fsync = threading.Event(), list[int](), os.fsync

    def blocks() -> Steps[None]:
        held.wait(30)
        yield ()

    def counted(descriptor: int) -> None:
        synced.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", counted)
    first = asyncio.ensure_future(group.run(blocks()))
    others = [asyncio.ensure_future(group.run(writes(tmp_path / f"{number}", []))) for number in range(10)]
    await asyncio.sleep(0)  # all of them are in the queue
    held.set()
    await asyncio.gather(first, *others)
    assert len(synced) == 1
    group.close()


async def test_a_sync_that_fails_is_raised_where_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Group("test", threads=1)
    fdatasync, failing = os.fdatasync, (tmp_path / "failing")
    failing.touch()

    def picky(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == failing.stat().st_ino:
            raise OSError(errno.EIO, "failing")
        fdatasync(descriptor)

    monkeypatch.setattr(os, "fdatasync", picky)
    done: list[str] = []
    good, bad, other = await asyncio.gather(
        group.run(writes(tmp_path / "good", done)),
        group.run(writes(failing, done)),
        group.run(writes(tmp_path / "other", done)),
        return_exceptions=True,
    )
    assert (good, other) == ("good", "other")
    assert isinstance(bad, OSError)
    assert bad.errno == errno.EIO
    assert sorted(done) == ["good synced", "other synced"]
    group.close()


async def test_whoever_went_away_holds_up_nobody(tmp_path: Path) -> None:
    group = Group("test", threads=1)
    gone = asyncio.ensure_future(group.run(writes(tmp_path / "gone", [])))
    await asyncio.sleep(0)
    gone.cancel()
    assert await group.run(writes(tmp_path / "next", [])) == "next"
    with pytest.raises(asyncio.CancelledError):
        await gone
    group.close()
