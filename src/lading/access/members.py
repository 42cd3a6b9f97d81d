"""Members: users and groups in a role, in a whole project or on a part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import and_, bindparam, case, delete, func, insert, or_, select, update

from lading.access.revocations import Revocations, of_project
from lading.access.roles import Roles
from lading.errors import Conflict, Invalid
from lading.oci.reference import is_name
from lading.stores.metadata.schema.access import groups, users
from lading.stores.metadata.schema.control import project_grants, project_members, projects
from lading.stores.metadata.transaction import Row, Statement, Transaction

KindOfMember = Literal["u", "g"]


@dataclass(frozen=True)
class Member:
    """A user (``kind`` u) or a group (g) in a project's role."""

    id: int
    project: int
    kind: str
    entity: int
    name: str
    role: int
    created_at: int


@dataclass(frozen=True)
class PathGrant:
    """The same on one repository (``exact``), or on all whose names begin with ``path`` (it ends in a slash)."""

    id: int
    project: int
    kind: str
    entity: int
    name: str
    path: str
    exact: bool
    role: int
    created_at: int


_name = func.coalesce(case((project_members.c.kind == "u", users.c.name), else_=groups.c.name), "")
_members = (
    select(
        project_members.c.id,
        project_members.c.project_id,
        project_members.c.kind,
        project_members.c.entity_id,
        _name.label("name"),
        project_members.c.role_id,
        project_members.c.created_at,
    )
    .select_from(project_members)
    .outerjoin(users, and_(project_members.c.kind == "u", users.c.id == project_members.c.entity_id))
    .outerjoin(groups, and_(project_members.c.kind == "g", groups.c.id == project_members.c.entity_id))
)
_PAGE = Statement(
    _members.where(
        project_members.c.project_id == bindparam("project"),
        or_(bindparam("term") == "", func.lower(_name).like(bindparam("pattern"), escape="\\")),
    )
    .order_by(project_members.c.id)
    .limit(bindparam("limit"))
    .offset(bindparam("offset"))
)
_COUNT = Statement(
    select(func.count()).select_from(
        _members.where(
            project_members.c.project_id == bindparam("project"),
            or_(bindparam("term") == "", func.lower(_name).like(bindparam("pattern"), escape="\\")),
        ).subquery()
    )
)
_COUNTS = Statement(
    select(project_members.c.role_id, func.count())
    .where(project_members.c.project_id == bindparam("project"))
    .group_by(project_members.c.role_id)
)
_FIND = Statement(
    _members.where(project_members.c.project_id == bindparam("project"), project_members.c.id == bindparam("member"))
)
_OF = Statement(
    _members.where(
        project_members.c.project_id == bindparam("project"),
        project_members.c.kind == bindparam("kind"),
        project_members.c.entity_id == bindparam("entity"),
    )
)
_ADD = Statement(
    insert(project_members).values(
        project_id=bindparam("project"),
        kind=bindparam("kind"),
        entity_id=bindparam("entity"),
        role_id=bindparam("role"),
        created_at=bindparam("now"),
    )
)
_CHANGE = Statement(
    update(project_members).where(project_members.c.id == bindparam("member")).values(role_id=bindparam("role"))
)
_REMOVE = Statement(delete(project_members).where(project_members.c.id == bindparam("member")))

_grant_name = func.coalesce(case((project_grants.c.kind == "u", users.c.name), else_=groups.c.name), "")
_GRANTS = Statement(
    select(
        project_grants.c.id,
        project_grants.c.project_id,
        project_grants.c.kind,
        project_grants.c.entity_id,
        _grant_name.label("name"),
        project_grants.c.path,
        project_grants.c.exact,
        project_grants.c.role_id,
        project_grants.c.created_at,
    )
    .select_from(project_grants)
    .outerjoin(users, and_(project_grants.c.kind == "u", users.c.id == project_grants.c.entity_id))
    .outerjoin(groups, and_(project_grants.c.kind == "g", groups.c.id == project_grants.c.entity_id))
    .where(project_grants.c.project_id == bindparam("project"))
    .order_by(project_grants.c.path, project_grants.c.id)
)
_ADD_GRANT = Statement(
    insert(project_grants).values(
        project_id=bindparam("project"),
        kind=bindparam("kind"),
        entity_id=bindparam("entity"),
        path=bindparam("path"),
        exact=bindparam("exact"),
        role_id=bindparam("role"),
        created_at=bindparam("now"),
    )
)
_HAS_GRANT = Statement(
    select(project_grants.c.id).where(
        project_grants.c.project_id == bindparam("project"),
        project_grants.c.kind == bindparam("kind"),
        project_grants.c.entity_id == bindparam("entity"),
        project_grants.c.path == bindparam("path"),
        project_grants.c.exact == bindparam("exact"),
    )
)
_REMOVE_GRANT = Statement(
    delete(project_grants).where(
        project_grants.c.project_id == bindparam("project"), project_grants.c.id == bindparam("grant")
    )
)
_NAME = Statement(select(projects.c.name).where(projects.c.id == bindparam("project")))


class Members:
    """The members of projects, in a transaction. Whoever loses a role loses the tokens it gave at once."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def page(self, project: int, limit: int, offset: int = 0, term: str = "") -> tuple[int, Sequence[Member]]:
        """How many members a project has with ``term`` in their name, and a page of them."""
        escaped = term.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        about = {"project": project, "term": term, "pattern": f"%{escaped}%"}
        total: int = await self._tx.value(_COUNT, **about)
        rows = await self._tx.rows(_PAGE, limit=limit, offset=offset, **about)
        return total, [Member(*row) for row in rows]

    async def counts(self, project: int) -> dict[int, int]:
        """How many members a project has in each role."""
        return {row[0]: row[1] for row in await self._tx.rows(_COUNTS, project=project)}

    async def find(self, project: int, member: int) -> Member | None:
        """A member by its id."""
        return _member(await self._tx.row(_FIND, project=project, member=member))

    async def of(self, project: int, kind: KindOfMember, entity: int) -> Member | None:
        """What a user or a group is in a project."""
        return _member(await self._tx.row(_OF, project=project, kind=kind, entity=entity))

    async def add(self, project: int, kind: KindOfMember, entity: int, role: int) -> Member:
        """Add a member; raises ``Conflict`` where they are one already."""
        await self._known(role)
        if await self.of(project, kind, entity) is not None:
            raise Conflict("this user or group is a member of the project already")
        await self._tx.execute(_ADD, project=project, kind=kind, entity=entity, role=role, now=self._tx.now)
        added = await self.of(project, kind, entity)
        assert added is not None
        return added

    async def change(self, member: Member, role: int) -> None:
        """Give a member another role."""
        await self._known(role)
        await self._tx.execute(_CHANGE, member=member.id, role=role)
        await self._revoke(member.project)

    async def remove(self, member: Member) -> None:
        """Take a member out of the project."""
        await self._tx.execute(_REMOVE, member=member.id)
        await self._revoke(member.project)

    async def grants(self, project: int) -> list[PathGrant]:
        """Who may do what on parts of a project."""
        return [_path_grant(row) for row in await self._tx.rows(_GRANTS, project=project)]

    async def grant(self, project: int, kind: KindOfMember, entity: int, path: str, role: int) -> None:
        """Give a role on a repository (its whole name), or on all below a path (which ends in a slash or in ``/*``)."""
        await self._known(role)
        exact = not path.endswith(("/", "/*"))
        path = path.removesuffix("*")
        name = await self._tx.value(_NAME, project=project)
        if not is_name(path.rstrip("/")) or namespace(path) != name:
            raise Invalid(f"{path[:100]!r} is no repository of {name}, nor a path in it, as {name}/team/")
        about = {"project": project, "kind": kind, "entity": entity, "path": path, "exact": exact}
        if await self._tx.value(_HAS_GRANT, **about) is not None:
            raise Conflict(f"this user or group has a role on {path} already; remove that one first")
        await self._tx.execute(_ADD_GRANT, **about, role=role, now=self._tx.now)

    async def withdraw(self, project: int, grant: int) -> bool:
        """Take such a role away; whether there was one."""
        gone = bool(await self._tx.execute(_REMOVE_GRANT, project=project, grant=grant))
        if gone:
            await self._revoke(project)
        return gone

    async def _known(self, role: int) -> None:
        if await Roles(self._tx).find(role) is None:
            raise Invalid(f"there is no role {role}")

    async def _revoke(self, project: int) -> None:
        await Revocations(self._tx).add(of_project(await self._tx.value(_NAME, project=project)))


DEFAULT = "library"
"""The project of repositories whose name has one part, as ``nginx``."""


def namespace(repository: str) -> str:
    """The name of the project a repository belongs to."""
    first, slash, _ = repository.partition("/")
    return first if slash else DEFAULT


def _path_grant(row: Row) -> PathGrant:
    fields = list(row)
    fields[6] = bool(row[6])
    return PathGrant(*fields)


def _member(row: Row | None) -> Member | None:
    return None if row is None else Member(*row)
