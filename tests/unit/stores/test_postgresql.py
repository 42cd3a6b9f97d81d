"""The index in PostgreSQL: how many connections it takes, what it asks together, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import bindparam, insert, select, text

from lading.errors import ConfigurationError, Unavailable
from lading.registry.manifests import BY_TAG
from lading.stores.metadata import batches
from lading.stores.metadata.clock import DatabaseClock
from lading.stores.metadata.connections import Connections, Limits
from lading.stores.metadata.definition import DIALECT
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.postgresql import Compiled, PostgresMetadata, number_of
from lading.stores.metadata.schema.content import blobs
from lading.stores.metadata.schema.work import facts
from lading.stores.metadata.transaction import Row, Statement, Transaction
from tests.support.ports import free_port
from tests.support.postgres import Postgres

pytestmark = pytest.mark.anyio

FIND = Statement(
    select(facts.c.value).where(facts.c.name == bindparam("name"), facts.c.value != "no %(name)s here").limit(5)
)
WAIT = Statement(select(text("pg_sleep(0.2)")))


class TestConnections:
    async def test_no_more_than_allowed(self, postgres: Postgres) -> None:
        index = open_index(postgres.emptied(), connections=2)

        async def slow(tx: Transaction) -> None:
            await tx.row(WAIT)

        began = time.monotonic()
        await asyncio.gather(*(index.write(slow) for _ in range(5)))
        assert time.monotonic() - began >= 0.6
        assert postgres.ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lading'")[0][0] == 2
        await index.close()

    async def test_who_waits_too_long_is_told(self, postgres: Postgres) -> None:
        index = open_index(postgres.emptied(), connections=1, wait=0.05)
        slow = asyncio.create_task(index.write(lambda tx: tx.row(WAIT)))
        await asyncio.sleep(0.1)
        with pytest.raises(Unavailable, match="all 1 connections") as raised:
            await index.write(lambda tx: tx.row(WAIT))
        assert raised.value.retry_after == 1
        await slow
        assert await index.row(FIND, name="none") is None
        await index.close()

    async def test_those_who_wait_are_served_whatever_becomes_of_others(self, postgres: Postgres) -> None:
        connections = Connections(postgres.emptied(), Limits(most=1, wait=5), DatabaseClock())

        async def use() -> None:
            async with connections.lend() as connection:
                await connection.execute("SELECT 1")

        async with connections.lend():
            waiting = [asyncio.create_task(use()) for _ in range(6)]
            await asyncio.sleep(0.05)
            for task in waiting[::2]:
                task.cancel()
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in done] == [asyncio.CancelledError, type(None)] * 3
        await connections.close()

    async def test_one_that_comes_back_in_a_transaction_is_not_lent_again(self, postgres: Postgres) -> None:
        connections = Connections(postgres.emptied(), Limits(most=1), DatabaseClock())
        async with connections.lend() as first:
            await first.execute("BEGIN")
        async with connections.lend() as second:
            assert second is not first
        async with connections.lend() as third:
            assert third is second
        await connections.close()

    async def test_a_database_that_is_not_there(self, caplog: pytest.LogCaptureFixture) -> None:
        url = f"postgresql://lading:geheim@127.0.0.1:{free_port()}/lading"
        index = open_index(url)
        with caplog.at_level(logging.INFO):
            for _ in range(3):
                with pytest.raises(Unavailable, match="cannot be reached"):
                    await index.row(FIND, name="a")
        assert len(caplog.records) == 1, "said once"
        assert "geheim" not in caplog.text
        await index.close()

    def test_a_url_that_is_none(self) -> None:
        with pytest.raises(ConfigurationError, match="not a URL that PostgreSQL") as raised:
            open_index("postgresql://u:geheim@h/d?nonsense=1")
        assert "geheim" not in str(raised.value)


class TestBatches:
    async def ask(self, given: Sequence[Mapping[str, Any]]) -> Sequence[Row | None]:
        self.asked.append([one["n"] for one in given])
        if self.hold is not None:
            await self.hold.wait()
        return [(one["n"],) for one in given]

    def setup_method(self) -> None:
        self.asked: list[list[int]] = []
        self.hold: asyncio.Event | None = None

    async def test_what_comes_at_once_is_asked_together(self) -> None:
        queue = batches.Queue(self.ask)
        assert await asyncio.gather(*(queue.row({"n": n}) for n in range(10))) == [(n,) for n in range(10)]
        assert self.asked == [list(range(10))]

    async def test_what_comes_later_is_not_answered_by_what_was_asked_before(self) -> None:
        self.hold = asyncio.Event()
        queue = batches.Queue(self.ask)
        first = asyncio.create_task(queue.row({"n": 1}))
        await asyncio.sleep(0.01)
        later = [asyncio.create_task(queue.row({"n": n})) for n in (1, 2, 3)]
        await asyncio.sleep(0.01)
        assert self.asked == [[1]]
        self.hold.set()
        assert await asyncio.gather(first, *later) == [(1,), (1,), (2,), (3,)]
        assert self.asked == [[1], [1, 2, 3]]

    async def test_no_more_than_so_many_in_one(self) -> None:
        queue = batches.Queue(self.ask)
        await asyncio.gather(*(queue.row({"n": n}) for n in range(batches.MOST * 2 + 1)))
        assert sorted(len(asked) for asked in self.asked) == [1, batches.MOST, batches.MOST]

    async def test_a_failure_is_everybodys(self) -> None:
        async def fail(given: Sequence[Mapping[str, Any]]) -> Sequence[Row | None]:
            raise Unavailable("away")

        queue = batches.Queue(fail)
        done = await asyncio.gather(*(queue.row({"n": n}) for n in range(3)), return_exceptions=True)
        assert [type(one) for one in done] == [Unavailable] * 3

    async def test_who_went_away_keeps_nobody_from_an_answer(self) -> None:
        queue = batches.Queue(self.ask)
        asking = [asyncio.create_task(queue.row({"n": n})) for n in range(3)]
        await asyncio.sleep(0)
        asking[1].cancel()
        done = await asyncio.gather(*asking, return_exceptions=True)
        assert [done[0], done[2]] == [(0,), (2,)]

    def test_statements_that_can_be_asked_for_many(self) -> None:
        found = Compiled().batched(FIND)
        assert found is not None
        assert found.names == ("name",)
        assert found.constants == {"value_1": "no %(name)s here", "param_1": 5}
        assert "each_.p0::VARCHAR" in found.sql
        no_parameters = Statement(select(facts.c.value))
        no_type = Statement(select(text("x")).where(text("name = :name")))
        assert [Compiled().batched(statement) for statement in (no_parameters, no_type)] == [None, None]


async def test_numbers_are_all_sent_in_one_form(postgres: Postgres) -> None:
    """Otherwise the server would prepare a statement for each size of a number."""
    index = open_index(postgres.emptied(), connections=1)
    assert isinstance(index, PostgresMetadata)
    put = Statement(
        insert(blobs).values(
            digest=bindparam("digest"), size=bindparam("size"), present=True, touched_at=bindparam("at")
        )
    )
    for number in (1, 1 << 15, 1 << 31, 1 << 40, 5, 1 << 20):
        await index.write(lambda tx, n=number: tx.execute(put, digest=str(n), size=n, at=n))  # type: ignore[misc]
    async with index.connections.lend() as connection:
        cursor = await connection.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'INSERT%'")
        assert await cursor.fetchone() == (1,)
    await index.close()


async def test_batches_of_any_size_have_one_plan(postgres: Postgres) -> None:
    """A plan for each batch would cost the database more than its answer."""
    index = open_index(postgres.emptied(), connections=1)
    assert isinstance(index, PostgresMetadata)
    for size in (2, 3, 5, 2, 8, 3, 2, 2, 4, 2, 6, 2, 2, 2):
        await asyncio.gather(*(index.row(BY_TAG, name=f"a/{one}", reference="1") for one in range(size)))
    async with index.connections.lend() as connection:
        cursor = await connection.execute(
            "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE '%ORDINALITY%'"
        )
        ((generic, custom),) = await cursor.fetchall()
    assert generic >= 5
    assert custom == 5, "as many as PostgreSQL always makes before it compares"
    await index.close()


async def test_an_asynchronous_commit_is_for_its_transaction_alone(postgres: Postgres) -> None:
    index = open_index(postgres.emptied(), connections=1)
    how = Statement(select(text("current_setting('synchronous_commit')")))
    assert await index.write(lambda tx: tx.value(how), durable=False) == "off"
    assert await index.write(lambda tx: tx.value(how)) == "on"
    await index.close()


class TestDatabaseClock:
    def test_it_is_the_databases_time(self) -> None:
        clock = DatabaseClock()
        assert abs(clock.now() - time.time() * 1000) < 10_000, "this machine's, as long as nothing is known"
        clock.measured(5_000_000, time.monotonic_ns())
        assert 5_000_000 <= clock.now() < 5_010_000
        assert not clock.is_older_than(1)

    def test_a_step_of_this_machines_clock_changes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = DatabaseClock()
        clock.measured(5_000_000, time.monotonic_ns())
        monkeypatch.setattr(time, "time_ns", lambda: 0)
        assert 5_000_000 <= clock.now() < 5_010_000


def test_the_numbers_of_locks() -> None:
    assert number_of("outbox") == number_of("outbox") != number_of("other")
    assert -(1 << 63) <= number_of("outbox") < 1 << 63
    assert DIALECT.name == "postgresql"
