"""Leases, duties and the outbox, between two processes on one index."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest

from lading.jobs.duty import Duties, Duty
from lading.jobs.events import BlobDeleted, By, Event, TagDeleted
from lading.jobs.leases import Leases
from lading.jobs.outbox import Outbox
from lading.stores.metadata.clock import local as now
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.transaction import Metadata, Transaction
from tests.unit.registry.world import Clock

pytestmark = pytest.mark.anyio

BY = By(actor="someone")


@pytest.fixture
async def pair(index_url: str) -> AsyncIterator[tuple[Metadata, Metadata]]:
    """The index as two processes see it."""
    made = open_index(index_url), open_index(index_url)
    yield made
    for one in made:
        await one.close()


class TestLeases:
    @pytest.fixture
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> Clock:
        made = Clock()
        made.take_the_place(monkeypatch)
        return made

    async def test_one_holder_at_a_time(self, pair: tuple[Metadata, Metadata], clock: Clock) -> None:
        first, second = Leases(pair[0], "first"), Leases(pair[1], "second")
        assert await first.take("work", 60)
        assert not await second.take("work", 60)
        assert await second.take("other work", 60)
        assert await first.take("work", 60), "the holder renews"

    async def test_taken_over_when_it_has_run_out(self, pair: tuple[Metadata, Metadata], clock: Clock) -> None:
        first, second = Leases(pair[0], "first"), Leases(pair[1], "second")
        await first.take("work", 60)
        clock.pass_by(60_000)
        assert not await second.take("work", 60)
        clock.pass_by(1)
        assert await second.take("work", 60)
        assert not await first.take("work", 60), "it went silent and lost it"

    async def test_renewed_it_lasts_longer(self, pair: tuple[Metadata, Metadata], clock: Clock) -> None:
        first, second = Leases(pair[0], "first"), Leases(pair[1], "second")
        await first.take("work", 60)
        for _ in range(5):
            clock.pass_by(40_000)
            assert await first.take("work", 60)
            assert not await second.take("work", 60)

    async def test_given_back(self, pair: tuple[Metadata, Metadata], clock: Clock) -> None:
        first, second = Leases(pair[0], "first"), Leases(pair[1], "second")
        await first.take("work", 60)
        await second.give_back("work")
        assert not await second.take("work", 60), "only the holder can give it back"
        await first.give_back("work")
        assert await second.take("work", 60)

    async def test_of_many_that_ask_at_once_one_gets_it(self, pair: tuple[Metadata, Metadata], clock: Clock) -> None:
        asking = [Leases(pair[number % 2], f"holder {number}") for number in range(20)]
        assert (await asyncio.gather(*(one.take("work", 60) for one in asking))).count(True) == 1


class TestDuties:
    async def run(self, pair: tuple[Metadata, Metadata], work: object, seconds: float, lasting: float) -> None:
        both = [Duties(Leases(one, f"holder {n}"), [Duty("work", seconds, work)]) for n, one in enumerate(pair)]  # type: ignore[arg-type]
        for one in both:
            one.start()
        await asyncio.sleep(lasting)
        for one in both:
            await one.stop()

    async def test_done_once_by_whoever_comes_first_and_not_before_it_is_due(
        self, pair: tuple[Metadata, Metadata]
    ) -> None:
        began = [now()]

        async def work() -> None:
            began.append(now())

        await self.run(pair, work, 0.6, 3.0)
        gaps = [later - earlier for earlier, later in itertools.pairwise(began)]
        assert 2 <= len(gaps) <= 5
        assert min(gaps) >= 590, "never before it is due"

    async def test_never_by_two_at_the_same_time(self, pair: tuple[Metadata, Metadata]) -> None:
        at_it = most = runs = 0

        async def work() -> None:
            nonlocal at_it, most, runs
            runs += 1
            at_it += 1
            most = max(most, at_it)
            await asyncio.sleep(0.5)
            at_it -= 1

        await self.run(pair, work, 0.1, 2.5)
        assert most == 1
        assert runs >= 2

    async def test_one_that_fails_is_tried_again(
        self, pair: tuple[Metadata, Metadata], caplog: pytest.LogCaptureFixture
    ) -> None:
        tries = 0

        async def work() -> None:
            nonlocal tries
            tries += 1
            raise OSError("no")

        await self.run(pair, work, 0.1, 2.0)
        assert tries >= 2
        assert "work failed; it is tried again" in caplog.text

    async def test_stopped_in_the_middle_it_is_free_for_the_next(self, pair: tuple[Metadata, Metadata]) -> None:
        begun = asyncio.Event()

        async def work() -> None:
            begun.set()
            await asyncio.sleep(60)

        await asyncio.gather(begun.wait(), self.run(pair, work, 0.1, 1.5))
        assert await Leases(pair[0], "next").take("work", 60)


class TestOutbox:
    async def test_events_come_out_in_the_order_of_their_commits(self, pair: tuple[Metadata, Metadata]) -> None:
        boxes = [Outbox(one, listening=True) for one in pair]
        events: list[Event] = [TagDeleted(repository="a", by=BY, tag=f"{n}") for n in range(100)]
        for number, event in enumerate(events):
            box, metadata = boxes[number % 2], pair[number % 2]
            await metadata.write(lambda tx, b=box, e=event: b.emit(tx, e))  # type: ignore[misc]
        found, position = [], 0
        while page := await boxes[0].after(position, 7):
            found += [event for _, _, event in page]
            position = page[-1][0]
        assert found == events
        assert position == await boxes[1].newest()

    async def test_what_was_undone_is_not_told(self, pair: tuple[Metadata, Metadata]) -> None:
        box = Outbox(pair[0], listening=True)

        async def fails(tx: Transaction) -> None:
            await box.emit(tx, BlobDeleted(repository="a", by=BY, digest="x"))
            raise OSError

        with pytest.raises(OSError):  # noqa: PT011 - its own
            await pair[0].write(fails)
        assert await box.after(0, 10) == []

    async def test_forgotten_ids_are_not_used_again(self, pair: tuple[Metadata, Metadata]) -> None:
        box = Outbox(pair[0], listening=True)
        event = BlobDeleted(repository="a", by=BY, digest="x")
        for _ in range(3):
            await pair[0].write(lambda tx: box.emit(tx, event))
        newest = await box.newest()
        assert await pair[0].write(lambda tx: box.forget(tx, newest)) == 3
        await pair[0].write(lambda tx: box.emit(tx, event))
        assert [number for number, _, _ in await box.after(newest, 10)] == [newest + 1]

    async def test_where_nobody_listens_nothing_is_written(self, pair: tuple[Metadata, Metadata]) -> None:
        box = Outbox(pair[0], listening=False)
        event = BlobDeleted(repository="a", by=BY, digest="x")
        await pair[0].write(lambda tx: box.emit(tx, event))
        box.emit_soon(event)
        await box.flush()
        assert await box.newest() == 0
