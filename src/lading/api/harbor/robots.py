"""Robots: accounts for programs. Nobody makes one, changes one or learns its secret that may more than they."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from lading.access.rights import Rights
from lading.access.robots import EVERY_PROJECT, SYSTEM, Robot, RobotGrant, Robots
from lading.api.harbor.call import Call, Model, Number, Text, moment
from lading.api.harbor.permission import demand, demand_system, refusal
from lading.api.request import Response
from lading.control.projects import Project, Projects
from lading.control.settings import read as settings
from lading.errors import Denied, Invalid, Missing
from lading.stores.metadata.transaction import Transaction

_MOST_GRANTS = 2000
_SECRET = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])[^\x00-\x1f\x7f]{8,128}")
Level = Literal["system", "project"]


class Access(Model):
    """One thing that may be done."""

    resource: Text
    action: Text
    effect: Text = ""


class Permissions(Model):
    """What may be done in one place: with the system (kind system, ``/``), in a project or in every one (``*``)."""

    kind: Level
    namespace: Text
    access: list[Access]


class RobotAnswer(Model):
    """A robot; ``duration`` in days, ``expires_at`` in Unix seconds, both -1 for never."""

    id: int
    name: str
    description: str
    level: Level
    duration: int
    editable: bool
    disable: bool
    expires_at: int
    permissions: list[Permissions]
    creator_type: str
    creator_ref: int
    creation_time: str
    update_time: str


class RobotGiven(Model):
    """A robot to be, or what it is to become; its name and level stay as they are."""

    name: Text
    level: Level
    permissions: list[Permissions]
    description: Text = ""
    duration: Number | None = None
    disable: bool = False


class RobotMade(Model):
    """A robot and its secret, which is shown this once."""

    id: int
    name: str
    secret: str
    creation_time: str
    expires_at: int


class Secret(Model):
    """A secret; empty: one is made."""

    secret: str = ""


async def index(call: Call) -> Response:
    """The robots of the system, or with ``q=Level=project,ProjectID=1`` those of a project."""
    page = call.page()
    asked = {match.field.lower().replace("_", ""): match for match in page.where}
    level, project = asked.get("level"), asked.get("projectid")
    page = replace(page, where=tuple(match for match in page.where if match not in (level, project)), sort=page.sort)
    of_project = level is not None and level.values == ("project",)
    if level is not None and level.values not in (("project",), ("system",)):
        raise Invalid("Level is system or project")
    if of_project and (project is None or not (project.values[0] or "").isdigit() or len(project.values) > 1):
        raise Invalid("ProjectID is missing: robots of a project are listed by its id, q=Level=project,ProjectID=1")
    number = int((project.values[0] or "0")[:18]) if of_project and project is not None else None

    async def read(tx: Transaction) -> tuple[int, list[RobotAnswer]]:
        where = await Projects(tx).find(number) if number is not None else None
        await _demand(call, await call.rights(tx), "list", where, system=number is None)
        total, found = await Robots(tx).listed(page, number)
        return total, [_answer(robot, await Robots(tx).grants(robot.id)) for robot in found]

    total, found = await call.services.metadata.read(read)
    return call.listed(page, total, found)


async def create(call: Call) -> Response:
    """Make a robot."""
    given = await call.body(RobotGiven)
    grants = _grants(given)

    async def add(tx: Transaction) -> tuple[Robot, str]:
        rights = await call.rights(tx)
        project = await Projects(tx).named(given.permissions[0].namespace) if given.level == "project" else None
        await _demand(call, rights, "create", project, system=given.level == "system")
        await may_give(tx, rights, grants)
        duration = given.duration or (await settings(tx)).robot_days
        made, secret = await Robots(tx).add(
            given.name,
            (project.id, project.name) if project else None,
            grants,
            duration=duration,
            description=given.description,
            creator=(call.who.kind.value, call.who.id),
        )
        if given.disable:
            await _change(tx, made, given, grants, duration)
        await call.note(tx, "create", "robot", made.login, project=project.name if project else "")
        return made, secret

    made, secret = await call.services.metadata.write(add)
    told = RobotMade(
        id=made.id,
        name=made.login,
        secret=secret,
        creation_time=moment(made.created_at),
        expires_at=_expires(made),
    )
    return call.made(f"/robots/{made.id}", told)


async def get(call: Call) -> Response:
    """One robot."""

    async def read(tx: Transaction) -> RobotAnswer:
        robot, _, _ = await robot_of(call, tx, "read")
        return _answer(robot, await Robots(tx).grants(robot.id))

    return call.json(await call.services.metadata.read(read))


async def update(call: Call) -> Response:
    """Set what a robot may do, how long it lives, and whether it is locked out."""
    given = await call.body(RobotGiven)
    grants = _grants(given)

    async def change(tx: Transaction) -> None:
        robot, project, rights = await robot_of(call, tx, "update")
        level = "project" if project else "system"
        if given.level != level or given.name not in (robot.login, robot.name, robot.name.rpartition("+")[2]):
            raise Invalid("the name and the level of a robot stay as they are; make another one")
        await may_give(tx, rights, await Robots(tx).grants(robot.id))
        await may_give(tx, rights, grants)
        await _change(tx, robot, given, grants, robot.duration if given.duration is None else given.duration)
        await call.note(tx, "update", "robot", robot.login, project=project.name if project else "")

    await call.services.metadata.write(change)
    return call.done()


async def refresh(call: Call) -> Response:
    """Give a robot another secret: one that is made and shown this once, or one that somebody chose."""
    given = await call.body(Secret)
    if given.secret and _SECRET.fullmatch(given.secret) is None:
        raise Invalid("a secret has 8 to 128 characters, a small letter, a large one and a digit among them")
    stored = await call.accounts.checker.hashed(given.secret) if given.secret else ""

    async def change(tx: Transaction) -> str:
        robot, project, rights = await robot_of(call, tx, "update")
        await may_give(tx, rights, await Robots(tx).grants(robot.id))
        secret = await Robots(tx).rotate(robot, stored)
        await call.note(tx, "update", "robot", robot.login, project=project.name if project else "", detail="secret")
        return secret

    return call.json(Secret(secret=await call.services.metadata.write(change)))


async def delete(call: Call) -> Response:
    """Delete a robot."""

    async def remove(tx: Transaction) -> None:
        robot, project, _ = await robot_of(call, tx, "delete")
        await Robots(tx).delete(robot)
        await call.note(tx, "delete", "robot", robot.login, project=project.name if project else "")

    await call.services.metadata.write(remove)
    return call.done()


async def _demand(call: Call, rights: Rights, action: str, project: Project | None, *, system: bool) -> None:
    if system:
        await demand_system(call, rights, "robot", action)
    elif project is not None:
        await demand(call, rights, "robot", action, project)
    elif rights.admin:
        raise Missing("there is no such project")
    else:
        raise refusal(call)


async def robot_of(call: Call, tx: Transaction, action: str) -> tuple[Robot, Project | None, Rights]:
    """The robot that the path names, and its project; what the caller may not see is as if it were not there."""
    rights = await call.rights(tx)
    robot = await Robots(tx).find(call.number("robot_id"))
    if robot is None:
        raise Missing(f"there is no robot {call.number('robot_id')}") if rights.admin else refusal(call)
    project = await Projects(tx).find(robot.project) if robot.project is not None else None
    await _demand(call, rights, action, project, system=robot.project is None)
    return robot, project, rights


async def may_give(tx: Transaction, rights: Rights, grants: Iterable[RobotGrant]) -> None:
    """Raise ``Denied`` where a caller may less than a robot with these permissions."""
    for one in sorted({grant.namespace for grant in grants} - {SYSTEM, EVERY_PROJECT}):
        if await Projects(tx).named(one) is None:
            raise Missing(f"there is no project {one[:200]}") if rights.admin else _too_much()
    if not await rights.may_give(grants):
        raise _too_much()


def _too_much() -> Denied:
    return Denied("a robot may no more than whoever makes or changes it, or learns its secret")


async def _change(tx: Transaction, robot: Robot, given: RobotGiven, grants: Sequence[RobotGrant], days: int) -> None:
    await Robots(tx).change(
        robot,
        description=given.description,
        disabled=given.disable,
        duration=days,
        grants=grants,
        level=robot.name.partition("+")[0] if robot.project is not None else "",
    )


def _grants(given: RobotGiven) -> list[RobotGrant]:
    if not given.permissions or not all(place.access for place in given.permissions):
        raise Invalid("a robot needs permissions, each with at least one access")
    if given.level == "project" and (len(given.permissions) > 1 or given.permissions[0].kind != "project"):
        raise Invalid("a robot of a project has the permissions of that one project")
    if sum(len(place.access) for place in given.permissions) > _MOST_GRANTS:
        raise Invalid(f"a robot has at most {_MOST_GRANTS} permissions")
    if any(one.effect not in ("", "allow") for place in given.permissions for one in place.access):
        raise Invalid("permissions allow; there is none that denies")
    if any((place.kind == "system") != (place.namespace == SYSTEM) for place in given.permissions):
        raise Invalid("permissions of the kind system have the namespace /, those of the kind project a project or *")
    if given.level == "project" and given.permissions[0].namespace == EVERY_PROJECT:
        raise Invalid("a robot of a project has the permissions of that one project")
    return [
        RobotGrant(place.namespace, one.resource, one.action) for place in given.permissions for one in place.access
    ]


def _expires(robot: Robot) -> int:
    return -1 if robot.expires_at is None else robot.expires_at // 1000


def _answer(robot: Robot, grants: Sequence[RobotGrant]) -> RobotAnswer:
    places: dict[str, list[Access]] = {}
    for one in grants:
        places.setdefault(one.namespace, []).append(Access(resource=one.resource, action=one.action))
    return RobotAnswer(
        id=robot.id,
        name=robot.login,
        description=robot.description,
        level="system" if robot.project is None else "project",
        duration=robot.duration,
        editable=True,
        disable=robot.disabled,
        expires_at=_expires(robot),
        permissions=[
            Permissions(kind="system" if namespace == SYSTEM else "project", namespace=namespace, access=access)
            for namespace, access in places.items()
        ],
        creator_type="local" if robot.creator_kind == "user" else robot.creator_kind,
        creator_ref=robot.creator_id,
        creation_time=moment(robot.created_at),
        update_time=moment(robot.updated_at),
    )
