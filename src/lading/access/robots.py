"""Robots: accounts for programs, in a project or for the whole system.

Their names are Harbor's: ``robot$ci`` and ``robot$team+ci``; because ``$`` means something to a shell, ``robot@team+ci``
is the same robot. A secret is shown once, when it is made.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import bindparam, delete, func, insert, or_, select, update

from lading.access import credentials
from lading.access.credentials import Prefix
from lading.access.permissions import unknown
from lading.access.revocations import Revocations
from lading.errors import Conflict, Invalid
from lading.stores.metadata.paging import Field, Listing, Match, Page
from lading.stores.metadata.schema.access import refresh_tokens, robot_grants, robots
from lading.stores.metadata.transaction import Row, Statement, Transaction

SYSTEM, EVERY_PROJECT = "/", "*"
"""Namespaces of a robot's permissions besides projects' names."""
PREFIX, SAFE_PREFIX = "robot$", "robot@"
FOR_EVER = -1
DAY = 86_400_000

_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*", re.ASCII)


@dataclass(frozen=True, order=True)
class RobotGrant:
    """One thing a robot may do."""

    namespace: str
    resource: str
    action: str


@dataclass(frozen=True)
class Robot:
    """A robot; ``project`` None: of the system. ``duration`` in days or -1, times in milliseconds."""

    id: int
    name: str
    project: int | None
    description: str
    secret: str
    disabled: bool
    duration: int
    expires_at: int | None
    creator_kind: str
    creator_id: int
    created_at: int
    updated_at: int
    used_at: int | None

    @property
    def login(self) -> str:
        """The name it logs in with, and is called by everywhere."""
        return PREFIX + self.name

    @property
    def safe_login(self) -> str:
        """The same for shells."""
        return SAFE_PREFIX + self.name

    def expired(self, moment: int) -> bool:
        """Whether its time is over."""
        return self.expires_at is not None and self.expires_at <= moment


_columns = (
    robots.c.id,
    robots.c.name,
    robots.c.project_id,
    robots.c.description,
    robots.c.secret,
    robots.c.disabled,
    robots.c.duration,
    robots.c.expires_at,
    robots.c.creator_kind,
    robots.c.creator_id,
    robots.c.created_at,
    robots.c.updated_at,
    robots.c.used_at,
)
_BY_NAME = Statement(select(*_columns).where(robots.c.name == bindparam("name")))
_BY_ID = Statement(select(*_columns).where(robots.c.id == bindparam("id")))
_listed = or_(
    bindparam("every"),
    (bindparam("system") & robots.c.project_id.is_(None)),
    robots.c.project_id == bindparam("project"),
)
_PAGE = Statement(
    select(*_columns).where(_listed).order_by(robots.c.id).limit(bindparam("limit")).offset(bindparam("offset"))
)
_COUNT = Statement(select(func.count()).select_from(robots).where(_listed))
_ADD = Statement(
    insert(robots).values(
        name=bindparam("name"),
        project_id=bindparam("project"),
        description=bindparam("description"),
        secret=bindparam("secret"),
        disabled=False,
        duration=bindparam("duration"),
        expires_at=bindparam("expires_at"),
        creator_kind=bindparam("creator_kind"),
        creator_id=bindparam("creator_id"),
        created_at=bindparam("now"),
        updated_at=bindparam("now"),
    )
)
_CHANGE = Statement(
    update(robots)
    .where(robots.c.id == bindparam("robot"))
    .values(
        description=bindparam("new_description"),
        disabled=bindparam("new_disabled"),
        duration=bindparam("new_duration"),
        expires_at=bindparam("new_expires_at"),
        updated_at=bindparam("now"),
    )
)
_SECRET = Statement(
    update(robots)
    .where(robots.c.id == bindparam("robot"))
    .values(secret=bindparam("new_secret"), updated_at=bindparam("now"))
)
_USED = Statement(update(robots).where(robots.c.id == bindparam("robot")).values(used_at=bindparam("now")))
_DELETE = Statement(delete(robots).where(robots.c.id == bindparam("robot")))
_FORGET_LOGINS = Statement(delete(refresh_tokens).where(refresh_tokens.c.robot_id == bindparam("robot")))
_GRANTS = Statement(
    select(robot_grants.c.namespace, robot_grants.c.resource, robot_grants.c.action)
    .where(robot_grants.c.robot_id == bindparam("robot"))
    .order_by(robot_grants.c.namespace, robot_grants.c.resource, robot_grants.c.action)
)
_ADD_GRANT = Statement(
    insert(robot_grants).values(
        robot_id=bindparam("robot"),
        namespace=bindparam("namespace"),
        resource=bindparam("resource"),
        action=bindparam("action"),
    )
)
_FORGET_GRANTS = Statement(delete(robot_grants).where(robot_grants.c.robot_id == bindparam("robot")))

_LISTED = Listing(
    select(*_columns),
    {
        "id": Field(robots.c.id, "number"),
        "name": Field(robots.c.name),
        "description": Field(robots.c.description),
        "disable": Field(robots.c.disabled, "flag"),
        "duration": Field(robots.c.duration, "number"),
        "project_id": Field(func.coalesce(robots.c.project_id, 0), "number"),
        "expires_at": Field(robots.c.expires_at, "number"),
        "creation_time": Field(robots.c.created_at, "moment"),
        "update_time": Field(robots.c.updated_at, "moment"),
    },
    (robots.c.id,),
)


class Robots:
    """The robots, in a transaction.

    Whether a creator may give these permissions is for the caller to ask (:meth:`lading.access.rights.Rights.may_give`).
    """

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def named(self, name: str) -> Robot | None:
        """The robot of that name as stored: ``ci`` or ``team+ci``."""
        return _record(await self._tx.row(_BY_NAME, name=name))

    async def find(self, robot: int) -> Robot | None:
        """The robot of that id."""
        return _record(await self._tx.row(_BY_ID, id=robot))

    async def page(
        self, limit: int, offset: int = 0, *, project: int | None = None, every: bool = False
    ) -> tuple[int, Sequence[Robot]]:
        """How many robots there are in a project (None: of the system; ``every``: anywhere), and a page of them."""
        about = {"project": project or 0, "system": project is None, "every": every}
        rows = await self._tx.rows(_PAGE, limit=limit, offset=offset, **about)
        return await self._tx.value(_COUNT, **about), [robot for row in rows if (robot := _record(row))]

    async def listed(self, page: Page, project: int | None) -> tuple[int, Sequence[Robot]]:
        """The same of those that fit, under Harbor's names for their fields."""
        level = Match("project_id", "is", (str(project or 0),))
        total, rows = await _LISTED.page(self._tx, replace(page, where=(*page.where, level)))
        return total, [robot for row in rows if (robot := _record(row))]

    async def grants(self, robot: int) -> list[RobotGrant]:
        """What a robot may do."""
        return [RobotGrant(*row) for row in await self._tx.rows(_GRANTS, robot=robot)]

    async def add(
        self,
        name: str,
        project: tuple[int, str] | None,
        grants: Sequence[RobotGrant],
        *,
        duration: int = FOR_EVER,
        description: str = "",
        creator: tuple[str, int] = ("system", 0),
    ) -> tuple[Robot, str]:
        """Add a robot (``project``: id and name), and its secret, which is not stored and never shown again."""
        if _NAME.fullmatch(name) is None or len(name) > 255:
            raise Invalid("a robot's name has small letters and digits, with single . _ - between them")
        stored = f"{project[1]}+{name}" if project else name
        if await self.named(stored) is not None:
            raise Conflict(f"there is a robot {PREFIX}{stored} already")
        _check(grants, project[1] if project else None)
        secret = credentials.make(Prefix.ROBOT)
        await self._tx.execute(
            _ADD,
            name=stored,
            project=project[0] if project else None,
            description=_described(description),
            secret=credentials.digest(secret),
            duration=duration,
            expires_at=expiry(duration, self._tx.now),
            creator_kind=creator[0],
            creator_id=creator[1],
            now=self._tx.now,
        )
        robot = await self.named(stored)
        assert robot is not None
        await self._grant(robot.id, grants)
        return robot, secret

    async def change(
        self, robot: Robot, *, description: str, disabled: bool, duration: int, grants: Sequence[RobotGrant], level: str
    ) -> None:
        """Set what can be changed of a robot; ``level`` is the name of its project, empty for the system's."""
        _check(grants, level or None)
        expires_at = robot.expires_at if duration == robot.duration else expiry(duration, self._tx.now)
        await self._tx.execute(
            _CHANGE,
            robot=robot.id,
            new_description=_described(description),
            new_disabled=disabled,
            new_duration=duration,
            new_expires_at=expires_at,
            now=self._tx.now,
        )
        await self._tx.execute(_FORGET_GRANTS, robot=robot.id)
        await self._grant(robot.id, grants)
        await self._end(robot.id)

    async def rotate(self, robot: Robot, stored: str = "") -> str:
        """Give a robot a new secret; ``stored`` is the hash of one that somebody chose. The secret, if made here."""
        secret = "" if stored else credentials.make(Prefix.ROBOT)
        await self._tx.execute(
            _SECRET, robot=robot.id, new_secret=stored or credentials.digest(secret), now=self._tx.now
        )
        await self._end(robot.id)
        return secret

    async def delete(self, robot: Robot) -> None:
        """Delete a robot."""
        await self._end(robot.id)
        await self._tx.execute(_DELETE, robot=robot.id)

    async def used(self, robot: int) -> None:
        """Note that a robot logged in."""
        await self._tx.execute(_USED, robot=robot, now=self._tx.now)

    async def _grant(self, robot: int, grants: Sequence[RobotGrant]) -> None:
        rows = [
            {"robot": robot, "namespace": one.namespace, "resource": one.resource, "action": one.action}
            for one in sorted(set(grants))
        ]
        await self._tx.execute_many(_ADD_GRANT, rows)

    async def _end(self, robot: int) -> None:
        await self._tx.execute(_FORGET_LOGINS, robot=robot)
        await Revocations(self._tx).add(f"r{robot}")


def stored_name(login: str) -> str | None:
    """The stored name of a robot from what it logs in with; None for somebody else's."""
    for prefix in (PREFIX, SAFE_PREFIX):
        if login.startswith(prefix):
            return login.removeprefix(prefix)
    return None


def expiry(duration: int, moment: int) -> int | None:
    """When something made at that moment for so many days expires; None: never."""
    if duration == FOR_EVER:
        return None
    if not 0 < duration <= 36_500:
        raise Invalid("a robot lives for 1 to 36500 days, or for ever (-1)")
    return moment + duration * DAY


def _check(grants: Sequence[RobotGrant], project: str | None) -> None:
    if not grants:
        raise Invalid("a robot needs at least one permission")
    for system in (True, False):
        pairs = [(one.resource, one.action) for one in grants if (one.namespace == SYSTEM) is system]
        if wrong := unknown(pairs, system=system):
            raise Invalid(f"there is no such permission: {', '.join(wrong[:10])}")
    if project is not None and any(one.namespace != project for one in grants):
        raise Invalid(f"a robot of {project} can have permissions in {project} only")


def _described(text: str) -> str:
    if len(text) > 1024 or any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise Invalid("a description has at most 1024 characters, none of them a control character")
    return text


def _record(row: Row | None) -> Robot | None:
    if row is None:
        return None
    fields = list(row)
    fields[5] = bool(row[5])
    return Robot(*fields)
