"""What lists say of their projects is asked for of all of them at once, in as many statements as they have hundreds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from lading.access.members import Members
from lading.access.permissions import DEVELOPER, GUEST
from lading.access.principal import Kind, Principal
from lading.access.rights import Rights
from lading.access.users import Users
from lading.control.allowlists import Allowlists
from lading.control.projects import Projects
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.transaction import Metadata, Row, Statement, Transaction

pytestmark = pytest.mark.anyio


@pytest.fixture
async def metadata(index_url: str) -> AsyncIterator[Metadata]:
    made = open_index(index_url)
    yield made
    await made.close()


class Counted:
    """A transaction that counts its questions."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    async def rows(self, statement: Statement, /, **parameters: Any) -> Sequence[Row]:
        self.asked += 1
        return await self._tx.rows(statement, **parameters)


async def test_of_a_hundred_and_one_projects(metadata: Metadata) -> None:
    async def fill(tx: Transaction) -> tuple[int, list[int]]:
        user = await Users(tx).add("alice")
        made = [(await Projects(tx).add(f"p{number}", None)).id for number in range(101)]
        for project in (made[0], made[100]):
            await Projects(tx).set_metadata(project, "severity", f"s{project}")
            await Projects(tx).set_metadata(project, "reuse_sys_cve_allowlist", "false")
            await Allowlists(tx).set(project, [f"CVE-{project}"], None)
            await Members(tx).add(project, "u", user.id, DEVELOPER if project == made[0] else GUEST)
        await Allowlists(tx).set_system(["CVE-0"], None)
        return user.id, made

    user, made = await metadata.write(fill)

    async def look(tx: Transaction) -> None:
        counted = Counted(tx)
        kept = await Projects(counted).metadata_of(made)
        assert counted.asked == 2
        assert {project for project, values in kept.items() if values} == {made[0], made[100]}
        assert kept[made[100]]["severity"] == f"s{made[100]}"
        lists = await Allowlists(tx).of_all(kept)
        assert [list(lists[project].items) for project in (made[0], made[1])] == [[f"CVE-{made[0]}"], ["CVE-0"]]
        rights = await Rights.of(tx, Principal("alice", Kind.USER, user), anonymous=False)
        held = await rights.roles(made)
        assert {project: roles for project, roles in held.items() if roles} == {
            made[0]: {DEVELOPER},
            made[100]: {GUEST},
        }
        assert await Projects(tx).metadata_of([]) == {}

    await metadata.read(look)
