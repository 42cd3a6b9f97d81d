"""Labels, and which artifacts they are on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Text

if TYPE_CHECKING:
    from alembic.operations import Operations

LEAST = 2

Id = BigInteger().with_variant(Integer, "sqlite")


def upgrade(op: Operations) -> None:
    """Make the tables."""
    op.create_table(
        "labels",
        Column("id", Id, primary_key=True),
        Column("name", word(128), nullable=False),
        Column("project_id", Id, ForeignKey("projects.id", ondelete="CASCADE")),
        Column("description", Text, nullable=False),
        Column("color", word(16), nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        Index("labels_by_project", "project_id", "name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "artifact_labels",
        Column("manifest_id", Id, ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True),
        Column("label_id", Id, ForeignKey("labels.id", ondelete="CASCADE"), primary_key=True),
        Index("artifact_labels_by_label", "label_id"),
        sqlite_with_rowid=False,
    )


def word(length: int) -> String:
    """Text compared byte by byte."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")
