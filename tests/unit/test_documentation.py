"""What the pages show is true as far as it can be tried in a moment: configurations, variables, commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from lading.cli.main import cli
from lading.config.load import load
from lading.oci.reference import Reference

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BASE = {"version": 0.1, "storage": {"filesystem": {"rootdirectory": "/var/lib/registry"}}}


def blocks(language: str) -> list[Any]:
    """Every code block in a language, named by its page and number."""
    found = []
    for page in PAGES:
        texts = re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        name = page.relative_to(ROOT).as_posix()
        found += [pytest.param(text, id=f"{name}-{number}") for number, text in enumerate(texts, start=1)]
    return found


def commands(program: str) -> list[Any]:
    """Every call of a program in a shell block: the variables set before it, and its arguments."""
    found = []
    for block in blocks("sh"):
        lines = block.values[0].replace("\\\n", " ").splitlines()
        for number, line in enumerate(lines, start=1):
            for call in re.split(r"&&|\|", line):
                match = re.fullmatch(rf"\s*((?:\w+=\S*\s+|\w+=\$\(.*?\)\s+)*){program}\b([^#&]*)[#&]?.*", call)
                if match:
                    variables = dict(word.split("=", 1) for word in match[1].split() if "=" in word)
                    found.append(pytest.param(variables, shlex.split(match[2]), id=f"{block.id}-{number}"))
    return found


@pytest.mark.parametrize("text", blocks("yaml"))
def test_a_configuration_that_is_shown_is_one(text: str, tmp_path: Path) -> None:
    given = yaml.safe_load(text)
    if "scrape_configs" in given:
        assert given["scrape_configs"][0]["static_configs"]
        return
    file = tmp_path / "config.yml"
    whole = {**BASE, **given, "storage": {**BASE["storage"], **given.get("storage", {})}}  # type: ignore[dict-item]
    file.write_text(yaml.safe_dump(whole) if given.keys() < whole.keys() else text)
    load(file, {})


@pytest.mark.parametrize("text", blocks("yml"))
def test_a_pipeline_that_is_shown_logs_in_where_it_pushes(text: str) -> None:
    """GitHub's steps: a build's names, and its cache, are in the registry of the login before it."""
    shown = yaml.safe_load(text)
    jobs = [{"steps": shown}] if isinstance(shown, list) else shown.get("jobs", {}).values()
    host = ""
    for step in (step for job in jobs for step in job["steps"]):
        action, inputs = step.get("uses", "").partition("@")[0], step.get("with", {})
        if action == "docker/login-action":
            assert inputs.keys() == {"registry", "username", "password"}
            host = inputs["registry"]
        elif action == "docker/build-push-action":
            assert inputs.keys() <= {"push", "platforms", "tags", "cache-from", "cache-to"}
            caches = [dict(part.split("=") for part in inputs[one].split(",")) for one in ("cache-from", "cache-to")]
            assert [cache["type"] for cache in caches] == ["registry", "registry"]
            names = [*inputs["tags"].replace("${{ github.sha }}", "0123abc").split(), *(one["ref"] for one in caches)]
            assert {Reference.parse(name).host for name in names} == {host}


@pytest.mark.parametrize(("variables", "arguments"), commands("lading"))
def test_a_command_that_is_shown_exists(variables: dict[str, str], arguments: list[str]) -> None:
    known = load(None, variables).variables.values()
    assert set(variables) - set(known) == {name for name in variables if not name.startswith("REGISTRY_")}
    command: click.Command = cli
    rest = list(arguments)
    while isinstance(command, click.Group) and rest and (found := command.get_command(click.Context(command), rest[0])):
        command = found
        rest.pop(0)
    assert command is not cli or rest == ["--help"]
    options = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"-h", "--help"}
    assert [word for word in rest if word.startswith("--") and word.partition("=")[0] not in options] == []


@pytest.mark.parametrize(("variables", "arguments"), commands("make"))
def test_a_target_that_is_shown_exists(variables: dict[str, str], arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    names = [name for name in variables if not re.search(rf"\b{name}\b", makefile)]
    targets = [word for word in arguments if re.fullmatch(r"[a-z]+", word)]
    assert targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    assert names == []
