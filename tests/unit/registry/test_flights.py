"""Work done once at a time, by two processes on one index."""

from __future__ import annotations

import asyncio

import pytest

from lading.jobs.leases import Leases
from lading.registry.flights import Flights
from tests.unit.registry.world import Clock, World

pytestmark = pytest.mark.anyio


class Work:
    """Counts how often it was done; is done when it is told."""

    def __init__(self) -> None:
        self.begun = 0
        self.over = False
        self.at_it = asyncio.Event()
        self.go = asyncio.Event()
        self.waiting = asyncio.Event()

    async def done(self) -> bool:
        return self.over

    async def do(self) -> None:
        self.begun += 1
        self.at_it.set()
        await self.go.wait()
        self.over = True


async def test_another_process_waits_and_does_it_no_second_time(world: World) -> None:
    work = Work()
    first, second = (Flights(Leases(world.metadata, name)) for name in ("first", "second"))
    one = asyncio.create_task(first.alone("blob", work.done, work.do))
    await work.at_it.wait()
    two = asyncio.create_task(second.alone("blob", work.done, work.do, work.waiting.set))
    await work.waiting.wait()
    assert not two.done()
    work.go.set()
    await asyncio.wait_for(asyncio.gather(one, two), 30)
    assert work.begun == 1


async def test_whoever_finds_the_holder_silent_takes_over(world: World, clock: Clock) -> None:
    work = Work()
    work.go.set()
    names: list[str] = []

    class Noting(Leases):
        async def take(self, name: str, seconds: float) -> bool:
            names.append(name)
            return await super().take(name, seconds)

    await Flights(Noting(world.metadata, "any")).alone("blob", work.done, work.do)
    assert work.begun == 1
    work.over = False
    assert await Leases(world.metadata, "killed").take(names[0], 0.2)
    waiting = Flights(Leases(world.metadata, "waits")).alone("blob", work.done, work.do, lambda: clock.pass_by(201))
    await asyncio.wait_for(waiting, 30)
    assert work.begun == 2


async def test_a_client_that_leaves_ends_nothing_and_closing_ends_all(world: World) -> None:
    work = Work()
    flights = Flights(Leases(world.metadata, "one"))
    client = asyncio.create_task(flights.share("blob", work.do))
    other = asyncio.create_task(flights.share("blob", work.do))
    await work.at_it.wait()
    client.cancel()
    await asyncio.gather(client, return_exceptions=True)
    work.go.set()
    await asyncio.wait_for(other, 30)
    assert (work.begun, work.over) == (1, True)
    work.go.clear()
    work.at_it.clear()
    last = asyncio.create_task(flights.share("blob", work.do))
    await work.at_it.wait()
    await asyncio.wait_for(flights.close(), 30)
    assert isinstance((await asyncio.gather(last, return_exceptions=True))[0], asyncio.CancelledError)
