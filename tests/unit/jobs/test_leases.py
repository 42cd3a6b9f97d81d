"""Leases, between two processes on one index."""

from __future__ import annotations

import asyncio

import pytest

from lading.errors import Unavailable
from lading.jobs import leases
from lading.jobs.leases import Leases
from tests.unit.jobs.timed import Timed

pytestmark = pytest.mark.anyio


async def test_one_holder_at_a_time(timed: Timed, timed_other: Timed) -> None:
    first, second = Leases(timed.metadata, "first"), Leases(timed_other.metadata, "second")
    assert await first.take("work", 60)
    assert not await second.take("work", 60)
    assert await second.take("other work", 60)
    assert await first.take("work", 60), "the holder renews"


async def test_taken_over_when_it_has_run_out(timed: Timed, timed_other: Timed) -> None:
    first, second = Leases(timed.metadata, "first"), Leases(timed_other.metadata, "second")
    await first.take("work", 60)
    timed.clock.pass_by(60_000)
    assert not await second.take("work", 60)
    timed.clock.pass_by(1)
    assert await second.take("work", 60)
    assert not await first.take("work", 60), "it went silent and lost it"


async def test_renewed_it_lasts_longer(timed: Timed, timed_other: Timed) -> None:
    first, second = Leases(timed.metadata, "first"), Leases(timed_other.metadata, "second")
    await first.take("work", 60)
    for _ in range(5):
        timed.clock.pass_by(40_000)
        assert await first.take("work", 60)
        assert not await second.take("work", 60)


async def test_given_back(timed: Timed, timed_other: Timed) -> None:
    first, second = Leases(timed.metadata, "first"), Leases(timed_other.metadata, "second")
    await first.take("work", 60)
    await second.give_back("work")
    assert not await second.take("work", 60), "only the holder can give it back"
    await first.give_back("work")
    assert await second.take("work", 60)


async def test_of_many_that_ask_at_once_one_gets_it(timed: Timed, timed_other: Timed) -> None:
    asking = [Leases((timed, timed_other)[number % 2].metadata, f"holder {number}") for number in range(20)]
    assert (await asyncio.gather(*(one.take("work", 60) for one in asking))).count(True) == 1


async def test_whoever_waits_has_it_when_the_other_ends(timed: Timed, timed_other: Timed) -> None:
    first, second = Leases(timed.metadata, "first"), Leases(timed_other.metadata, "second")
    order: list[str] = []
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with first.holding("work", lambda: order.append("first waits")):
            inside.set()
            await go_on.wait()
            order.append("first ends")

    async def follow() -> None:
        def waits() -> None:
            order.append("second waits")
            go_on.set()

        async with second.holding("work", waits):
            order.append("second has it")

    holding = asyncio.create_task(hold())
    await inside.wait()
    await asyncio.wait_for(asyncio.gather(holding, follow()), 60)
    assert order == ["second waits", "first ends", "second has it"]
    assert await Leases(timed.metadata, "third").take("work", 60), "given back"


async def test_what_is_done_under_a_lost_lease_ends(
    timed: Timed, timed_other: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "_SECONDS", 0.3)
    first, second = Leases(timed.metadata, "first"), Leases(timed_other.metadata, "second")

    async def hold() -> None:
        async with first.holding("work", lambda: None):
            while not await second.take("work", 60):
                timed.clock.pass_by(60_000)  # it may have been renewed just now
            await asyncio.sleep(60)

    with pytest.raises(Unavailable, match="was lost"):
        await hold()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    assert not await first.take("work", 60), "it is the other's"


async def test_cancelled_it_is_given_back(timed: Timed) -> None:
    first, inside = Leases(timed.metadata, "first"), asyncio.Event()

    async def hold() -> None:
        async with first.holding("work", lambda: None):
            inside.set()
            await asyncio.sleep(60)

    holding = asyncio.create_task(hold())
    await inside.wait()
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert await Leases(timed.metadata, "second").take("work", 60)
