"""The programs that set a checkout up, as far as they go without a network."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools import bootstrap, debian

SCRIPT = Path(bootstrap.__file__)
PARTS = ("build", "runtime")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder that looks like an environment made from this very checkout."""
    directory = tmp_path / "venv"
    (directory / "bin").mkdir(parents=True)
    (directory / "bin" / "lading").touch()
    (directory / "pyvenv.cfg").touch()
    bootstrap.write_stamp(directory, bootstrap.fingerprints(directory, PARTS))
    return directory


def test_an_old_python_can_read_it_far_enough_to_refuse() -> None:
    tree = ast.parse(SCRIPT.read_text(), feature_version=(3, 6))
    assert not [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    first = next(index for index, node in enumerate(tree.body) if isinstance(node, ast.If))
    assert ast.unparse(tree.body[first]).startswith("if sys.version_info < (3, 11):\n    sys.exit(")
    assert first == 2, "nothing but its docstring and sys comes before the question"


def test_a_finished_environment_is_left_alone(made: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    done = subprocess.run([sys.executable, SCRIPT, "--venv", made], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before


@pytest.mark.parametrize("part", ["place", "project", *PARTS])
def test_whatever_it_was_made_from_changes_it_is_made_again(made: Path, part: str) -> None:
    assert bootstrap.is_made(made, PARTS)
    bootstrap.write_stamp(made, {**bootstrap.read_stamp(made), part: "something else"})
    assert not bootstrap.is_made(made, PARTS)


def test_what_development_needs_is_added_when_it_is_asked_for(made: Path) -> None:
    assert not bootstrap.is_made(made, (*PARTS, "dev"))


@pytest.mark.parametrize("stamp", [None, "", "{", "[]", json.dumps({"place": "elsewhere"})])
def test_an_environment_that_was_not_finished_is_made_again(made: Path, stamp: str | None) -> None:
    (made / bootstrap.STAMP).unlink()
    if stamp is not None:
        (made / bootstrap.STAMP).write_text(stamp)
    assert not bootstrap.is_made(made, PARTS)


def test_a_folder_that_is_no_environment_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = subprocess.run([sys.executable, SCRIPT, "--venv", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no virtual environment" in done.stderr
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_environment_is_emptied_whole(made: Path) -> None:
    outside = made.parent / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (made / "lib64").symlink_to(outside)
    bootstrap.empty(made)
    assert list(made.iterdir()) == []
    assert (outside / "kept").exists()


def test_debian_packages_that_are_not_there_are_found() -> None:
    if not debian.STATUS.exists():
        assert debian.absent(["dpkg"]) == ["dpkg"]
        return
    assert debian.absent(["dpkg", "no-such-package-here"]) == ["no-such-package-here"]
