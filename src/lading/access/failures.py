"""Logins that fail: counted by account and by address, and locked out for a while when they are many.

Names that do not exist are counted like those that do, so that a lock tells nothing. Only passwords are guarded so:
the secrets made here are too long to be guessed, and their owner should not be locked out by somebody else. Of an IPv6
address the network counts (64 bits), since whoever has one address has all of it. The rows are bounded: keys are hashes
of one length, and every now and then a failure takes along those that are too old to count.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from sqlalchemy import bindparam, delete, select, text

from lading.stores.metadata.schema.access import failures
from lading.stores.metadata.transaction import Statement, Transaction

_LOCKED = Statement(
    select(failures.c.locked_until)
    .where(failures.c.key.in_((bindparam("account"), bindparam("address"))), failures.c.locked_until > bindparam("now"))
    .order_by(failures.c.locked_until.desc())
    .limit(1)
)
_COUNT = Statement(
    text(
        "INSERT INTO failures (key, count, since, locked_until) VALUES (:key, 1, :now, 0)"
        " ON CONFLICT (key) DO UPDATE SET"
        " count = CASE WHEN failures.since < :window THEN 1 ELSE failures.count + 1 END,"
        " since = CASE WHEN failures.since < :window THEN excluded.since ELSE failures.since END"
        " RETURNING count"
    )
)
_LOCK = Statement(
    text(
        "UPDATE failures SET locked_until = :until, count = 0, since = :now WHERE key = :key AND locked_until < :until"
    )
)
_CLEAR = Statement(delete(failures).where(failures.c.key == bindparam("key")))
_FORGET = Statement(
    delete(failures).where(failures.c.since < bindparam("before"), failures.c.locked_until < bindparam("now"))
)

_FORGET_EVERY = 1000
"""Failures to one, on average, that looks for what can be forgotten."""


@dataclass(frozen=True)
class Lockout:
    """After how many failures within ``window`` an account or an address is locked, and for how long; milliseconds.

    No attempts (0) switches one of them off.
    """

    attempts: int = 10
    address_attempts: int = 100
    window: int = 600_000
    duration: int = 600_000


class Failures:
    """The failed logins, in a transaction."""

    def __init__(self, tx: Transaction, lockout: Lockout) -> None:
        self._tx = tx
        self._lockout = lockout

    async def locked(self, name: str, address: str) -> int:
        """For how many seconds yet nobody may try this name, or from this address; 0 if they may."""
        until = await self._tx.value(_LOCKED, account=_account(name), address=_address(address), now=self._tx.now)
        return 0 if until is None else max(1, -(-(until - self._tx.now) // 1000))

    async def failed(self, name: str, address: str) -> bool:
        """Count a failure; whether it was the one that locks."""
        if secrets.randbelow(_FORGET_EVERY) == 0:
            await self.forget()
        locked = await self._count(_account(name), self._lockout.attempts)
        return await self._count(_address(address), self._lockout.address_attempts) or locked

    async def succeeded(self, name: str) -> None:
        """Forget the failures of an account that somebody logged into."""
        await self._tx.execute(_CLEAR, key=_account(name))

    async def forget(self) -> int:
        """Delete what is too old to count; how many."""
        moment = self._tx.now
        return await self._tx.execute(_FORGET, before=moment - self._lockout.window, now=moment)

    async def _count(self, key: str, most: int) -> bool:
        if not most:
            return False
        moment = self._tx.now
        count: int = await self._tx.value(_COUNT, key=key, now=moment, window=moment - self._lockout.window)
        if count < most:
            return False
        await self._tx.execute(_LOCK, key=key, until=moment + self._lockout.duration, now=moment)
        return True


def _account(name: str) -> str:
    # a directory takes Alice for alice, and no guess is to be had for free by writing her name otherwise
    return "a:" + hashlib.sha256(name.casefold().encode("utf-8", "replace")).hexdigest()


def _address(address: str) -> str:
    return "h:" + hashlib.sha256(_network(address).encode("utf-8", "replace")).hexdigest()


def _network(address: str) -> str:
    try:
        read = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(read, IPv6Address):
        return str(read)
    return str(read.ipv4_mapped) if read.ipv4_mapped else str(IPv6Address(int(read) >> 64 << 64))
