"""Tags: names that point to a manifest of their repository, and move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, select, text

from lading.oci.digest import Digest
from lading.stores.metadata.paging import Field, Listing, Page
from lading.stores.metadata.schema.content import manifests, tags
from lading.stores.metadata.transaction import Row, Statement, Transaction


@dataclass(frozen=True)
class Tag:
    """A tag of one manifest, and when it was moved there in milliseconds."""

    name: str
    moved_at: int


_POINT = Statement(
    text(
        "INSERT INTO tags (repository_id, name, manifest_id, moved_at) VALUES (:repository, :tag, :manifest, :now)"
        " ON CONFLICT (repository_id, name) DO UPDATE"
        " SET manifest_id = excluded.manifest_id, moved_at = excluded.moved_at"
    )
)
_LOCK = Statement(
    select(tags.c.manifest_id)
    .where(tags.c.repository_id == bindparam("repository"), tags.c.name == bindparam("tag"))
    .with_for_update()
)
_RESOLVE = Statement(
    select(tags.c.manifest_id, manifests.c.digest, tags.c.moved_at)
    .join(manifests, manifests.c.id == tags.c.manifest_id)
    .where(tags.c.repository_id == bindparam("repository"), tags.c.name == bindparam("tag"))
)
_PAGE = Statement(
    select(tags.c.name)
    .where(tags.c.repository_id == bindparam("repository"), tags.c.name > bindparam("after"))
    .order_by(tags.c.name)
    .limit(bindparam("limit"))
)
_OF = Statement(
    select(tags.c.name, manifests.c.digest, tags.c.moved_at)
    .join(manifests, manifests.c.id == tags.c.manifest_id)
    .where(tags.c.repository_id == bindparam("repository"))
)
_DELETE = Statement(
    delete(tags).where(tags.c.repository_id == bindparam("repository"), tags.c.name == bindparam("tag"))
)
_UNTAGGED = Statement(text("UPDATE manifests SET touched_at = :now WHERE id = :manifest"))

_LISTED = Listing(
    select(tags.c.name, tags.c.moved_at).where(tags.c.manifest_id == bindparam("manifest")),
    {"name": Field(tags.c.name), "push_time": Field(tags.c.moved_at, "moment")},
    (tags.c.name,),
)


class Tags:
    """The tags, in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def point(self, repository: int, tag: str, manifest: int) -> Digest | None:
        """Point a tag at a manifest; what it pointed to before."""
        before = await self._before(repository, tag)
        await self._point(before, repository, tag, manifest, self._tx.now)
        return Digest(before[1]) if before else None

    async def found(self, repository: int, tag: str, manifest: int, moved_at: int) -> bool:
        """Point a tag at a manifest as somebody did at ``moved_at``, unless it was moved since; whether it was not."""
        before = await self._before(repository, tag)
        if before is not None and before[2] >= moved_at:
            return False
        await self._point(before, repository, tag, manifest, moved_at)
        return True

    async def _point(self, before: Row | None, repository: int, tag: str, manifest: int, moved_at: int) -> None:
        await self._tx.execute(_POINT, repository=repository, tag=tag, manifest=manifest, now=moved_at)
        if before is not None and before[0] != manifest:
            await self._left(before[0])

    async def page(self, repository: int, after: str, limit: int) -> list[str]:
        """Tags behind ``after`` in byte order."""
        return [row[0] for row in await self._tx.rows(_PAGE, repository=repository, after=after, limit=limit)]

    async def of(self, repository: int) -> dict[str, tuple[str, int]]:
        """All tags of a repository: what each points to, and when it was moved there."""
        return {row[0]: (row[1], row[2]) for row in await self._tx.rows(_OF, repository=repository)}

    async def listed(self, manifest: int, page: Page) -> tuple[int, Sequence[Tag]]:
        """How many tags of a manifest fit, and a page of them."""
        total, rows = await _LISTED.page(self._tx, page, manifest=manifest)
        return total, [Tag(*row) for row in rows]

    async def delete(self, repository: int, tag: str) -> Digest | None:
        """Delete a tag and nothing else; what it pointed to, or None if there was none."""
        before = await self._before(repository, tag)
        if before is None:
            return None
        await self._tx.execute(_DELETE, repository=repository, tag=tag)
        await self._left(before[0])
        return Digest(before[1])

    async def _before(self, repository: int, tag: str) -> Row | None:
        # locked first and looked at then: whoever moves it at the same time is waited for, and what he did is seen
        await self._tx.row(_LOCK, repository=repository, tag=tag)
        return await self._tx.row(_RESOLVE, repository=repository, tag=tag)

    async def _left(self, manifest: int) -> None:
        # the collector's period of grace counts from when the last tag went
        await self._tx.execute(_UNTAGGED, manifest=manifest, now=self._tx.now)
