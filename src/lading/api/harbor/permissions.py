"""Everything that robots can be given."""

from __future__ import annotations

from lading.access.permissions import PROJECT, SYSTEM
from lading.access.permissions import Permissions as Held
from lading.api.harbor.call import Call, Model
from lading.api.harbor.permission import refusal
from lading.api.request import Response
from lading.control.projects import Projects
from lading.stores.metadata.paging import Page
from lading.stores.metadata.transaction import Transaction


class Pair(Model):
    """Something that may be done."""

    resource: str
    action: str


class Pairs(Model):
    """For the system (administrators alone see these), and for a project."""

    project: list[Pair]
    system: list[Pair] | None = None


async def get(call: Call) -> Response:
    """The pairs, for whoever could make a robot."""

    async def read(tx: Transaction) -> Pairs:
        rights = await call.rights(tx)
        if not rights.admin:
            _, seen = await Projects(tx).listed(Page(size=1000), await call.accounts.sight(tx, call.who))
            makes = [project for project, _, _ in seen if await rights.allowed("robot", "create", project)]
            if not makes:
                raise refusal(call)
        return Pairs(project=_pairs(PROJECT), system=_pairs(SYSTEM) if rights.admin else None)

    return call.json(await call.services.metadata.read(read))


def _pairs(held: Held) -> list[Pair]:
    return [Pair(resource=resource, action=action) for resource, actions in held.items() for action in sorted(actions)]
