"""People of a directory as users here: who comes gets a row, who comes back finds it, and who is gone loses what goes on.

A user whom the directory does not have any more is disabled and marked as *departed*, so that the directory can give
them back, and an administrator's own word (``lading admin user disable``) stays what it was.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from lading.access.groups import Groups
from lading.access.users import DEPARTED, EXPECTED, User, Users
from lading.errors import Conflict, Invalid
from lading.stores.metadata.transaction import Transaction

SOURCE = "ldap"

log = logging.getLogger(__name__)


class Known(Protocol):
    """What the directory tells of somebody; ``key`` is theirs for as long as they are in it."""

    @property
    def name(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def email(self) -> str: ...
    @property
    def full_name(self) -> str: ...


async def wanted(tx: Transaction, admin: str) -> dict[str, int]:
    """The groups of the directory that matter here: DNs, with the ids of their groups (0: has none)."""
    found = await Groups(tx).of_source(SOURCE)
    return ({admin: 0} if admin else {}) | {subject: group for group, subject in found}


async def expect(tx: Transaction, name: str, *, email: str = "", full_name: str = "", comment: str = "") -> User:
    """A user for somebody of the directory who has not come yet: nobody logs in as them before the directory knows the name.

    Raises ``Conflict`` where the name or the address is taken.
    """
    return await Users(tx).add(
        name, email=email, full_name=full_name, comment=comment, source=SOURCE, subject=EXPECTED + name
    )


async def welcome(tx: Transaction, person: Known) -> User | None:
    """The user a person is here, made if there is none; None where they cannot be one."""
    users = Users(tx)
    user = await users.of_subject(SOURCE, person.key) or await users.of_subject(SOURCE, DEPARTED + person.key)
    if user is None:
        await tx.lock("directory users")  # they may be coming twice at this moment, and are let in both times
        user = await users.of_subject(SOURCE, person.key)
        user = user or await _expected(users, person)
    if user is None:
        taken = await users.named(person.name)
        if taken is not None:
            if taken.source == SOURCE:
                log.warning(
                    "somebody else in the directory has a user's name now: delete the old user",
                    extra={"user": taken.name},
                )
            return None
        return await _add(users, person)
    if user.subject.startswith(DEPARTED):
        await users.set_departed(user, departed=False)
        user = await users.find(user.id)
    if user is None or user.disabled:
        return None
    await _describe(users, user, person)
    return user


async def settle(tx: Transaction, user: User, groups: Iterable[int], *, admin: bool | None) -> None:
    """Give a user the groups that the directory says, and the administration where a group gives it (None: none does)."""
    await Groups(tx).set_of(user.id, SOURCE, groups)
    if admin is None or admin == user.admin:
        return
    try:
        await Users(tx).set_admin(user, admin=admin)
    except Conflict:
        log.warning(
            "the last administrator is not in the directory's group of them, and stays one", extra={"user": user.name}
        )


async def depart(tx: Transaction, user: User) -> bool:
    """End what goes on for somebody the directory does not have any more; whether there was something to end."""
    if user.disabled:
        return False
    await Groups(tx).set_of(user.id, SOURCE, ())
    try:
        if user.admin:
            await Users(tx).set_admin(user, admin=False)
        await Users(tx).set_departed(user, departed=True)
    except Conflict:
        log.warning(
            "the last administrator is not in the directory any more, and stays: make another",
            extra={"user": user.name},
        )
        return False
    return True


async def _expected(users: Users, person: Known) -> User | None:
    """The user who was expected under a person's name, and is theirs from now on."""
    user = await users.of_subject(SOURCE, EXPECTED + person.name)
    if user is None or user.name != person.name:
        return None
    await users.identify(user, person.key)
    return await users.find(user.id)


async def _add(users: Users, person: Known) -> User | None:
    try:
        return await users.add(
            person.name,
            email=await _email(users, person, 0),
            full_name=_line(person.full_name),
            source=SOURCE,
            subject=person.key,
        )
    except Invalid:
        return None  # a name that no user can have here


async def _describe(users: Users, user: User, person: Known) -> None:
    email = await _email(users, person, user.id) or user.email
    full_name = _line(person.full_name) or user.full_name
    if (email, full_name) != (user.email, user.full_name):
        await users.describe(user, email=email, full_name=full_name, comment=user.comment)


async def _email(users: Users, person: Known, own: int) -> str:
    """Their address, where it is one and nobody else's."""
    email = person.email
    other = await users.of_email(email)
    return email if users.is_email(email) and (other is None or other.id == own) else ""


def _line(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:255].strip()
