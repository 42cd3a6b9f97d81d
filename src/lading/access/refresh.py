"""Refresh tokens: what ``docker login`` keeps instead of the password where it asked for one (``identitytoken``)."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, insert, select, update

from lading.access import credentials
from lading.access.credentials import Prefix
from lading.access.principal import Kind, Principal
from lading.stores.metadata.schema.access import refresh_tokens
from lading.stores.metadata.transaction import Statement, Transaction

MOST = 200
"""Logins one account may have at once; the oldest end first."""

_BY_DIGEST = Statement(
    select(
        refresh_tokens.c.id,
        refresh_tokens.c.user_id,
        refresh_tokens.c.robot_id,
        refresh_tokens.c.expires_at,
        refresh_tokens.c.used_at,
    ).where(refresh_tokens.c.digest == bindparam("digest"))
)
_ADD = Statement(
    insert(refresh_tokens).values(
        digest=bindparam("digest"),
        user_id=bindparam("user"),
        robot_id=bindparam("robot"),
        client=bindparam("client"),
        created_at=bindparam("now"),
        expires_at=bindparam("expires_at"),
    )
)
_OLDEST = {
    Kind.USER: Statement(
        select(refresh_tokens.c.id)
        .where(refresh_tokens.c.user_id == bindparam("account"))
        .order_by(refresh_tokens.c.id.desc())
        .limit(1)
        .offset(bindparam("kept"))
    ),
    Kind.ROBOT: Statement(
        select(refresh_tokens.c.id)
        .where(refresh_tokens.c.robot_id == bindparam("account"))
        .order_by(refresh_tokens.c.id.desc())
        .limit(1)
        .offset(bindparam("kept"))
    ),
}
_FORGET_OLD = {
    Kind.USER: Statement(
        delete(refresh_tokens).where(
            refresh_tokens.c.user_id == bindparam("account"), refresh_tokens.c.id <= bindparam("upto")
        )
    ),
    Kind.ROBOT: Statement(
        delete(refresh_tokens).where(
            refresh_tokens.c.robot_id == bindparam("account"), refresh_tokens.c.id <= bindparam("upto")
        )
    ),
}
_USED = Statement(
    update(refresh_tokens)
    .where(refresh_tokens.c.id == bindparam("login"))
    .values(used_at=bindparam("now"), expires_at=bindparam("until"))
)
_FORGET = Statement(delete(refresh_tokens).where(refresh_tokens.c.expires_at < bindparam("before")))


@dataclass(frozen=True)
class Login:
    """Somebody's login that goes on: a user's or a robot's."""

    id: int
    user: int | None
    robot: int | None
    used_at: int | None


class RefreshTokens:
    """The refresh tokens, in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def add(self, who: Principal, client: str, lifetime: int) -> str:
        """Make one for a user or a robot, good for ``lifetime`` milliseconds after its last use."""
        secret = credentials.make(Prefix.REFRESH)
        await self._tx.execute(
            _ADD,
            digest=credentials.digest(secret),
            user=who.id if who.kind is Kind.USER else None,
            robot=who.id if who.kind is Kind.ROBOT else None,
            client=client[:255],
            now=self._tx.now,
            expires_at=self._tx.now + lifetime,
        )
        oldest = await self._tx.value(_OLDEST[who.kind], account=who.id, kept=MOST)
        if oldest is not None:
            await self._tx.execute(_FORGET_OLD[who.kind], account=who.id, upto=oldest)
        return secret

    async def of_secret(self, secret: str) -> Login | None:
        """The login this secret belongs to, if it has not expired."""
        if not credentials.is_one(secret, Prefix.REFRESH):
            return None
        row = await self._tx.row(_BY_DIGEST, digest=credentials.digest(secret))
        return None if row is None or row[3] <= self._tx.now else Login(row[0], row[1], row[2], row[4])

    async def used(self, login: Login, lifetime: int) -> None:
        """Note a use, from which the lifetime counts anew."""
        await self._tx.execute(_USED, login=login.id, now=self._tx.now, until=self._tx.now + lifetime)

    async def forget(self) -> int:
        """Delete those that have expired; how many."""
        return await self._tx.execute(_FORGET, before=self._tx.now)
