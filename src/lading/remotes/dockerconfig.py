"""docker's ``config.json`` (and podman's ``auth.json``, the same form): read with doubt, written with care.

Every key that is not ours is kept. A file that cannot be read as what it should be is reported and left as it is.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lading.errors import CredentialsError
from lading.remotes import files

MAX_SIZE = 4 << 20
"""Longest file that is read, in bytes."""


class DockerConfig:
    """One such file; it need not exist. Values are read when they are asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._document: dict[str, Any] | None = None

    @classmethod
    def of(cls, text: str, name: str) -> DockerConfig:
        """A file's text that came another way, by the name it has in messages."""
        made = cls(Path(name))
        made._document = _parse(text.encode(), name)
        return made

    def helper(self, key: str) -> str:
        """The helper that keeps this registry's credential: its own, else the one for all, else nothing."""
        helpers = self._section("credHelpers")
        store = self._read().get("credsStore") or ""
        named = helpers.get(_bare(key), helpers.get(key, store)) or ""  # an empty one means the file itself
        if not isinstance(named, str):
            raise CredentialsError(
                f"{self.path}: the name of a credential helper must be text, not {json.dumps(named)}"
            )
        return named

    def entry(self, key: str) -> dict[str, str] | None:
        """What the file has for a registry, as the fields of a credential; None when it has nothing."""
        wanted = _bare(key)
        for name, value in self._section("auths").items():
            if name == key or _bare(name) == wanted:
                return self._decoded(name, value)
        return None

    def names(self) -> list[str]:
        """The registries that have an entry."""
        return list(self._section("auths"))

    def store(self, key: str, username: str, password: str, identity_token: str = "") -> None:
        """Keep a credential in the file, in place of what it had for this registry."""
        pair = base64.b64encode(f"{username}:{'' if identity_token else password}".encode()).decode()
        self._change(key, {"auth": pair, **({"identitytoken": identity_token} if identity_token else {})})

    def mark(self, key: str) -> None:
        """Note that a helper has this registry's credential."""
        self._change(key, {})

    def erase(self, key: str) -> bool:
        """Forget a registry; whether there was anything."""
        if all(_bare(name) != _bare(key) for name in self._section("auths")):
            return False
        self._change(key)
        return True

    def _change(self, key: str, entry: Mapping[str, str] | None = None) -> None:
        """Put an entry in place of what is there for a registry, or take that away; others may be at it, too."""
        folder = Path(os.path.realpath(self.path)).parent
        with files.told(f"write {self.path}"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with files.locked(folder):
            self._document = None
            document = self._read()
            auths = {name: value for name, value in self._section("auths").items() if _bare(name) != _bare(key)}
            self._write({**document, "auths": auths if entry is None else {**auths, key: dict(entry)}})

    def _decoded(self, name: str, value: Any) -> dict[str, str]:
        if value is None:  # docker takes it for an entry without anything
            value = {}
        if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values() if one is not None):
            raise CredentialsError(f"{self.path}: the entry for {name} is not an object of texts")
        username, password = value.get("username") or "", value.get("password") or ""
        if pair := value.get("auth"):
            try:
                username, colon, password = (
                    base64.b64decode("".join(pair.splitlines()), validate=True).decode().partition(":")
                )
            except (binascii.Error, UnicodeDecodeError, ValueError):
                colon = ""
            if not colon:
                raise CredentialsError(f"{self.path}: auth of {name} is not user:password in base64; log in again")
        return {
            "username": username,
            "password": password.rstrip("\0"),
            "identity_token": value.get("identitytoken") or "",
            "registry_token": value.get("registrytoken") or "",
        }

    def _section(self, name: str) -> dict[str, Any]:
        value = self._read().get(name)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise CredentialsError(f"{self.path}: {name} is not an object")
        return value

    def _read(self) -> dict[str, Any]:
        if self._document is None:
            try:
                with self.path.open("rb") as file:
                    raw = file.read(MAX_SIZE + 1)
            except (FileNotFoundError, NotADirectoryError):
                raw = b""
            except OSError as error:
                raise CredentialsError(f"cannot read {self.path}: {error.strerror}") from None
            self._document = _parse(raw, str(self.path))
        return self._document

    def _write(self, document: dict[str, Any]) -> None:
        """Replace the file in one step; it is never there in part, and never readable by others."""
        import tempfile  # noqa: PLC0415 - most commands write none, and compression comes with it

        target = Path(os.path.realpath(self.path))  # a link to a file elsewhere stays one
        try:
            handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # made with 0600
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_written(document))
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).replace(target)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise CredentialsError(f"cannot write {self.path}: {error.strerror}") from None
        self._document = document


def _bare(key: str) -> str:
    """A key without scheme and path, as docker compares them; podman's ``host/path`` keys keep theirs."""
    if "://" not in key:
        return key.rstrip("/")
    return key.partition("://")[2].partition("/")[0]


def _written(document: dict[str, Any]) -> bytes:
    """The text, in letters as they are; where one stands for none (half a surrogate pair), in JSON's own."""
    try:
        return f"{json.dumps(document, indent=chr(9), ensure_ascii=False)}\n".encode()
    except UnicodeEncodeError:
        return f"{json.dumps(document, indent=chr(9))}\n".encode()


def _parse(raw: bytes, name: str) -> dict[str, Any]:
    if not raw.strip():
        return {}
    if len(raw) > MAX_SIZE:
        raise CredentialsError(f"{name} is longer than {MAX_SIZE >> 20} MiB; it is left as it is")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        where = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else "it is no text"
        raise CredentialsError(f"{name} is not JSON ({where}); it is left as it is: mend it, or move it away") from None
    if not isinstance(document, dict):
        raise CredentialsError(f"{name} is JSON, but not an object; it is left as it is: mend it, or move it away")
    return document
