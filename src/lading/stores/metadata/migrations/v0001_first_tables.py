"""The first tables: repositories, manifests, tags and blobs; leases and events.

As they were when the first index in PostgreSQL was made; those in SQLite began with the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    TextClause,
    UniqueConstraint,
    false,
    text,
)

if TYPE_CHECKING:
    from alembic.operations import Operations

LEAST = 1

Id = BigInteger().with_variant(Integer, "sqlite")


def upgrade(op: Operations) -> None:
    """Make what is stored, then what runs in the background."""
    _content(op)
    _work(op)


def word(length: int) -> String:
    """Text compared byte by byte."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def _content(op: Operations) -> None:
    op.create_table(
        "repositories",
        Column("id", Id, primary_key=True),
        Column("name", word(255), nullable=False, unique=True),
        Column("created_at", BigInteger, nullable=False),
        Column("description", Text, nullable=False, server_default=text("''")),
        Column("stars", Integer, nullable=False, server_default=text("0")),
        Column("official", Boolean, nullable=False, server_default=false()),
    )
    op.create_table(
        "blobs",
        Column("id", Id, primary_key=True),
        Column("digest", word(135), nullable=False, unique=True),
        Column("size", BigInteger, nullable=False),
        Column("present", Boolean, nullable=False),
        Column("touched_at", BigInteger, nullable=False),
        Column("condemned_at", BigInteger),
    )
    op.create_index(
        "blobs_condemned",
        "blobs",
        ["condemned_at"],
        sqlite_where=text("condemned_at IS NOT NULL"),
        postgresql_where=text("condemned_at IS NOT NULL"),
    )
    op.create_table(
        "contents",
        Column("blob_id", Id, ForeignKey("blobs.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
        Column("bytes", LargeBinary, nullable=False),
    )
    op.create_table(
        "repository_blobs",
        Column("repository_id", Id, ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True),
        Column("blob_id", Id, ForeignKey("blobs.id", ondelete="CASCADE"), primary_key=True),
        Index("repository_blobs_by_blob", "blob_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "manifests",
        Column("id", Id, primary_key=True),
        Column("repository_id", Id, ForeignKey("repositories.id", ondelete="CASCADE"), nullable=False),
        Column("blob_id", Id, ForeignKey("blobs.id"), nullable=False),
        Column("digest", word(135), nullable=False),
        Column("media_type", word(255), nullable=False),
        Column("size", BigInteger, nullable=False),
        Column("artifact_type", Text, nullable=False),
        Column("subject", word(135)),
        Column("annotations", Text, nullable=False),
        Column("pushed_at", BigInteger, nullable=False),
        Column("touched_at", BigInteger, nullable=False),
        UniqueConstraint("repository_id", "digest"),
        Index("manifests_by_blob", "blob_id"),
    )
    op.create_index(
        "manifests_by_subject",
        "manifests",
        ["repository_id", "subject", "digest"],
        sqlite_where=text("subject IS NOT NULL"),
        postgresql_where=text("subject IS NOT NULL"),
    )
    op.create_table(
        "manifest_blobs",
        Column("manifest_id", Id, ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True),
        Column("blob_id", Id, ForeignKey("blobs.id"), primary_key=True),
        Index("manifest_blobs_by_blob", "blob_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "manifest_children",
        Column("manifest_id", Id, ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True),
        Column("digest", word(135), primary_key=True),
        Index("manifest_children_by_digest", "digest"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tags",
        Column("repository_id", Id, ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True),
        Column("name", word(128), primary_key=True),
        Column("manifest_id", Id, ForeignKey("manifests.id", ondelete="CASCADE"), nullable=False),
        Column("moved_at", BigInteger, nullable=False),
        Index("tags_by_manifest", "manifest_id"),
        sqlite_with_rowid=False,
    )


def _work(op: Operations) -> None:
    op.create_table(
        "facts",
        Column("name", word(64), primary_key=True),
        Column("value", Text, nullable=False),
    )
    op.create_table(
        "leases",
        Column("name", word(128), primary_key=True),
        Column("holder", word(64), nullable=False),
        Column("expires_at", BigInteger, nullable=False),
    )
    op.create_table(
        "outbox",
        Column("id", Id, primary_key=True),
        Column("kind", word(64), nullable=False),
        Column("payload", Text, nullable=False),
        Column("happened_at", BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "consumers",
        Column("name", word(255), primary_key=True),
        Column("position", BigInteger, nullable=False),
        Column("failures", Integer, nullable=False),
        Column("next_at", BigInteger, nullable=False),
    )
    op.create_table(
        "jobs",
        Column("id", Id, primary_key=True),
        Column("kind", word(64), nullable=False),
        Column("key", word(255)),
        Column("state", word(16), nullable=False),
        Column("priority", Integer, nullable=False),
        Column("payload", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("not_before", BigInteger, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("holder", word(128)),
        Column("lease_until", BigInteger),
        Column("began_at", BigInteger),
        Column("ended_at", BigInteger),
        Column("cancelling", Boolean, nullable=False),
        Column("done", BigInteger, nullable=False),
        Column("total", BigInteger),
        Column("message", Text, nullable=False),
        Column("result", Text),
        Column("error", Text, nullable=False),
        sqlite_autoincrement=True,
    )
    _index_of_jobs(op, "jobs_key", ["key"], "ended_at IS NULL", unique=True)
    _index_of_jobs(op, "jobs_waiting", [text("priority DESC"), "not_before", "id"], "state = 'waiting'")
    _index_of_jobs(op, "jobs_running", ["lease_until"], "state = 'running'")
    _index_of_jobs(op, "jobs_ended", ["ended_at"], "ended_at IS NOT NULL")
    op.create_table(
        "job_lines",
        Column("id", Id, primary_key=True),
        Column("job_id", Id, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("line", Text, nullable=False),
        Index("job_lines_job", "job_id", "id"),
    )
    op.create_table(
        "schedules",
        Column("name", word(64), primary_key=True),
        Column("kind", word(64), nullable=False),
        Column("payload", Text, nullable=False),
        Column("timing", word(255), nullable=False),
        Column("next_at", BigInteger, nullable=False),
        Column("last_at", BigInteger),
        Column("job_id", BigInteger),
        Column("configured", Boolean, nullable=False, server_default=text("false")),
    )


def _index_of_jobs(
    op: Operations, name: str, columns: list[str | TextClause], where: str, *, unique: bool = False
) -> None:
    op.create_index(name, "jobs", columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))
