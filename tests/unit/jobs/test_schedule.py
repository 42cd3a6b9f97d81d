"""Schedules: when the next run is, and that each is enqueued once, by whichever process looks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from lading.errors import Invalid
from lading.jobs.executions import Execution, Executions
from lading.jobs.kinds import Kind, Task
from lading.jobs.leases import Leases
from lading.jobs.queue import JobQueue, State
from lading.jobs.schedule import Schedule, Scheduler, Schedules, every, following
from lading.stores.metadata.transaction import Metadata
from tests.unit.jobs.timed import Timed

MINUTE = 60_000


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("timing", "after", "expected"),
    [
        ("0 3 * * *", "2026-01-31 12:00:30", "2026-02-01 03:00:00"),
        ("0 0 3 * * *", "2026-01-31 12:00:30", "2026-02-01 03:00:00"),
        ("*/10 * * * * *", "2026-01-31 12:00:30", "2026-01-31 12:00:40"),
        ("15 0 30 * * *", "2026-01-31 12:00:30", None),
        ("0 12 * * *", "2026-01-31 12:00:00", "2026-02-01 12:00:00"),
        ("0 30 2 * * ?", "2026-01-31 12:00:30", "2026-02-01 02:30:00"),
        ("0 30 2 ? * MON", "2026-01-31 12:00:30", "2026-02-02 02:30:00"),
        ("0 0 0 ? * ?/2", "2026-01-31 12:00:30", "2026-02-01 00:00:00"),
        ("@hourly", "2026-01-31 12:00:30", "2026-01-31 13:00:00"),
        ("@daily", "2026-01-31 12:00:30", "2026-02-01 00:00:00"),
        ("@weekly", "2026-01-31 12:00:30", "2026-02-01 00:00:00"),
        ("@monthly", "2026-02-01 00:00:00", "2026-03-01 00:00:00"),
        ("@yearly", "2026-01-01 00:00:00", "2027-01-01 00:00:00"),
        ("@every 1h30m", "2026-01-31 12:00:30", "2026-01-31 13:30:30"),
        ("@every 500ms", "2026-01-31 12:00:30", "2026-01-31 12:00:30.500"),
        ("0 0 31 2 *", "2026-01-31 12:00:30", None),
        ("@every 0s", "2026-01-31 12:00:30", None),
        ("@every -1h", "2026-01-31 12:00:30", None),
        ("@every often", "2026-01-31 12:00:30", None),
        ("@reboot", "2026-01-31 12:00:30", None),
        ("* * *", "2026-01-31 12:00:30", None),
        ("", "2026-01-31 12:00:30", None),
    ],
)
def test_following(timing: str, after: str, expected: str | None) -> None:
    if expected is None:
        with pytest.raises(Invalid, match="is no timing"):
            following(timing, at(after))
    else:
        assert following(timing, at(after)) == at(expected)


@pytest.mark.parametrize("interval", [timedelta(seconds=1), timedelta(days=365), timedelta(milliseconds=1500)])
def test_every_is_read_as_it_is_written(interval: timedelta) -> None:
    assert following(every(interval), 5) == 5 + interval / timedelta(milliseconds=1)


class TestSchedules:
    @pytest.fixture
    def queue(self, timed: Timed) -> JobQueue:
        return JobQueue(timed.metadata, "first")

    async def configure(self, queue: JobQueue, timings: Mapping[str, str]) -> None:
        await queue.metadata.write(lambda tx: Schedules(tx).configure(timings))

    async def due(self, queue: JobQueue) -> int:
        return await queue.metadata.write(lambda tx: Schedules(tx).due(queue))

    async def all(self, queue: JobQueue) -> dict[str, Schedule]:
        return {each.name: each for each in await queue.metadata.read(lambda tx: Schedules(tx).all())}

    async def jobs(self, queue: JobQueue) -> list[Execution]:
        return list(await queue.metadata.read(lambda tx: Executions(tx).newest(100)))

    async def end(self, queue: JobQueue) -> None:
        async def nothing(task: Task) -> None:
            """Work that does nothing."""

        claim = await queue.claim({"work": Kind(nothing)})
        assert claim is not None
        await queue.finish(claim, State())

    @pytest.mark.anyio
    async def test_enqueued_when_it_is_due_and_once(self, queue: JobQueue, timed: Timed) -> None:
        await self.configure(queue, {"work": "@every 1m"})
        timed.clock.pass_by(MINUTE - 1)
        assert await self.due(queue) == 0
        timed.clock.pass_by(1)
        assert await self.due(queue) == 1
        assert await self.due(queue) == 0
        [job] = await self.jobs(queue)
        assert (job.kind, job.key, job.state) == ("work", "work", "waiting")
        schedule = (await self.all(queue))["work"]
        assert schedule.job == job.id
        assert schedule.last_at == timed.clock.milliseconds
        assert schedule.next_at == timed.clock.milliseconds + MINUTE

    @pytest.mark.anyio
    async def test_what_was_missed_is_made_up_for_once(self, queue: JobQueue, timed: Timed) -> None:
        await self.configure(queue, {"work": "@every 1m"})
        timed.clock.pass_by(100 * MINUTE + 5)
        assert await self.due(queue) == 1
        await self.end(queue)
        timed.clock.pass_by(MINUTE - 1)
        assert await self.due(queue) == 0
        timed.clock.pass_by(1)
        assert await self.due(queue) == 1

    @pytest.mark.anyio
    async def test_one_that_still_runs_is_not_begun_beside_itself(self, queue: JobQueue, timed: Timed) -> None:
        await self.configure(queue, {"work": "@every 1m"})
        for _ in range(3):
            timed.clock.pass_by(MINUTE)
            await self.due(queue)
        assert len(await self.jobs(queue)) == 1
        await self.end(queue)
        timed.clock.pass_by(MINUTE)
        await self.due(queue)
        assert len(await self.jobs(queue)) == 2

    @pytest.mark.anyio
    async def test_a_restart_changes_nothing_and_another_configuration_counts_from_the_last_run(
        self, queue: JobQueue, timed: Timed
    ) -> None:
        await self.configure(queue, {"work": "@every 10m", "gone": "@daily"})
        timed.clock.pass_by(10 * MINUTE)
        await self.due(queue)
        ran = timed.clock.milliseconds
        timed.clock.pass_by(4 * MINUTE)
        await self.configure(queue, {"work": "@every 10m", "gone": "@daily"})
        assert (await self.all(queue))["work"].next_at == ran + 10 * MINUTE
        await self.configure(queue, {"work": "@every 5m"})
        after = await self.all(queue)
        assert list(after) == ["work"]
        assert after["work"].next_at == ran + 5 * MINUTE

    @pytest.mark.anyio
    async def test_schedules_that_people_made_are_left_alone(self, queue: JobQueue, timed: Timed) -> None:
        await queue.metadata.write(lambda tx: Schedules(tx).put("mine", "work", "0 3 * * *", {"project": 1}))
        await self.configure(queue, {"collect": "@hourly"})
        assert (await self.all(queue))["mine"].payload == {"project": 1}
        assert not await queue.metadata.read(lambda tx: Schedules(tx).differ({"collect": "@hourly"}))
        await queue.metadata.write(lambda tx: Schedules(tx).remove("mine"))
        assert list(await self.all(queue)) == ["collect"]


@pytest.mark.anyio
async def test_two_processes_enqueue_each_run_once(metadata: Metadata, other: Metadata) -> None:
    schedulers = [
        Scheduler(one, JobQueue(one, f"{n}"), Leases(one, f"{n}"), {"work": "@every 400ms"})
        for n, one in enumerate((metadata, other))
    ]

    async def nothing(task: Task) -> None:
        """Work that does nothing."""

    queue, runs = JobQueue(metadata, "worker"), 0
    for each in schedulers:
        each.start()
    end = asyncio.get_running_loop().time() + 2.6
    while asyncio.get_running_loop().time() < end:
        if claim := await queue.claim({"work": Kind(nothing)}):
            runs += 1
            await queue.finish(claim, State())
        await asyncio.sleep(0.02)
    for each in schedulers:
        await each.stop()
    assert 3 <= runs <= 6
    assert await Leases(metadata, "next").take("schedules", 1), "given back"
