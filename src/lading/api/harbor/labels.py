"""Labels, for every project or for one."""

from __future__ import annotations

from dataclasses import replace

from lading.access.rights import Rights
from lading.api.harbor.call import Call, Id, Model, Text, moment
from lading.api.harbor.permission import demand, demand_system, refusal
from lading.api.request import Response
from lading.control.labels import Label, Labels
from lading.control.projects import Projects
from lading.errors import Invalid, Missing
from lading.stores.metadata.paging import Match
from lading.stores.metadata.transaction import Transaction

GLOBAL, OF_PROJECT = "g", "p"


class LabelAnswer(Model):
    """A label; ``scope`` is g for every project, p for one."""

    id: int
    name: str
    description: str
    color: str
    scope: str
    project_id: int
    creation_time: str
    update_time: str


class LabelGiven(Model):
    """A label to be, or what it is to become."""

    name: Text
    description: Text = ""
    color: Text = ""
    scope: Text = ""
    project_id: Id = 0


async def index(call: Call) -> Response:
    """The labels of ``scope`` g, or of p with ``project_id``; ``name`` looks for a part of the name."""
    page = call.page()
    if call.argument("name"):
        page = replace(page, where=(*page.where, Match("name", "like", (call.argument("name"),))))
    project = _level(call.argument("scope"), _number(call.argument("project_id")))

    async def read(tx: Transaction) -> tuple[int, list[LabelAnswer]]:
        if project is not None:
            # the labels for every project are no secret
            await _demand(call, tx, await call.rights(tx), "list", project)
        total, found = await Labels(tx).listed(page, project)
        return total, [answer(label) for label in found]

    total, found = await call.services.metadata.read(read)
    return call.listed(page, total, found)


async def create(call: Call) -> Response:
    """Add a label."""
    given = await call.body(LabelGiven)
    project = _level(given.scope, given.project_id)

    async def add(tx: Transaction) -> Label:
        await _demand(call, tx, await call.rights(tx), "create", project)
        made = await Labels(tx).add(given.name, project, description=given.description, color=given.color)
        await call.note(tx, "create", "label", made.name)
        return made

    made = await call.services.metadata.write(add)
    return call.made(f"/labels/{made.id}")


async def get(call: Call) -> Response:
    """One label."""
    return call.json(answer(await call.services.metadata.read(lambda tx: _found(call, tx, "read"))))


async def update(call: Call) -> Response:
    """Set a label's name, description and color."""
    given = await call.body(LabelGiven)

    async def change(tx: Transaction) -> None:
        label = await _found(call, tx, "update")
        await Labels(tx).change(label, name=given.name, description=given.description, color=given.color)
        await call.note(tx, "update", "label", given.name)

    await call.services.metadata.write(change)
    return call.done()


async def delete(call: Call) -> Response:
    """Delete a label, and take it off everything."""

    async def remove(tx: Transaction) -> None:
        label = await _found(call, tx, "delete")
        await Labels(tx).delete(label)
        await call.note(tx, "delete", "label", label.name)

    await call.services.metadata.write(remove)
    return call.done()


def answer(label: Label) -> LabelAnswer:
    """A label as the API shows it."""
    return LabelAnswer(
        id=label.id,
        name=label.name,
        description=label.description,
        color=label.color,
        scope=GLOBAL if label.project is None else OF_PROJECT,
        project_id=label.project or 0,
        creation_time=moment(label.created_at),
        update_time=moment(label.updated_at),
    )


def _level(scope: str, project: int) -> int | None:
    if scope not in (GLOBAL, OF_PROJECT):
        raise Invalid("scope is g for labels of every project, p for those of one")
    if scope == OF_PROJECT and not project:
        raise Invalid("project_id is missing: labels of scope p are of a project")
    return project if scope == OF_PROJECT else None


def _number(text: str) -> int:
    if text and not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Invalid(f"project_id is {text[:40]!r}, but must be a whole number")
    return int(text or 0)


async def _demand(call: Call, tx: Transaction, rights: Rights, action: str, project: int | None) -> None:
    if project is None:
        await demand_system(call, rights, "label", action)
        return
    where = await Projects(tx).find(project)
    if where is None:
        raise Missing(f"there is no project {project}") if rights.admin else refusal(call)
    await demand(call, rights, "label", action, where)


async def _found(call: Call, tx: Transaction, action: str) -> Label:
    rights = await call.rights(tx)
    label = await Labels(tx).find(call.number("label_id"))
    if label is None:
        raise Missing(f"there is no label {call.number('label_id')}") if rights.admin else refusal(call)
    await _demand(call, tx, rights, action, label.project)
    return label
