"""Quotas: how many bytes and repositories a project may have, each content counted once whatever holds it.

``project_blobs`` has a row for each blob that a manifest of the project needs (its own bytes too); the row is the
reservation, made in the transaction of the push. The sum is kept in several rows, one of which a push adds to at
random, so that pushes do not wait for each other.

The quota's row is what they lock before they look. Far from the limit a push shares it; near it a push has it alone, so
that of two that would not fit together one is refused. *Near* leaves room for as many pushes of the same size as are
ever in flight (:data:`MOST_AT_ONCE`). Whoever takes something away has it alone too: what a push is about to need that
is not yet seen would be taken for needed no more. It is not locked twice, for sharing and then alone, since two that do
so wait for each other.

Blobs that no manifest names are not counted: they are refused where they alone would not fit, and collected otherwise.

What a mirror brings is counted and never refused. In a project in which mirrors keep images beside those that people
push, a push that finds it full is held against what was pushed alone: what mirrors keep makes room afterwards.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, exists, func, select, text, update

from lading.access.members import namespace
from lading.control.projects import Projects
from lading.control.usages import ADD, HELD, NEEDED, SHARDS, TELL, release
from lading.errors import Denied, Invalid
from lading.jobs.events import By, QuotaExceeded, QuotaWarned
from lading.jobs.outbox import Outbox
from lading.registry.admission import BlobArrives, ManifestArrives, ManifestGoes, Question
from lading.stores.metadata.paging import Field, Listing, Page
from lading.stores.metadata.schema.access import users
from lading.stores.metadata.schema.content import blobs
from lading.stores.metadata.schema.control import project_blobs, projects, quotas, usages
from lading.stores.metadata.transaction import Row, Statement, Transaction

UNLIMITED = -1
MOST_AT_ONCE = 64
WARN_AT = 0.85
"""The part of a limit from which on a warning is given."""

_LIMIT = select(quotas.c.bytes, quotas.c.repositories, quotas.c.told).where(quotas.c.project_id == bindparam("project"))
_READ_LIMIT = Statement(_LIMIT)
_SHARE_LIMIT = Statement(_LIMIT.with_for_update(read=True, key_share=True))
_SHARE_NO_LIMIT = Statement(
    _LIMIT.where(quotas.c.bytes == -1, quotas.c.repositories == -1).with_for_update(read=True, key_share=True)
)
_LOCK_LIMIT = Statement(_LIMIT.with_for_update())
_SET_LIMIT = Statement(
    update(quotas)
    .where(quotas.c.project_id == bindparam("project"))
    .values(bytes=bindparam("new_bytes"), repositories=bindparam("new_repositories"), updated_at=bindparam("now"))
)
_USED = Statement(select(func.coalesce(func.sum(usages.c.bytes), 0)).where(usages.c.project_id == bindparam("project")))
_USED_BY_ALL = Statement(select(func.coalesce(func.sum(usages.c.bytes), 0)))
_COUNTED = Statement(
    select(
        exists().where(
            project_blobs.c.project_id == bindparam("project"),
            project_blobs.c.blob_id == blobs.c.id,
            blobs.c.digest == bindparam("digest"),
        )
    )
)
_RESERVE = Statement(
    text(
        "INSERT INTO project_blobs (project_id, blob_id, size) SELECT :project, b.id, b.size FROM blobs b"  # noqa: S608 - constants
        " WHERE b.id IN (" + NEEDED + ") ORDER BY b.id"
        " ON CONFLICT (project_id, blob_id) DO NOTHING RETURNING size"
    )
)
_MANIFEST = Statement(text("SELECT id FROM manifests WHERE repository_id = :repository AND digest = :digest"))
_FORGET_UNHELD = Statement(text(f"DELETE FROM project_blobs WHERE project_id = :project AND NOT ({HELD})"))  # noqa: S608 - constants
_COUNT_ALL = Statement(
    text(
        "INSERT INTO project_blobs (project_id, blob_id, size) SELECT :project, b.id, b.size FROM blobs b WHERE b.id IN ("
        "SELECT mb.blob_id FROM manifest_blobs mb JOIN manifests m ON m.id = mb.manifest_id"
        " JOIN project_repositories r ON r.repository_id = m.repository_id WHERE r.project_id = :project"
        " UNION SELECT m.blob_id FROM manifests m JOIN project_repositories r ON r.repository_id = m.repository_id"
        " WHERE r.project_id = :project) ORDER BY b.id ON CONFLICT (project_id, blob_id) DO NOTHING"
    )
)
_FORGET_SUM = Statement(text("DELETE FROM usages WHERE project_id = :project"))
_SUM = Statement(
    select(func.coalesce(func.sum(project_blobs.c.size), 0)).where(project_blobs.c.project_id == bindparam("project"))
)
_COUNT_FILLED_OTHERS = (
    "SELECT COUNT(DISTINCT r.repository_id) FROM project_repositories r"
    " JOIN manifests m ON m.repository_id = r.repository_id"
    " WHERE r.project_id = :project AND r.repository_id <> :repository"
)
_BROUGHT = " EXISTS (SELECT 1 FROM mirrored u WHERE u.manifest_id = m.id)"
_FILLED_OTHERS = Statement(text(_COUNT_FILLED_OTHERS))
_PUSHED_OTHERS = Statement(text(f"{_COUNT_FILLED_OTHERS} AND NOT{_BROUGHT}"))


def _needed(which: str) -> str:
    """The condition that a manifest of the project needs a blob, of those that ``which`` says."""
    return (
        "(EXISTS (SELECT 1 FROM manifest_blobs mb JOIN manifests m ON m.id = mb.manifest_id"  # noqa: S608 - constants
        " JOIN project_repositories r ON r.repository_id = m.repository_id"
        f" WHERE mb.blob_id = p.blob_id AND r.project_id = :project AND {which})"
        " OR EXISTS (SELECT 1 FROM manifests m JOIN project_repositories r ON r.repository_id = m.repository_id"
        f" WHERE m.blob_id = p.blob_id AND r.project_id = :project AND {which}))"
    )


_SUM_PUSHED = (
    "SELECT COALESCE(SUM(p.size), 0) FROM project_blobs p"  # noqa: S608 - constants
    f" WHERE p.project_id = :project AND {_needed('NOT' + _BROUGHT)}"
)
_PUSHED = Statement(text(_SUM_PUSHED))
_PUSHED_ALONE = Statement(text(f"{_SUM_PUSHED} AND NOT {_needed(_BROUGHT)}"))
_HAS_MORE = Statement(text("SELECT 1 FROM manifests WHERE repository_id = :repository AND id <> :manifest LIMIT 1"))
_EVERY = Statement(select(projects.c.id).order_by(projects.c.id))


class QuotaRefused(Denied):
    """The project's quota would be exceeded."""


@dataclass(frozen=True)
class Quota:
    """Limits (-1: none) and what is used of them."""

    project: int
    most_bytes: int
    most_repositories: int
    used_bytes: int
    used_repositories: int


@dataclass(frozen=True)
class Listed:
    """A project's quota as a list shows it; bytes, and times in milliseconds."""

    project: int
    name: str
    owner: str
    most_bytes: int
    used_bytes: int
    created_at: int
    updated_at: int


_used = (
    select(func.coalesce(func.sum(usages.c.bytes), 0))
    .where(usages.c.project_id == quotas.c.project_id)
    .correlate(quotas)
    .scalar_subquery()
)
_LISTED = Listing(
    select(
        quotas.c.project_id,
        projects.c.name,
        func.coalesce(users.c.name, ""),
        quotas.c.bytes,
        _used.label("used"),
        projects.c.created_at,
        quotas.c.updated_at,
    ).select_from(
        quotas.join(projects, projects.c.id == quotas.c.project_id).outerjoin(users, users.c.id == projects.c.owner_id)
    ),
    {
        "id": Field(quotas.c.project_id, "number"),
        "reference_id": Field(quotas.c.project_id, "number"),
        "hard.storage": Field(quotas.c.bytes, "number"),
        "used.storage": Field(_used, "number"),
        "creation_time": Field(projects.c.created_at, "moment"),
        "update_time": Field(quotas.c.updated_at, "moment"),
    },
    (quotas.c.project_id,),
)


class Quotas:
    """The quotas, in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def of(self, project: int) -> Quota | None:
        """A project's quota and what is used of it."""
        row = await self._tx.row(_READ_LIMIT, project=project)
        if row is None:
            return None
        return Quota(project, row[0], row[1], await self.used(project), await Projects(self._tx).repositories(project))

    async def used(self, project: int) -> int:
        """Bytes a project uses."""
        found: int = await self._tx.value(_USED, project=project)
        return int(found)

    async def pushed(self, project: int) -> int:
        """Bytes that a project needs for what people pushed, whatever mirrors have brought besides; counted anew."""
        return int(await self._tx.value(_PUSHED, project=project))

    async def room(self, project: int) -> int | None:
        """Bytes that mirrors may keep of what they brought into a project, 1 at least; None: as much as there is."""
        row = await self._tx.row(_READ_LIMIT, project=project)
        if row is None or row[0] == UNLIMITED or await self.used(project) <= row[0]:
            return None
        return max(1, int(row[0]) - int(await self._tx.value(_PUSHED_ALONE, project=project)))

    async def used_by_all(self) -> int:
        """Bytes all projects use; what two of them hold is counted in both."""
        return int(await self._tx.value(_USED_BY_ALL))

    async def limit(self, project: int, *, most_bytes: int, most_repositories: int = UNLIMITED) -> None:
        """Set a project's limits; what is there already stays, even where it is more."""
        if min(most_bytes, most_repositories) < UNLIMITED or max(most_bytes, most_repositories) >= 2**62:
            raise Invalid("a limit is a number from 0 on, or -1 for none")
        await self._tx.row(_LOCK_LIMIT, project=project)
        await self._tx.execute(
            _SET_LIMIT, project=project, new_bytes=most_bytes, new_repositories=most_repositories, now=self._tx.now
        )
        await self._tx.execute(TELL, project=project, what="")

    async def settle(self, project: int) -> int:
        """Count anew what a project uses, from what its manifests need; bytes."""
        await self._tx.row(_LOCK_LIMIT, project=project)
        await self._tx.execute(_FORGET_UNHELD, project=project, manifest=0)
        await self._tx.execute(_COUNT_ALL, project=project)
        used = int(await self._tx.value(_SUM, project=project))
        await self._tx.execute(_FORGET_SUM, project=project)
        await self._tx.execute(ADD, project=project, shard=0, bytes=used)
        return used

    async def listed(self, page: Page) -> tuple[int, Sequence[Listed]]:
        """How many quotas there are that fit, and a page of them, under Harbor's names for their fields."""
        total, rows = await _LISTED.page(self._tx, page)
        return total, [Listed(*row) for row in rows]

    async def projects(self) -> list[int]:
        """Every project there is."""
        return [row[0] for row in await self._tx.rows(_EVERY)]


class QuotaRules:
    """The rules that keep quotas. ``shared`` names the projects in which mirrors keep what they bring."""

    def __init__(
        self, outbox: Outbox, refused: Callable[[QuotaExceeded], None], shared: Collection[str] = frozenset()
    ) -> None:
        self._outbox = outbox
        self._heard = refused
        self._shared = frozenset(shared)
        self.loop: asyncio.AbstractEventLoop | None = None

    async def fits(self, tx: Transaction, question: Question) -> None:
        """A blob that would not fit by itself is refused as it arrives, and so is one in a repository too many."""
        assert isinstance(question, BlobArrives)
        project = await Projects(tx).of(question.repository)
        row = await tx.row(_READ_LIMIT, project=project) if project is not None else None
        if project is None or row is None:
            return
        if await _is_another(tx, question.repository, 0, row[1]):
            await tx.row(_LOCK_LIMIT, project=project)
            await self._check_repositories(tx, project, question, row[1])
        if row[0] != UNLIMITED and await Quotas(tx).used(project) + question.size > row[0]:
            counted = await tx.value(_COUNTED, project=project, digest=question.digest)
            if not counted and (used := await self._settled(tx, project, question)) + question.size > row[0]:
                raise self._refused(question.name, question.by, used, row[0], question.size)

    async def reserve(self, tx: Transaction, question: Question) -> None:
        """A manifest's content is counted, and refused where it does not fit."""
        assert isinstance(question, ManifestArrives)
        project = await Projects(tx).of(question.repository)
        if project is None:
            return
        limit, most_repositories, told = await _hold(tx, project, question)
        if await _is_another(tx, question.repository, question.row, most_repositories):
            await self._check_repositories(tx, project, question, most_repositories)
        added = await _add(tx, project, question)
        shared = namespace(question.name) in self._shared
        # what mirrors brought and is pushed now is counted already, and is held against the limit from now on
        if limit == UNLIMITED or not (added or shared):
            return
        used = await Quotas(tx).used(project)
        if used > limit or (shared and used > WARN_AT * limit and not told):
            used = await self._settled(tx, project, question)
        if used > limit:
            raise self._refused(question.name, question.by, used - added, limit, added)
        if used > WARN_AT * limit and not told:
            await tx.execute(TELL, project=project, what="warning")
            name = question.name
            await self._outbox.emit(
                tx, QuotaWarned(repository=name, by=question.by, project=str(project), used=used, limit=limit)
            )

    async def count(self, tx: Transaction, question: Question) -> None:
        """What a mirror brings is counted and never refused: something else makes room."""
        assert isinstance(question, ManifestArrives)
        project = await Projects(tx).of(question.repository)
        if project is None:
            return
        await tx.row(_SHARE_LIMIT, project=project)
        await _add(tx, project, question)

    async def release(self, tx: Transaction, question: Question) -> None:
        """What a manifest alone needed is counted no more when it goes."""
        assert isinstance(question, ManifestGoes)
        manifest = await tx.value(_MANIFEST, repository=question.repository, digest=question.digest)
        if manifest is not None:
            await release(tx, question.repository, manifest)

    async def _settled(self, tx: Transaction, project: int, question: BlobArrives | ManifestArrives) -> int:
        """What is held against the limit, counted anew: a push is not refused for what mirrors keep, which makes room."""
        used = await Quotas(tx).settle(project)
        return await Quotas(tx).pushed(project) if namespace(question.name) in self._shared else used

    async def _check_repositories(
        self, tx: Transaction, project: int, question: BlobArrives | ManifestArrives, most: int
    ) -> None:
        others = _PUSHED_OTHERS if namespace(question.name) in self._shared else _FILLED_OTHERS
        if await tx.value(others, project=project, repository=question.repository) >= most:
            raise QuotaRefused(
                f"the project may have {most} repositories, and has them; delete one, or ask for a larger quota"
            )

    def _tell(self, event: QuotaExceeded) -> None:
        self._outbox.emit_soon(event)
        self._heard(event)

    def _refused(self, name: str, by: By, used: int, limit: int, asked: int) -> QuotaRefused:
        project = name.partition("/")[0]
        event = QuotaExceeded(repository=name, by=by, project=project, used=used, limit=limit, asked=asked)
        if self.loop is not None:
            # this may be the thread that writes; and what is told must outlive the transaction that ends here
            self.loop.call_soon_threadsafe(self._tell, event)
        return QuotaRefused(
            f"adding {_size(asked)} to the {_size(used)} this project uses would exceed its quota of {_size(limit)}; "
            "delete what is not needed, or ask for a larger one",
            detail={"used": used, "limit": limit, "asked": asked},
        )


async def _add(tx: Transaction, project: int, question: ManifestArrives) -> int:
    """Count what a manifest brings that the project has not; how many bytes that are."""
    added: int = sum(row[0] for row in await tx.rows(_RESERVE, project=project, manifest=question.row))
    if added:
        await tx.execute(ADD, project=project, shard=secrets.randbelow(SHARDS), bytes=added)
    return added


async def _hold(tx: Transaction, project: int, question: ManifestArrives) -> Row:
    """The project's limits and what was told of them last; nothing is taken from it until this transaction is over."""
    free = await tx.row(_SHARE_NO_LIMIT, project=project)
    if free is not None:
        return free
    row = await tx.row(_READ_LIMIT, project=project)
    if row is not None:
        alone = await _is_near(tx, project, question, row)
        row = await tx.row(_LOCK_LIMIT if alone else _SHARE_LIMIT, project=project)
        if row is not None and not alone and await _is_near(tx, project, question, row):
            row = await tx.row(
                _LOCK_LIMIT, project=project
            )  # the limit was changed, or the repository emptied, just now
    return row if row is not None else (UNLIMITED, UNLIMITED, "")


async def _is_near(tx: Transaction, project: int, question: ManifestArrives, row: Row) -> bool:
    """Whether this push has to have the quota alone; ``row`` are the limits."""
    if await _is_another(tx, question.repository, question.row, row[1]):
        return True
    if row[0] == UNLIMITED:
        return False
    most = question.manifest.size + sum({blob.digest: blob.size for blob in question.manifest.blobs()}.values())
    return await Quotas(tx).used(project) + MOST_AT_ONCE * most > int(row[0])


async def _is_another(tx: Transaction, repository: int, manifest: int, most: int) -> bool:
    """Whether repositories are limited, and this is one more for having its first manifest."""
    return most != UNLIMITED and await tx.value(_HAS_MORE, repository=repository, manifest=manifest) is None


def _size(count: int) -> str:
    for unit, length in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} bytes"
