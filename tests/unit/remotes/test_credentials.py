"""Where credentials come from, in which order, and that nothing is lost or shown on the way."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from lading.errors import CredentialsError
from lading.remotes.credentials import HUB_KEY, Credential, Keyring
from lading.remotes.dockerconfig import DockerConfig

pytestmark = pytest.mark.anyio


def pair(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}


def write(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def docker(tmp_path: Path, document: Any) -> Path:
    return write(tmp_path / ".docker" / "config.json", document)


async def test_nobody_is_known(home: dict[str, str]) -> None:
    assert not await Keyring(home).find("registry.lab")


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("registry.lab:5000", "registry.lab:5000"),
        ("https://registry.lab", "registry.lab"),
        ("https://registry.lab/v1/", "registry.lab"),
        ("http://registry.lab:5000/v2/", "registry.lab:5000"),
        (HUB_KEY, "docker.io"),
        ("docker.io", "docker.io"),
    ],
)
async def test_docker_s_file(tmp_path: Path, home: dict[str, str], key: str, host: str) -> None:
    docker(tmp_path, {"auths": {"other.lab": {"auth": pair("x", "y")}, key: {"auth": pair("alice", "a:b c")}}})
    assert await Keyring(home).find(host) == Credential("alice", "a:b c")


async def test_an_identity_token_goes_before_the_empty_password(tmp_path: Path, home: dict[str, str]) -> None:
    docker(tmp_path, {"auths": {"r.lab": {"auth": pair("alice", ""), "identitytoken": "refresh"}}})
    found = await Keyring(home).find("r.lab")
    assert (found.username, found.identity_token) == ("alice", "refresh")


async def test_what_docker_takes(tmp_path: Path, home: dict[str, str]) -> None:
    """base64 as its command breaks it into lines, an entry of nothing, and a helper that is none: the file itself is meant."""
    long = base64.encodebytes(b"_json_key:" + b"x" * 200).decode()
    assert "\n" in long.strip()
    helpers = {"credHelpers": {"r.lab": ""}, "credsStore": "not-installed"}
    docker(tmp_path, {"auths": {"r.lab": {"auth": long}, "nobody.lab": None}, **helpers})
    assert (await Keyring(home).find("r.lab")).password == "x" * 200
    with pytest.raises(CredentialsError, match="not-installed"):
        await Keyring(home).find("other.lab")
    docker(tmp_path, {"auths": {"nobody.lab": None}})
    assert not await Keyring(home).find("nobody.lab")


async def test_the_order(tmp_path: Path, home: dict[str, str]) -> None:
    """Given, then the environment's text, then the file it names, then docker's file, then podman's."""

    def auths(user: str) -> dict[str, Any]:
        return {"auths": {"r.lab": {"auth": pair(user, "p")}}}

    write(tmp_path / "run" / "containers" / "auth.json", auths("podman"))
    assert (await Keyring(home).find("r.lab")).username == "podman"
    docker(tmp_path, auths("docker"))
    assert (await Keyring(home).find("r.lab")).username == "docker"
    elsewhere = write(tmp_path / "elsewhere" / "config.json", auths("elsewhere"))
    assert (await Keyring({**home, "DOCKER_CONFIG": str(elsewhere.parent)}).find("r.lab")).username == "elsewhere"
    named = {**home, "REGISTRY_AUTH_FILE": str(write(tmp_path / "named.json", auths("named")))}
    assert (await Keyring(named).find("r.lab")).username == "named"
    write(tmp_path / "named.json", {})
    assert (await Keyring(named).find("r.lab")).username == "docker"
    write(tmp_path / "named.json", auths("named"))
    text = {**named, "DOCKER_AUTH_CONFIG": json.dumps(auths("text"))}
    assert (await Keyring(text).find("r.lab")).username == "text"
    assert (await Keyring(text, {"r.lab": Credential("given", "p")}).find("r.lab")).username == "given"


async def test_podman_s_longest_path_wins(tmp_path: Path, home: dict[str, str]) -> None:
    entries = {"r.lab": "all", "r.lab/team": "team", "r.lab/team/app": "app"}
    file = write(tmp_path / "auth.json", {"auths": {key: {"auth": pair(user, "p")} for key, user in entries.items()}})
    named = {**home, "REGISTRY_AUTH_FILE": str(file)}
    for repository, user in {"": "all", "x": "all", "team/x": "team", "team/app": "app", "team/app/x": "app"}.items():
        assert (await Keyring(named).find("r.lab", repository)).username == user


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"auths": []}',
        '{"auths": {"r.lab": "x"}}',
        '{"auths": {"r.lab": {"auth": "***"}}}',
        '{"auths": {"r.lab": {"auth": "bm9jb2xvbg=="}}}',
        '{"auths": {"r.lab": {"auth": 7}}}',
        '{"credsStore": 7}',
        '{"credHelpers": []}',
        "\x00\x01",
        "[" * 100_000,
        '{"auths": {"r.lab": {"auth": "' + "A" * (5 << 20) + '"}}}',
    ],
    ids=range(12),
)
async def test_a_broken_file_is_reported_and_left_alone(tmp_path: Path, home: dict[str, str], text: str) -> None:
    file = docker(tmp_path, text)
    with pytest.raises(CredentialsError, match=r"config\.json"):
        await Keyring(home).find("r.lab")
    if not text.startswith(('{"auths": {', '{"cred')):
        with pytest.raises(CredentialsError):
            Keyring(home).docker.store("r.lab", "a", "b")
        assert file.read_text() == text


def test_what_is_written(tmp_path: Path) -> None:
    file = docker(tmp_path, {"HttpHeaders": {"x": "ü"}, "auths": {"https://r.lab/v1/": {"auth": "old"}, "keep": {}}})
    file.chmod(0o644)
    DockerConfig(file).store("r.lab", "alice", "secret")
    DockerConfig(file).store("t.lab", "bob", "ignored", "refresh")
    written = json.loads(file.read_text())
    assert written["HttpHeaders"] == {"x": "ü"}
    assert written["auths"] == {
        "keep": {},
        "r.lab": {"auth": pair("alice", "secret")},
        "t.lab": {"auth": pair("bob", ""), "identitytoken": "refresh"},
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in file.parent.iterdir()] == ["config.json"]
    assert DockerConfig(file).erase("r.lab")
    assert not DockerConfig(file).erase("r.lab")
    assert list(json.loads(file.read_text())["auths"]) == ["keep", "t.lab"]


def test_what_others_write_meanwhile_stays(tmp_path: Path) -> None:
    """A login is read before the password travels, and written after."""
    file = docker(tmp_path, {})
    one, other = DockerConfig(file), DockerConfig(file)
    assert one.names() == other.names() == []
    one.store("one.lab", "alice", "secret")
    other.store("other.lab", "bob", "secret")
    assert DockerConfig(file).names() == ["one.lab", "other.lab"]


def test_letters_that_stand_for_none_are_kept(tmp_path: Path) -> None:
    file = docker(tmp_path, '{"x": "\\ud800ü"}')
    DockerConfig(file).store("r.lab", "alice", "secret")
    assert json.loads(file.read_text())["x"] == "\ud800ü"


def test_a_link_to_a_file_elsewhere_stays_one(tmp_path: Path) -> None:
    real = write(tmp_path / "dotfiles" / "docker.json", {})
    link = tmp_path / ".docker" / "config.json"
    link.parent.mkdir()
    link.symlink_to(real)
    DockerConfig(link).store("r.lab", "alice", "secret")
    assert link.is_symlink()
    assert "r.lab" in real.read_text()


def test_a_credential_does_not_show_its_secrets() -> None:
    assert "secret" not in repr(Credential("alice", "secret-1", "secret-2", "secret-3"))
