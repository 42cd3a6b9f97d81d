"""Repositories: names, and what the v1 search shows of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, case, exists, func, or_, select, text, update

from lading.registry.artifacts import FOR_ITSELF
from lading.registry.sight import EVERYTHING, Sight, seen
from lading.stores.metadata.paging import Field, Listing, Match, Page
from lading.stores.metadata.schema.content import blobs, manifests, repositories, repository_blobs
from lading.stores.metadata.schema.control import project_repositories, projects
from lading.stores.metadata.transaction import Statement, Transaction


@dataclass(frozen=True)
class Repository:
    """A repository as search shows it."""

    name: str
    description: str
    stars: int
    official: bool


@dataclass(frozen=True)
class Described:
    """A repository of a project as a list shows it; ``name`` has the project in front, times in milliseconds."""

    id: int
    name: str
    stored: str
    description: str
    project: int
    artifacts: int
    created_at: int
    updated_at: int


_has_manifests = exists().where(manifests.c.repository_id == repositories.c.id)

_FIND = Statement(select(repositories.c.id).where(repositories.c.name == bindparam("name")))
_HOLD = Statement(
    select(repositories.c.id).where(repositories.c.name == bindparam("name")).with_for_update(read=True, key_share=True)
)
_ADD = Statement(text("INSERT INTO repositories (name, created_at) VALUES (:name, :now) ON CONFLICT (name) DO NOTHING"))
_page = (
    select(repositories.c.name)
    .where(repositories.c.name > bindparam("after"), _has_manifests)
    .order_by(repositories.c.name)
    .limit(bindparam("limit"))
)
_PAGE = Statement(_page)
_PAGE_SEEN = Statement(seen(_page))
_ALL = Statement(select(repositories.c.name))
_matching = or_(
    repositories.c.name.like(bindparam("pattern"), escape="\\"),
    func.lower(repositories.c.description).like(bindparam("pattern"), escape="\\"),
)
_search = (
    select(repositories.c.name, repositories.c.description, repositories.c.stars, repositories.c.official)
    .where(_matching, _has_manifests)
    # what begins with the term, or has it as its last component, is what was meant
    .order_by(
        repositories.c.official.desc(),
        repositories.c.stars.desc(),
        func.length(repositories.c.name),
        repositories.c.name,
    )
    .limit(bindparam("limit"))
    .offset(bindparam("offset"))
)
_count = select(func.count()).select_from(repositories).where(_matching, _has_manifests)
_SEARCH, _SEARCH_SEEN = Statement(_search), Statement(seen(_search))
_COUNT, _COUNT_SEEN = Statement(_count), Statement(seen(_count))
_DESCRIBE = Statement(
    update(repositories)
    .where(repositories.c.name == bindparam("repository"))
    .values(
        description=func.coalesce(bindparam("new_description"), repositories.c.description),
        stars=func.coalesce(bindparam("new_stars"), repositories.c.stars),
        official=func.coalesce(bindparam("new_official"), repositories.c.official),
    )
)

_shown = case((repositories.c.name.like("%/%"), repositories.c.name), else_=projects.c.name + "/" + repositories.c.name)
_artifacts = (
    select(func.count())
    .select_from(manifests)
    .where(manifests.c.repository_id == repositories.c.id, FOR_ITSELF)
    .correlate(repositories)
    .scalar_subquery()
)
_newest = (
    select(func.max(manifests.c.pushed_at))
    .where(manifests.c.repository_id == repositories.c.id)
    .correlate(repositories)
    .scalar_subquery()
)
_listed = (
    select(
        repositories.c.id,
        _shown.label("shown"),
        repositories.c.name,
        repositories.c.description,
        project_repositories.c.project_id,
        _artifacts.label("artifacts"),
        repositories.c.created_at,
        _newest.label("newest"),
    )
    .select_from(
        repositories.join(project_repositories, project_repositories.c.repository_id == repositories.c.id).join(
            projects, projects.c.id == project_repositories.c.project_id
        )
    )
    .where(_has_manifests)
)
_fields = {
    "id": Field(repositories.c.id, "number"),
    "repository_id": Field(repositories.c.id, "number"),
    "name": Field(_shown),
    "description": Field(repositories.c.description),
    "project_id": Field(project_repositories.c.project_id, "number"),
    "artifact_count": Field(_artifacts, "number"),
    "creation_time": Field(repositories.c.created_at, "moment"),
    "update_time": Field(_newest, "moment"),
    "blob_digest": Field(
        None,
        holds=lambda digest: exists().where(
            repository_blobs.c.repository_id == repositories.c.id,
            repository_blobs.c.blob_id == blobs.c.id,
            blobs.c.present,
            blobs.c.digest == digest,
        ),
    ),
}
_LISTED = Listing(_listed, _fields, (repositories.c.name,))
_LISTED_SEEN = Listing(seen(_listed), _fields, (repositories.c.name,))
_ONE = Statement(_listed.where(repositories.c.name == bindparam("name")))
_BY_ID = Statement(_listed.where(repositories.c.id == bindparam("id")))


class Repositories:
    """The repositories, in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def find(self, name: str) -> int | None:
        """The id of a repository, or None."""
        found: int | None = await self._tx.value(_FIND, name=name)
        return found

    async def ensure(self, name: str) -> int:
        """The id of a repository, which is made if it is not there; the collector keeps away until this is over."""
        found = await self.hold(name)
        while found is None:
            # whoever made it a moment ago is waited for; that it went again before it could be held is rare
            await self._tx.execute(_ADD, name=name, now=self._tx.now)
            found = await self.hold(name)
        return found

    async def hold(self, name: str) -> int | None:
        """:meth:`find`, and the collector takes nothing of it until this transaction is over."""
        found: int | None = await self._tx.value(_HOLD, name=name)
        return found

    async def page(self, after: str, limit: int, sight: Sight = EVERYTHING) -> list[str]:
        """Names behind ``after`` in byte order; only repositories that hold a manifest, and that are seen."""
        if sight.everything:
            return [row[0] for row in await self._tx.rows(_PAGE, after=after, limit=limit)]
        rows = await self._tx.rows(_PAGE_SEEN, after=after, limit=limit, **sight.parameters())
        return [row[0] for row in rows]

    async def all(self) -> list[str]:
        """Every name, in no order; also of repositories that hold only blobs."""
        return [row[0] for row in await self._tx.rows(_ALL)]

    async def search(
        self, term: str, limit: int, offset: int, sight: Sight = EVERYTHING
    ) -> tuple[int, Sequence[Repository]]:
        """How many of those seen have ``term`` in their name or description, and a page of them, best first."""
        escaped = term.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        pattern = f"%{escaped}%"
        about = {} if sight.everything else sight.parameters()
        count, page = (_COUNT, _SEARCH) if sight.everything else (_COUNT_SEEN, _SEARCH_SEEN)
        total: int = await self._tx.value(count, pattern=pattern, **about)
        rows = await self._tx.rows(page, pattern=pattern, limit=limit, offset=offset, **about)
        return total, [Repository(row[0], row[1], row[2], bool(row[3])) for row in rows]

    async def listed(self, page: Page, sight: Sight = EVERYTHING) -> tuple[int, Sequence[Described]]:
        """How many repositories with artifacts fit and are seen, and a page of them, under Harbor's names for fields."""
        if sight.everything:
            total, rows = await _LISTED.page(self._tx, page)
        else:
            total, rows = await _LISTED_SEEN.page(self._tx, page, **sight.parameters())
        return total, [Described(*row) for row in rows]

    async def count(self, where: tuple[Match, ...] = (), sight: Sight = EVERYTHING) -> int:
        """How many repositories fit and are seen."""
        listing, about = (_LISTED, {}) if sight.everything else (_LISTED_SEEN, sight.parameters())
        return await listing.count(self._tx, where, **about)

    async def described(self, name: str) -> Described | None:
        """The same of one, by the name it is stored under."""
        row = await self._tx.row(_ONE, name=name)
        return Described(*row) if row else None

    async def described_by_id(self, repository: int) -> Described | None:
        """The same, by its row."""
        row = await self._tx.row(_BY_ID, id=repository)
        return Described(*row) if row else None

    async def describe(
        self, name: str, *, description: str | None = None, stars: int | None = None, official: bool | None = None
    ) -> bool:
        """Set what search shows of a repository; None leaves a value as it is. Whether there is such a repository."""
        changed = await self._tx.execute(
            _DESCRIBE, repository=name, new_description=description, new_stars=stars, new_official=official
        )
        return changed > 0


def below(prefix: str) -> dict[str, str]:
    """The bounds of all names that begin with ``prefix`` (empty, or it ends in a slash): from ``first``, before ``last``."""
    # no name has a character behind the tilde, and "0" comes right behind "/"
    return {"first": prefix, "last": f"{prefix[:-1]}0" if prefix else "~"}
