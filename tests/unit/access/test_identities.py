"""Users of an OIDC provider in the index: beside each other, and their groups, secrets and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from lading.access.groups import Groups
from lading.access.identities import Identities, Person, offered_name
from lading.access.sealing import Seal
from lading.access.users import User, Users
from lading.errors import Conflict, StoreError
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.transaction import Metadata, Transaction

SEAL = Seal(b"x" * 32)


def within(url: str, work: Callable[[Metadata], Awaitable[None]]) -> None:
    async def do() -> None:
        metadata = open_index(url)
        try:
            await work(metadata)
        finally:
            await metadata.close()

    asyncio.run(do())


def person(name: str, *groups: str, refresh: str = "") -> Person:
    return Person(f"s-{name}https://sso.example", name, f"{name}@example.org", groups=groups, refresh=refresh)


async def members(metadata: Metadata, group: int) -> list[int]:
    return await metadata.read(lambda tx: Groups(tx).members(group))


async def welcome(metadata: Metadata, who: Person, name: str = "") -> User:
    return await metadata.write(lambda tx: Identities(tx, SEAL, "keepers").welcome(who, name or who.name))


def test_many_arrive_at_once_with_the_same_groups(index_url: str) -> None:
    async def work(metadata: Metadata) -> None:
        names = [f"u{number}" for number in range(8)]
        users = await asyncio.gather(*(welcome(metadata, person(name, "crew", "deck")) for name in names))
        groups = await metadata.read(lambda tx: Groups(tx).page("", 10))
        assert groups[0] == 2
        for group in groups[1]:
            assert await members(metadata, group.id) == sorted(user.id for user in users)
        again = await asyncio.gather(
            *(welcome(metadata, person("u9"), f"n{n}") for n in range(3)), return_exceptions=True
        )
        assert sum(isinstance(one, Conflict) for one in again) == 2, "somebody is one user"

    within(index_url, work)


def test_secrets_are_sealed_for_their_user(index_url: str) -> None:
    async def work(metadata: Metadata) -> None:
        ada = await welcome(metadata, person("ada", refresh="r-1"))
        found = await metadata.read(lambda tx: Identities(tx, SEAL).of(ada.id))
        assert found is not None
        assert found.refresh == "r-1"
        assert "r-1" not in repr(found)
        assert found.secret not in repr(found)
        with pytest.raises(StoreError):
            await metadata.read(lambda tx: Identities(tx, Seal(b"y" * 32)).of(ada.id))
        await metadata.write(lambda tx: Identities(tx, SEAL).verified(ada, person("ada")))
        kept = await metadata.read(lambda tx: Identities(tx, SEAL).of(ada.id))
        assert kept is not None
        assert kept.refresh == "r-1", "an answer without another one leaves it"

    within(index_url, work)


def test_one_of_many_asks_the_provider_and_an_end_is_one(index_url: str) -> None:
    async def work(metadata: Metadata) -> None:
        ada = await welcome(metadata, person("ada", refresh="r-1"))
        soon = metadata.now() + 60_000
        claims = [
            await metadata.write(lambda tx: Identities(tx, SEAL).claim(ada.id, tx.now - 60_000)),
            await metadata.write(lambda tx: Identities(tx, SEAL).claim(ada.id, soon)),
        ]
        assert claims == [False, True]
        await metadata.write(lambda tx: Identities(tx, SEAL).end(ada.id))
        assert not await metadata.write(lambda tx: Identities(tx, SEAL).claim(ada.id, soon))
        found = await metadata.read(lambda tx: Identities(tx, SEAL).of(ada.id))
        assert found is not None
        assert (found.ended, found.refresh) == (True, "")

    within(index_url, work)


def test_the_last_administrator_stays_one(index_url: str) -> None:
    async def work(metadata: Metadata) -> None:
        ada = await welcome(metadata, person("ada", "keepers"))

        async def verify(tx: Transaction, *groups: str) -> bool:
            user = await Users(tx).find(ada.id)
            assert user is not None
            await Identities(tx, SEAL, "keepers").verified(user, person("ada", *groups))
            after = await Users(tx).find(ada.id)
            return after is not None and after.admin

        assert await metadata.write(lambda tx: verify(tx, "keepers"))
        assert await metadata.write(verify), "nobody else could put it right"
        await metadata.write(lambda tx: Users(tx).add("root", admin=True))
        assert not await metadata.write(verify), "now there is somebody else"

    within(index_url, work)


@pytest.mark.parametrize(
    ("told", "offered"),
    [
        ("ada", "ada"),
        ("Ada Lovelace", "Ada-Lovelace"),
        ("ada@example.org", "ada@example.org"),
        ("DOMAIN\\ada", "DOMAIN-ada"),
        ('"><script>', "script"),
        ("a\r\nb", "a-b"),
        ("***", ""),
        ("é" * 300, "é" * 255),
    ],
)
def test_names_that_can_be_had(told: str, offered: str) -> None:
    assert offered_name(told) == offered
