"""Members of a Harbor's projects: users and groups that came, in Harbor's roles."""

from __future__ import annotations

from typing import Any

from lading.access.members import KindOfMember, Members
from lading.access.permissions import DEVELOPER, GUEST, LIMITED_GUEST, MAINTAINER, PROJECT_ADMIN
from lading.control.fromharbor.importing import Import
from lading.control.fromharbor.report import number, text
from lading.control.projects import Project
from lading.stores.metadata.transaction import Transaction

_ROLES = frozenset({PROJECT_ADMIN, DEVELOPER, GUEST, MAINTAINER, LIMITED_GUEST})


async def bring(run: Import, tx: Transaction, project: Project | None, name: str, given: list[dict[str, Any]]) -> None:
    """Add those who are none here; ``project`` None: it would be made."""
    for one in given:
        who, role = text(one, "entity_name"), number(one, "role_id")
        kind: KindOfMember = "g" if one.get("entity_type") == "g" else "u"
        entity = run.users.get(who) if kind == "u" else run.groups.get(number(one, "entity_id"))
        what = f"{who} of {name}"
        if entity is None:
            run.report.leave("member", what, "the user or group did not come")
        elif role not in _ROLES:
            run.report.leave("member", what, f"there is no role {role} here")
        elif project is None or not entity:
            run.report.count("members", made=True)
        else:
            there = await Members(tx).of(project.id, kind, entity)
            run.report.count("members", made=there is None)
            if there is not None and there.role != role:
                run.report.tell(f"member {what}: has another role here than there")
            elif there is None and not run.dry:
                await Members(tx).add(project.id, kind, entity, role)
