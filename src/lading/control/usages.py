"""What is counted of a project's content, and counted no more when it goes; it is so with accounts off, too.

The sum is kept in :data:`SHARDS` rows, one of which is added to at random; :mod:`lading.control.quotas` says why.
"""

from __future__ import annotations

import secrets

from sqlalchemy import bindparam, select, text, update

from lading.registry.admission import ManifestCollected, Question
from lading.stores.metadata.schema.control import project_repositories, quotas
from lading.stores.metadata.transaction import Statement, Transaction

SHARDS = 16
NEEDED = (
    "SELECT blob_id FROM manifest_blobs WHERE manifest_id = :manifest"
    " UNION SELECT blob_id FROM manifests WHERE id = :manifest"
)
HELD = (
    "EXISTS (SELECT 1 FROM manifest_blobs mb JOIN manifests m ON m.id = mb.manifest_id"
    " JOIN project_repositories r ON r.repository_id = m.repository_id"
    " WHERE mb.blob_id = project_blobs.blob_id AND r.project_id = :project AND m.id <> :manifest)"
    " OR EXISTS (SELECT 1 FROM manifests m JOIN project_repositories r ON r.repository_id = m.repository_id"
    " WHERE m.blob_id = project_blobs.blob_id AND r.project_id = :project AND m.id <> :manifest)"
)
ADD = Statement(
    text(
        "INSERT INTO usages (project_id, shard, bytes) VALUES (:project, :shard, :bytes)"
        " ON CONFLICT (project_id, shard) DO UPDATE SET bytes = usages.bytes + excluded.bytes"
    )
)
TELL = Statement(update(quotas).where(quotas.c.project_id == bindparam("project")).values(told=bindparam("what")))
_RELEASE = Statement(
    text(
        "DELETE FROM project_blobs WHERE project_id = :project"  # noqa: S608 - constants
        " AND blob_id IN (" + NEEDED + ") AND NOT (" + HELD + ") RETURNING size"
    )
)
_LOCK_LIMIT_OF = Statement(
    select(quotas.c.project_id)
    .join(project_repositories, project_repositories.c.project_id == quotas.c.project_id)
    .where(project_repositories.c.repository_id == bindparam("repository"))
    .with_for_update(of=quotas)
)


async def collected(tx: Transaction, question: Question) -> None:
    """The rule that what a collected manifest alone needed is counted no more; it holds with accounts off, too."""
    assert isinstance(question, ManifestCollected)
    await release(tx, question.repository, question.row)


async def release(tx: Transaction, repository: int, manifest: int) -> None:
    """Count no more what a manifest alone needs that is about to go."""
    # whoever is about to need the same has this row for sharing: it is waited for, and then seen
    project = await tx.value(_LOCK_LIMIT_OF, repository=repository)
    if project is None:
        return
    sizes = await tx.rows(_RELEASE, project=project, manifest=manifest)
    freed = sum(row[0] for row in sizes)
    if freed:
        await tx.execute(ADD, project=project, shard=secrets.randbelow(SHARDS), bytes=-freed)
        await tx.execute(TELL, project=project, what="")
