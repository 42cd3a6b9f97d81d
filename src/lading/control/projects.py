"""Projects: what repositories belong to, and where roles, quotas and policies are held.

A repository's project is the first part of its name; a name of one part belongs to ``library``. A project has to be
there before something is pushed into it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from sqlalchemy import ColumnElement, FromClause, bindparam, delete, exists, func, insert, or_, select, text, update

from lading.access.members import DEFAULT, Members, namespace
from lading.access.permissions import PROJECT_ADMIN
from lading.access.principal import Kind, by_subject
from lading.access.revocations import Revocations, of_project
from lading.access.users import Users
from lading.errors import Conflict, Invalid, RepositoryUnknown, Unsupported
from lading.oci.reference import is_name
from lading.registry.admission import BlobArrives, ManifestArrives, Question, UploadBegins
from lading.registry.repositories import Repositories
from lading.registry.sight import EVERYTHING, PROJECT_SEEN, Sight
from lading.stores.metadata import several
from lading.stores.metadata.paging import Field, Listing, Match, Page
from lading.stores.metadata.schema.access import robot_grants
from lading.stores.metadata.schema.access import users as accounts
from lading.stores.metadata.schema.content import manifests, repositories
from lading.stores.metadata.schema.control import (
    project_metadata,
    project_repositories,
    projects,
    quotas,
)
from lading.stores.metadata.transaction import Row, Statement, Transaction

_METADATA_NAME_MOST = 64


@dataclass(frozen=True)
class Project:
    """A project; times in milliseconds. ``registry`` is what a proxy project mirrors."""

    id: int
    name: str
    public: bool
    owner: int | None
    registry: int | None
    created_at: int
    updated_at: int


_columns = (
    projects.c.id,
    projects.c.name,
    projects.c.public,
    projects.c.owner_id,
    projects.c.registry_id,
    projects.c.created_at,
    projects.c.updated_at,
)
_BY_NAME = Statement(select(*_columns).where(projects.c.name == bindparam("name")))
_BY_ID = Statement(select(*_columns).where(projects.c.id == bindparam("id")))
_ADD = Statement(
    insert(projects).values(
        name=bindparam("name"),
        public=bindparam("public"),
        owner_id=bindparam("owner"),
        registry_id=bindparam("registry"),
        created_at=bindparam("now"),
        updated_at=bindparam("now"),
    )
)
_ADD_QUOTA = Statement(
    insert(quotas).values(
        project_id=bindparam("project"),
        bytes=bindparam("bytes"),
        repositories=bindparam("repositories"),
        told="",
        updated_at=bindparam("now"),
    )
)
_PUBLIC = Statement(
    update(projects)
    .where(projects.c.id == bindparam("project"))
    .values(public=bindparam("flag"), updated_at=bindparam("now"))
)
_DELETE = Statement(delete(projects).where(projects.c.id == bindparam("project")))
_DELETE_EMPTY = Statement(
    delete(repositories).where(
        repositories.c.id.in_(
            select(project_repositories.c.repository_id).where(
                project_repositories.c.project_id == bindparam("project")
            )
        )
    )
)
_FORGET_ROBOT_GRANTS = Statement(delete(robot_grants).where(robot_grants.c.namespace == bindparam("name")))
_filled = exists().where(
    project_repositories.c.project_id == bindparam("project"),
    manifests.c.repository_id == project_repositories.c.repository_id,
)
_IS_FILLED = Statement(select(_filled))
_matching = (
    projects.c.name.like(bindparam("pattern"), escape="\\"),
    or_(bindparam("any_access"), projects.c.public == bindparam("only_public")),
    or_(bindparam("any_owner") == 1, projects.c.owner_id == bindparam("owner")),
)
_page = (
    select(*_columns).where(*_matching).order_by(projects.c.name).limit(bindparam("limit")).offset(bindparam("offset"))
)
_count = select(func.count()).select_from(projects).where(*_matching)
_PAGE, _PAGE_SEEN = Statement(_page), Statement(_page.where(PROJECT_SEEN))
_COUNT, _COUNT_SEEN = Statement(_count), Statement(_count.where(PROJECT_SEEN))

_OF_REPOSITORY = Statement(
    select(project_repositories.c.project_id, projects.c.registry_id)
    .join(projects, projects.c.id == project_repositories.c.project_id)
    .where(project_repositories.c.repository_id == bindparam("repository"))
)
_LINK = Statement(
    text(
        "INSERT INTO project_repositories (repository_id, project_id) VALUES (:repository, :project)"
        " ON CONFLICT (repository_id) DO NOTHING"
    )
)
_REPOSITORIES = Statement(
    select(func.count())
    .select_from(project_repositories)
    .where(
        project_repositories.c.project_id == bindparam("project"),
        exists().where(manifests.c.repository_id == project_repositories.c.repository_id),
    )
)
_UNLINKED = Statement(
    select(repositories.c.id, repositories.c.name).where(
        ~exists().where(project_repositories.c.repository_id == repositories.c.id)
    )
)
ALLOWLIST = "cve_allowlist"
"""What is kept beside the metadata, and is none: see :mod:`lading.control.allowlists`."""

_METADATA = Statement(
    select(project_metadata.c.name, project_metadata.c.value)
    .where(project_metadata.c.project_id == bindparam("project"), project_metadata.c.name != ALLOWLIST)
    .order_by(project_metadata.c.name)
)
_METADATA_OF = Statement(
    select(project_metadata.c.project_id, project_metadata.c.name, project_metadata.c.value).where(
        project_metadata.c.project_id.in_(several.parameters("project"))
    )
)
_SET_METADATA = Statement(
    text(
        "INSERT INTO project_metadata (project_id, name, value) VALUES (:project, :name, :value)"
        " ON CONFLICT (project_id, name) DO UPDATE SET value = excluded.value"
    )
)
_UNSET_METADATA = Statement(
    delete(project_metadata).where(
        project_metadata.c.project_id == bindparam("project"), project_metadata.c.name == bindparam("name")
    )
)


def _holding(page: FromClause) -> Sequence[ColumnElement[int]]:
    """How many repositories with artifacts each project of a page has."""
    count = (
        select(func.count())
        .select_from(project_repositories)
        .where(
            project_repositories.c.project_id == page.c.id,
            exists().where(manifests.c.repository_id == project_repositories.c.repository_id),
        )
        .correlate(page)
        .scalar_subquery()
    )
    return (count.label("repo_count"),)


_listed = select(*_columns, func.coalesce(accounts.c.name, "").label("owner")).select_from(
    projects.outerjoin(accounts, accounts.c.id == projects.c.owner_id)
)
_fields = {
    "project_id": Field(projects.c.id, "number"),
    "name": Field(projects.c.name),
    "public": Field(projects.c.public, "flag"),
    "owner_id": Field(projects.c.owner_id, "number"),
    "owner": Field(accounts.c.name),
    "owner_name": Field(accounts.c.name),
    "registry_id": Field(projects.c.registry_id, "number"),
    "creation_time": Field(projects.c.created_at, "moment"),
    "update_time": Field(projects.c.updated_at, "moment"),
}
_LISTED = Listing(_listed, _fields, (projects.c.name,), also=_holding)
_LISTED_SEEN = Listing(_listed.where(PROJECT_SEEN), _fields, (projects.c.name,), also=_holding)


class Projects:
    """The projects, in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def named(self, name: str) -> Project | None:
        """The project of that name."""
        return _record(await self._tx.row(_BY_NAME, name=name))

    async def find(self, project: int) -> Project | None:
        """The project of that id."""
        return _record(await self._tx.row(_BY_ID, id=project))

    async def add(
        self,
        name: str,
        owner: int | None,
        *,
        public: bool = False,
        registry: int | None = None,
        most_bytes: int = -1,
        most_repositories: int = -1,
    ) -> Project:
        """Add a project; its owner becomes its admin. Raises ``Conflict`` where the name is taken."""
        check_name(name)
        if await self.named(name) is not None:
            raise Conflict(f"there is a project {name} already")
        await self._tx.execute(_ADD, name=name, public=public, owner=owner, registry=registry, now=self._tx.now)
        added = await self.named(name)
        assert added is not None
        await self._tx.execute(
            _ADD_QUOTA, project=added.id, bytes=most_bytes, repositories=most_repositories, now=self._tx.now
        )
        if owner is not None:
            await Members(self._tx).add(added.id, "u", owner, PROJECT_ADMIN)
        return added

    async def set_public(self, project: Project, *, public: bool) -> None:
        """Let everybody pull from a project, or only its members."""
        await self._tx.execute(_PUBLIC, project=project.id, flag=public, now=self._tx.now)
        if project.public and not public:
            await Revocations(self._tx).add(of_project(project.name))

    async def filled(self, project: Project) -> bool:
        """Whether there is something in it, so that it cannot be deleted."""
        return bool(await self._tx.value(_IS_FILLED, project=project.id))

    async def delete(self, project: Project) -> None:
        """Delete a project that has no artifacts, with its members, robots and settings."""
        if await self.filled(project):
            raise Conflict(
                f"the project {project.name} still has repositories with artifacts in it; delete those first"
            )
        # whoever takes the name next must not find in its repositories what was pushed before
        await self._tx.execute(_DELETE_EMPTY, project=project.id)
        await self._tx.execute(_FORGET_ROBOT_GRANTS, name=project.name)
        await self._tx.execute(_DELETE, project=project.id)
        await Revocations(self._tx).add(of_project(project.name))

    async def page(
        self,
        limit: int,
        offset: int = 0,
        *,
        term: str = "",
        exact: bool = False,
        public: bool | None = None,
        owner: int | None = None,
        sight: Sight = EVERYTHING,
    ) -> tuple[int, Sequence[Project]]:
        """How many projects there are that match and are seen, and a page of them by name."""
        escaped = term.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        about = {
            "pattern": escaped if exact else f"%{escaped}%",
            "any_access": public is None,
            "only_public": bool(public),
            "any_owner": 1 if owner is None else 0,
            "owner": owner or 0,
            **({} if sight.everything else sight.parameters()),
        }
        count, page = (_COUNT, _PAGE) if sight.everything else (_COUNT_SEEN, _PAGE_SEEN)
        total: int = await self._tx.value(count, **about)
        rows = await self._tx.rows(page, limit=limit, offset=offset, **about)
        return total, [project for row in rows if (project := _record(row))]

    async def listed(self, page: Page, sight: Sight = EVERYTHING) -> tuple[int, Sequence[tuple[Project, str, int]]]:
        """How many projects fit and are seen, and a page: each with its owner's name and its number of repositories."""
        if sight.everything:
            total, rows = await _LISTED.page(self._tx, page)
        else:
            total, rows = await _LISTED_SEEN.page(self._tx, page, **sight.parameters())
        return total, [(project, row[-2], row[-1]) for row in rows if (project := _record(row[:-2]))]

    async def count(self, where: tuple[Match, ...] = (), sight: Sight = EVERYTHING) -> int:
        """How many projects fit and are seen."""
        listing, about = (_LISTED, {}) if sight.everything else (_LISTED_SEEN, sight.parameters())
        return await listing.count(self._tx, where, **about)

    async def repositories(self, project: int) -> int:
        """How many repositories with artifacts a project has."""
        found: int = await self._tx.value(_REPOSITORIES, project=project)
        return found

    async def of(self, repository: int) -> int | None:
        """The project of a repository."""
        found: int | None = await self._tx.value(_OF_REPOSITORY, repository=repository)
        return found

    async def mirrored(self, repository: int) -> bool | None:
        """Whether the project of a repository is a proxy for another registry; None: it is of no project yet."""
        row = await self._tx.row(_OF_REPOSITORY, repository=repository)
        return None if row is None else row[1] is not None

    async def put(self, project: int, repository: int) -> bool:
        """Make a repository one of a project; False if it was already."""
        return bool(await self._tx.execute(_LINK, repository=repository, project=project))

    async def metadata(self, project: int) -> Mapping[str, str]:
        """What else is set for a project (Harbor's metadata, whose values are words)."""
        return {row[0]: row[1] for row in await self._tx.rows(_METADATA, project=project)}

    async def metadata_of(self, projects: Sequence[int]) -> dict[int, dict[str, str]]:
        """The same of several projects, and under :data:`ALLOWLIST` what :mod:`lading.control.allowlists` keeps."""
        found: dict[int, dict[str, str]] = {project: {} for project in projects}
        for group in several.groups("project", projects):
            for project, name, value in await self._tx.rows(_METADATA_OF, **group):
                found[project][name] = value
        return found

    async def set_metadata(self, project: int, name: str, value: str | None) -> None:
        """Set one of them; None takes it away. ``public`` is no metadata here: see :meth:`set_public`."""
        if (
            not name
            or name == ALLOWLIST
            or len(name) > _METADATA_NAME_MOST
            or (value is not None and len(value) > 4096)
        ):
            raise Invalid("a setting of a project has a name of 1 to 64 characters and a value of at most 4096")
        if value is None:
            await self._tx.execute(_UNSET_METADATA, project=project, name=name)
        else:
            await self._tx.execute(_SET_METADATA, project=project, name=name, value=value)

    async def adopt(self, owner: int | None) -> list[str]:
        """Make projects, private ones, for repositories that were there before accounts were; their names."""
        made: list[str] = []
        for repository, name in await self._tx.rows(_UNLINKED):
            project = await self.named(namespace(name))
            if project is None:
                project = await self.add(namespace(name), owner)
                made.append(project.name)
            await self.put(project.id, repository)
        return made


def check_name(name: str) -> None:
    """Raise ``Invalid`` for what cannot be a project's name."""
    if not is_name(name) or "/" in name or len(name) > 200:
        raise Invalid(
            "a project's name is the first part of its repositories' names: small letters and digits, with . _ or - "
            "between them, 200 at most"
        )


async def ensure(tx: Transaction, repository: str, *, public: bool) -> None:
    """Make the project of a repository, which nobody owns, if it is not there."""
    await tx.lock("projects-of-mirrors")
    name = namespace(repository)
    if await Projects(tx).named(name) is None:
        await Projects(tx).add(name, None, public=public)


async def stored_name(tx: Transaction, project_name: str, name: str) -> str:
    """The name by which a repository of a project is stored: those of one part belong to ``library``."""
    whole = f"{project_name}/{name}"
    if project_name == DEFAULT and "/" not in name:
        repositories = Repositories(tx)
        if await repositories.find(whole) is None and await repositories.find(name) is not None:
            return name
    return whole


def shown_name(name: str) -> str:
    """The name by which Harbor's clients know it: they expect a project in front."""
    return name if "/" in name else f"{DEFAULT}/{name}"


class Bringer(Enum):
    """Who brings content."""

    PUSH = "a push, into projects that are no proxies"
    MIRROR = "a mirror that is configured, into any"
    PROXY = "a proxy project's, into these alone: the project of that name may be another one by now"


@dataclass(frozen=True)
class Belonging:
    """The rule that content comes into a project which is there, and is one that ``bringer`` fills.

    ``create``: an administrator's push makes one that is not there, public if ``public``.
    """

    create: bool = False
    public: bool = False
    bringer: Bringer = Bringer.PUSH

    async def begins(self, tx: Transaction, question: Question) -> None:
        """Before bytes are sent: would there be a project for them?"""
        assert isinstance(question, UploadBegins)
        name = namespace(question.name)
        project = await Projects(tx).named(name)
        if project is None and not await self._may_create(tx, question.by.subject):
            raise _no_project(name)
        self._judge(name, mirrored=project is not None and project.registry is not None)

    async def arrives(self, tx: Transaction, question: Question) -> None:
        """When something becomes visible: the repository is one of its project's from now on."""
        assert isinstance(question, BlobArrives | ManifestArrives)
        mine, name = Projects(tx), namespace(question.name)
        mirrored = await mine.mirrored(question.repository)
        if mirrored is not None:
            self._judge(name, mirrored=mirrored)
            return
        project = await mine.named(name)
        if project is None:
            if not await self._may_create(tx, question.by.subject):
                raise _no_project(name)
            owner = by_subject(question.by.subject, "")
            project = await mine.add(name, owner.id if owner else None, public=self.public)
        self._judge(name, mirrored=project.registry is not None)
        await mine.put(project.id, question.repository)

    def _judge(self, name: str, *, mirrored: bool) -> None:
        if mirrored and self.bringer is Bringer.PUSH:
            raise Unsupported(f"the project {name} is a proxy for another registry; push there")
        if not mirrored and self.bringer is Bringer.PROXY:
            raise _no_project(name)

    async def _may_create(self, tx: Transaction, subject: str) -> bool:
        who = by_subject(subject, "") if self.create else None
        user = await Users(tx).find(who.id) if who is not None and who.kind is Kind.USER else None
        return user is not None and user.admin and not user.disabled


def _no_project(name: str) -> RepositoryUnknown:
    return RepositoryUnknown(
        f"there is no project {name}; create it first, or push to another one"
        + (f" ({DEFAULT} is for names without a slash)" if name == DEFAULT else ""),
        detail={"project": name},
    )


def _record(row: Row | None) -> Project | None:
    return None if row is None else Project(row[0], row[1], bool(row[2]), *row[3:])
