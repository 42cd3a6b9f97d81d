"""``docker-credential-lading``: docker's helper protocol for registries whose logins are made, not kept.

docker, podman, skopeo and others start it with ``get`` and a registry's address on standard input, and read JSON from
standard output; an error is a line there and status 1. It starts for every pull, so it imports little before it must.
"""

from __future__ import annotations

import json
import os
import sys

from lading import __version__
from lading.errors import LadingError
from lading.remotes.adapters.kept import Kept

_MISSING = "credentials not found in native keychain"
"""What docker takes as "none": it goes on without a login."""

_USAGE = "usage: docker-credential-lading get|store|erase|list|version"
_MAX_INPUT = 64 << 10


def main() -> None:
    """Do what the first argument says."""
    arguments = sys.argv[1:]
    try:
        status, said = _answer(arguments[0] if len(arguments) == 1 else "")
    except LadingError as error:
        status, said = 1, " ".join(error.message.split())
    try:
        print(said, end="\n" if said else "", flush=True)
    except OSError as error:  # nobody reads, or a full disk
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python tries again when it ends
        print(f"docker-credential-lading: output: {error.strerror}", file=sys.stderr)
        status = 1
    sys.exit(status)


def _answer(action: str) -> tuple[int, str]:
    if action == "version":
        return 0, f"docker-credential-lading (lading) {__version__}"
    if action == "list":
        return 0, json.dumps({f"https://{host}": user for host, user in Kept(os.environ).users().items()})
    if action not in {"get", "erase", "store"}:
        print(_USAGE, file=sys.stderr)
        return 2, ""
    given = sys.stdin.buffer.read(_MAX_INPUT).decode(errors="replace").strip() if sys.stdin else ""
    if action == "store":
        return 1, (
            "docker-credential-lading makes logins for registries of clouds and keeps no passwords: name it in "
            "credHelpers for those hosts, and leave others to credsStore or config.json"
        )
    host = _host(given)
    if not host:
        return 1, "no credentials server URL"
    return _erase(host) if action == "erase" else _get(given, host)


def _get(given: str, host: str) -> tuple[int, str]:
    kept = Kept(os.environ)
    login = kept.find(host) or _made(kept, host)
    if login is None:
        return 1, _MISSING
    return 0, json.dumps({"ServerURL": given, "Username": login[0], "Secret": login[1]})


def _made(kept: Kept, host: str) -> tuple[str, str] | None:
    """A new login, kept where it ends some time; None where no vendor knows the host or no job has a login for it."""
    import asyncio
    import math

    from lading.remotes.adapters.vendors import ambient

    credential = asyncio.run(ambient(host, os.environ, asked=True))
    if not credential:
        return None
    user, secret = credential.username, credential.password
    if credential.identity_token:
        user, secret = "<token>", credential.identity_token
    if credential.until < math.inf:
        kept.keep(host, user, secret, credential.until)
    return user, secret


def _erase(host: str) -> tuple[int, str]:
    Kept(os.environ).forget(host)
    return 0, ""


def _host(text: str) -> str:
    """``host[:port]`` of an address as clients write it, with or without a scheme and a path."""
    return text.partition("://")[2].partition("/")[0] if "://" in text else text.partition("/")[0]
