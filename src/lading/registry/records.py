"""Records: what the index says of manifests, against the manifests themselves.

A row, its references and the repeated bytes are all derived from the bytes of the manifest, so they can be compared with
them, and written anew from them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
from sqlalchemy import bindparam, delete, exists, select, text

from lading.errors import ManifestInvalid
from lading.oci.digest import Digest
from lading.oci.manifest import Descriptor, Manifest, parse
from lading.registry.blobs import Blobs
from lading.registry.manifests import Manifests
from lading.stores.metadata.schema.content import (
    blobs,
    contents,
    manifest_blobs,
    manifest_children,
    manifests,
    repositories,
    repository_blobs,
)
from lading.stores.metadata.transaction import Row, Statement, Transaction

_record = (
    select(
        manifests.c.id,
        repositories.c.name,
        manifests.c.repository_id,
        manifests.c.digest,
        manifests.c.media_type,
        manifests.c.artifact_type,
        manifests.c.subject,
        manifests.c.annotations,
        manifests.c.blob_id,
        manifests.c.pushed_at,
        contents.c.bytes,
    )
    .select_from(manifests)
    .join(repositories, repositories.c.id == manifests.c.repository_id)
    .outerjoin(contents, contents.c.blob_id == manifests.c.blob_id)
)
_PAGE = Statement(_record.where(manifests.c.id > bindparam("after")).order_by(manifests.c.id).limit(bindparam("limit")))
_ONE = Statement(_record.where(manifests.c.id == bindparam("manifest")))
_visible = exists().where(
    repository_blobs.c.repository_id == bindparam("repository"), repository_blobs.c.blob_id == blobs.c.id
)
_BLOBS = Statement(
    select(blobs.c.digest, blobs.c.present, _visible)
    .join(manifest_blobs, manifest_blobs.c.blob_id == blobs.c.id)
    .where(manifest_blobs.c.manifest_id == bindparam("manifest"))
)
_CHILDREN = Statement(
    select(
        manifest_children.c.digest,
        exists().where(
            manifests.c.repository_id == bindparam("repository"), manifests.c.digest == manifest_children.c.digest
        ),
    ).where(manifest_children.c.manifest_id == bindparam("manifest"))
)
_FORGET = Statement(delete(contents).where(contents.c.blob_id == bindparam("blob")))
_CORRECT = Statement(
    text(
        "UPDATE manifests SET artifact_type = :artifact_type, subject = :subject, annotations = :annotations,"
        " size = :size WHERE id = :manifest"
    )
)

_AGAIN = "written anew from the manifest"


@dataclass(frozen=True)
class Fault:
    """What is wrong with a record; ``what`` is the digest it is about, ``weight`` as a verification tells it."""

    kind: str
    what: str
    detail: str
    weight: str = "broken"

    @property
    def mendable(self) -> bool:
        """Whether the manifest's bytes are enough to mend it."""
        return self.kind in ("contents-missing", "contents-differ", "row-differs", "references-missing")


@dataclass
class Record:
    """A manifest as the index has it; ``raw`` is its bytes unless they are missing or wrong."""

    id: int
    repository: str
    digest: Digest
    raw: bytes | None
    faults: list[Fault] = field(default_factory=list)


class Records:
    """The records, in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def page(self, after: int, limit: int) -> list[Record]:
        """Records behind an id, compared with their manifests."""
        return [await self._compared(row) for row in await self._tx.rows(_PAGE, after=after, limit=limit)]

    async def mend(self, manifest: int, raw: bytes) -> dict[str, str]:
        """Write anew what can be from the bytes of a manifest, if it is still there; what was done, by kind of fault."""
        row = await self._tx.row(_ONE, manifest=manifest)
        if row is None:
            return {}
        record = await self._compared(row)
        done: dict[str, str] = {}
        if record.raw is None:
            await self._tx.execute(_FORGET, blob=row[8])
            done["contents-missing"] = done["contents-differ"] = "copied from the store"
        found = _parsed(raw, row)
        if found is None:
            return done
        named = [await Blobs(self._tx).reserve(Digest(d.digest), d.size) for d in self._needed(found)]
        await Manifests(self._tx).found(row[2], row[8], found, named, row[9])
        await self._tx.execute(
            _CORRECT,
            manifest=manifest,
            artifact_type=found.artifact_type,
            subject=found.subject,
            annotations=_annotations(found),
            size=found.size,
        )
        return {**done, "row-differs": _AGAIN, "references-missing": _AGAIN}

    async def _compared(self, row: Row) -> Record:
        digest, raw = Digest(row[3]), row[10]
        record = Record(row[0], row[1], digest, raw)
        if raw is None:
            record.faults.append(Fault("contents-missing", digest, "the index lacks its bytes: it cannot be pulled"))
        elif Digest.of(raw, digest.algorithm) != digest:
            record.raw = None
            record.faults.append(Fault("contents-differ", digest, "the index has other bytes for it"))
        else:
            await self._compare(record, row, raw)
        record.faults += await self._incomplete(row)
        return record

    async def _compare(self, record: Record, row: Row, raw: bytes) -> None:
        found = _parsed(raw, row)
        if found is None:
            record.faults.append(Fault("not-a-manifest", record.digest, "its bytes are no manifest"))
            return
        told = (row[5], row[6], msgspec.json.decode(row[7]))
        if told != (found.artifact_type, found.subject, found.annotations):
            record.faults.append(
                Fault(
                    "row-differs", record.digest, "its artifact type, subject or annotations are not those of its row"
                )
            )
        blobs_named = {each[0] for each in await self._tx.rows(_BLOBS, manifest=row[0], repository=row[2])}
        children_named = {each[0] for each in await self._tx.rows(_CHILDREN, manifest=row[0], repository=row[2])}
        missing = {d.digest for d in self._needed(found)} - blobs_named
        missing |= {d.digest for d in found.children} - children_named
        if missing:
            record.faults.append(
                Fault(
                    "references-missing",
                    record.digest,
                    f"the index does not know that it needs {', '.join(sorted(missing)[:10])}: collection could take it",
                )
            )

    async def _incomplete(self, row: Row) -> list[Fault]:
        faults = []
        for digest, present, visible in await self._tx.rows(_BLOBS, manifest=row[0], repository=row[2]):
            if not present:
                detail = f"its blob {digest} is not in the store; push the image again to mend it"
                faults.append(Fault("missing-layer", digest, detail))
            elif not visible:
                detail = f"its blob {digest} was deleted from the repository; push the image again to bring it back"
                faults.append(Fault("hidden-layer", digest, detail, "incomplete"))
        for digest, there in await self._tx.rows(_CHILDREN, manifest=row[0], repository=row[2]):
            if not there:
                detail = f"the manifest {digest} that it names is not in the repository"
                faults.append(Fault("missing-child", digest, detail, "incomplete"))
        return faults

    @staticmethod
    def _needed(manifest: Manifest) -> list[Descriptor]:
        # what may lie elsewhere need not be here
        return [descriptor for descriptor in manifest.blobs() if not descriptor.urls]


def _parsed(raw: bytes, row: Row) -> Manifest | None:
    for media_type in (row[4], ""):
        try:
            return parse(raw, media_type, Digest(row[3]).algorithm, most_depth=len(raw))
        except ManifestInvalid:
            continue
    return None


def _annotations(manifest: Manifest) -> str:
    return msgspec.json.encode(manifest.annotations).decode()
