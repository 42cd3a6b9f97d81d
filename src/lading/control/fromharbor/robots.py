"""Robots of a Harbor, each with a new secret."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from lading.access import credentials
from lading.access.permissions import unknown
from lading.access.robots import FOR_EVER, SYSTEM, RobotGrant, Robots
from lading.control.fromharbor.importing import Import
from lading.control.fromharbor.report import number, parts, shown, text
from lading.control.projects import Projects
from lading.errors import Invalid
from lading.stores.metadata.transaction import Transaction

_DAY = 86_400

Keep = Callable[[str, str], None]
"""Puts a robot's login and secret where they last; called before the robot is there."""


async def bring(run: Import, entry: Mapping[str, Any], keep: Keep) -> None:
    """Make a robot, with a new secret."""
    login = text(entry, "name")
    name = login.removeprefix(run.prefix)
    level, days = text(entry, "level"), FOR_EVER
    ends = number(entry, "expires_at")
    if ends > 0:
        days = -(-(ends - int(time.time())) // _DAY)
        if days < 1:
            run.report.leave("robot", login, "it has expired")
            return
    grants, wrong = _grants(entry)
    if wrong:
        run.report.leave("permission", f"{', '.join(wrong[:20])} of {login}", "there is none of that name here")
    if not grants:
        run.report.leave("robot", login, "nothing is left of its permissions")
        return
    of = name.partition("+")[0] if "+" in name else grants[0].namespace
    secret = credentials.make(credentials.Prefix.ROBOT)
    kept = False

    async def work(tx: Transaction) -> bool:
        nonlocal kept
        project = await Projects(tx).named(of) if level == "project" else None
        stored = f"{of}+{name.rpartition('+')[2]}" if level == "project" else name
        if await Robots(tx).named(stored) is not None:
            run.report.count("robots", made=False)
            return True
        if level == "project" and project is None and not run.dry:
            raise Invalid(f"its project {of} did not come")
        run.report.count("robots", made=True)
        if run.dry:
            return True
        if not kept:  # before it is there: a secret that was lost could not be shown again
            keep(f"robot${stored}", secret)
            kept = True
        where = (project.id, project.name) if project else None
        about = text(entry, "description")
        robot, _ = await Robots(tx).add(stored.rpartition("+")[2], where, grants, duration=days, description=about)
        if entry.get("disable"):
            await Robots(tx).change(
                robot, description=about, disabled=True, duration=days, grants=grants, level=of if where else ""
            )
        await Robots(tx).rotate(robot, credentials.digest(secret))
        await run.note(tx, "create", "robot", robot.login, of if where else "")
        return True

    await run.attempt("robot", login, work)


def _grants(entry: Mapping[str, Any]) -> tuple[list[RobotGrant], list[str]]:
    """What a robot may, and what of it is no permission here."""
    found: list[RobotGrant] = []
    wrong: list[str] = []
    for place in parts(entry, "permissions"):
        system = place.get("kind") == "system"
        namespace = SYSTEM if system else text(place, "namespace")
        for one in parts(place, "access"):
            pair = (text(one, "resource"), text(one, "action"))
            if one.get("effect") not in (None, "", "allow") or unknown([pair], system=system):
                wrong.append(shown(":".join(pair)))
            else:
                found.append(RobotGrant(namespace, *pair))
    return found, wrong
