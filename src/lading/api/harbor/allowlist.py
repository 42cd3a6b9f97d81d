"""The allowlists of vulnerabilities, the registry's and those of projects: kept and shown, for who scans."""

from __future__ import annotations

import msgspec

from lading.api.harbor.call import Call, Id, Model, Text, moment
from lading.api.request import Response
from lading.control.allowlists import Allowlist, Allowlists
from lading.stores.metadata.transaction import Transaction


class Item(Model):
    """A vulnerability."""

    cve_id: Text


class AllowlistAnswer(Model):
    """A list; ``project_id`` is 0 for the registry's, ``expires_at`` seconds since 1970."""

    id: int
    project_id: int
    items: list[Item]
    creation_time: str
    update_time: str
    expires_at: int | None = None


class AllowlistGiven(Model):
    """What a list is to be; without ``expires_at`` it holds for ever."""

    items: list[Item] = msgspec.field(default_factory=list)
    expires_at: Id | None = None

    @property
    def ids(self) -> list[str]:
        """The vulnerabilities."""
        return [item.cve_id for item in self.items]


async def get(call: Call) -> Response:
    """The registry's list."""
    return call.json(answer(await call.services.metadata.read(lambda tx: Allowlists(tx).system()), 0))


async def update(call: Call) -> Response:
    """Put another list in the place of the registry's."""
    given = await call.body(AllowlistGiven)

    async def change(tx: Transaction) -> None:
        await Allowlists(tx).set_system(given.ids, given.expires_at)
        await call.note(tx, "update", "configuration", "cve_allowlist", detail=", ".join(given.ids)[:200])

    await call.services.metadata.write(change)
    return call.done()


def answer(one: Allowlist, project: int) -> AllowlistAnswer:
    """A list as the API shows it."""
    return AllowlistAnswer(
        id=project,
        project_id=project,
        items=[Item(cve_id=item) for item in one.items],
        creation_time=moment(one.created_at),
        update_time=moment(one.updated_at),
        expires_at=one.expires_at,
    )
