"""The queue, between two processes on one index: who has a job, for how long, and what becomes of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lading.jobs.executions import Execution, Executions
from lading.jobs.kinds import Claim, Kind, Task
from lading.jobs.queue import MOST_LINES, Enqueued, JobQueue, State, _Claiming
from lading.stores.metadata import sqlite
from lading.stores.metadata.transaction import Transaction
from tests.unit.jobs.timed import Timed

pytestmark = pytest.mark.anyio


async def nothing(task: Task) -> None:
    """Work that does nothing."""


KINDS = {"a": Kind(nothing, lease=60), "b": Kind(nothing, lease=10)}
NOTHING = State()


@pytest.fixture
def queue(timed: Timed) -> JobQueue:
    return JobQueue(timed.metadata, "first")


@pytest.fixture
def second(timed_other: Timed) -> JobQueue:
    """The queue as another process sees it."""
    return JobQueue(timed_other.metadata, "second")


async def put(queue: JobQueue, kind: str = "a", payload: Any = None, **options: Any) -> Enqueued:
    return await queue.metadata.write(lambda tx: queue.enqueue(tx, kind, payload, **options))


async def take(queue: JobQueue) -> Claim:
    claim = await queue.claim(KINDS)
    assert claim is not None
    return claim


async def look(queue: JobQueue, job: int) -> Execution:
    found = await queue.metadata.read(lambda tx: Executions(tx).one(job))
    assert found is not None
    return found


async def log_of(queue: JobQueue, job: int) -> list[str]:
    return [line.line for line in await queue.metadata.read(lambda tx: Executions(tx).lines(job))]


class TestEnqueue:
    async def test_it_comes_with_its_payload_and_once(self, queue: JobQueue, second: JobQueue) -> None:
        job, new = await put(queue, payload={"repository": "a/b", "tags": ["1"]})
        assert new
        claim = await take(second)
        assert (claim.job, claim.kind, claim.payload, claim.attempt) == (
            job,
            "a",
            {"repository": "a/b", "tags": ["1"]},
            1,
        )
        assert await queue.claim(KINDS) is None
        assert not await queue.anything(KINDS)

    async def test_what_is_rolled_back_is_not_there(self, queue: JobQueue, second: JobQueue) -> None:
        async def fails(tx: Transaction) -> None:
            await queue.enqueue(tx, "a")
            raise OSError

        with pytest.raises(OSError):  # noqa: PT011 - its own
            await queue.metadata.write(fails)
        assert not await second.anything(KINDS)
        assert await second.claim(KINDS) is None

    async def test_the_same_key_is_the_same_job_until_it_has_ended(self, queue: JobQueue, second: JobQueue) -> None:
        first = await put(queue, key="k")
        assert await put(second, key="k") == (first.job, False)
        assert (await put(second, key="other")).new
        claim = await take(second)
        assert claim.job == first.job
        assert await put(queue, key="k") == (first.job, False), "also while it runs"
        await second.fail(claim, NOTHING, "no", retry=5)
        assert await put(queue, key="k") == (first.job, False), "and while it waits to be tried again"
        await queue.metadata.write(lambda tx: queue.cancel(tx, first.job))
        again = await put(queue, key="k")
        assert again.new
        assert again.job != first.job

    async def test_many_that_ask_for_the_same_at_once_get_one_job(self, queue: JobQueue, second: JobQueue) -> None:
        made = await asyncio.gather(*(put((queue, second)[n % 2], key="k") for n in range(20)))
        assert len({each.job for each in made}) == 1
        assert sum(each.new for each in made) == 1

    async def test_urgent_ones_first_then_in_their_order(self, queue: JobQueue) -> None:
        first, second, urgent = await put(queue), await put(queue), await put(queue, priority=1)
        assert [(await take(queue)).job for _ in range(3)] == [urgent.job, first.job, second.job]

    async def test_not_before_its_time(self, queue: JobQueue, timed: Timed) -> None:
        await put(queue, not_before=timed.clock.milliseconds + 5000)
        later = await put(queue)
        assert (await take(queue)).job == later.job
        timed.clock.pass_by(4999)
        assert not await queue.anything(KINDS)
        assert await queue.claim(KINDS) is None
        timed.clock.pass_by(1)
        assert await queue.anything(KINDS)
        await take(queue)

    async def test_hastened_it_begins_at_once(self, queue: JobQueue, timed: Timed) -> None:
        job, _ = await put(queue, not_before=timed.clock.milliseconds + 5000)
        assert await queue.metadata.write(lambda tx: queue.hasten(tx, job))
        assert not await queue.metadata.write(lambda tx: queue.hasten(tx, job))
        assert (await take(queue)).job == job

    async def test_a_kind_that_a_process_does_not_know_is_left_to_others(self, queue: JobQueue) -> None:
        await put(queue, "of a newer version", priority=9)
        job, _ = await put(queue)
        assert (await take(queue)).job == job
        assert not await queue.anything(KINDS)
        assert await queue.claim({}) is None


class TestLease:
    async def test_of_many_that_claim_at_once_each_gets_another(self, queue: JobQueue, second: JobQueue) -> None:
        made = [(await put(queue)).job for _ in range(30)]
        claims = await asyncio.gather(*((queue, second)[n % 2].claim(KINDS) for n in range(40)))
        assert sorted(claim.job for claim in claims if claim) == made
        assert len({claim.holder for claim in claims if claim}) == 30

    async def test_taken_over_when_it_has_run_out_and_only_then(
        self, queue: JobQueue, second: JobQueue, timed: Timed
    ) -> None:
        await put(queue)
        lost = await take(queue)
        timed.clock.pass_by(60_000)
        assert not await second.anything(KINDS)
        assert await second.claim(KINDS) is None
        timed.clock.pass_by(1)
        assert await second.anything(KINDS)
        claim = await take(second)
        assert (claim.job, claim.attempt) == (lost.job, 2)
        assert "the process that ran it went silent; it waits for another" in await log_of(queue, lost.job)

    async def test_each_kind_has_a_lease_of_its_own(self, queue: JobQueue, second: JobQueue, timed: Timed) -> None:
        await put(queue, "a")
        job, _ = await put(queue, "b")
        await take(queue)
        await take(queue)
        timed.clock.pass_by(10_001)
        assert (await take(second)).job == job
        assert await second.claim(KINDS) is None

    async def test_renewed_it_lasts_longer(self, queue: JobQueue, second: JobQueue, timed: Timed) -> None:
        await put(queue)
        claim = await take(queue)
        for number in range(5):
            timed.clock.pass_by(40_000)
            told = await queue.beat(claim, 60, State(number, 5, "on its way"))
            assert told.held
            assert not told.cancelling
            assert await second.claim(KINDS) is None
        job = await look(second, claim.job)
        assert (job.state, job.done, job.total, job.message, job.process) == ("running", 4, 5, "on its way", "first")

    async def test_one_that_was_silent_is_told_and_changes_nothing(
        self, queue: JobQueue, second: JobQueue, timed: Timed
    ) -> None:
        await put(queue)
        lost = await take(queue)
        timed.clock.pass_by(60_001)
        claim = await take(second)
        before = await look(queue, lost.job), await log_of(queue, lost.job)
        told = State(9, 9, "late", ["late"])
        assert not (await queue.beat(lost, 60, told)).held
        assert not await queue.finish(lost, told, "late")
        assert not await queue.fail(lost, told, "late")
        assert not await queue.fail(lost, told, "late", retry=1)
        assert not await queue.cancelled(lost, told)
        assert not await queue.give_back(lost, told)
        assert (await look(queue, lost.job), await log_of(queue, lost.job)) == before
        assert await second.finish(claim, State(1, 1), {"ok": True})
        assert not await queue.finish(lost, told, "late")
        job = await look(queue, lost.job)
        assert (job.state, job.result, job.attempts) == ("done", {"ok": True}, 2)

    async def test_late_but_not_taken_over_it_has_lost_nothing(self, queue: JobQueue, timed: Timed) -> None:
        await put(queue)
        claim = await take(queue)
        timed.clock.pass_by(90_000)
        assert (await queue.beat(claim, 60, NOTHING)).held


class TestEnd:
    async def test_done(self, queue: JobQueue, timed: Timed) -> None:
        await put(queue)
        claim = await take(queue)
        timed.clock.pass_by(1500)
        assert await queue.finish(claim, State(3, 3, "all", ["a", "b"]), {"n": 3})
        job = await look(queue, claim.job)
        assert (job.state, job.done, job.total, job.message, job.result) == ("done", 3, 3, "all", {"n": 3})
        assert job.ended_at == timed.clock.milliseconds == (job.began_at or 0) + 1500
        assert await log_of(queue, claim.job) == ["attempt 1 begins on first", "a", "b", "done"]
        assert not await queue.finish(claim, NOTHING), "once"

    async def test_failed_and_tried_again_after_a_while(self, queue: JobQueue, second: JobQueue, timed: Timed) -> None:
        await put(queue)
        claim = await take(queue)
        assert await queue.fail(claim, NOTHING, "the disk is full", retry=2.5)
        job = await look(queue, claim.job)
        assert (job.state, job.error, job.ended) == ("waiting", "the disk is full", False)
        timed.clock.pass_by(2499)
        assert await second.claim(KINDS) is None
        timed.clock.pass_by(1)
        again = await take(second)
        assert (again.job, again.attempt) == (claim.job, 2)
        assert await second.fail(again, NOTHING, "still full")
        job = await look(queue, claim.job)
        assert (job.state, job.error, job.attempts) == ("failed", "still full", 2)
        timed.clock.pass_by(10**9)
        assert await queue.claim(KINDS) is None

    async def test_given_back_it_counts_as_not_tried(self, queue: JobQueue, second: JobQueue) -> None:
        await put(queue)
        assert await queue.give_back(await take(queue), NOTHING)
        assert (await take(second)).attempt == 1

    async def test_a_long_log_keeps_its_newest_lines(self, queue: JobQueue) -> None:
        await put(queue)
        claim = await take(queue)
        for number in range(3):
            await queue.beat(claim, 60, State(lines=[f"{number}-{line}" for line in range(500)]))
        kept = await log_of(queue, claim.job)
        assert len(kept) == MOST_LINES
        assert kept[-1] == "2-499"


class TestCancel:
    async def cancel(self, queue: JobQueue, job: int) -> str | None:
        return await queue.metadata.write(lambda tx: queue.cancel(tx, job))

    async def test_one_that_waits_ends_at_once(self, queue: JobQueue, second: JobQueue) -> None:
        job, _ = await put(queue)
        assert await self.cancel(second, job) == "waiting"
        assert (await look(queue, job)).state == "cancelled"
        assert await queue.claim(KINDS) is None
        assert await self.cancel(second, job) == "cancelled"
        assert await self.cancel(second, 12345) is None

    async def test_one_that_runs_is_told(self, queue: JobQueue, second: JobQueue) -> None:
        await put(queue)
        claim = await take(queue)
        assert await self.cancel(second, claim.job) == "running"
        told = await queue.beat(claim, 60, NOTHING)
        assert told.held
        assert told.cancelling
        assert (await look(second, claim.job)).cancelling
        assert await queue.cancelled(claim, NOTHING)
        assert (await look(second, claim.job)).state == "cancelled"

    async def test_one_that_was_done_before_it_heard_is_done(self, queue: JobQueue) -> None:
        await put(queue)
        claim = await take(queue)
        await self.cancel(queue, claim.job)
        assert await queue.finish(claim, NOTHING)
        assert (await look(queue, claim.job)).state == "done"

    @pytest.mark.parametrize("how", ["fails", "is given back", "its process dies"])
    async def test_it_does_not_begin_again(self, queue: JobQueue, second: JobQueue, timed: Timed, how: str) -> None:
        await put(queue)
        claim = await take(queue)
        await self.cancel(second, claim.job)
        if how == "fails":
            assert await queue.fail(claim, NOTHING, "no", retry=1)
        elif how == "is given back":
            assert await queue.give_back(claim, NOTHING)
        timed.clock.pass_by(60_001)
        assert await second.claim(KINDS) is None
        assert (await look(second, claim.job)).state == "cancelled"


async def test_a_look_for_work_reads_an_index(tmp_path: Path) -> None:
    """And not the whole history, however long that is."""
    sql, constants = _Claiming(KINDS).look.compiled(sqlite._DIALECT)
    index = sqlite.SqliteMetadata(tmp_path / "index.sqlite")
    connection = sqlite._connect(index.path, read_only=True)
    plan = str(connection.execute(f"EXPLAIN QUERY PLAN {sql}", {**constants, "now": 1}).fetchall())
    connection.close()
    await index.close()
    assert "USING INDEX jobs_waiting" in plan
    assert "TEMP B-TREE" not in plan
