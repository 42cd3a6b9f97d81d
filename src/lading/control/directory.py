"""The job that asks a directory whether the users who came from it are still there, and in which groups they are."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from lading.access import arrivals
from lading.access.arrivals import SOURCE
from lading.access.directory.people import Login, among, groups_of, normal, of_keys
from lading.access.directory.settings import DirectorySettings
from lading.access.directory.threads import Directory
from lading.access.users import DEPARTED, EXPECTED, User, Users
from lading.errors import StartError
from lading.jobs.kinds import Task
from lading.stores.metadata.transaction import Metadata, Transaction

if TYPE_CHECKING:
    from lading.access.directory.connection import Connection

log = logging.getLogger(__name__)

_TOGETHER = 50
_TOO_MANY = 5
"""From so many users on, a directory that has none of them any more is taken for one that is set wrong."""


class Sync:
    """See the module. A directory that is away changes nothing: the job fails, and is tried again."""

    def __init__(self, metadata: Metadata, settings: DirectorySettings) -> None:
        self._metadata = metadata
        self._settings = settings

    async def work(self, task: Task) -> dict[str, int]:
        """Ask for everybody who may log in, and end what goes on for those who are gone."""
        users = await self._users()
        groups = await self._metadata.read(lambda tx: arrivals.wanted(tx, self._settings.groups.admin))
        directory = Directory(self._settings)
        there: dict[int, Login] = {}
        try:
            for start in range(0, len(users), _TOGETHER):
                task.progress(start, len(users), "asking the directory")
                there |= await directory.ask(partial(_look, users=users[start : start + _TOGETHER], groups=groups))
        finally:
            directory.close()
        if not there and len(users) >= _TOO_MANY:
            raise StartError(
                f"the directory has none of the {len(users)} users who came from it, so nobody is locked out: are "
                "accounts.ldap.basedn and accounts.ldap.filter right?"
            )
        gone = 0
        for user in users:
            gone += await self._metadata.write(
                partial(self._settle, user=user, login=there.get(user.id), groups=groups)
            )
        return {"users": len(users), "gone": gone}

    async def _users(self) -> list[User]:
        found: list[User] = []
        after = 0
        while page := await self._metadata.read(lambda tx, after=after: Users(tx).of_source(SOURCE, after, 500)):  # type: ignore[misc]
            found += [
                user
                for user in page
                if (not user.disabled or user.subject.startswith(DEPARTED)) and not user.subject.startswith(EXPECTED)
            ]
            after = page[-1].id
        return found

    async def _settle(self, tx: Transaction, user: User, login: Login | None, groups: Mapping[str, int]) -> bool:
        now = await Users(tx).find(user.id)
        if now is None:
            return False
        if login is None:
            if gone := await arrivals.depart(tx, now):
                log.info("a user is not in the directory any more", extra={"user": now.name})
            return gone
        back = await arrivals.welcome(tx, login.person)
        if back is not None and back.id == user.id:
            admin = self._settings.groups.admin
            mine = {group for dn, group in groups.items() if group and normal(dn) in login.groups}
            await arrivals.settle(tx, back, mine, admin=normal(admin) in login.groups if admin else None)
        return False


def _look(
    connection: Connection, settings: DirectorySettings, users: Sequence[User], groups: Mapping[str, int]
) -> dict[int, Login]:
    """Those of the users who are in the directory and not disabled there, by their ids."""
    by_key = {user.subject.removeprefix(DEPARTED): user.id for user in users}
    people = of_keys(connection, settings, list(by_key))
    known = {person.key for person in people}
    unseen = [user.name for user in users if user.subject.removeprefix(DEPARTED) not in known]
    people += among(connection, settings, unseen) if unseen else []
    found = {by_key[person.key]: person for person in people if person.key in by_key and not person.disabled}
    return {
        user: Login(person, groups_of(connection, settings, person, list(groups))) for user, person in found.items()
    }
