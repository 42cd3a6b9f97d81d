"""One import from a Harbor, from its settings to its replication policies.

What is there already stays as it is, so it can be run again, and goes on where it was cut off. Each thing comes in a
transaction of its own, a project with all that is in it. What is not taken is told by name. Content comes by copying
images; nothing here touches it.
"""

from __future__ import annotations

from collections.abc import Callable

from lading.control.fromharbor import (
    allowlists,
    labels,
    logins,
    people,
    projects,
    replication,
    robots,
    schedules,
    settings,
)
from lading.control.fromharbor.importing import Import
from lading.control.fromharbor.report import Report, number, text
from lading.control.logins import LDAP, OIDC
from lading.errors import Denied


async def from_harbor(run: Import, keep: robots.Keep, watch: Callable[[str], None] = lambda line: None) -> Report:
    """Bring everything; ``keep`` is given each robot's new secret. Raises ``Denied`` where the login is no administrator's."""
    me = await run.source.require("/users/current")
    if not me.get("sysadmin_flag"):
        raise Denied("that login is no system administrator's in Harbor; all of it can be read by one alone")
    await _settings(run)
    await people.users(run)
    await people.groups(run)
    await labels.of_all(run)
    await allowlists.of_system(run)
    limits = await projects.quotas(run)
    endpoints, named = await replication.endpoints(run)
    found = [entry async for entry in run.source.all("/projects")]
    for place, entry in enumerate(found, start=1):
        watch(f"project {place} of {len(found)}: {text(entry, 'name')}")
        await projects.bring(run, entry, limits, endpoints)
    watch("robots")
    async for entry in run.source.all("/robots"):
        await robots.bring(run, entry, keep)
    for entry in found:
        if not entry.get("registry_id") or number(entry, "registry_id") in endpoints:
            async for robot in run.source.all("/robots", q=f"Level=project,ProjectID={number(entry, 'project_id')}"):
                await robots.bring(run, robot, keep)
    watch("replication")
    await replication.policies(run, endpoints, named)
    await schedules.bring(run)
    await run.leave_all("scanner", "/scanners", "name", "scanning comes with a later version")
    return run.report


async def _settings(run: Import) -> None:
    found = await run.source.get("/configurations")
    items = found.items() if isinstance(found, dict) else ()
    values = {name: item.get("value") for name, item in items if isinstance(item, dict)}
    prefix, mode = values.get("robot_name_prefix"), values.get("auth_mode")
    run.prefix = prefix if isinstance(prefix, str) and prefix else run.prefix
    run.mode = mode if isinstance(mode, str) else run.mode
    if run.mode == OIDC:
        run.report.tell("users: those of the provider log in by it here, once the same issuer is asked")
    elif run.mode == LDAP:
        run.report.tell(
            "users: those of the directory log in by it here under the same name, once the same directory is asked"
        )
    await settings.bring(run, values)
    await logins.bring(run, values)
