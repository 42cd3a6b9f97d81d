"""What a caller may do: their roles and grants, read from the index and held against the permissions.

One :class:`Rights` is one caller in one transaction. It is asked when a token is issued, when a request comes with
Basic credentials, and by the management API; the pull path goes by the token alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import and_, bindparam, false, literal, or_, select, union_all

from lading.access.members import namespace
from lading.access.permissions import (
    PUBLIC,
    REPOSITORY_ACTIONS,
    Permissions,
    allows,
    repository_actions,
)
from lading.access.principal import Kind, Principal
from lading.access.robots import EVERY_PROJECT, RobotGrant, Robots
from lading.access.robots import SYSTEM as OF_SYSTEM
from lading.access.roles import Roles
from lading.access.scopes import Scope, merge
from lading.access.users import Users
from lading.oci.reference import is_name
from lading.stores.metadata import several
from lading.stores.metadata.schema.access import group_members
from lading.stores.metadata.schema.control import project_grants, project_members, projects
from lading.stores.metadata.transaction import Statement, Transaction

_PROJECT = Statement(
    select(projects.c.id, projects.c.name, projects.c.public).where(projects.c.name == bindparam("name"))
)
_mine = select(group_members.c.group_id).where(group_members.c.user_id == bindparam("user"))
_ROLES = Statement(
    union_all(
        select(literal("").label("path"), false().label("exact"), project_members.c.role_id).where(
            project_members.c.project_id == bindparam("project"),
            or_(
                and_(project_members.c.kind == "u", project_members.c.entity_id == bindparam("user")),
                and_(project_members.c.kind == "g", project_members.c.entity_id.in_(_mine)),
            ),
        ),
        select(project_grants.c.path, project_grants.c.exact, project_grants.c.role_id).where(
            project_grants.c.project_id == bindparam("project"),
            or_(
                and_(project_grants.c.kind == "u", project_grants.c.entity_id == bindparam("user")),
                and_(project_grants.c.kind == "g", project_grants.c.entity_id.in_(_mine)),
            ),
        ),
    )
)
_projects = several.parameters("project")
_ROLES_IN = Statement(
    select(project_members.c.project_id, project_members.c.role_id).where(
        project_members.c.project_id.in_(_projects),
        or_(
            and_(project_members.c.kind == "u", project_members.c.entity_id == bindparam("user")),
            and_(project_members.c.kind == "g", project_members.c.entity_id.in_(_mine)),
        ),
    )
)


class Where(Protocol):
    """A project, as far as rights go."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def public(self) -> bool: ...


@dataclass(frozen=True)
class _Project:
    id: int
    name: str
    public: bool


@dataclass(frozen=True)
class Given:
    """A role on a path, which is empty for the whole project."""

    path: str
    exact: bool
    role: int

    def covers(self, repository: str) -> bool:
        """Whether it holds on a repository (empty: on the project itself)."""
        return repository == self.path if self.exact else repository.startswith(self.path)


class Rights:
    """What one caller may do. ``anonymous``: whether callers without a name may see public projects."""

    def __init__(
        self, tx: Transaction, who: Principal, *, admin: bool, robot: Sequence[RobotGrant], anonymous: bool
    ) -> None:
        self._tx = tx
        self.who = who
        self.admin = admin
        self._robot = robot
        self._anonymous = anonymous

    @classmethod
    async def of(cls, tx: Transaction, who: Principal, *, anonymous: bool = True) -> Rights:
        """The rights of a caller as they are now; of one who is disabled or gone, those of nobody at all."""
        admin, robot = who.kind is Kind.SYSTEM, []
        if who.kind is Kind.USER:
            user = await Users(tx).find(who.id)
            if user is None or user.disabled:
                return cls(tx, Principal("", Kind.ANONYMOUS), admin=False, robot=(), anonymous=False)
            admin = user.admin
        elif who.kind is Kind.ROBOT:
            found = await Robots(tx).find(who.id)
            if found is None or found.disabled or found.expired(tx.now):
                return cls(tx, Principal("", Kind.ANONYMOUS), admin=False, robot=(), anonymous=False)
            robot = await Robots(tx).grants(who.id)
        return cls(tx, who, admin=admin, robot=robot, anonymous=anonymous)

    async def project(self, name: str) -> Where | None:
        """A project by its name, whoever may see it."""
        row = await self._tx.row(_PROJECT, name=name)
        return None if row is None else _Project(row[0], row[1], bool(row[2]))

    async def held(self, project: Where, repository: str = "") -> tuple[Permissions, ...]:
        """What is held in a project, or on one of its repositories; an administrator's everything is apart."""
        found: list[Permissions] = []
        if project.public and (self._anonymous or self.who.kind is not Kind.ANONYMOUS):
            found.append(PUBLIC)
        if self.who.kind is Kind.ROBOT:
            found.append(_granted(self._robot, project.name, EVERY_PROJECT))
        elif self.who.id:
            roles = Roles(self._tx)
            held = {given.role for given in await self.given(project.id) if given.covers(repository)}
            found += [role.permissions for number in sorted(held) if (role := await roles.find(number))]
        return tuple(found)

    async def given(self, project: int) -> list[Given]:
        """The roles of a user in a project, their groups' among them."""
        rows = await self._tx.rows(_ROLES, project=project, user=self.who.id)
        return [Given(row[0], bool(row[1]), row[2]) for row in rows]

    async def roles(self, projects: Sequence[int]) -> dict[int, set[int]]:
        """The roles that a user has in all of each project, their groups' among them."""
        found: dict[int, set[int]] = {project: set() for project in projects}
        for group in several.groups("project", projects):
            for project, role in await self._tx.rows(_ROLES_IN, user=self.who.id, **group):
                found[project].add(role)
        return found

    async def allowed(self, resource: str, action: str, project: Where | None = None, repository: str = "") -> bool:
        """Whether something may be done: with the system (``project`` None), in a project, or to a repository."""
        if self.who.limits:
            return False  # a limited token is for repositories, and asks by scopes
        if self.admin:
            return True
        if project is None:
            return allows((_granted(self._robot, OF_SYSTEM),), resource, action)
        return allows(await self.held(project, repository), resource, action)

    async def sees(self, project: Where) -> bool:
        """Whether a project is there for this caller at all."""
        if self.admin or any(await self.held(project)):
            return True
        return self.who.kind is Kind.USER and bool(await self.given(project.id))

    async def may_give(self, grants: Iterable[RobotGrant]) -> bool:
        """Whether a robot with these permissions may be made: nobody gives what they do not hold."""
        if self.who.limits:
            return False
        if self.admin:
            return True
        for one in grants:
            if one.namespace in (OF_SYSTEM, EVERY_PROJECT):
                held: tuple[Permissions, ...] = (_granted(self._robot, one.namespace),)
            else:
                project = await self.project(one.namespace)
                held = await self.held(project) if project else ()
            if not allows(held, one.resource, one.action):
                return False
        return True

    async def grant(self, wanted: Iterable[Scope]) -> tuple[Scope, ...]:
        """The part of what is wanted that may be had: a token's access. Scopes of which nothing is left are left out."""
        given = [Scope(one.type, one.name, await self._actions(one)) for one in merge(wanted)]
        return tuple(one for one in given if one.actions)

    async def _actions(self, wanted: Scope) -> tuple[str, ...]:
        if wanted.type == "registry":
            # what is listed is cut to what the caller may see
            known = bool(self.who.subject) and not self.who.limits
            listed = wanted.name == "catalog" and (known or (self.who.kind is Kind.ANONYMOUS and self._anonymous))
            return tuple(action for action in wanted.actions if listed and action in ("*", "search"))
        host, slash, rest = wanted.name.partition("/")
        # content trust names a repository with the registry's host and port before it
        name = rest if slash and ":" in host else wanted.name
        if wanted.type != "repository" or not is_name(name):
            return ()
        held = await self.repository(name)
        every = "*" in wanted.actions
        given = tuple(action for action in REPOSITORY_ACTIONS if action in held and (every or action in wanted.actions))
        return (*given, "*") if every and len(given) == len(REPOSITORY_ACTIONS) else given

    async def repository(self, name: str) -> frozenset[str]:
        """Which of pull, push and delete may be done to a repository, whether it is there or not."""
        if self.admin:
            held = frozenset(REPOSITORY_ACTIONS)
        else:
            project = await self.project(namespace(name))
            held = repository_actions(await self.held(project, name)) if project else frozenset()
        return held & _within_limits(name, self.who.limits) if self.who.limits else held


def _granted(grants: Iterable[RobotGrant], *namespaces: str) -> Permissions:
    found: dict[str, frozenset[str]] = {}
    for one in grants:
        if one.namespace in namespaces:
            found[one.resource] = found.get(one.resource, frozenset()) | {one.action}
    return found


def _within_limits(name: str, limits: Sequence[str]) -> frozenset[str]:
    """What a limited token (``repository:team/*:pull,push``) leaves of the actions on a repository."""
    found: set[str] = set()
    for limit in limits:
        pattern, _, actions = limit.removeprefix("repository:").rpartition(":")
        if name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1])):
            found.update(REPOSITORY_ACTIONS if actions == "*" else actions.split(","))
    return frozenset(found)
