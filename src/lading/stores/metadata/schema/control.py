"""What is governed: projects with their members, roles, settings and quotas, and the audit log.

::

    projects ──< project_members (a user or a group, in a role)
       │  ├────< project_grants (the same, on a repository or a path in the project)
       │  ├────< project_metadata (name → value)
       │  ├────< project_repositories >── repositories
       │  ├────< project_blobs >── blobs        each content counted once, whatever holds it
       │  ├────< labels ──< artifact_labels >── manifests
       │  ├──1   quotas
       │  └────< usages                         the sum, in several rows so that pushes do not wait for each other
       └ roles (custom ones; the built-in ones are in access/permissions.py)
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    func,
    literal_column,
)

from lading.stores.metadata.schema.base import Id, tables, word

projects = Table(
    "projects",
    tables,
    Column("id", Id, primary_key=True),
    Column("name", word(255), nullable=False, unique=True),
    Column("public", Boolean, nullable=False),
    Column("owner_id", Id, ForeignKey("users.id", ondelete="SET NULL")),
    Column("registry_id", Id),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
"""``registry_id``: what a proxy project is a mirror of."""

project_members = Table(
    "project_members",
    tables,
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
"""``kind``: u for a user, g for a group."""

project_grants = Table(
    "project_grants",
    tables,
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
"""``path`` is a repository's whole name if ``exact``, else what the names it holds for begin with (it ends in /)."""

roles = Table(
    "roles",
    tables,
    Column("id", Id, primary_key=True),
    Column("name", word(64), nullable=False, unique=True),
    Column("permissions", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
"""Custom roles; ``permissions`` is JSON, resource → list of actions. Ids begin at 100."""

project_metadata = Table(
    "project_metadata",
    tables,
    Column("project_id", Id, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("name", word(64), primary_key=True),
    Column("value", Text, nullable=False),
    sqlite_with_rowid=False,
)

project_repositories = Table(
    "project_repositories",
    tables,
    Column("repository_id", Id, ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True),
    Column("project_id", Id, ForeignKey("projects.id", ondelete="CASCADE"), nullable=False),
    Index("project_repositories_by_project", "project_id", "repository_id"),
)

project_blobs = Table(
    "project_blobs",
    tables,
    Column("project_id", Id, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("blob_id", Id, ForeignKey("blobs.id", ondelete="CASCADE"), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Index("project_blobs_by_blob", "blob_id"),
    sqlite_with_rowid=False,
)

quotas = Table(
    "quotas",
    tables,
    Column("project_id", Id, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    Column("repositories", BigInteger, nullable=False),
    Column("told", word(16), nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)
"""Limits, -1 for none; ``told`` is what was said of it last: nothing, warning or exceeded."""

usages = Table(
    "usages",
    tables,
    Column("project_id", Id, ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    Column("shard", Integer, primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

labels = Table(
    "labels",
    tables,
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
"""``project_id`` null: a label for every project."""

artifact_labels = Table(
    "artifact_labels",
    tables,
    Column("manifest_id", Id, ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True),
    Column("label_id", Id, ForeignKey("labels.id", ondelete="CASCADE"), primary_key=True),
    Index("artifact_labels_by_label", "label_id"),
    sqlite_with_rowid=False,
)

audit = Table(
    "audit",
    tables,
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
    Index("audit_by_kind", "resource_type", "id"),
    Index("audit_by_actor_operation", "actor", "operation", "id"),
    Index("audit_by_project_operation", "project", "operation", "id"),
    Index("audit_by_project_actor", "project", "actor", "id"),
    sqlite_autoincrement=True,
)
"""Who did what where, with which result. Rows are only added; the purge takes the oldest."""

# PostgreSQL's indexes hold 2,704 bytes a row; 512 characters have 2,048 of them at most, and all that is written is shorter
resource_begins = func.substr(audit.c.resource, literal_column("1"), literal_column("512"))
Index("audit_by_resource", resource_begins, audit.c.id)
