"""Who may: users, groups, robots, and the secrets and keys that tell one from another.

::

    users ──< group_members >── groups
      │ └──< personal_tokens
      └──< refresh_tokens >── robots ──< robot_grants (resource, action, in which namespace)

No secret is kept in the clear: passwords as argon2id (or what they were brought over as), long random secrets as
their SHA-256, signing keys sealed with a key that is not in the database.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from lading.stores.metadata.schema.base import Id, tables, word

users = Table(
    "users",
    tables,
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
"""``source`` is where the identity comes from (local, htpasswd, ldap, oidc), ``subject`` its name there; ``password``
is empty where that source checks it."""

groups = Table(
    "groups",
    tables,
    Column("id", Id, primary_key=True),
    Column("name", word(255), nullable=False, unique=True),
    Column("source", word(16), nullable=False),
    Column("subject", word(512), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("groups_by_subject", "source", "subject"),
    sqlite_autoincrement=True,
)

group_members = Table(
    "group_members",
    tables,
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("group_id", Id, ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True),
    Index("group_members_by_group", "group_id"),
    sqlite_with_rowid=False,
)

personal_tokens = Table(
    "personal_tokens",
    tables,
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
"""``scopes`` limits what its owner may do; empty: everything the owner may."""

robots = Table(
    "robots",
    tables,
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
"""``name`` as stored: ``ci`` on the system's level, ``project+ci`` in a project. ``duration`` in days, -1: for ever.
``secret`` is the SHA-256 of one that was made here, the argon2id hash of one that somebody chose."""

robot_grants = Table(
    "robot_grants",
    tables,
    Column("robot_id", Id, ForeignKey("robots.id", ondelete="CASCADE"), primary_key=True),
    Column("namespace", word(255), primary_key=True),
    Column("resource", word(64), primary_key=True),
    Column("action", word(32), primary_key=True),
    sqlite_with_rowid=False,
)
"""``namespace``: a project's name, ``*`` for every project, ``/`` for the system itself."""

refresh_tokens = Table(
    "refresh_tokens",
    tables,
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

signing_keys = Table(
    "signing_keys",
    tables,
    Column("id", Id, primary_key=True),
    Column("kid", word(64), nullable=False, unique=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("certificate", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("signs_from", BigInteger, nullable=False),
    Column("retired_at", BigInteger),
    sqlite_autoincrement=True,
)
"""A key signs from ``signs_from`` on, when every process knows it, until a newer one does; then it only verifies."""

failures = Table(
    "failures",
    tables,
    Column("key", word(80), primary_key=True),
    Column("count", Integer, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("locked_until", BigInteger, nullable=False),
    Index("failures_by_age", "since"),
)
"""Logins that failed, by account and by address; a key is a hash of either, known or not."""

revocations = Table(
    "revocations",
    tables,
    Column("subject", word(255), primary_key=True),
    Column("revoked_at", BigInteger, nullable=False),
    Index("revocations_by_time", "revoked_at"),
)
"""Tokens of ``subject`` (``u7``, ``r3``, ``p:team``) issued up to then are good no more."""
