"""Quotas of projects. A quota has the id of its project."""

from __future__ import annotations

from dataclasses import replace

from lading.api.harbor.call import Call, Model, Number, moment
from lading.api.request import Response
from lading.control.projects import Projects
from lading.control.quotas import Listed, Quotas
from lading.errors import Invalid, Missing
from lading.stores.metadata.paging import Match, Page
from lading.stores.metadata.transaction import Transaction


class Reference(Model):
    """The project it is of."""

    id: int
    name: str
    owner_name: str


class Storage(Model):
    """Bytes, -1 for no limit."""

    storage: Number


class QuotaAnswer(Model):
    """What a project may use, and what it uses."""

    id: int
    ref: Reference
    hard: Storage
    used: Storage
    creation_time: str
    update_time: str


class QuotaGiven(Model):
    """What a project may use from now on."""

    hard: Storage


async def index(call: Call) -> Response:
    """The quotas; ``reference`` is project if it is given, ``reference_id`` a project's id."""
    page = call.page()
    wanted = [Match("reference_id", "is", (call.argument("reference_id"),))] if call.argument("reference_id") else []
    page = replace(page, where=tuple(wanted))
    if call.argument("reference") not in ("", "project"):
        return call.listed(page, 0, [])
    total, found = await call.services.metadata.read(lambda tx: Quotas(tx).listed(page))
    return call.listed(page, total, [_answer(quota) for quota in found])


async def get(call: Call) -> Response:
    """One quota."""
    wanted = Page(where=(Match("id", "is", (str(call.number("id")),)),))
    _, found = await call.services.metadata.read(lambda tx: Quotas(tx).listed(wanted))
    if not found:
        raise _missing(call)
    return call.json(_answer(found[0]))


async def update(call: Call) -> Response:
    """Set what a project may use; what is there already stays."""
    given = await call.body(QuotaGiven)
    if given.hard.storage == 0:
        raise Invalid("hard.storage is a number of bytes, or -1 for no limit")

    async def change(tx: Transaction) -> None:
        project = await Projects(tx).find(call.number("id"))
        quota = await Quotas(tx).of(call.number("id"))
        if project is None or quota is None:
            raise _missing(call)
        await Quotas(tx).limit(project.id, most_bytes=given.hard.storage, most_repositories=quota.most_repositories)
        await call.note(
            tx, "update", "quota", project.name, project=project.name, detail=f"storage={given.hard.storage}"
        )

    await call.services.metadata.write(change)
    return call.done()


def _missing(call: Call) -> Missing:
    return Missing(f"there is no quota {call.number('id')}")


def _answer(quota: Listed) -> QuotaAnswer:
    return QuotaAnswer(
        id=quota.project,
        ref=Reference(id=quota.project, name=quota.name, owner_name=quota.owner),
        hard=Storage(storage=quota.most_bytes),
        used=Storage(storage=int(quota.used_bytes)),
        creation_time=moment(quota.created_at),
        update_time=moment(quota.updated_at),
    )
