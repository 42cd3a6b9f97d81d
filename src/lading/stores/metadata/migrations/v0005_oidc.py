"""Users of an OIDC provider, and robots for the tokens of CI jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, String, Text

if TYPE_CHECKING:
    from alembic.operations import Operations

LEAST = 4

Id = BigInteger().with_variant(Integer, "sqlite")


def upgrade(op: Operations) -> None:
    """Make the tables."""
    op.create_table(
        "oidc_identities",
        Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        Column("secret", LargeBinary, nullable=False),
        Column("refresh", LargeBinary),
        Column("by_group", Boolean, nullable=False),
        Column("ended", Boolean, nullable=False),
        Column("checked_at", BigInteger, nullable=False),
        Column("verified_at", BigInteger, nullable=False),
    )
    op.create_table(
        "oidc_arrivals",
        Column("digest", word(64), primary_key=True),
        Column("sealed", LargeBinary, nullable=False),
        Column("expires_at", BigInteger, nullable=False),
        Index("oidc_arrivals_by_time", "expires_at"),
    )
    op.create_table(
        "trusts",
        Column("id", Id, primary_key=True),
        Column("robot_id", Id, ForeignKey("robots.id", ondelete="CASCADE"), nullable=False),
        Column("issuer", word(512), nullable=False),
        Column("audience", word(255), nullable=False),
        Column("claims", Text, nullable=False),
        Column("max_age", Integer, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Index("trusts_by_issuer", "issuer"),
        Index("trusts_by_robot", "robot_id"),
        sqlite_autoincrement=True,
    )


def word(length: int) -> String:
    """Text compared byte by byte."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")
