"""Logins that were made, kept for the next program until half of their time is over: a file only its owner can read.

A file that is no such file counts as empty. Nothing here is worth an error: what is not kept is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

_PREFIXES = ("AWS_", "AZURE_", "CLOUDSDK_", "GOOGLE_", "IDENTITY_")
_SECRETS = ("SECRET", "PASSWORD", "SESSION_TOKEN")
_MAX_SIZE = 1 << 20


class Kept:
    """The logins of one user; ``environment`` says where they are and as whom the clouds know this program."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        home = environment.get("HOME") or str(Path.home())
        self.path = Path(environment.get("XDG_CACHE_HOME") or f"{home}/.cache", "lading", "logins.json")
        known = {name: value for name, value in environment.items() if name.startswith(_PREFIXES) or name == "HOME"}
        told = {name: value for name, value in known.items() if not any(word in name for word in _SECRETS)}
        # another profile or role is another login, even to the same registry
        self._whose = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def find(self, host: str) -> tuple[str, str] | None:
        """User and secret for a host, while more than half of their time is left."""
        entry = self._read().get(host)
        if not isinstance(entry, dict) or entry.get("whose") != self._whose:
            return None
        user, secret, half = entry.get("user"), entry.get("secret"), entry.get("half")
        if not isinstance(user, str) or not isinstance(secret, str) or not isinstance(half, int | float):
            return None
        return (user, secret) if time.time() < half else None

    def keep(self, host: str, user: str, secret: str, until: float) -> None:
        """Keep a login which ends at ``until``, in seconds since 1970."""
        half = (time.time() + until) / 2
        entry = {"whose": self._whose, "user": user, "secret": secret, "half": half}
        self._write({**self._read(), host: entry})

    def forget(self, host: str) -> None:
        entries = self._read()
        if entries.pop(host, None) is not None:
            self._write(entries)

    def users(self) -> dict[str, str]:
        """Who one is at each host, as far as that is kept."""
        found = {host: self.find(host) for host in self._read()}
        return {host: login[0] for host, login in found.items() if login}

    def _read(self) -> dict[str, Any]:
        try:
            with self.path.open("rb") as file:
                found = json.loads(file.read(_MAX_SIZE))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, entries: dict[str, Any]) -> None:
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, name = tempfile.mkstemp(prefix=".logins-", dir=self.path.parent)  # made with 0600
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(entries, file)
                Path(name).replace(self.path)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
