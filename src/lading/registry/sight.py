"""Which repositories a caller may see in a list: those of public projects, and those they have a role or a grant on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, bindparam, exists, func, or_, select

from lading.stores.metadata.schema.access import group_members, robot_grants
from lading.stores.metadata.schema.content import repositories
from lading.stores.metadata.schema.control import (
    project_grants,
    project_members,
    project_repositories,
    projects,
)


@dataclass(frozen=True)
class Sight:
    """What one caller sees: everything, or what is public, and what is this user's or this robot's (row, 0: none)."""

    everything: bool = True
    public: bool = True
    user: int = 0
    robot: int = 0

    def parameters(self) -> dict[str, Any]:
        """For the statements made by :func:`seen`."""
        return {"public": self.public, "user": self.user, "robot": self.robot}


EVERYTHING = Sight()

_mine = select(group_members.c.group_id).where(group_members.c.user_id == bindparam("user"))
_member = exists().where(
    project_members.c.project_id == projects.c.id,
    or_(
        and_(project_members.c.kind == "u", project_members.c.entity_id == bindparam("user")),
        and_(project_members.c.kind == "g", project_members.c.entity_id.in_(_mine)),
    ),
)
_holds = and_(
    project_grants.c.project_id == projects.c.id,
    or_(
        and_(project_grants.c.kind == "u", project_grants.c.entity_id == bindparam("user")),
        and_(project_grants.c.kind == "g", project_grants.c.entity_id.in_(_mine)),
    ),
)
_covered = or_(
    and_(project_grants.c.exact, project_grants.c.path == repositories.c.name),
    and_(
        ~project_grants.c.exact,
        func.substr(repositories.c.name, 1, func.length(project_grants.c.path)) == project_grants.c.path,
    ),
)
_robot = exists().where(
    robot_grants.c.robot_id == bindparam("robot"),
    robot_grants.c.resource == "repository",
    or_(robot_grants.c.namespace == "*", robot_grants.c.namespace == projects.c.name),
)
_public = and_(bindparam("public"), projects.c.public)

PROJECT_SEEN = or_(_public, _member, exists().where(_holds), _robot)
"""Whether a row of ``projects`` is seen at all."""

_seen = (
    exists()
    .where(
        project_repositories.c.repository_id == repositories.c.id,
        projects.c.id == project_repositories.c.project_id,
        or_(_public, _member, exists().where(_holds, _covered).correlate(projects, repositories), _robot),
    )
    .correlate(repositories)  # also where the statement has projects of its own
)


def seen(statement: Select[Any]) -> Select[Any]:
    """The same statement over ``repositories``, for those that a :class:`Sight` sees."""
    return statement.where(_seen)
