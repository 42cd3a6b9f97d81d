"""What is stored, where it is visible, and what refers to what.

::

    repositories ──< tags >── manifests ──< manifest_blobs >── blobs
         │                        │   └───< manifest_children (a digest in the same repository)
         │                        └ subject (a digest in the same repository, there or not)
         └──< repository_blobs >── blobs ──1 contents      mirrored ──1 manifests

``blobs`` has one row for each content, whatever holds it. ``present`` tells whether its bytes may be relied on: a
writer touches the row, puts the bytes in place, then makes them present; the collector makes them absent, takes them
away, then deletes the row. ``contents`` repeats the bytes of manifests, so that a pull reads one row.
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
    false,
    text,
)

from lading.stores.metadata.schema.base import Id, partial, tables, word

repositories = Table(
    "repositories",
    tables,
    Column("id", Id, primary_key=True),
    Column("name", word(255), nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("description", Text, nullable=False, server_default=text("''")),
    Column("stars", Integer, nullable=False, server_default=text("0")),
    Column("official", Boolean, nullable=False, server_default=false()),
)

blobs = Table(
    "blobs",
    tables,
    Column("id", Id, primary_key=True),
    Column("digest", word(135), nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
    Column("present", Boolean, nullable=False),
    Column("touched_at", BigInteger, nullable=False),
    Column("condemned_at", BigInteger),
)
partial("blobs_condemned", blobs.c.condemned_at, where=blobs.c.condemned_at.is_not(None))

contents = Table(
    "contents",
    tables,
    Column("blob_id", Id, ForeignKey("blobs.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("bytes", LargeBinary, nullable=False),
)

repository_blobs = Table(
    "repository_blobs",
    tables,
    Column("repository_id", Id, ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True),
    Column("blob_id", Id, ForeignKey("blobs.id", ondelete="CASCADE"), primary_key=True),
    Index("repository_blobs_by_blob", "blob_id"),
    sqlite_with_rowid=False,
)

manifests = Table(
    "manifests",
    tables,
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
partial(
    "manifests_by_subject",
    manifests.c.repository_id,
    manifests.c.subject,
    manifests.c.digest,
    where=manifests.c.subject.is_not(None),
)

manifest_blobs = Table(
    "manifest_blobs",
    tables,
    Column("manifest_id", Id, ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True),
    Column("blob_id", Id, ForeignKey("blobs.id"), primary_key=True),
    Index("manifest_blobs_by_blob", "blob_id"),
    sqlite_with_rowid=False,
)

manifest_children = Table(
    "manifest_children",
    tables,
    Column("manifest_id", Id, ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True),
    Column("digest", word(135), primary_key=True),
    Index("manifest_children_by_digest", "digest"),
    sqlite_with_rowid=False,
)

tags = Table(
    "tags",
    tables,
    Column("repository_id", Id, ForeignKey("repositories.id", ondelete="CASCADE"), primary_key=True),
    Column("name", word(128), primary_key=True),
    Column("manifest_id", Id, ForeignKey("manifests.id", ondelete="CASCADE"), nullable=False),
    Column("moved_at", BigInteger, nullable=False),
    Index("tags_by_manifest", "manifest_id"),
    sqlite_with_rowid=False,
)

mirrored = Table(
    "mirrored",
    tables,
    Column("manifest_id", Id, ForeignKey("manifests.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("used_at", BigInteger, nullable=False),
    Index("mirrored_by_use", "used_at"),
)
"""The manifests that a mirror fetched, and when each was last asked for, give or take a minute."""
