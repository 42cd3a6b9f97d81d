"""Sessions of browsers: a cookie instead of credentials, and what keeps other sites from using it.

The cookie holds a long random secret, new at each login, of which the index has the SHA-256: any process knows every
session, and who reads the index can become nobody. A page of another site can make a browser send the cookie and not read
what comes back; so what changes something also needs a token made from the secret, which only an answer told.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, insert, or_, select, update

from lading.access import credentials
from lading.access.credentials import Prefix
from lading.access.principal import Kind, Principal
from lading.stores.metadata.schema.access import users
from lading.stores.metadata.schema.logins import sessions
from lading.stores.metadata.transaction import Statement, Transaction

MOST = 100
"""Sessions one user may have at once; the oldest end first."""
_MASK = 32

_BY_DIGEST = Statement(
    select(sessions.c.id, sessions.c.created_at, sessions.c.used_at, users.c.id, users.c.name, users.c.source)
    .join(users, users.c.id == sessions.c.user_id)
    .where(sessions.c.digest == bindparam("digest"), users.c.disabled.is_(False))
)
_ADD = Statement(
    insert(sessions).values(
        digest=bindparam("digest"), user_id=bindparam("user"), created_at=bindparam("now"), used_at=bindparam("now")
    )
)
_OLDEST = Statement(
    select(sessions.c.id)
    .where(sessions.c.user_id == bindparam("user"))
    .order_by(sessions.c.id.desc())
    .limit(1)
    .offset(bindparam("kept"))
)
_FORGET_OLD = Statement(
    delete(sessions).where(sessions.c.user_id == bindparam("user"), sessions.c.id <= bindparam("upto"))
)
_USED = Statement(update(sessions).where(sessions.c.id == bindparam("session")).values(used_at=bindparam("now")))
_END = Statement(delete(sessions).where(sessions.c.digest == bindparam("digest")))
_FORGET = Statement(
    delete(sessions).where(or_(sessions.c.used_at <= bindparam("idle"), sessions.c.created_at <= bindparam("oldest")))
)


@dataclass(frozen=True)
class SessionTimes:
    """Milliseconds a session lasts without a request, and at most."""

    idle: int = 3_600_000
    lifetime: int = 12 * 3_600_000


@dataclass(frozen=True)
class Session:
    """Somebody's session that goes on; ``source`` is where their identity comes from."""

    id: int
    who: Principal
    source: str
    used_at: int


class Sessions:
    """The sessions, in a transaction."""

    def __init__(self, tx: Transaction, times: SessionTimes) -> None:
        self._tx = tx
        self._times = times

    async def begin(self, user: int, before: str = "") -> str:
        """Begin a session of a user, in place of the one this browser had; its secret, which only the cookie has."""
        if before:
            await self.end(before)
        secret = credentials.make(Prefix.SESSION)
        await self._tx.execute(_ADD, digest=credentials.digest(secret), user=user, now=self._tx.now)
        oldest = await self._tx.value(_OLDEST, user=user, kept=MOST)
        if oldest is not None:
            await self._tx.execute(_FORGET_OLD, user=user, upto=oldest)
        return secret

    async def of_secret(self, secret: str) -> Session | None:
        """The session with this secret, if it goes on."""
        if not credentials.is_one(secret, Prefix.SESSION):
            return None
        row = await self._tx.row(_BY_DIGEST, digest=credentials.digest(secret))
        if row is None:
            return None
        session, created_at, used_at, user, name, source = row
        if used_at <= self._tx.now - self._times.idle or created_at <= self._tx.now - self._times.lifetime:
            return None
        return Session(session, Principal(name, Kind.USER, user), source, used_at)

    async def used(self, session: Session) -> None:
        """Note that a session was used."""
        await self._tx.execute(_USED, session=session.id, now=self._tx.now)

    async def end(self, secret: str) -> bool:
        """End the session with this secret; whether there was one."""
        if not credentials.is_one(secret, Prefix.SESSION):
            return False
        return bool(await self._tx.execute(_END, digest=credentials.digest(secret)))

    async def forget(self) -> int:
        """Delete those that are over; how many."""
        times, moment = self._times, self._tx.now
        return await self._tx.execute(_FORGET, idle=moment - times.idle, oldest=moment - times.lifetime)


def csrf_token(secret: str) -> str:
    """A token that shows that whoever sends it has read an answer to this session; another one each time it is made."""
    mask = os.urandom(_MASK)
    return base64.b64encode(mask + _xor(mask, _proof(secret))).decode()


def csrf_fits(secret: str, token: str) -> bool:
    """Whether the token is one of this session's."""
    try:
        raw = base64.b64decode(token, validate=True)
    except (ValueError, binascii.Error):
        return False
    return len(raw) == 2 * _MASK and hmac.compare_digest(_xor(raw[:_MASK], raw[_MASK:]), _proof(secret))


def _proof(secret: str) -> bytes:
    return hmac.digest(secret.encode(), b"csrf", hashlib.sha256)


def _xor(one: bytes, other: bytes) -> bytes:
    """A mask, so that compression beside something a stranger chose cannot tell the proof."""
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
