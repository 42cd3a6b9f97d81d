"""The rules of the house that a program can check, over the whole repository."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest
from packaging.requirements import Requirement

import lading
from tests.support.packages import debian_packages

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "lading"
MODULES = sorted(SOURCE.rglob("*.py"))
PYTHON = MODULES + sorted(path for folder in ("tests", "tools", "bench") for path in (ROOT / folder).rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in ("docs", "deploy") for page in (ROOT / folder).rglob("*.md"))])
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))

ENGINES = {"sqlite", "postgresql", "postgres"}
VENDORS = re.compile(r"\b(?:artifactory|ecr|gcr|ghcr|acr|quay|dockerhub)\b", re.IGNORECASE)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


def comparisons(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every string that something is equal to or not: its line and its text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
            for operand in [node.left, *node.comparators]:
                if isinstance(operand, ast.Constant) and isinstance(operand.value, str):
                    yield node.lineno, operand.value


IMPORT_EVERYTHING = """
import importlib, json, sys

FORBIDDEN = ("open", "socket.", "subprocess.", "os.mkdir", "os.fork", "os.exec", "os.posix_spawn", "os.system",
             "os.listdir", "os.scandir", "os.remove", "os.rename", "os.putenv", "sqlite3.", "_thread.start_new_thread")
source, names = sys.argv[1], sys.argv[2:]
found = []

def watch(event, arguments):
    if not event.startswith(FORBIDDEN):
        return
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith("<frozen importlib") or "/importlib/metadata/" in file:
            return  # the import system at work, or another library being imported, or pydantic looking for its plugins
        if file.startswith(source):
            found.append(f"{file}:{frame.f_lineno} {event} {str(arguments)[:200]}")
            return
        frame = frame.f_back

sys.addaudithook(watch)
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(json.dumps(found))
"""


def test_nothing_happens_at_import() -> None:
    command = [sys.executable, "-c", IMPORT_EVERYTHING, str(SOURCE), *map(module_name, MODULES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_module(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    lines = text.count("\n")
    assert lines <= 500, f"{lines} lines: do two subjects share a room?"
    if path.name != "__init__.py" or tree.body:
        assert ast.get_docstring(tree), "a module says what it is for"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_source(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if relative(path) != "src/lading/stores/metadata/engine.py":
        asked = [line for line, value in comparisons(ast.parse(text)) if value.lower() in ENGINES]
        assert not asked, f"lines {asked} ask which database it is: only stores/metadata/engine.py does"
    if not path.is_relative_to(SOURCE / "remotes" / "adapters"):
        assert not VENDORS.search(text), "what differs by vendor belongs to remotes/adapters"


def test_the_ladder_in_the_docstring_is_the_one_that_is_checked() -> None:
    drawn = [line.strip() for line in (lading.__doc__ or "").splitlines() if line.startswith("    ")]
    contract = next(one for one in PYPROJECT["tool"]["importlinter"]["contracts"] if one["id"] == "ladder")
    assert drawn == [layer.replace("(", "").replace(")", "") for layer in contract["layers"]]


def test_the_client_never_imports_the_server() -> None:
    graph = grimp.build_graph("lading")
    shared = {"lading", "lading.errors", "lading.cli"}
    allowed = ("lading.cli.client", "lading.oci", "lading.remotes")
    for client in (name for name in graph.modules if name.startswith("lading.cli.client")):
        reached = graph.find_upstream_modules(client) - shared
        assert not {name for name in reached if not name.startswith(allowed)}


def test_the_lock_covers_the_dependencies() -> None:
    pins = {}
    for line in (ROOT / "requirements" / "runtime.txt").read_text().splitlines():
        if found := re.match(r"([a-z0-9-]+)==(\S+)", line):
            pins[found[1]] = found[2]
    for text in PYPROJECT["project"]["dependencies"]:
        requirement = Requirement(text)
        pin = pins.get(requirement.name, "nothing")
        assert pin in requirement.specifier, f"{text}: the lock has {pin}; run make lock"


@pytest.mark.parametrize("path", LOCKS, ids=relative)
def test_the_lock_is_hashed_and_names_no_index(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    assert not re.search(r"^-", text, re.MULTILINE), "an option such as --index-url is whoever installs to choose"
    entries = re.split(r"\n(?=[a-z])", text)[1:]
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)


def test_the_changelog_knows_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in changelog
    released = re.findall(r"^## \[(\d\S*)\] - \d{4}-\d\d-\d\d$", changelog, re.MULTILINE)
    coming = re.findall(r"^The next version is (\S+)\.$", changelog, re.MULTILINE)
    assert lading.__version__ in (coming or released[:1])


def test_debian_packages_have_names_debian_allows() -> None:
    names = debian_packages()
    assert names
    assert len(names) == len(set(names))
    assert [name for name in names if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+\??", name)] == []


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^make (\w+) ", said, re.MULTILINE)) == set(phony[1].split())


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    for target in targets:
        name, _, anchor = target.partition("#")
        page = (path.parent / name).resolve() if name else path
        assert page.exists(), f"{target} leads nowhere"
        if anchor:
            assert anchor in anchors(page), f"{target}: no such heading"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
