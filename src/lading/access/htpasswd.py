"""``auth.htpasswd``: Basic authentication against a file of bcrypt hashes. Whoever is known may do everything.

bcrypt is slow on purpose (cost 10: 75 ms), so it runs in a few threads of its own, and a success is remembered for a
while: a push of many layers pays once. What is remembered is a keyed hash of user, password and stored hash under a key
that never leaves the process; a password that changes in the file is therefore forgotten with it. Failures are not
remembered. They are not counted either: what bounds guessing is the number of threads, and what waits for them.
"""

from __future__ import annotations

import asyncio
import binascii
import hmac
import logging
import os
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import bcrypt

from lading.access.accounts import AccountsFile
from lading.access.accounts import provision as provision_file
from lading.access.challenge import basic, unauthenticated
from lading.access.principal import Kind, Principal
from lading.access.remembered import Remembered
from lading.access.scopes import Scope
from lading.errors import ConfigurationError, Unauthenticated, Unavailable

MAX_HEADER = 8 * 1024
"""Bytes of an ``Authorization`` header that are looked at."""
BCRYPT_BYTES = 72
"""What bcrypt takes of a password. htpasswd and registry:2 cut longer ones here, so a hash of theirs needs it too."""
REMEMBERED_FOR = 300.0
"""Seconds a success is good for without bcrypt."""
THREADS = 2
MAX_WAITING = 64
"""Distinct logins in check or waiting for it; more are told to come back."""

log = logging.getLogger(__name__)


class Credentials(NamedTuple):
    """What a Basic header holds (RFC 7617)."""

    user: str
    password: bytes


class Htpasswd:
    """The guard for an htpasswd file; see the module."""

    needs_origin = False

    def __init__(self, accounts: AccountsFile, realm: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._accounts = accounts
        self._challenge = basic(realm)
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._admitted: Remembered[Principal] = Remembered(entries=4096)
        self._checking: dict[bytes, asyncio.Future[bool]] = {}
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="bcrypt")

    @classmethod
    def open(cls, path: str | os.PathLike[str], realm: str, *, provision: bool = True) -> Htpasswd:
        """The guard over the file at ``path``, which is made when it is missing (unless ``provision`` is off)."""
        problems = [
            f"auth.htpasswd.{key}: it must be set"
            for key, value in (("realm", realm), ("path", os.fspath(path)))
            if not value
        ]
        if problems:
            raise ConfigurationError("\n".join(problems), problems)
        if provision:
            provision_file(Path(path))
        return cls(AccountsFile(Path(path)), realm)

    def admit_now(self, authorization: bytes | None, wanted: tuple[Scope, ...], origin: str = "") -> Principal | None:  # noqa: ARG002 - not every guard needs all
        """The principal if these credentials were checked lately; None when bcrypt has to look."""
        credentials = self._credentials(authorization, wanted)
        stored = self._accounts.current().hashes.get(credentials.user)
        if stored is None:
            return None
        return self._admitted.get(self._mark(credentials, stored), self._clock())

    async def admit(
        self,
        authorization: bytes | None,
        wanted: tuple[Scope, ...],
        origin: str = "",  # noqa: ARG002 - no challenge names it
        address: str = "",  # noqa: ARG002 - failures are not counted here
    ) -> Principal:
        """The principal, after bcrypt where that is needed."""
        credentials = self._credentials(authorization, wanted)
        accounts = self._accounts.current()
        stored = accounts.hashes.get(credentials.user)
        known = stored is not None
        mark = self._mark(credentials, stored or b"")
        if known and (principal := self._admitted.get(mark, self._clock())) is not None:
            return principal
        against = stored or accounts.dummies[mark[0] % len(accounts.dummies)]
        fits = await asyncio.shield(self._check(mark, credentials.password, against))
        if not (known and fits):
            log.info("login refused", extra={"user": credentials.user if known else None, "known": known})
            raise self._refusal(wanted, "wrong user name or password")
        principal = Principal(credentials.user, Kind.USER)
        self._admitted.put(mark, principal, self._clock() + REMEMBERED_FOR)
        return principal

    def close(self) -> None:
        """Stop the threads; a check that runs ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _check(self, mark: bytes, password: bytes, stored: bytes) -> asyncio.Future[bool]:
        """Whether the password fits: one look for all who ask the same at the same time."""
        if (running := self._checking.get(mark)) is not None:
            return running
        if len(self._checking) >= MAX_WAITING:
            raise Unavailable("too many logins at once: try again in a second", retry_after=1)
        look = asyncio.get_running_loop().run_in_executor(self._threads, _fits, password, stored)
        self._checking[mark] = look
        look.add_done_callback(lambda _: self._checking.pop(mark, None))
        return look

    def _credentials(self, authorization: bytes | None, wanted: tuple[Scope, ...]) -> Credentials:
        if authorization is None:
            raise self._refusal(wanted, "authentication required")
        credentials = parse_basic(authorization)
        if credentials is None:
            raise self._refusal(wanted, "the Authorization header is not valid Basic authentication")
        return credentials

    def _refusal(self, wanted: tuple[Scope, ...], why: str) -> Unauthenticated:
        return unauthenticated(self._challenge, wanted, why)

    def _mark(self, credentials: Credentials, stored: bytes) -> bytes:
        user = credentials.user.encode()
        message = b"%d:%d:%b%b%b" % (len(user), len(stored), user, stored, credentials.password)
        return hmac.digest(self._key, message, "sha256")


def parse_basic(authorization: bytes) -> Credentials | None:
    """User and password of a Basic header, or None when it is none: wrong scheme, base64, encoding, no colon."""
    scheme, space, encoded = authorization.partition(b" ")
    if not space or len(authorization) > MAX_HEADER or scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = binascii.a2b_base64(encoded.strip(b" "), strict_mode=True).partition(b":")
        name = user.decode("utf-8")
    except ValueError:
        return None
    if not colon or not name or b"\0" in password:
        return None
    return Credentials(name, password)


def _fits(password: bytes, stored: bytes) -> bool:
    try:
        return bcrypt.checkpw(password[:BCRYPT_BYTES], stored)
    except ValueError as error:
        log.error("a stored password hash is not usable", extra={"why": str(error)})
        return False
