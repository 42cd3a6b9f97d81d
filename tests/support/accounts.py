"""A Lading with accounts, and hands to fill it: straight in its index, beside the running server."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from lading.access.members import Members
from lading.access.passwords import hashed
from lading.access.personal import PersonalTokens
from lading.access.robots import RobotGrant, Robots
from lading.access.roles import Roles
from lading.access.users import User, Users
from lading.control.projects import Project, Projects
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.transaction import Transaction
from tests.support.http import Client
from tests.support.lading import PROGRAM, Lading
from tests.support.process import run
from tests.support.server import merged

T = TypeVar("T")

ADMIN, PASSWORD = "admin", "Secret-word-1"
"""The first administrator; everybody made by :meth:`WithAccounts.user` has the same password."""

_stored = functools.cache(lambda: hashed(PASSWORD))


class WithAccounts(Lading):
    """``with WithAccounts(tmp_path) as registry:`` serves with accounts on; *accounts* are laid upon their defaults."""

    def __init__(
        self,
        root: Path,
        accounts: Mapping[str, Any] | None = None,
        *,
        configuration: Mapping[str, Any] | None = None,
        workers: int = 1,
        ca: Path | None = None,
    ) -> None:
        section = merged({"adminpassword": PASSWORD, "lockout": {"addressattempts": 0}}, accounts or {})
        super().__init__(root, merged(configuration or {}, {"accounts": section}), workers=workers, ca=ca)

    # ---- fill it

    def work(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Do a piece of work in the index."""

        async def do() -> T:
            metadata = open_index(f"sqlite:///{self.storage / 'lading' / 'index.sqlite'}")
            try:
                return await metadata.write(work)
            finally:
                await metadata.close()

        return asyncio.run(do())

    def admin(self, *words: str, stdin: str = "", check: bool = True) -> str:
        """What ``lading admin`` prints."""
        argv: list[str | Path] = [PROGRAM, "admin", *words, "--config", self.configuration]
        done = run(argv, stdin=stdin, check=check)
        return (done.stdout if check else done.stdout + done.stderr).strip()

    def user(self, *names: str) -> None:
        async def work(tx: Transaction) -> None:
            for name in names:
                await Users(tx).add(name, password=_stored())

        self.work(work)

    def project(self, name: str, *, public: bool = False, owner: str = "", most_bytes: int = -1) -> None:
        async def work(tx: Transaction) -> None:
            own = (await _user(tx, owner)).id if owner else None
            await Projects(tx).add(name, own, public=public, most_bytes=most_bytes)

        self.work(work)

    def member(self, project: str, name: str, role: str, path: str = "") -> None:
        async def work(tx: Transaction) -> None:
            own, user, known = (await _project(tx, project)).id, (await _user(tx, name)).id, await Roles(tx).named(role)
            assert known is not None
            if path:
                await Members(tx).grant(own, "u", user, path, known.id)
            else:
                await Members(tx).add(own, "u", user, known.id)

        self.work(work)

    def robot(self, name: str, project: str, *permissions: str) -> str:
        """A robot of a project (``*``: of the system, for all of them); its secret."""

        async def work(tx: Transaction) -> str:
            own = None if project == "*" else await _project(tx, project)
            grants = [RobotGrant(project, *each.split(":")) for each in permissions]
            return (await Robots(tx).add(name, (own.id, own.name) if own else None, grants))[1]

        return self.work(work)

    def personal_token(self, user: str, *limits: str) -> str:
        async def work(tx: Transaction) -> str:
            return (await PersonalTokens(tx).add((await _user(tx, user)).id, "a token", limits=limits))[1]

        return self.work(work)

    def disable(self, user: str) -> None:
        async def work(tx: Transaction) -> None:
            await Users(tx).set_disabled(await _user(tx, user), disabled=True)

        self.work(work)

    # ---- ask it

    def ask(self, user: str, password: str, *scopes: str, **arguments: str) -> httpx2.Response:
        """``GET /service/token``, as *user* ("" for nobody)."""
        with Client(self) as client:
            query: dict[str, Any] = {"service": "lading", "scope": scopes, **arguments}
            return client.get("/service/token", params=query, auth=(user, password) if user else None)

    def token(self, user: str, *scopes: str, password: str = PASSWORD) -> str:
        answer = self.ask(user, password, *scopes)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])

    def bearer(self, user: str, *scopes: str, password: str = PASSWORD) -> Client:
        """A client with a token for these scopes."""
        return Client(self, headers={"authorization": f"Bearer {self.token(user, *scopes, password=password)}"})


async def _user(tx: Transaction, name: str) -> User:
    found = await Users(tx).named(name)
    assert found is not None
    return found


async def _project(tx: Transaction, name: str) -> Project:
    found = await Projects(tx).named(name)
    assert found is not None
    return found
