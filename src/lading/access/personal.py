"""Personal access tokens: secrets of a user's, one for each program or place, that end without the others.

They stand where a password stands (``docker login -u alice`` with the token), do not end with a session, may be limited
to repositories and to a time, and say when they were used last.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update

from lading.access import credentials
from lading.access.credentials import Prefix
from lading.access.revocations import Revocations
from lading.errors import Conflict, Invalid
from lading.stores.metadata.schema.access import personal_tokens
from lading.stores.metadata.transaction import Row, Statement, Transaction

MOST = 100
"""Tokens one user may have."""
_USED_EVERY = 60_000

_LIMIT = re.compile(
    r"repository:(?:\*|[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?:/\*)?):(?:\*|(?:pull|push|delete)(?:,(?:pull|push|delete))*)",
    re.ASCII,
)


@dataclass(frozen=True)
class PersonalToken:
    """A token as it is listed; ``limits`` empty: whatever its owner may. Times in milliseconds."""

    id: int
    user: int
    name: str
    limits: tuple[str, ...]
    created_at: int
    expires_at: int | None
    used_at: int | None


_columns = (
    personal_tokens.c.id,
    personal_tokens.c.user_id,
    personal_tokens.c.name,
    personal_tokens.c.scopes,
    personal_tokens.c.created_at,
    personal_tokens.c.expires_at,
    personal_tokens.c.used_at,
)
_BY_DIGEST = Statement(select(*_columns).where(personal_tokens.c.digest == bindparam("digest")))
_OF = Statement(
    select(*_columns).where(personal_tokens.c.user_id == bindparam("user")).order_by(personal_tokens.c.name)
)
_ADD = Statement(
    insert(personal_tokens).values(
        user_id=bindparam("user"),
        name=bindparam("name"),
        digest=bindparam("digest"),
        scopes=bindparam("scopes"),
        created_at=bindparam("now"),
        expires_at=bindparam("expires_at"),
    )
)
_USED = Statement(
    update(personal_tokens).where(personal_tokens.c.id == bindparam("token")).values(used_at=bindparam("now"))
)
_DELETE = Statement(
    delete(personal_tokens).where(
        personal_tokens.c.user_id == bindparam("user"), personal_tokens.c.id == bindparam("token")
    )
)


class PersonalTokens:
    """The personal access tokens, in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def of(self, user: int) -> Sequence[PersonalToken]:
        """A user's tokens by name; never their secrets."""
        return [token for row in await self._tx.rows(_OF, user=user) if (token := _record(row))]

    async def of_secret(self, secret: str) -> PersonalToken | None:
        """The token with this secret, if it has not expired."""
        if not credentials.is_one(secret, Prefix.PERSONAL):
            return None
        token = _record(await self._tx.row(_BY_DIGEST, digest=credentials.digest(secret)))
        expired = token is not None and token.expires_at is not None and token.expires_at <= self._tx.now
        return None if expired else token

    async def add(
        self, user: int, name: str, *, limits: Sequence[str] = (), expires_at: int | None = None
    ) -> tuple[PersonalToken, str]:
        """Make a token, and its secret, which is not stored and never shown again."""
        if not name.strip() or len(name) > 255 or any(ord(c) < 32 or ord(c) == 127 for c in name):
            raise Invalid("a token's name has 1 to 255 characters, none of them a control character")
        if len(limits) > 50 or any(len(limit) > 400 or _LIMIT.fullmatch(limit) is None for limit in limits):
            raise Invalid(
                "a token is limited by up to 50 scopes of the form repository:team/app:pull,push; team/* is all of team"
            )
        if expires_at is not None and expires_at <= self._tx.now:
            raise Invalid("the token would have expired already")
        present = await self.of(user)
        if any(one.name == name for one in present):
            raise Conflict(f"you have a token {name} already; delete it or give this one another name")
        if len(present) >= MOST:
            raise Conflict(f"you have {MOST} tokens, which is the most; delete some first")
        secret = credentials.make(Prefix.PERSONAL)
        await self._tx.execute(
            _ADD,
            user=user,
            name=name,
            digest=credentials.digest(secret),
            scopes=msgspec.json.encode(list(limits)).decode(),
            now=self._tx.now,
            expires_at=expires_at,
        )
        return next(one for one in await self.of(user) if one.name == name), secret

    async def delete(self, user: int, token: int) -> bool:
        """Delete a token; what was issued for it ends too. Whether there was one."""
        gone = bool(await self._tx.execute(_DELETE, user=user, token=token))
        if gone:
            await Revocations(self._tx).add(f"u{user}")
        return gone

    async def used(self, token: int) -> None:
        """Note that a token was used."""
        await self._tx.execute(_USED, token=token, now=self._tx.now)


def worth_noting(used_at: int | None, moment: int) -> bool:
    """Whether a use should be written down, or one was a moment ago."""
    return used_at is None or moment - used_at > _USED_EVERY


def _record(row: Row | None) -> PersonalToken | None:
    return None if row is None else PersonalToken(row[0], row[1], row[2], tuple(msgspec.json.decode(row[3])), *row[4:])
