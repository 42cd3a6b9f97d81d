"""What mirrors brought: when it was last asked for, and what goes for it.

Only manifests that a mirror fetched have a row in ``mirrored``, and only those go here: what somebody pushed stays,
whatever its name. Blobs go by collection, once no manifest names them, so that no other image loses a layer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, select, text

from lading.errors import Unavailable
from lading.jobs.kinds import Task
from lading.registry.admission import Admission, ManifestArrives, ManifestCollected, Question
from lading.registry.repositories import Repositories, below
from lading.stores.metadata.gathering import Gathering
from lading.stores.metadata.schema.content import manifests, mirrored, repositories
from lading.stores.metadata.transaction import Metadata, Statement, Transaction

_BROUGHT = Statement(
    text(
        "INSERT INTO mirrored (manifest_id, used_at) VALUES (:manifest, :now)"
        " ON CONFLICT (manifest_id) DO UPDATE SET used_at = excluded.used_at"
    )
)
_USED = Statement(
    text(
        "UPDATE mirrored SET used_at = :now WHERE manifest_id ="
        " (SELECT id FROM manifests WHERE repository_id = :repository AND digest = :digest)"
    )
)
# who has an image of an index needs not ask for it again, though it is in use as long as the index is asked for
_USED_WITH = Statement(
    text(
        "UPDATE mirrored SET used_at = :now WHERE manifest_id IN (SELECT m.id FROM manifests i"
        " JOIN manifest_children c ON c.manifest_id = i.id"
        " JOIN manifests m ON m.repository_id = i.repository_id AND m.digest = c.digest"
        " WHERE i.repository_id = :repository AND i.digest = :digest)"
    )
)
# the collector goes by this where no tag holds it
_TOUCHED = Statement(
    text(
        "UPDATE manifests SET touched_at = :now WHERE repository_id = :repository AND digest = :digest"
        " AND id IN (SELECT manifest_id FROM mirrored)"
    )
)
_MARK = Statement(
    text(
        "INSERT INTO mirrored (manifest_id, used_at) SELECT m.id, :now FROM manifests m"
        " JOIN repositories r ON r.id = m.repository_id WHERE r.name >= :first AND r.name < :last"
        " ON CONFLICT (manifest_id) DO NOTHING"
    )
)
_UNUSED = Statement(
    select(mirrored.c.manifest_id, manifests.c.repository_id)
    .join(manifests, manifests.c.id == mirrored.c.manifest_id)
    .join(repositories, repositories.c.id == manifests.c.repository_id)
    .where(
        mirrored.c.used_at <= bindparam("before"),
        repositories.c.name >= bindparam("first"),
        repositories.c.name < bindparam("last"),
    )
    .order_by(mirrored.c.used_at, mirrored.c.manifest_id)
    .limit(bindparam("limit"))
)
_LOCK = Statement(select(repositories.c.id).where(repositories.c.id == bindparam("repository")).with_for_update())
_IS_UNUSED = Statement(
    select(mirrored.c.manifest_id).where(
        mirrored.c.manifest_id == bindparam("manifest"), mirrored.c.used_at <= bindparam("before")
    )
)
_DELETE = Statement(delete(manifests).where(manifests.c.id == bindparam("manifest")))
_WITHIN = (
    " FROM mirrored u JOIN manifests m ON m.id = u.manifest_id JOIN repositories r ON r.id = m.repository_id"
    " WHERE r.name >= :first AND r.name < :last"
)
_SIZE = Statement(
    text(
        "SELECT COALESCE(SUM(b.size), 0) FROM blobs b WHERE b.present AND b.id IN ("  # noqa: S608 - constants
        f"SELECT m.blob_id{_WITHIN} UNION SELECT mb.blob_id FROM manifest_blobs mb"
        f" WHERE mb.manifest_id IN (SELECT m.id{_WITHIN}))"
    )
)
_ALONE = Statement(
    text(
        "SELECT COALESCE(SUM(b.size), 0) FROM blobs b WHERE b.present AND b.id IN ("  # noqa: S608 - constants
        "SELECT blob_id FROM manifest_blobs WHERE manifest_id = :manifest"
        " UNION SELECT blob_id FROM manifests WHERE id = :manifest)"
        f" AND NOT EXISTS (SELECT 1{_WITHIN} AND m.id <> :manifest AND m.blob_id = b.id)"
        " AND NOT EXISTS (SELECT 1 FROM manifest_blobs mb JOIN mirrored u ON u.manifest_id = mb.manifest_id"
        " JOIN manifests m ON m.id = u.manifest_id JOIN repositories r ON r.id = m.repository_id"
        " WHERE mb.blob_id = b.id AND m.id <> :manifest AND r.name >= :first AND r.name < :last)"
    )
)

_TELL_SECONDS = 60.0
_PAGE = 200
_MOST_NOTED = 100_000
IN_USE = 300_000
"""Milliseconds within which what was asked for stays, however full it is: its blobs are being asked for."""


@dataclass(frozen=True)
class Keep:
    """How long what is below ``prefix`` stays that nobody asks for (``ttl`` in milliseconds), and how much (bytes).

    0 is no bound.
    """

    prefix: str
    ttl: int
    most: int


class Mirrored:
    """What mirrors brought, in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def used(self, repository: str, digests: Iterable[str]) -> None:
        """These manifests were asked for, and so was what is here of the images that an index among them names."""
        own = await Repositories(self._tx).hold(repository)
        for digest in sorted(digests) if own is not None else ():
            about = {"repository": own, "digest": digest, "now": self._tx.now}
            await self._tx.execute(_TOUCHED, **about)
            await self._tx.execute(_USED, **about)
            await self._tx.execute(_USED_WITH, **about)

    async def mark(self, prefix: str) -> int:
        """Count everything below a prefix as brought by its mirror, and asked for just now; how many were not before."""
        return await self._tx.execute(_MARK, now=self._tx.now, **below(prefix))

    async def size(self, prefix: str) -> int:
        """Bytes of all blobs that the mirrored images below ``prefix`` have, each counted once."""
        return int(await self._tx.value(_SIZE, **below(prefix)))

    async def unused(self, prefix: str, before: int, limit: int) -> Sequence[tuple[int, int]]:
        """Manifests not asked for since ``before``, those first that were longest not; each with its repository."""
        rows = await self._tx.rows(_UNUSED, before=before, limit=limit, **below(prefix))
        return [(row[0], row[1]) for row in rows]

    async def delete(
        self, admission: Admission, prefix: str, manifest: int, repository: int, before: int
    ) -> int | None:
        """Delete a manifest and its tags; the bytes that no other below ``prefix`` has. None: it was asked for since."""
        await self._tx.row(_LOCK, repository=repository)
        if await self._tx.row(_IS_UNUSED, manifest=manifest, before=before) is None:
            return None
        alone = int(await self._tx.value(_ALONE, manifest=manifest, **below(prefix)))
        await admission.ask(self._tx, ManifestCollected(repository, manifest))
        await self._tx.execute(_DELETE, manifest=manifest)
        return alone


async def brought(tx: Transaction, question: Question) -> None:
    """The rule that what a mirror fetches is marked."""
    assert isinstance(question, ManifestArrives)
    await tx.execute(_BROUGHT, manifest=question.row, now=tx.now)


class Uses:
    """Notes what is asked for, and tells the index once a minute: a pull writes nothing."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._noted: set[tuple[str, str]] = set()
        self._gathering = Gathering("notes of when images were last pulled", _TELL_SECONDS, self._tell)

    def note(self, repository: str, digest: str) -> None:
        """Somebody asked for this manifest."""
        if len(self._noted) < _MOST_NOTED:
            self._noted.add((repository, digest))
        self._gathering.noted()

    async def close(self) -> None:
        """Tell what is noted."""
        await self._gathering.close()

    async def _tell(self) -> None:
        told, self._noted = self._noted, set()
        by_repository: dict[str, list[str]] = defaultdict(list)
        for repository, digest in told:
            by_repository[repository].append(digest)
        try:
            for repository, digests in by_repository.items():
                await self._metadata.write(
                    lambda tx, r=repository, d=digests: Mirrored(tx).used(r, d),  # type: ignore[misc]
                    durable=False,
                )
        except Unavailable:
            self._noted |= told
            raise


async def expire(metadata: Metadata, admission: Admission, keeps: Sequence[Keep], task: Task) -> Mapping[str, int]:
    """The job: what nobody asked for within its ``ttl`` goes, with its tags; ``admission`` hears of each."""
    gone = 0
    for keep in keeps:
        before = metadata.now() - keep.ttl
        while keep.ttl and (page := await metadata.read(lambda tx, k=keep, b=before: _unused(tx, k, b))):  # type: ignore[misc]
            for manifest, repository in page:
                freed = await metadata.write(
                    lambda tx, k=keep, b=before, m=manifest, r=repository: Mirrored(tx).delete(
                        admission, k.prefix, m, r, b
                    )  # type: ignore[misc]
                )
                gone += freed is not None
            task.progress(gone)
    return {"manifests": gone}


async def evict(metadata: Metadata, admission: Admission, keeps: Sequence[Keep], task: Task) -> Mapping[str, int]:
    """The job: where there is more than may be, what was longest not asked for goes."""
    gone = freed = 0
    for keep in keeps:
        if not keep.most:
            continue
        over = await metadata.scan(lambda tx, k=keep: Mirrored(tx).size(k.prefix)) - keep.most  # type: ignore[misc]
        before = metadata.now() - IN_USE
        while over > 0 and (page := await metadata.read(lambda tx, k=keep, b=before: _unused(tx, k, b))):  # type: ignore[misc]
            for manifest, repository in page:
                if over <= 0:
                    break
                size = await metadata.write(
                    lambda tx, k=keep, b=before, m=manifest, r=repository: Mirrored(tx).delete(
                        admission, k.prefix, m, r, b
                    )  # type: ignore[misc]
                )
                gone += size is not None
                freed += size or 0
                over -= size or 0
            task.progress(gone, message=f"{freed} bytes")
        if over > 0:
            task.log(f"{keep.prefix or 'the mirror'}: {over} bytes too many are in use")
    return {"manifests": gone, "bytes": freed}


async def _unused(tx: Transaction, keep: Keep, before: int) -> Sequence[tuple[int, int]]:
    return await Mirrored(tx).unused(keep.prefix, before, _PAGE)
