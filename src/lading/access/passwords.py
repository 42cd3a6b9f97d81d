"""Passwords: what is stored of them, whether one fits, and which are good enough.

New ones are hashed with argon2id, with OWASP's parameters. What was brought over keeps its form until its owner logs
in the next time: bcrypt (htpasswd) and PBKDF2-SHA256 (Harbor). All of these are slow on purpose and run in a few
threads of their own; a success is remembered for a while under a keyed hash, so that a push pays once.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import argon2
import bcrypt

from lading.access.remembered import Remembered
from lading.errors import Invalid, Unavailable

LONGEST = 1024
"""Bytes a password may have; argon2 takes all of them."""
BCRYPT_BYTES = 72
REMEMBERED_FOR = 300.0
"""Seconds a success is good for without another look."""
THREADS = 2
MAX_WAITING = 64
"""Distinct passwords in check or waiting for it; more are told to come back."""

_TIME, _MEMORY, _LANES = 2, 19_456, 1
_COMMON = frozenset(
    [
        "password",
        "passw0rd",
        "password1",
        "password123",
        "12345678",
        "123456789",
        "1234567890",
        "qwertyuiop",
        "letmein1",
        "welcome1",
        "iloveyou",
        "admin123",
        "administrator",
        "changeme",
        "changeme1",
        "harbor12345",
    ]
)


@dataclass(frozen=True)
class Policy:
    """Which passwords are taken; ``mixed`` asks for a small letter, a large one and a digit, as Harbor does."""

    least: int = 8
    mixed: bool = True

    def check(self, password: str, name: str = "") -> None:
        """Raise ``Invalid`` with what is missing."""
        if len(password) < self.least:
            raise Invalid(f"the password is too short: {self.least} characters are the least")
        if len(password.encode()) > LONGEST:
            raise Invalid(f"the password is too long: {LONGEST} bytes are the most")
        if "\0" in password:
            raise Invalid("the password holds a NUL character")
        if self.mixed and not (
            any(c.isupper() for c in password)
            and any(c.islower() for c in password)
            and any(c.isdigit() for c in password)
        ):
            raise Invalid("the password needs a small letter, a large letter and a digit")
        if password.lower() in _COMMON or (name and password.lower() == name.lower()):
            raise Invalid("the password is one of those that are tried first; choose another")


def hashed(password: str) -> str:
    """What is stored of a password. Takes some 20 ms."""
    return _hasher().hash(password)


def fits(password: bytes, stored: str) -> bool:
    """Whether the password is the one that was stored; False also where nothing usable is stored."""
    if not password or len(password) > LONGEST:
        return False
    try:
        if stored.startswith("$argon2"):
            return _hasher().verify(stored, password)
        if stored.startswith("$2"):
            return bcrypt.checkpw(password[:BCRYPT_BYTES], stored.encode())
        kind, rounds, salt, digest = stored.split("$")
        if kind != "pbkdf2-sha256":
            return False
        found = hashlib.pbkdf2_hmac("sha256", password, salt.encode(), int(rounds), len(digest) // 2)
        return hmac.compare_digest(found.hex(), digest)
    except (argon2.exceptions.Argon2Error, argon2.exceptions.InvalidHashError, ValueError):
        return False


def outdated(stored: str) -> bool:
    """Whether this should be hashed anew when its password is known the next time."""
    return not stored.startswith("$argon2") or _hasher().check_needs_rehash(stored)


class Checker:
    """Looks whether passwords fit; ``clock`` counts seconds and never goes back.

    Asked about nothing stored (an unknown name) it takes as long as a wrong password does.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._known: Remembered[bool] = Remembered(entries=8192)
        self._checking: dict[bytes, asyncio.Future[bool]] = {}
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="passwords")
        self._dummy = hashed(secrets.token_urlsafe(16))

    def remembered(self, name: str, password: bytes, stored: str) -> bool:
        """Whether this very password was found to fit lately."""
        return bool(stored) and self._known.get(self._mark(name, password, stored), self._clock()) is not None

    async def fits(self, name: str, password: bytes, stored: str, dummy: str = "") -> bool:
        """Whether the password fits; ``stored`` empty for a name that is not known or has no password here.

        ``dummy`` is a hash that nothing fits, to check instead of none, where those stored are of another kind.
        """
        mark = self._mark(name, password, stored)
        if stored and self._known.get(mark, self._clock()):
            return True
        running = self._checking.get(mark)
        if running is None:
            if len(self._checking) >= MAX_WAITING:
                raise Unavailable("too many logins at once: try again in a second", retry_after=1)
            against = stored or dummy or self._dummy
            running = asyncio.get_running_loop().run_in_executor(self._threads, fits, password, against)
            self._checking[mark] = running
            running.add_done_callback(lambda _: self._checking.pop(mark, None))
        found = await asyncio.shield(running) and bool(stored)
        if found:
            self._known.put(mark, value=True, until=self._clock() + REMEMBERED_FOR)
        return found

    async def hashed(self, password: str) -> str:
        """What is stored of a new password."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, hashed, password)

    def close(self) -> None:
        """Stop the threads; a check that runs ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _mark(self, name: str, password: bytes, stored: str) -> bytes:
        user, kept = name.encode("utf-8", "replace"), stored.encode()
        message = b"%d:%d:%b%b%b" % (len(user), len(kept), user, kept, password)
        return hmac.digest(self._key, message, "sha256")


def _hasher() -> argon2.PasswordHasher:
    return argon2.PasswordHasher(time_cost=_TIME, memory_cost=_MEMORY, parallelism=_LANES)
