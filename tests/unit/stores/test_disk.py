"""Files that are closed beside the loop, and those that are not."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from lading.stores.blobs import disk
from lading.stores.blobs.localfile import LocalFile

pytestmark = pytest.mark.anyio


class Closes:
    """Which files were closed by which threads; each close is real."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.by: dict[int, threading.Thread] = {}
        self.one = threading.Event()
        self._close = os.close
        monkeypatch.setattr("lading.stores.blobs.disk.os.close", self.close)

    def close(self, descriptor: int) -> None:
        self._close(descriptor)
        self.by[descriptor] = threading.current_thread()
        self.one.set()


def opened(path: Path) -> int:
    path.write_bytes(b"bytes")
    return os.open(path, os.O_RDONLY)


async def test_a_file_with_a_name_is_closed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closes, descriptor = Closes(monkeypatch), opened(tmp_path / "kept")
    disk.let_go(descriptor)
    assert closes.by == {descriptor: threading.current_thread()}


@pytest.mark.parametrize("how", ["deleted", "replaced"])
async def test_the_last_hold_on_a_file_is_let_go_by_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The system takes the bytes off the disk meanwhile, and others are answered."""
    closes, descriptor = Closes(monkeypatch), opened(tmp_path / "gone")
    file = LocalFile(descriptor)
    if how == "deleted":
        (tmp_path / "gone").unlink()
    else:
        (tmp_path / "other").write_bytes(b"bytes")
        (tmp_path / "other").rename(tmp_path / "gone")
    file.close()
    assert await asyncio.to_thread(closes.one.wait, 30)
    assert closes.by[descriptor] is not threading.current_thread()


def test_without_a_loop_it_is_closed_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closes, descriptor = Closes(monkeypatch), opened(tmp_path / "gone")
    (tmp_path / "gone").unlink()
    disk.let_go(descriptor)
    assert closes.by == {descriptor: threading.current_thread()}
