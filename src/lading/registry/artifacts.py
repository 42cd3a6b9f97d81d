"""Artifacts: manifests as people look at them, with what hangs together counted in.

A list of a repository's artifacts has what was pushed for its own sake: not the images of an index, nor signatures and
the like of something else, unless they have a tag.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import and_, bindparam, exists, func, or_, select

from lading.oci.digest import Digest
from lading.stores.metadata.paging import Field, Listing, Page
from lading.stores.metadata.schema.content import blobs, contents, manifest_blobs, manifest_children, manifests, tags
from lading.stores.metadata.schema.control import artifact_labels, project_repositories
from lading.stores.metadata.transaction import Row, Statement, Transaction


@dataclass(frozen=True)
class Artifact:
    """A manifest; ``size`` in bytes is of everything it refers to as well, ``raw`` its own bytes, times milliseconds."""

    id: int
    repository: int
    digest: str
    media_type: str
    artifact_type: str
    subject: str | None
    annotations: dict[str, str]
    pushed_at: int
    raw: bytes
    size: int


@dataclass(frozen=True)
class Accessory:
    """A manifest that has another one as its subject."""

    id: int
    digest: str
    artifact_type: str
    size: int
    pushed_at: int


_child = manifests.alias("child")


def _held_by(manifest_id: object) -> object:
    return (
        select(func.coalesce(func.sum(blobs.c.size), 0))
        .select_from(manifest_blobs.join(blobs, blobs.c.id == manifest_blobs.c.blob_id))
        .where(manifest_blobs.c.manifest_id == manifest_id)
        .scalar_subquery()
    )


_children = (
    select(func.coalesce(func.sum(_child.c.size + _held_by(_child.c.id)), 0))
    .select_from(
        manifest_children.join(
            _child,
            and_(_child.c.repository_id == manifests.c.repository_id, _child.c.digest == manifest_children.c.digest),
        )
    )
    .where(manifest_children.c.manifest_id == manifests.c.id)
    .correlate(manifests)
    .scalar_subquery()
)
_size = manifests.c.size + _held_by(manifests.c.id) + _children
_tagged = exists().where(tags.c.manifest_id == manifests.c.id)
_parent = manifests.alias("parent")
_inside = (
    select(_parent.c.id)
    .join(manifest_children, manifest_children.c.manifest_id == _parent.c.id)
    .where(_parent.c.repository_id == manifests.c.repository_id, manifest_children.c.digest == manifests.c.digest)
    .correlate(manifests)
    .exists()
)
FOR_ITSELF = or_(_tagged, and_(manifests.c.subject.is_(None), ~_inside))
"""Whether a row of ``manifests`` was pushed for its own sake."""

_columns = (
    manifests.c.id,
    manifests.c.repository_id,
    manifests.c.digest,
    manifests.c.media_type,
    manifests.c.artifact_type,
    manifests.c.subject,
    manifests.c.annotations,
    manifests.c.pushed_at,
    contents.c.bytes,
    _size.label("whole"),
)
_all = select(*_columns).join(contents, contents.c.blob_id == manifests.c.blob_id)
_fields = {
    "id": Field(manifests.c.id, "number"),
    "digest": Field(manifests.c.digest),
    "manifest_media_type": Field(manifests.c.media_type),
    "artifact_type": Field(manifests.c.artifact_type),
    "size": Field(_size, "number"),
    "push_time": Field(manifests.c.pushed_at, "moment"),
    "tags": Field(
        None,
        holds=lambda name: exists().where(tags.c.manifest_id == manifests.c.id, tags.c.name == name),
        words={"*": _tagged, "nil": ~_tagged},
    ),
    "labels": Field(
        None,
        "number",
        holds=lambda label: exists().where(
            artifact_labels.c.manifest_id == manifests.c.id, artifact_labels.c.label_id == label
        ),
    ),
}
_order = (manifests.c.pushed_at.desc(), manifests.c.id.desc())
_LISTED = Listing(_all.where(manifests.c.repository_id == bindparam("repository"), FOR_ITSELF), _fields, _order)
_OF_PROJECT = Listing(
    _all.join(project_repositories, project_repositories.c.repository_id == manifests.c.repository_id).where(
        project_repositories.c.project_id == bindparam("project"), FOR_ITSELF
    ),
    _fields,
    _order,
)
_BY_DIGEST = Statement(
    _all.where(manifests.c.repository_id == bindparam("repository"), manifests.c.digest == bindparam("reference"))
)
_BY_TAG = Statement(
    _all.join(tags, tags.c.manifest_id == manifests.c.id).where(
        tags.c.repository_id == bindparam("repository"), tags.c.name == bindparam("reference")
    )
)
_ACCESSORIES = Listing(
    select(
        manifests.c.id, manifests.c.digest, manifests.c.artifact_type, _size.label("whole"), manifests.c.pushed_at
    ).where(manifests.c.repository_id == bindparam("repository"), manifests.c.subject == bindparam("subject")),
    {
        "id": Field(manifests.c.id, "number"),
        "digest": Field(manifests.c.digest),
        "artifact_type": Field(manifests.c.artifact_type),
        "size": Field(_size, "number"),
        "creation_time": Field(manifests.c.pushed_at, "moment"),
    },
    (manifests.c.digest,),
)


class Artifacts:
    """The artifacts, in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def listed(self, repository: int, page: Page) -> tuple[int, Sequence[Artifact]]:
        """How many artifacts of a repository fit, and a page of them; the newest first unless they are sorted."""
        total, rows = await _LISTED.page(self._tx, page, repository=repository)
        return total, [_record(row) for row in rows]

    async def of_project(self, project: int, page: Page) -> tuple[int, Sequence[Artifact]]:
        """The same of all repositories of a project."""
        total, rows = await _OF_PROJECT.page(self._tx, page, project=project)
        return total, [_record(row) for row in rows]

    async def find(self, repository: int, reference: str) -> Artifact | None:
        """The artifact of that tag or digest, also one that lists leave out."""
        statement = _BY_DIGEST if ":" in reference else _BY_TAG
        row = await self._tx.row(statement, repository=repository, reference=reference)
        return _record(row) if row else None

    async def accessories(self, repository: int, subject: Digest | str, page: Page) -> tuple[int, Sequence[Accessory]]:
        """How many manifests have this one as their subject and fit, and a page of them."""
        total, rows = await _ACCESSORIES.page(self._tx, page, repository=repository, subject=str(subject))
        return total, [Accessory(*row) for row in rows]


def _record(row: Row) -> Artifact:
    fields = list(row)
    fields[6], fields[8], fields[9] = msgspec.json.decode(row[6]), bytes(row[8]), int(row[9])
    return Artifact(*fields)
