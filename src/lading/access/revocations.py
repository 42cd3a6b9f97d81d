"""Tokens that are good no more before they expire.

Verifying a token asks no database. So what ends one early (an account disabled, a member removed, a project made
private) is a row, *tokens of this subject issued up to now are void*, and every process looks for new rows every few
seconds. A row is forgotten when the last token it could hit has expired.
"""

from __future__ import annotations

from sqlalchemy import bindparam, delete, func, select, text

from lading.stores.metadata.schema.access import revocations
from lading.stores.metadata.transaction import Metadata, Statement, Transaction

EVERYBODY = "*"
LOOK_EVERY = 3.0
"""Seconds between two looks."""

_ADD = Statement(
    text(
        "INSERT INTO revocations (subject, revoked_at) VALUES (:subject, :now)"
        " ON CONFLICT (subject) DO UPDATE SET revoked_at = excluded.revoked_at"
    )
)
_ALL = Statement(select(revocations.c.subject, revocations.c.revoked_at))
_STAMP = Statement(select(func.count(), func.coalesce(func.max(revocations.c.revoked_at), 0)))
_FORGET = Statement(delete(revocations).where(revocations.c.revoked_at < bindparam("before")))


def of_project(name: str) -> str:
    """The subject that stands for every token on a project."""
    return f"p:{name}"


class Revocations:
    """The revocations, in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def add(self, *subjects: str) -> None:
        """From now on, no token issued so far to or on one of these subjects is good."""
        moment = self._tx.now
        for subject in subjects:
            if subject:
                await self._tx.execute(_ADD, subject=subject, now=moment)

    async def forget(self, before: int) -> int:
        """Delete what no token can be hit by any more; how many."""
        return await self._tx.execute(_FORGET, before=before)


class Revoked:
    """What is revoked, as one process knows it."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        self._stamp: object = None

    async def load(self, metadata: Metadata) -> None:
        """Look again."""
        stamp = await metadata.row(_STAMP)
        if stamp != self._stamp:
            rows = await metadata.read(lambda tx: tx.rows(_ALL))
            self._at = {row[0]: row[1] for row in rows}
            self._stamp = stamp

    def __bool__(self) -> bool:
        return bool(self._at)

    def hits(self, issued: int, *subjects: str) -> bool:
        """Whether a token issued then (milliseconds) to or on these subjects is void."""
        at = self._at
        return any(issued <= at.get(subject, -1) for subject in (*subjects, EVERYBODY))
