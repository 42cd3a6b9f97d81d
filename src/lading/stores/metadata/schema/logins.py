"""Logins that go on elsewhere than in a client's memory: browsers' sessions.

::

    users ──< sessions

What a browser holds is stored as its SHA-256.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Table

from lading.stores.metadata.schema.base import Id, tables, word

sessions = Table(
    "sessions",
    tables,
    Column("id", Id, primary_key=True),
    Column("digest", word(64), nullable=False, unique=True),
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger, nullable=False),
    Index("sessions_by_user", "user_id", "id"),
    Index("sessions_by_use", "used_at"),
    sqlite_autoincrement=True,
)
"""``created_at`` is when somebody logged in, from which the longest time counts; ``used_at`` when they were last seen."""
