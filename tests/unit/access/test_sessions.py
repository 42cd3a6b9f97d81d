"""Sessions in the index: when they are over, how many there are, and the token against other sites."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import bindparam, func, select, update

from lading.access.sessions import MOST, Sessions, SessionTimes, csrf_fits, csrf_token
from lading.access.users import Users
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.schema.logins import sessions
from lading.stores.metadata.transaction import Statement, Transaction

HOUR = 3_600_000
TIMES = SessionTimes(idle=HOUR, lifetime=12 * HOUR)
AGED = Statement(
    update(sessions).values(
        used_at=sessions.c.used_at - bindparam("unused"), created_at=sessions.c.created_at - bindparam("age")
    )
)
COUNT = Statement(select(func.count()).select_from(sessions))


def within(url: str, work: Callable[[Transaction, Sessions, int], Awaitable[None]]) -> None:
    async def do() -> None:
        metadata = open_index(url)

        async def all_of_it(tx: Transaction) -> None:
            await work(tx, Sessions(tx, TIMES), (await Users(tx).add("alice")).id)

        try:
            await metadata.write(all_of_it)
        finally:
            await metadata.close()

    asyncio.run(do())


@pytest.mark.parametrize(
    ("unused", "age", "goes_on"),
    [(0, 0, True), (HOUR // 2, 11 * HOUR, True), (HOUR, HOUR, False), (0, 12 * HOUR, False)],
)
def test_a_session_is_over_when_it_is_idle_or_old(index_url: str, unused: int, age: int, goes_on: bool) -> None:
    async def work(tx: Transaction, those: Sessions, alice: int) -> None:
        secret = await those.begin(alice)
        await tx.execute(AGED, unused=unused, age=age)
        found = await those.of_secret(secret)
        assert (found is not None) is goes_on
        assert await those.forget() == (0 if goes_on else 1)

    within(index_url, work)


def test_the_index_has_no_secret_and_a_user_so_many_sessions(index_url: str) -> None:
    async def work(tx: Transaction, those: Sessions, alice: int) -> None:
        secrets = [await those.begin(alice) for _ in range(MOST + 3)]
        assert await tx.value(COUNT) == MOST
        assert [await those.of_secret(secret) is None for secret in secrets[:4]] == [True, True, True, False]
        (stored,) = await tx.rows(Statement(select(sessions.c.digest).limit(1)))
        assert stored[0] not in secrets
        await Users(tx).end_logins(alice)
        assert await tx.value(COUNT) == 0

    within(index_url, work)


def test_the_token_is_one_sessions_and_looks_different_each_time() -> None:
    tokens = {csrf_token("a secret") for _ in range(5)}
    assert len(tokens) == 5
    assert all(csrf_fits("a secret", token) for token in tokens)
    assert not any(csrf_fits("another", token) for token in tokens)
    for odd in ("", "é", "====", "A" * 10_000, "AAAA"):
        assert not csrf_fits("a secret", odd)
