"""Manifests: what a repository holds, what each refers to, and who refers to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, exists, or_, select, text

from lading.oci.digest import Digest
from lading.oci.manifest import Manifest
from lading.stores.metadata.schema.content import contents, manifests, repositories, tags
from lading.stores.metadata.transaction import Statement, Transaction


@dataclass(frozen=True)
class Referrer:
    """A manifest that names another as its subject, as the referrers API describes it; ``size`` in bytes."""

    digest: str
    media_type: str
    size: int
    artifact_type: str
    annotations: dict[str, str]


_stored = (
    select(manifests.c.digest, manifests.c.media_type, manifests.c.blob_id)
    .select_from(repositories)
    .where(repositories.c.name == bindparam("name"))
)
BY_TAG = Statement(
    _stored.join(tags, tags.c.repository_id == repositories.c.id)
    .join(manifests, manifests.c.id == tags.c.manifest_id)
    .where(tags.c.name == bindparam("reference"))
)
"""Digest, media type and blob of what a tag points to, for the pull path."""
BY_DIGEST = Statement(
    _stored.join(manifests, manifests.c.repository_id == repositories.c.id).where(
        manifests.c.digest == bindparam("reference")
    )
)
"""The same of a manifest by its digest."""
CONTENT = Statement(select(contents.c.bytes).where(contents.c.blob_id == bindparam("blob")))
"""The bytes of a manifest by its blob."""

_FIND = Statement(
    select(manifests.c.id).where(
        manifests.c.repository_id == bindparam("repository"), manifests.c.digest == bindparam("digest")
    )
)
_LOCK = Statement(
    select(manifests.c.id)
    .where(manifests.c.repository_id == bindparam("repository"), manifests.c.digest == bindparam("digest"))
    .with_for_update()
)
_PUT = Statement(
    text(
        "INSERT INTO manifests (repository_id, blob_id, digest, media_type, size, artifact_type, subject, annotations,"
        " pushed_at, touched_at) VALUES (:repository, :blob, :digest, :media_type, :size, :artifact_type, :subject,"
        " :annotations, :now, :now)"
        " ON CONFLICT (repository_id, digest) DO UPDATE"
        " SET touched_at = excluded.touched_at, pushed_at = excluded.pushed_at, media_type = excluded.media_type"
    )
)
_FOUND = Statement(
    text(
        "INSERT INTO manifests (repository_id, blob_id, digest, media_type, size, artifact_type, subject, annotations,"
        " pushed_at, touched_at) VALUES (:repository, :blob, :digest, :media_type, :size, :artifact_type, :subject,"
        " :annotations, :pushed_at, :now)"
        " ON CONFLICT (repository_id, digest) DO UPDATE SET touched_at = excluded.touched_at RETURNING id"
    )
)
_KEEP = Statement(text("INSERT INTO contents (blob_id, bytes) VALUES (:blob, :bytes) ON CONFLICT (blob_id) DO NOTHING"))
_REFER_BLOB = Statement(
    text("INSERT INTO manifest_blobs (manifest_id, blob_id) VALUES (:manifest, :blob) ON CONFLICT DO NOTHING")
)
_REFER_CHILD = Statement(
    text("INSERT INTO manifest_children (manifest_id, digest) VALUES (:manifest, :digest) ON CONFLICT DO NOTHING")
)
_DELETE = Statement(
    delete(manifests).where(
        manifests.c.repository_id == bindparam("repository"), manifests.c.digest == bindparam("digest")
    )
)
_TAGS_OF = Statement(
    select(tags.c.name)
    .join(manifests, manifests.c.id == tags.c.manifest_id)
    .where(manifests.c.repository_id == bindparam("repository"), manifests.c.digest == bindparam("digest"))
    .order_by(tags.c.name)
)
_REFERRERS = Statement(
    select(
        manifests.c.digest,
        manifests.c.media_type,
        manifests.c.size,
        manifests.c.artifact_type,
        manifests.c.annotations,
    )
    .where(
        manifests.c.repository_id == bindparam("repository"),
        manifests.c.subject == bindparam("subject"),
        manifests.c.digest > bindparam("after"),
        or_(bindparam("any_type"), manifests.c.artifact_type == bindparam("artifact_type")),
    )
    .order_by(manifests.c.digest)
    .limit(bindparam("limit"))
)
_OF = Statement(
    select(manifests.c.digest, manifests.c.pushed_at).where(manifests.c.repository_id == bindparam("repository"))
)
_HAS = Statement(select(exists().where(manifests.c.repository_id == bindparam("repository"))))


class Manifests:
    """The manifests, in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def find(self, repository: int, digest: Digest) -> int | None:
        """The id of a manifest in a repository, or None."""
        found: int | None = await self._tx.value(_FIND, repository=repository, digest=digest)
        return found

    async def among(self, repository: int, digests: Sequence[str]) -> set[str]:
        """Those of ``digests`` that are manifests of a repository."""
        rows = await self._tx.each(_FIND, [{"repository": repository, "digest": digest} for digest in digests])
        return {digest for digest, row in zip(digests, rows, strict=True) if row is not None}

    async def put(self, repository: int, blob: int, manifest: Manifest, blobs: Sequence[int]) -> int:
        """Record a manifest, whose bytes are the blob ``blob``, and what it refers to; its id."""
        await self._tx.execute(_PUT, **_row(repository, blob, manifest, self._tx.now))
        put = await self.find(repository, manifest.digest)
        assert put is not None
        await self._refer(put, blob, manifest, blobs)
        return put

    async def found(self, repository: int, blob: int, manifest: Manifest, blobs: Sequence[int], pushed_at: int) -> int:
        """The same for one that was stored before the index knew of it; one that it knows stays as it is."""
        found: int = await self._tx.value(_FOUND, **_row(repository, blob, manifest, self._tx.now), pushed_at=pushed_at)
        await self._refer(found, blob, manifest, blobs)
        return found

    async def _refer(self, own: int, blob: int, manifest: Manifest, blobs: Sequence[int]) -> None:
        await self._tx.execute(_KEEP, blob=blob, bytes=manifest.raw)
        if blobs:
            await self._tx.execute_many(_REFER_BLOB, [{"manifest": own, "blob": one} for one in sorted(blobs)])
        if manifest.children:
            children = [{"manifest": own, "digest": child.digest} for child in manifest.children]
            await self._tx.execute_many(_REFER_CHILD, children)

    async def of(self, repository: int) -> dict[str, int]:
        """The manifests of a repository, and when each was pushed."""
        return {row[0]: row[1] for row in await self._tx.rows(_OF, repository=repository)}

    async def tags_of(self, repository: int, digest: Digest) -> list[str]:
        """The tags that point to a manifest; none comes or goes before this transaction is over."""
        await self._tx.row(_LOCK, repository=repository, digest=digest)
        return [row[0] for row in await self._tx.rows(_TAGS_OF, repository=repository, digest=digest)]

    async def delete(self, repository: int, digest: Digest) -> bool:
        """Delete a manifest and the tags that point to it; whether it was there."""
        return bool(await self._tx.execute(_DELETE, repository=repository, digest=digest))

    async def referrers(
        self, repository: int, subject: Digest, artifact_type: str, after: str, limit: int
    ) -> list[Referrer]:
        """A page of the manifests whose subject this is, by digest; ``artifact_type`` empty means all."""
        rows = await self._tx.rows(
            _REFERRERS,
            repository=repository,
            subject=subject,
            after=after,
            limit=limit,
            any_type=not artifact_type,
            artifact_type=artifact_type,
        )
        return [Referrer(row[0], row[1], row[2], row[3], msgspec.json.decode(row[4])) for row in rows]


def _row(repository: int, blob: int, manifest: Manifest, now: int) -> dict[str, Any]:
    return {
        "repository": repository,
        "blob": blob,
        "digest": manifest.digest,
        "media_type": manifest.media_type,
        "size": manifest.size,
        "artifact_type": manifest.artifact_type,
        "subject": manifest.subject,
        "annotations": msgspec.json.encode(manifest.annotations).decode(),
        "now": now,
    }
