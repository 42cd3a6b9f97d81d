"""Projects and repositories by a part of their name."""

from __future__ import annotations

from lading.api.harbor.call import Call, Model
from lading.api.harbor.projects import ProjectAnswer
from lading.api.harbor.projects import answers as project_answers
from lading.api.request import Response
from lading.control.projects import Projects
from lading.registry.repositories import Repositories
from lading.stores.metadata.paging import Match, Page
from lading.stores.metadata.transaction import Transaction

_MOST = 200
"""Hits of each kind that are shown; a longer term finds what is not among them."""


class RepositoryFound(Model):
    """A repository that was found."""

    project_id: int
    project_name: str
    project_public: bool
    repository_name: str
    artifact_count: int


class Found(Model):
    """What was found."""

    project: list[ProjectAnswer]
    repository: list[RepositoryFound]


async def search(call: Call) -> Response:
    """What the caller sees that has ``q`` in its name; without it, the first of everything."""
    term = call.argument("q")
    page = Page(size=_MOST, where=(Match("name", "like", (term,)),) if term else ())

    async def read(tx: Transaction) -> Found:
        sight, rights, projects = await call.accounts.sight(tx, call.who), await call.rights(tx), Projects(tx)
        _, found = await projects.listed(page, sight)
        told = Found(project=await project_answers(tx, rights, found), repository=[])
        _, repositories = await Repositories(tx).listed(page, sight)
        for one in repositories:
            project = await projects.find(one.project)
            if project is None:
                continue
            told.repository.append(
                RepositoryFound(
                    project_id=project.id,
                    project_name=project.name,
                    project_public=project.public,
                    repository_name=one.name,
                    artifact_count=one.artifacts,
                )
            )
        return told

    return call.json(await call.services.metadata.read(read))
