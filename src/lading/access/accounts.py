"""The htpasswd file: users and their bcrypt hashes, read again whenever the file changes."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import bcrypt

from lading.errors import ConfigurationError

KEY = "auth.htpasswd.path"
MAX_FILE = 16 * 1024 * 1024
"""Bytes an htpasswd file may have."""
LOOK_EVERY = 1.0
"""Seconds between two looks at whether the file changed."""
DEFAULT_COST = 10

_BCRYPT = re.compile(rb"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Accounts:
    """What one reading of the file gave.

    ``dummies`` are hashes no password fits, of the same costs as the real ones: checking an unknown user against one
    takes as long as a wrong password does. ``refused`` has a sentence for each entry that nobody can log in with.
    """

    hashes: Mapping[str, bytes]
    dummies: tuple[bytes, ...]
    refused: tuple[str, ...] = ()


def parse(raw: bytes) -> Accounts:
    """The accounts in an htpasswd file's bytes; raises ``ValueError`` naming the line that is no entry at all.

    Lines are ``user:hash``; empty ones and those that begin with ``#`` say nothing, and of two lines for one user the
    last counts. As in registry:2 only bcrypt is taken: a user with another hash is refused, and the others work.
    """
    hashes: dict[str, bytes] = {}
    refused: list[str] = []
    for number, line in enumerate(raw.split(b"\n"), start=1):
        entry = line.strip()
        if not entry or entry.startswith(b"#"):
            continue
        name, colon, stored = entry.partition(b":")
        user = _user(name)
        if not colon or not user:
            raise ValueError(f"line {number} is not of the form user:hash")
        hashes.pop(user, None)
        if _BCRYPT.fullmatch(stored) is None:
            refused.append(
                f"line {number}: the password of {user!r} is not a bcrypt hash, so that user cannot log in; "
                f"make a new one with: htpasswd -B FILE {user}"
            )
            continue
        hashes[user] = stored
    return Accounts(hashes, _dummies(hashes), tuple(refused))


class AccountsFile:
    """An htpasswd file that is looked at again, at most once a second, and read again when it changed.

    A file that vanished or cannot be parsed any more changes nothing: the accounts read last stay, and the log says
    so once. ``clock`` counts seconds and never goes back.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._looked = clock()
        self._seen, self._accounts = self._first()

    def current(self) -> Accounts:
        """The accounts as they are now, give or take a second."""
        now = self._clock()
        if now - self._looked >= LOOK_EVERY:
            self._looked = now
            self._look()
        return self._accounts

    def _first(self) -> tuple[object, Accounts]:
        try:
            seen, raw = _read(self._path)
            accounts = parse(raw)
        except OSError as error:
            raise _wrong(f"{self._path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise _wrong(f"{self._path}: {error}") from error
        if accounts.refused and not accounts.hashes:
            raise _wrong(f"{self._path} has no user who could log in: {accounts.refused[0]}")
        self._tell(accounts)
        return seen, accounts

    def _look(self) -> None:
        seen: object = None
        try:
            seen = _signature(self._path.stat())
            if seen == self._seen:
                return
            seen, raw = _read(self._path)
            accounts = parse(raw)
        except (OSError, ValueError) as error:
            if seen != self._seen:
                log.error(
                    "htpasswd file not usable, the accounts read before stay",
                    extra={"path": str(self._path), "why": str(error)},
                )
            self._seen = seen
            return
        self._seen, self._accounts = seen, accounts
        log.info("htpasswd file read again", extra={"path": str(self._path), "users": len(accounts.hashes)})
        self._tell(accounts)

    def _tell(self, accounts: Accounts) -> None:
        for sentence in accounts.refused[:20]:
            log.warning("htpasswd entry refused", extra={"path": str(self._path), "why": sentence})
        if not accounts.hashes:
            log.warning("htpasswd file has no users: nobody can log in", extra={"path": str(self._path)})


def provision(path: Path, out: TextIO | None = None) -> bool:
    """Make the file, with one user of a random password, if it is missing; whether it was this call that made it.

    registry:2 does the same, and tells the password once, on standard output. The file appears whole and readable by
    its owner alone, and when several processes start at once only one of them makes it and speaks.
    """
    password = secrets.token_urlsafe(32)
    try:
        if path.exists():
            return False
        stored = bcrypt.hashpw(password.encode(), bcrypt.gensalt(DEFAULT_COST))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _publish(path, b"docker:" + stored + b"\n"):
            return False
    except OSError as error:
        raise _wrong(
            f"{path} does not exist and cannot be made ({error.strerror}); make it with: htpasswd -Bc {path} USER"
        ) from error
    print(
        f"{path} was missing and has been made. Log in as docker with the password {password}",
        file=out or sys.stdout,
        flush=True,
    )
    return True


def _publish(path: Path, content: bytes) -> bool:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        draft.touch(mode=0o600, exist_ok=False)
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
            return True
        return False
    finally:
        draft.unlink(missing_ok=True)


def _read(path: Path) -> tuple[object, bytes]:
    with path.open("rb") as file:
        seen = _signature(os.fstat(file.fileno()))
        raw = file.read(MAX_FILE + 1)
    if len(raw) > MAX_FILE:
        raise ValueError(f"it is larger than {MAX_FILE} bytes")
    return seen, raw


def _signature(status: os.stat_result) -> object:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _user(name: bytes) -> str:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return ""


def _dummies(hashes: Mapping[str, bytes]) -> tuple[bytes, ...]:
    costs = [int(stored[4:6]) for stored in hashes.values()] or [DEFAULT_COST]
    made = {cost: bcrypt.gensalt(cost) + b"." * 31 for cost in set(costs)}
    return tuple(made[cost] for cost in costs)


def _wrong(what: str) -> ConfigurationError:
    problem = f"{KEY}: {what}"
    return ConfigurationError(problem, [problem])
