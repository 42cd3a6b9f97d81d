"""Credential helpers: real programs that answer, refuse, babble and hang."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lading.errors import CredentialsError
from lading.remotes import helpers
from lading.remotes.credentials import Credential, Keyring
from tests.support.patience import eventually

pytestmark = pytest.mark.anyio

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a program on the path: ``install("name", "shell commands")``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def make(name: str, commands: str) -> None:
        file = folder / f"docker-credential-{name}"
        file.write_text(f"#!/bin/sh\n{commands}\n")
        file.chmod(0o755)

    return make


KEEPS = r"""
store="$(dirname "$0")/store"
case $1 in
    get) key=$(cat); if [ -f "$store" ]; then cat "$store"; else echo "credentials not found in native keychain"; exit 1; fi;;
    store) cat > "$store";;
    erase) cat > /dev/null; rm "$store";;
esac
"""


async def test_a_helper_keeps_gives_and_forgets(install: Install) -> None:
    install("keeps", KEEPS)
    assert await helpers.get("keeps", "r.lab") is None
    await helpers.store("keeps", "r.lab", "alice", "secret")
    assert await helpers.get("keeps", "r.lab") == ("alice", "secret")
    assert await helpers.erase("keeps", "r.lab")
    assert await helpers.get("keeps", "r.lab") is None
    assert not await helpers.erase("keeps", "r.lab")


async def test_a_helper_that_does_not_forget(install: Install) -> None:
    """Whoever logs out must not be told that there was no login."""
    install("holds", KEEPS.replace('rm "$store"', "echo locked; exit 1"))
    await helpers.store("holds", "r.lab", "alice", "secret")
    with pytest.raises(CredentialsError, match="docker-credential-holds did not erase it: locked"):
        await helpers.erase("holds", "r.lab")


async def test_a_helper_of_its_own_goes_before_the_one_for_all(install: Install, tmp_path: Path) -> None:
    for name in ("all", "one"):
        install(name, f"""echo '{{"Username": "{name}", "Secret": "s"}}'""")
    install("token", """echo '{"Username": "<token>", "Secret": "refresh"}'""")
    config = {"credsStore": "all", "credHelpers": {"one.lab": "one", "token.lab": "token"}}
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps(config))
    keyring = Keyring({"HOME": str(tmp_path)})
    assert await keyring.find("one.lab") == Credential("one", "s")
    assert await keyring.find("any.lab") == Credential("all", "s")
    assert await keyring.find("token.lab") == Credential(identity_token="refresh")
    text = {"HOME": "/nonexistent", "DOCKER_AUTH_CONFIG": json.dumps(config)}
    assert await Keyring(text).find("one.lab") == Credential("one", "s")


@pytest.mark.parametrize(
    ("commands", "said"),
    [
        ("echo garbage", "no JSON object"),
        ("echo '[]'", "no JSON object"),
        ("echo '{}'", "without Username and Secret"),
        ("""echo '{"Username": 1, "Secret": "s"}'""", "without Username and Secret"),
        ("echo locked; exit 1", "failed: locked"),
        ("exit 3", "failed: it says nothing"),
        ("yes", "without end"),
        ("head -c 100000 /dev/zero; exit 0", "no JSON object"),
    ],
)
async def test_a_helper_that_does_not_work(install: Install, commands: str, said: str) -> None:
    install("odd", commands)
    with pytest.raises(CredentialsError, match=said):
        await helpers.get("odd", "r.lab")


@pytest.mark.parametrize("commands", ["sleep 60", "sleep 60 & echo", "trap '' TERM; exec sleep 60"])
async def test_a_helper_that_hangs_is_ended(install: Install, commands: str) -> None:
    install("hangs", commands)
    before = time.monotonic()
    with pytest.raises(CredentialsError, match=r"did not answer within 0\.3 seconds"):
        await helpers.get("hangs", "r.lab", limit=0.3)
    assert time.monotonic() - before < 30


async def test_who_has_had_enough_does_not_wait_for_a_helper(install: Install, tmp_path: Path) -> None:
    install("hangs", f"touch {tmp_path}/begun; exec sleep 90")
    asked = asyncio.ensure_future(helpers.get("hangs", "r.lab", limit=90))
    async with asyncio.timeout(60):
        await asyncio.to_thread(eventually, (tmp_path / "begun").exists)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await asyncio.get_running_loop().shutdown_default_executor()


async def test_a_helper_that_does_not_listen_is_ended(install: Install) -> None:
    """A password may be longer than what a pipe holds."""
    install("deaf", "exec sleep 60")
    with pytest.raises(CredentialsError, match=r"did not answer within 0\.3 seconds"):
        await helpers.store("deaf", "r.lab", "alice", "x" * 200_000, limit=0.3)


async def test_a_helper_that_is_not_there_is_named() -> None:
    with pytest.raises(CredentialsError, match="docker-credential-nowhere, which is not installed"):
        await helpers.get("nowhere", "r.lab")


@pytest.mark.parametrize("name", ["../../bin/sh", "a b", "", "-x"])
async def test_a_name_that_is_a_path_is_refused(name: str) -> None:
    with pytest.raises(CredentialsError, match="no name of a credential helper"):
        await helpers.get(name, "r.lab")


async def test_what_fails_does_not_show_the_secret(install: Install) -> None:
    install("echoes", "cat; exit 1")
    with pytest.raises(CredentialsError) as found:
        await helpers.store("echoes", "r.lab", "alice", "sesame-open")
    assert "sesame-open" not in found.value.message
