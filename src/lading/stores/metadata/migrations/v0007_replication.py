"""Other registries, and replication to and from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, String, Text

if TYPE_CHECKING:
    from alembic.operations import Operations

LEAST = 6

Id = BigInteger().with_variant(Integer, "sqlite")


def upgrade(op: Operations) -> None:
    """Make the tables."""
    op.create_table(
        "endpoints",
        Column("id", Id, primary_key=True),
        Column("name", word(128), nullable=False, unique=True),
        Column("description", Text, nullable=False),
        Column("kind", word(64), nullable=False),
        Column("url", word(512), nullable=False),
        Column("insecure", Boolean, nullable=False),
        Column("username", word(512), nullable=False),
        Column("secret", LargeBinary),
        Column("ca", Text, nullable=False),
        Column("trouble", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "replication_policies",
        Column("id", Id, primary_key=True),
        Column("name", word(128), nullable=False, unique=True),
        Column("description", Text, nullable=False),
        Column("source_id", Id, ForeignKey("endpoints.id")),
        Column("target_id", Id, ForeignKey("endpoints.id")),
        Column("enabled", Boolean, nullable=False),
        Column("cause", word(16), nullable=False),
        Column("terms", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        Index("replication_policies_by_source", "source_id"),
        Index("replication_policies_by_target", "target_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "replication_runs",
        Column("id", Id, primary_key=True),
        Column("policy_id", Id, ForeignKey("replication_policies.id", ondelete="CASCADE"), nullable=False),
        Column("cause", word(16), nullable=False),
        Column("state", word(16), nullable=False),
        Column("told", Text, nullable=False),
        Column("planned", Boolean, nullable=False),
        Column("job_id", BigInteger),
        Column("began_at", BigInteger, nullable=False),
        Column("ended_at", BigInteger),
        Index("replication_runs_by_policy", "policy_id", "id"),
        Index("replication_runs_ended", "ended_at"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "replication_tasks",
        Column("id", Id, primary_key=True),
        Column("run_id", Id, ForeignKey("replication_runs.id", ondelete="CASCADE"), nullable=False),
        Column("action", word(16), nullable=False),
        Column("kind", word(16), nullable=False),
        Column("source", word(512), nullable=False),
        Column("target", word(512), nullable=False),
        Column("tags", Text, nullable=False),
        Column("state", word(16), nullable=False),
        Column("log", Text, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("began_at", BigInteger, nullable=False),
        Column("ended_at", BigInteger),
        Index("replication_tasks_by_run", "run_id", "id"),
        sqlite_autoincrement=True,
    )


def word(length: int) -> String:
    """Text compared byte by byte."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")
