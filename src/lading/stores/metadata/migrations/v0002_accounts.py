"""Accounts: users, groups, robots and their secrets; projects, members, roles, quotas and the audit log."""

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
    UniqueConstraint,
)

if TYPE_CHECKING:
    from alembic.operations import Operations

LEAST = 1

Id = BigInteger().with_variant(Integer, "sqlite")


def upgrade(op: Operations) -> None:
    """Make the tables, each behind those it refers to."""
    _people(op)
    _projects(op)
    _robots(op)
    _rest(op)


def word(length: int) -> String:
    """Text compared byte by byte."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def _people(op: Operations) -> None:
    op.create_table(
        "users",
        Column("id", Id, primary_key=True),
        Column("name", word(255), nullable=False, unique=True),
        Column("email", word(255), nullable=False),
        Column("full_name", word(255), nullable=False),
        Column("comment", Text, nullable=False),
        Column("password", word(255), nullable=False),
        Column("source", word(16), nullable=False),
        Column("subject", word(512), nullable=False),
        Column("admin", Boolean, nullable=False),
        Column("disabled", Boolean, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        Column("seen_at", BigInteger),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "groups",
        Column("id", Id, primary_key=True),
        Column("name", word(255), nullable=False, unique=True),
        Column("source", word(16), nullable=False),
        Column("subject", word(512), nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        Index("groups_by_subject", "source", "subject"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "group_members",
        Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        Column("group_id", Id, ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True),
        Index("group_members_by_group", "group_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "personal_tokens",
        Column("id", Id, primary_key=True),
        Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        Column("name", word(255), nullable=False),
        Column("digest", word(64), nullable=False, unique=True),
        Column("scopes", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("expires_at", BigInteger),
        Column("used_at", BigInteger),
        UniqueConstraint("user_id", "name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "signing_keys",
        Column("id", Id, primary_key=True),
        Column("kid", word(64), nullable=False, unique=True),
        Column("sealed", LargeBinary, nullable=False),
        Column("certificate", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("signs_from", BigInteger, nullable=False),
        Column("retired_at", BigInteger),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "failures",
        Column("key", word(80), primary_key=True),
        Column("count", Integer, nullable=False),
        Column("since", BigInteger, nullable=False),
        Column("locked_until", BigInteger, nullable=False),
        Index("failures_by_age", "since"),
    )
    op.create_table(
        "revocations",
        Column("subject", word(255), primary_key=True),
        Column("revoked_at", BigInteger, nullable=False),
        Index("revocations_by_time", "revoked_at"),
    )


def _projects(op: Operations) -> None:
    op.create_table(
        "projects",
        Column("id", Id, primary_key=True),
        Column("name", word(255), nullable=False, unique=True),
        Column("public", Boolean, nullable=False),
        Column("owner_id", Id, ForeignKey("users.id", ondelete="SET NULL")),
        Column("registry_id", Id),
        Column("created_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "project_members",
        Column("id", Id, primary_key=True),
        Column("project_id", Id, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
        Column("kind", word(1), nullable=False),
        Column("entity_id", Id, nullable=False),
        Column("role_id", Integer, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        UniqueConstraint("project_id", "kind", "entity_id"),
        Index("project_members_by_entity", "kind", "entity_id", "project_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "project_grants",
        Column("id", Id, primary_key=True),
        Column("project_id", Id, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
        Column("kind", word(1), nullable=False),
        Column("entity_id", Id, nullable=False),
        Column("path", word(255), nullable=False),
        Column("exact", Boolean, nullable=False),
        Column("role_id", Integer, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        UniqueConstraint("project_id", "kind", "entity_id", "path", "exact"),
        Index("project_grants_by_entity", "kind", "entity_id", "project_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "roles",
        Column("id", Id, primary_key=True),
        Column("name", word(64), nullable=False, unique=True),
        Column("permissions", Text, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "project_metadata",
        Column("project_id", Id, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
        Column("name", word(64), primary_key=True),
        Column("value", Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "quotas",
        Column("project_id", Id, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
        Column("bytes", BigInteger, nullable=False),
        Column("repositories", BigInteger, nullable=False),
        Column("told", word(16), nullable=False),
        Column("updated_at", BigInteger, nullable=False),
    )
    op.create_table(
        "usages",
        Column("project_id", Id, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
        Column("shard", Integer, primary_key=True),
        Column("bytes", BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _robots(op: Operations) -> None:
    op.create_table(
        "robots",
        Column("id", Id, primary_key=True),
        Column("name", word(512), nullable=False, unique=True),
        Column("project_id", Id, ForeignKey("projects.id", ondelete="CASCADE")),
        Column("description", Text, nullable=False),
        Column("secret", word(255), nullable=False),
        Column("disabled", Boolean, nullable=False),
        Column("duration", Integer, nullable=False),
        Column("expires_at", BigInteger),
        Column("creator_kind", word(16), nullable=False),
        Column("creator_id", Id, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("updated_at", BigInteger, nullable=False),
        Column("used_at", BigInteger),
        Index("robots_by_project", "project_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "robot_grants",
        Column("robot_id", Id, ForeignKey("robots.id", ondelete="CASCADE"), primary_key=True),
        Column("namespace", word(255), primary_key=True),
        Column("resource", word(64), primary_key=True),
        Column("action", word(32), primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "refresh_tokens",
        Column("id", Id, primary_key=True),
        Column("digest", word(64), nullable=False, unique=True),
        Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE")),
        Column("robot_id", Id, ForeignKey("robots.id", ondelete="CASCADE")),
        Column("client", word(255), nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("expires_at", BigInteger, nullable=False),
        Column("used_at", BigInteger),
        Index("refresh_tokens_by_user", "user_id", "id"),
        Index("refresh_tokens_by_robot", "robot_id", "id"),
        sqlite_autoincrement=True,
    )


def _rest(op: Operations) -> None:
    op.create_table(
        "project_repositories",
        Column("repository_id", Id, ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True),
        Column("project_id", Id, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
        Index("project_repositories_by_project", "project_id", "repository_id"),
    )
    op.create_table(
        "project_blobs",
        Column("project_id", Id, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
        Column("blob_id", Id, ForeignKey("blobs.id", ondelete="CASCADE"), primary_key=True),
        Column("size", BigInteger, nullable=False),
        Index("project_blobs_by_blob", "blob_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit",
        Column("id", Id, primary_key=True),
        Column("happened_at", BigInteger, nullable=False),
        Column("operation", word(32), nullable=False),
        Column("resource_type", word(32), nullable=False),
        Column("resource", word(1024), nullable=False),
        Column("project", word(255), nullable=False),
        Column("actor", word(512), nullable=False),
        Column("address", word(64), nullable=False),
        Column("result", word(16), nullable=False),
        Column("count", Integer, nullable=False),
        Column("detail", Text, nullable=False),
        Index("audit_by_time", "happened_at"),
        Index("audit_by_project", "project", "id"),
        Index("audit_by_actor", "actor", "id"),
        Index("audit_by_operation", "operation", "id"),
        Index("audit_by_result", "result", "id"),
        sqlite_autoincrement=True,
    )
