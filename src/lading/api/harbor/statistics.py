"""How much of everything there is, as far as the caller sees it."""

from __future__ import annotations

from lading.api.harbor.call import Call, Model
from lading.api.request import Response
from lading.control.projects import Projects
from lading.control.quotas import Quotas
from lading.registry.repositories import Repositories
from lading.registry.sight import EVERYTHING, Sight
from lading.stores.metadata.paging import Match
from lading.stores.metadata.transaction import Transaction

_PUBLIC = Sight(everything=False, public=True)
_IS_PUBLIC = (Match("public", "is", ("true",)),)
_IS_PRIVATE = (Match("public", "is", ("false",)),)


class Figures(Model):
    """Projects and repositories; the totals, and the bytes that projects use, are for administrators."""

    public_project_count: int
    public_repo_count: int
    private_project_count: int
    private_repo_count: int
    total_project_count: int | None = None
    total_repo_count: int | None = None
    total_storage_consumption: int | None = None


async def get(call: Call) -> Response:
    """The figures."""

    async def read(tx: Transaction) -> Figures:
        rights, projects, repositories = await call.rights(tx), Projects(tx), Repositories(tx)
        # whoever logged in sees what is public, so the rest of what they see is private
        sight = EVERYTHING if rights.admin else await call.accounts.sight(tx, call.who)
        public = await projects.count(_IS_PUBLIC)
        shown = await repositories.count((), _PUBLIC)
        every = await repositories.count((), sight)
        told = Figures(
            public_project_count=public,
            public_repo_count=shown,
            private_project_count=await projects.count(_IS_PRIVATE, sight),
            private_repo_count=every - shown,
        )
        if rights.admin:
            told.total_project_count = await projects.count()
            told.total_repo_count = every
            told.total_storage_consumption = await Quotas(tx).used_by_all()
        return told

    return call.json(await call.services.metadata.scan(read))
