"""Blobs: what is stored, and in which repositories it is visible.

Whoever brings bytes says so first (:meth:`Blobs.touch`), then puts them in place, then makes them present
(:meth:`Blobs.arrived`). The collector takes only what nobody touched for long, and looks again under the same lock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import and_, bindparam, delete, exists, null, select, text, update

from lading.errors import Unavailable
from lading.oci.digest import Digest
from lading.stores.metadata.schema.content import blobs, repositories, repository_blobs
from lading.stores.metadata.transaction import Statement, Transaction

_TOUCH = Statement(
    text(
        "INSERT INTO blobs (digest, size, present, touched_at) VALUES (:digest, :size, :absent, :now)"
        " ON CONFLICT (digest) DO UPDATE SET touched_at = excluded.touched_at, condemned_at = NULL"
    )
)
_FOUND = Statement(
    text(
        "INSERT INTO blobs (digest, size, present, touched_at) VALUES (:digest, :size, :yes, :now)"
        " ON CONFLICT (digest) DO UPDATE SET present = excluded.present, size = excluded.size,"
        " touched_at = excluded.touched_at, condemned_at = NULL"
    )
)
_LOST = Statement(
    update(blobs)
    .where(blobs.c.digest == bindparam("wanted"), blobs.c.present)
    .values(present=False, touched_at=bindparam("now"))
)
_ARRIVED = Statement(
    text(
        "UPDATE blobs SET present = :yes, size = :size, touched_at = :now"
        " WHERE digest = :digest AND condemned_at IS NULL"
    )
)
_FIND = Statement(select(blobs.c.id, blobs.c.present).where(blobs.c.digest == bindparam("digest")))
VISIBLE = Statement(
    select(blobs.c.size, blobs.c.condemned_at)
    .select_from(repositories)
    .join(repository_blobs, repository_blobs.c.repository_id == repositories.c.id)
    .join(blobs, blobs.c.id == repository_blobs.c.blob_id)
    .where(repositories.c.name == bindparam("name"), blobs.c.digest == bindparam("digest"), blobs.c.present)
)
"""Size, and the collector's mark, of a blob in a repository, for the pull path."""
_LINKED = Statement(
    select(blobs.c.id)
    .join(repository_blobs, repository_blobs.c.blob_id == blobs.c.id)
    .where(
        blobs.c.digest == bindparam("digest"),
        blobs.c.present,
        repository_blobs.c.repository_id == bindparam("repository"),
    )
)
_LINKED_LOCKED = Statement(
    select(blobs.c.id)
    .join(repository_blobs, repository_blobs.c.blob_id == blobs.c.id)
    .where(
        blobs.c.digest == bindparam("digest"),
        blobs.c.present,
        repository_blobs.c.repository_id == bindparam("repository"),
    )
    .with_for_update(read=True, key_share=True, of=blobs)
)
_OF = Statement(
    select(blobs.c.digest)
    .join(repository_blobs, repository_blobs.c.blob_id == blobs.c.id)
    .where(repository_blobs.c.repository_id == bindparam("repository"), blobs.c.present)
)
_LINK = Statement(
    text("INSERT INTO repository_blobs (repository_id, blob_id) VALUES (:repository, :blob) ON CONFLICT DO NOTHING")
)
_UNLINK = Statement(
    delete(repository_blobs).where(
        repository_blobs.c.repository_id == bindparam("repository"), repository_blobs.c.blob_id == bindparam("blob")
    )
)
_RESCUE = Statement(
    update(blobs)
    .where(blobs.c.digest == bindparam("wanted"), blobs.c.present)
    .values(touched_at=bindparam("now"), condemned_at=null())
)
_ANYWHERE = Statement(
    select(blobs.c.size).where(
        and_(
            blobs.c.digest == bindparam("digest"),
            blobs.c.present,
            exists().where(repository_blobs.c.blob_id == blobs.c.id),
        )
    )
)


class Blobs:
    """The blobs, in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def touch(self, digest: Digest, size: int) -> None:
        """Say that these bytes are about to be put in place, so that the collector keeps away."""
        await self._tx.execute(_TOUCH, digest=digest, size=size, now=self._tx.now, absent=False)

    async def arrived(self, digest: Digest, size: int) -> int:
        """The bytes of a touched blob are in place: make it present. Its id.

        Raises :class:`~lading.errors.Unavailable` if the collector took it between touch and now, which only a period
        of grace near zero lets it do: the bytes may be gone.
        """
        if not await self._tx.execute(_ARRIVED, digest=digest, size=size, now=self._tx.now, yes=True):
            raise Unavailable(f"{digest} was collected while it arrived; push it again", retry_after=1)
        found: int = await self._tx.value(_FIND, digest=digest)
        return found

    async def found(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Record bytes that lie in place already, by digest; their ids.

        From now on, until the transaction ends, the collector keeps away: the caller looks again whether they are there.
        """
        digests, moment = sorted(sizes), self._tx.now
        asked = [{"digest": digest, "size": sizes[digest], "now": moment, "yes": True} for digest in digests]
        await self._tx.execute_many(_FOUND, asked)
        rows = await self._tx.each(_FIND, [{"digest": digest} for digest in digests])
        return {digest: row[0] for digest, row in zip(digests, rows, strict=True) if row is not None}

    async def lost(self, digest: str) -> bool:
        """The bytes of a blob are gone or damaged: whoever pushes it again mends it. False if that was known."""
        return bool(await self._tx.execute(_LOST, wanted=digest, now=self._tx.now))

    async def show(self, repository: int, ids: Iterable[int]) -> None:
        """Make blobs visible in a repository."""
        await self._tx.execute_many(_LINK, [{"repository": repository, "blob": blob} for blob in ids])

    async def link(self, repository: int, digest: Digest) -> bool:
        """Make a present blob visible in a repository, and keep the collector away from it; False if it is gone."""
        if not await self.rescue(digest):
            return False
        await self._tx.execute(_LINK, repository=repository, blob=await self._tx.value(_FIND, digest=digest))
        return True

    async def visible(self, name: str, digest: Digest) -> int | None:
        """The size of a blob that is visible in the repository ``name``, or None."""
        found: int | None = await self._tx.value(VISIBLE, name=name, digest=digest)
        return found

    async def of(self, repository: int) -> set[str]:
        """The blobs visible in a repository."""
        return {row[0] for row in await self._tx.rows(_OF, repository=repository)}

    async def linked(self, repository: int, digests: Collection[str], *, locked: bool = False) -> dict[str, int]:
        """The ids of those of ``digests`` that are visible in a repository.

        ``locked``: until the transaction ends the collector keeps away from them, so that it can refer to them.
        """
        wanted = sorted(set(digests))
        asked = [{"repository": repository, "digest": digest} for digest in wanted]
        rows = await self._tx.each(_LINKED_LOCKED if locked else _LINKED, asked)
        return {digest: row[0] for digest, row in zip(wanted, rows, strict=True) if row is not None}

    async def anywhere(self, digest: Digest) -> int | None:
        """The size of a blob that is visible in any repository, or None."""
        found: int | None = await self._tx.value(_ANYWHERE, digest=digest)
        return found

    async def rescue(self, digest: Digest) -> bool:
        """Take the collector's mark off a blob somebody is about to rely on; False if it is gone already."""
        return bool(await self._tx.execute(_RESCUE, wanted=digest, now=self._tx.now))

    async def reserve(self, digest: Digest, size: int) -> int:
        """The id of a blob that a manifest names, which may not be there yet."""
        found = await self._tx.row(_FIND, digest=digest)
        if found is None:
            await self.touch(digest, size)
            found = await self._tx.row(_FIND, digest=digest)
        assert found is not None
        return int(found[0])

    async def unlink(self, repository: int, digest: Digest) -> bool:
        """Make a blob invisible in a repository; whether it was visible."""
        found = await self._tx.row(_FIND, digest=digest)
        return found is not None and bool(await self._tx.execute(_UNLINK, repository=repository, blob=found[0]))
