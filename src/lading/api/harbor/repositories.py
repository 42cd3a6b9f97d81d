"""Repositories. Harbor's clients know them by project and name, the latter percent-encoded twice in a path."""

from __future__ import annotations

from dataclasses import replace

from lading.api.distribution.base import require_delete
from lading.api.harbor.call import Call, Model, Text, moment
from lading.api.request import Response
from lading.errors import Missing
from lading.registry.repositories import Described, Repositories
from lading.stores.metadata.paging import Match
from lading.stores.metadata.transaction import Transaction


class RepositoryAnswer(Model):
    """A repository; its name has the project in front."""

    id: int
    project_id: int
    name: str
    description: str
    artifact_count: int
    creation_time: str
    update_time: str


class RepositoryGiven(Model):
    """What is told of a repository."""

    description: Text = ""


async def every(call: Call) -> Response:
    """The repositories that the caller sees, of every project."""
    page = call.page()

    async def read(tx: Transaction) -> tuple[int, list[RepositoryAnswer]]:
        total, found = await Repositories(tx).listed(page, await call.accounts.sight(tx, call.who))
        return total, [_answer(one) for one in found]

    total, found = await call.services.metadata.read(read)
    return call.listed(page, total, found)


async def index(call: Call) -> Response:
    """The repositories of a project."""
    page = call.page()
    within = replace(page, where=(*page.where, Match("project_id", "is", (str(call.here.id),))))

    async def read(tx: Transaction) -> tuple[int, list[RepositoryAnswer]]:
        total, found = await Repositories(tx).listed(within, call.sight)
        return total, [_answer(one) for one in found]

    total, found = await call.services.metadata.read(read)
    return call.listed(page, total, found)


async def get(call: Call) -> Response:
    """One repository."""
    return call.json(_answer(await call.services.metadata.read(lambda tx: found(call, tx))))


async def update(call: Call) -> Response:
    """Set what is told of a repository."""
    given = await call.body(RepositoryGiven)

    async def change(tx: Transaction) -> None:
        await found(call, tx)
        await Repositories(tx).describe(call.repository, description=given.description)
        await call.note(tx, "update", "repository", call.repository, project=call.here.name, detail="description")

    await call.services.metadata.write(change)
    return call.done()


async def delete(call: Call) -> Response:
    """Delete everything in a repository."""
    require_delete(call.services.manners)
    await call.services.metadata.read(lambda tx: found(call, tx))
    count = await call.services.delete.repository(call.repository, call.request.by())

    async def told(tx: Transaction) -> None:
        await call.note(
            tx, "delete", "repository", call.repository, project=call.here.name, detail=f"{count} artifacts"
        )

    await call.services.metadata.write(told)
    return call.done()


async def found(call: Call, tx: Transaction) -> Described:
    """The repository that the path names."""
    one = await Repositories(tx).described(call.repository)
    if one is None or one.project != call.here.id:
        raise Missing(f"there is no repository {call.path['repository_name'][:255]} in {call.here.name}")
    return one


def _answer(one: Described) -> RepositoryAnswer:
    return RepositoryAnswer(
        id=one.id,
        project_id=one.project,
        name=one.name,
        description=one.description,
        artifact_count=one.artifacts,
        creation_time=moment(one.created_at),
        update_time=moment(one.updated_at),
    )
