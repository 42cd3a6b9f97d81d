"""An index with a few people in it: what tests of rights begin with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from lading.access.members import Members
from lading.access.permissions import DEVELOPER, GUEST, LIMITED_GUEST, MAINTAINER, PROJECT_ADMIN
from lading.access.principal import Kind, Principal
from lading.access.users import Users
from lading.control.projects import Projects
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.transaction import Transaction

T = TypeVar("T")

MEMBERS = {
    "boss": PROJECT_ADMIN,
    "keeper": MAINTAINER,
    "dev": DEVELOPER,
    "visitor": GUEST,
    "limited": LIMITED_GUEST,
}
"""Who is what in the private project ``team``; ``stranger`` is nobody there and ``root`` administers everything."""


class House:
    """Projects ``team`` (private) and ``open`` (public), and the people of :data:`MEMBERS`."""

    def __init__(self, url: str) -> None:
        self.metadata = open_index(url)
        self.ids: dict[str, int] = {}
        self.projects: dict[str, int] = {}

    async def build(self) -> House:
        async def work(tx: Transaction) -> None:
            for name in (*MEMBERS, "stranger", "root"):
                self.ids[name] = (await Users(tx).add(name, admin=name == "root")).id
            for project, public in (("team", False), ("open", True)):
                self.projects[project] = (await Projects(tx).add(project, None, public=public)).id
            for name, role in MEMBERS.items():
                await Members(tx).add(self.projects["team"], "u", self.ids[name], role)

        await self.write(work)
        return self

    async def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await self.metadata.write(work)

    async def read(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await self.metadata.read(work)

    def user(self, name: str, *limits: str) -> Principal:
        return Principal(name, Kind.USER, self.ids[name], limits)
