"""Logins that rest on something else than a password: browsers' sessions, and what an OIDC provider knows.

::

    users ──< sessions
      └── oidc_identities       oidc_arrivals (who has logged in there and has no user yet)
    robots ──< trusts           (the tokens of CI jobs that make a robot of their bearer)

What a browser holds is stored as its SHA-256; what must be shown or sent again is sealed.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text

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

oidc_identities = Table(
    "oidc_identities",
    tables,
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("secret", LargeBinary, nullable=False),
    Column("refresh", LargeBinary),
    Column("by_group", Boolean, nullable=False),
    Column("ended", Boolean, nullable=False),
    Column("checked_at", BigInteger, nullable=False),
    Column("verified_at", BigInteger, nullable=False),
)
"""``secret`` is the CLI secret and ``refresh`` the provider's refresh token, both sealed; ``by_group``: an administrator
because of a group; ``ended``: the provider knows the user no more; ``checked_at`` is when it was asked last, and
``verified_at`` when it last said that the user is there."""

oidc_arrivals = Table(
    "oidc_arrivals",
    tables,
    Column("digest", word(64), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("oidc_arrivals_by_time", "expires_at"),
)

trusts = Table(
    "trusts",
    tables,
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
"""Whose tokens make a robot of their bearer; ``claims`` is JSON, of each claim the patterns it may fit."""
