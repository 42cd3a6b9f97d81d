"""Programs that keep credentials: ``docker-credential-NAME`` with ``get``, ``store`` and ``erase``.

What goes in and comes out is secret. A message tells a helper's first words only where it reports a failure in them,
and never what it answered otherwise.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import selectors
import subprocess
import time
from contextlib import suppress
from typing import IO, Any

from lading.errors import CredentialsError

LIMIT = 30.0
"""How long a helper may take, in seconds: some ask the user to unlock something."""

MAX_ANSWER = 1 << 20

_MISSING = ("credentials not found", "no credentials server url", "no credentials username")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)


async def get(name: str, key: str, limit: float = LIMIT) -> tuple[str, str] | None:
    """User and secret of a registry; None when the helper has nothing for it."""
    status, said = await _run(name, "get", key.encode(), limit)
    if status:
        text = said.decode("utf-8", "replace").strip()
        if text.lower().startswith(_MISSING):
            return None
        raise CredentialsError(
            f"the credential helper docker-credential-{name} failed: {text[:200] or 'it says nothing'}"
        )
    answer = _answer(name, said)
    username, secret = answer.get("Username"), answer.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise CredentialsError(f"docker-credential-{name} answers without Username and Secret")
    return username, secret


async def store(name: str, key: str, username: str, secret: str, limit: float = LIMIT) -> None:
    """Give a credential to the helper."""
    document = json.dumps({"ServerURL": key, "Username": username, "Secret": secret}).encode() + b"\n"
    status, said = await _run(name, "store", document, limit)
    if status:
        text = said.decode("utf-8", "replace").replace(secret, "…").strip()
        raise CredentialsError(f"docker-credential-{name} did not store it: {text[:200] or 'it says nothing'}")


async def erase(name: str, key: str, limit: float = LIMIT) -> bool:
    """Have the helper forget a registry; whether it had anything."""
    status, said = await _run(name, "erase", key.encode(), limit)
    text = said.decode("utf-8", "replace").strip()
    # some fail in words of their own where there is nothing: then they give nothing either
    if status and not text.lower().startswith(_MISSING) and await get(name, key, limit) is not None:
        raise CredentialsError(f"docker-credential-{name} did not erase it: {text[:200] or 'it says nothing'}")
    return status == 0


def _answer(name: str, said: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(said)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise CredentialsError(f"docker-credential-{name} answers something that is no JSON object; try it by hand")
    return answer


async def _run(name: str, action: str, given: bytes, limit: float) -> tuple[int, bytes]:
    if not _NAME.fullmatch(name):
        raise CredentialsError(f"{name!r} is no name of a credential helper")
    started: list[subprocess.Popen[bytes]] = []
    try:
        return await asyncio.to_thread(_talk, f"docker-credential-{name}", action, given, limit, started)
    except asyncio.CancelledError:
        for child in started:  # nobody waits for what it says, and the thread would
            child.kill()
        raise


def _talk(
    program: str, action: str, given: bytes, limit: float, started: list[subprocess.Popen[bytes]]
) -> tuple[int, bytes]:
    """Exit status and output. Pipes are read by hand: a child of the helper's may hold them open for ever."""
    try:
        child = subprocess.Popen(
            [program, action], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
    except FileNotFoundError:
        raise CredentialsError(
            f"the configuration names the credential helper {program}, which is not installed; install it, or take "
            "credsStore and credHelpers out of config.json"
        ) from None
    except OSError as error:
        raise CredentialsError(f"cannot start {program}: {error.strerror}") from None
    started.append(child)
    assert child.stdin is not None
    assert child.stdout is not None
    deadline = time.monotonic() + limit
    try:
        _give(child.stdin, given, deadline)
        said = _read(child.stdout, program, deadline)
        return child.wait(max(0.0, deadline - time.monotonic())), said
    except (TimeoutError, subprocess.TimeoutExpired):
        raise CredentialsError(f"{program} did not answer within {limit:g} seconds") from None
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
        with suppress(BrokenPipeError):
            child.stdin.close()


def _give(pipe: IO[bytes], given: bytes, deadline: float) -> None:
    os.set_blocking(pipe.fileno(), False)
    with selectors.DefaultSelector() as selector, suppress(BrokenPipeError):  # it may know enough without reading
        selector.register(pipe, selectors.EVENT_WRITE)
        while given:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            given = given[os.write(pipe.fileno(), given) :]
    pipe.close()


def _read(pipe: IO[bytes], program: str, deadline: float) -> bytes:
    said = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            chunk = os.read(pipe.fileno(), 64 << 10)
            if not chunk:
                return bytes(said)
            said += chunk
            if len(said) > MAX_ANSWER:
                raise CredentialsError(f"{program} answers without end")
