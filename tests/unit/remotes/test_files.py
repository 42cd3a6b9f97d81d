"""What processes that were killed left behind, and how it goes."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from lading.remotes import files


def test_what_nobody_works_on_any_more_is_tidied_away(tmp_path: Path) -> None:
    for name in (f"{files.PARTIAL}left", f"{files.PARTIAL}new", f"{files.PARTIAL}locked", "other"):
        (tmp_path / name).write_bytes(b"x")
        if not name.endswith("new"):
            os.utime(tmp_path / name, (1, 1))
    (tmp_path / f"{files.PARTIAL}folder").mkdir()
    with files.locked(tmp_path / f"{files.PARTIAL}locked", fcntl.LOCK_EX):
        files.tidy(tmp_path)
    left = {one.name.removeprefix(files.PARTIAL) for one in tmp_path.iterdir()}
    assert left == {"new", "locked", "other", "folder"}
    files.tidy(tmp_path / "nowhere")


def test_room_that_is_only_needed_now(tmp_path: Path) -> None:
    (tmp_path / "home" / "scratch-left" / "in").mkdir(parents=True)
    (tmp_path / "home" / "scratch-left" / "in" / "file").write_bytes(b"x")
    with files.scratch(tmp_path / "home") as one:
        assert list((tmp_path / "home").iterdir()) == [one], "what a killed process left is gone"
        (one / "file").write_bytes(b"x")
        with files.scratch(tmp_path / "home") as other:
            assert sorted((tmp_path / "home").iterdir()) == sorted([one, other])
    assert list((tmp_path / "home").iterdir()) == []
