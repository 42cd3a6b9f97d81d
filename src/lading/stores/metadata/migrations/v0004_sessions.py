"""Sessions of browsers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String

if TYPE_CHECKING:
    from alembic.operations import Operations

LEAST = 3

Id = BigInteger().with_variant(Integer, "sqlite")


def upgrade(op: Operations) -> None:
    """Make the table."""
    op.create_table(
        "sessions",
        Column("id", Id, primary_key=True),
        Column("digest", word(64), nullable=False, unique=True),
        Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("used_at", BigInteger, nullable=False),
        Index("sessions_by_user", "user_id", "id"),
        Index("sessions_by_use", "used_at"),
        sqlite_autoincrement=True,
    )


def word(length: int) -> String:
    """Text compared byte by byte."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")
