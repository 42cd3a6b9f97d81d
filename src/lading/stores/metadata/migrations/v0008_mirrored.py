"""What mirrors brought, and when it was last used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer

if TYPE_CHECKING:
    from alembic.operations import Operations

LEAST = 7

Id = BigInteger().with_variant(Integer, "sqlite")


def upgrade(op: Operations) -> None:
    """Make the table."""
    op.create_table(
        "mirrored",
        Column(
            "manifest_id", Id, ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
        ),
        Column("used_at", BigInteger, nullable=False),
        Index("mirrored_by_use", "used_at"),
    )
