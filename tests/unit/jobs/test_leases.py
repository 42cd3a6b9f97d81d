"""Leases, between two processes on one index."""

from __future__ import annotations

import asyncio

import pytest

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
