"""The worker: jobs begin soon, end once, and a process that lost one stops doing it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from lading.errors import StoreError
from lading.jobs.executions import Execution, Executions
from lading.jobs.kinds import MOST_LINE, Claim, Kind, Task
from lading.jobs.queue import JobQueue
from lading.jobs.worker import Worker
from lading.stores.metadata.transaction import Metadata
from tests.support import patience
from tests.support.patience import PATIENCE
from tests.unit.jobs.timed import Timed

pytestmark = pytest.mark.anyio


@pytest.fixture
def queue(metadata: Metadata) -> JobQueue:
    return JobQueue(metadata, "first")


@pytest.fixture
def second(other: Metadata) -> JobQueue:
    """The queue as another process sees it."""
    return JobQueue(other, "second")


class Counted:
    """What was counted."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[str, str]] = []

    def job(self, kind: str, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.outcomes.append((kind, outcome))


@asynccontextmanager
async def working(queue: JobQueue, kinds: Mapping[str, Kind], **options: Any) -> AsyncIterator[Worker]:
    worker = Worker(queue, kinds, **options)
    worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


async def put(queue: JobQueue, kind: str = "work", payload: Any = None, **options: Any) -> int:
    return (await queue.metadata.write(lambda tx: queue.enqueue(tx, kind, payload, **options))).job


async def look(queue: JobQueue, job: int) -> Execution:
    found = await queue.metadata.read(lambda tx: Executions(tx).one(job))
    assert found is not None
    return found


async def until(
    queue: JobQueue, job: int, condition: Callable[[Execution], bool], seconds: float = PATIENCE
) -> Execution:
    deadline = time.monotonic() + seconds
    while not condition(found := await look(queue, job)):
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.01)
    return found


def ended(job: Execution) -> bool:
    return job.ended


class Endless:
    """Work that goes on until it is cancelled; how many are at it, and how often it began."""

    def __init__(self) -> None:
        self.at_it = self.began = 0

    async def __call__(self, task: Task) -> None:
        self.began += 1
        self.at_it += 1
        try:
            await asyncio.sleep(60)
        finally:
            self.at_it -= 1


async def test_a_job_is_done_and_what_it_told_is_kept(queue: JobQueue) -> None:
    async def work(task: Task) -> dict[str, Any]:
        task.progress(2, 3, "x" * 5000)
        task.log("a line")
        return {"was": task.payload}

    counted = Counted()
    async with working(queue, {"work": Kind(work)}, counting=counted):
        job = await until(queue, await put(queue, payload=[1, "two"]), ended)
    assert (job.state, job.result, job.done, job.total) == ("done", {"was": [1, "two"]}, 2, 3)
    assert job.message == "x" * MOST_LINE
    assert counted.outcomes == [("work", "done")]
    lines = await queue.metadata.read(lambda tx: Executions(tx).lines(job.id))
    assert [line.line for line in lines] == ["attempt 1 begins on first", "a line", "done"]


@pytest.mark.parametrize("where", ["here", "in another process"])
async def test_it_begins_within_a_moment_on_an_idle_server(queue: JobQueue, second: JobQueue, where: str) -> None:
    began = asyncio.Event()

    async def work(task: Task) -> None:
        began.set()

    async with working(queue, {"work": Kind(work)}):
        await asyncio.sleep(0.3)
        await put(queue if where == "here" else second)
        await asyncio.wait_for(began.wait(), 0.4 if where == "here" else 1.5)


async def test_an_idle_worker_writes_nothing_and_hardly_looks(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = writes = 0
    read = queue.metadata.read

    async def counting(work: Any) -> Any:
        nonlocal looks
        looks += 1
        return await read(work)

    async def written(work: Any, **options: Any) -> None:
        nonlocal writes
        writes += 1

    monkeypatch.setattr(queue.metadata, "read", counting)
    monkeypatch.setattr(queue.metadata, "write", written)
    async with working(queue, {"work": Kind(Endless())}):
        await asyncio.sleep(2.5)
    assert 2 <= looks <= 4
    assert writes == 0


async def test_a_failure_is_tried_again_and_at_last_given_up(queue: JobQueue, caplog: pytest.LogCaptureFixture) -> None:
    times = []

    async def fails(task: Task) -> None:
        times.append(time.monotonic())
        raise OSError(f"attempt {task.claim.attempt}: Authorization: Bearer abcdefghijklmnop")

    counted = Counted()
    async with working(queue, {"work": Kind(fails, attempts=3, backoff=0.2)}, counting=counted):
        job = await until(queue, await put(queue), ended)
    assert (job.state, job.attempts) == ("failed", 3)
    assert job.error.startswith("OSError: attempt 3")
    assert "abcdefghijklmnop" not in job.error
    assert [outcome for _, outcome in counted.outcomes] == ["retried", "retried", "failed"]
    assert times[1] - times[0] >= 0.1
    assert times[2] - times[1] >= 0.2, "twice as long"
    assert "work failed (job 1, attempt 1); it is tried again in" in caplog.text


@pytest.mark.parametrize("error", [StoreError("no such volume"), ValueError("no")])
async def test_what_is_hopeless_is_not_tried_again(queue: JobQueue, error: Exception) -> None:
    async def fails(task: Task) -> None:
        raise error

    async with working(queue, {"work": Kind(fails, hopeless=(StoreError, ValueError))}):
        job = await until(queue, await put(queue), ended)
    assert (job.state, job.attempts) == ("failed", 1)
    assert job.error in ("no such volume", "ValueError: no")


async def test_a_job_that_kills_its_processes_is_given_up(queue: JobQueue, second: JobQueue) -> None:
    kinds = {"work": Kind(Endless(), attempts=2, lease=0.01)}
    job = await put(queue)
    for _ in range(2):
        assert await second.claim(kinds)
        await asyncio.sleep(0.02)
    async with working(queue, kinds):
        found = await until(queue, job, ended)
    assert found.state == "failed"
    assert found.error == "given up: its process ended 2 times in the middle"


async def test_cancelled_while_it_runs(queue: JobQueue, second: JobQueue) -> None:
    work, counted = Endless(), Counted()
    async with working(queue, {"work": Kind(work, lease=1)}, counting=counted):
        job = await put(queue)
        await until(second, job, lambda found: found.state == "running")
        assert await second.metadata.write(lambda tx: second.cancel(tx, job)) == "running"
        found = await until(second, job, ended, seconds=1)
        assert (found.state, work.at_it, work.began) == ("cancelled", 0, 1)
    assert counted.outcomes == [("work", "cancelled")]


async def test_a_heartbeat_keeps_a_long_job_and_shows_how_far_it_is(queue: JobQueue, second: JobQueue) -> None:
    async def work(task: Task) -> None:
        for number in range(100):
            task.progress(number, 100)
            task.log(f"step {number}")
            await asyncio.sleep(0.02)

    kinds = {"work": Kind(work, lease=0.5)}
    async with working(queue, kinds):
        job = await put(queue)
        await until(second, job, lambda found: found.done > 10)
        while not (found := await look(second, job)).ended:
            assert await second.claim(kinds) is None
            await asyncio.sleep(0.05)
    assert (found.state, found.attempts) == ("done", 1)
    assert len(await queue.metadata.read(lambda tx: Executions(tx).lines(job))) == 102


async def test_whoever_lost_it_is_told_and_stops(timed: Timed, timed_other: Timed) -> None:
    """As when a process was stopped for longer than its lease."""
    first, second = JobQueue(timed.metadata, "first"), JobQueue(timed_other.metadata, "second")
    work, counted = Endless(), Counted()
    kinds = {"work": Kind(work, lease=5)}
    async with working(first, kinds, counting=counted):
        job = await put(first)
        await until(second, job, lambda found: work.at_it == 1)
        timed.cut = True
        timed.clock.pass_by(5001)
        claim = await second.claim(kinds)
        assert claim is not None
        timed.cut = False
        await patience.until(lambda: not work.at_it, "it stops")
        found = await look(second, job)
        assert (found.state, found.process, found.attempts) == ("running", "second", 2)
        assert counted.outcomes == [("work", "lost")]


async def test_cut_off_from_the_database_it_stops_before_another_may_begin(timed: Timed) -> None:
    queue, work = JobQueue(timed.metadata, "first"), Endless()
    async with working(queue, {"work": Kind(work, lease=5.0)}):
        await put(queue)
        await patience.until(lambda: work.at_it, "it begins")
        timed.cut = True
        cut = time.monotonic()
        await patience.until(lambda: not work.at_it, "it stops")
        assert time.monotonic() - cut < 5.0
        timed.cut = False


async def test_what_processes_think_of_the_time_does_not_matter(
    timed: Timed, timed_other: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten minutes apart: leases go by the database's clock."""
    first, second = JobQueue(timed.metadata, "first"), JobQueue(timed_other.metadata, "second")
    work = Endless()
    kinds = {"work": Kind(work, lease=0.5)}
    async with working(first, kinds):
        job = await put(first)
        await until(second, job, lambda found: found.state == "running")
        for skew in (600, -600):
            monkeypatch.setattr("time.time", lambda skew=skew: 1_700_000_000.0 + skew)
            monkeypatch.setattr("time.time_ns", lambda skew=skew: (1_700_000_000 + skew) * 10**9)
            await asyncio.sleep(0.3)
            assert not await second.anything(kinds)
            assert await second.claim(kinds) is None
        assert (work.began, work.at_it) == (1, 1)


async def test_a_process_that_stops_gives_its_jobs_back(queue: JobQueue, second: JobQueue) -> None:
    work, counted = Endless(), Counted()
    async with working(queue, {"work": Kind(work)}, counting=counted):
        job = await put(queue)
        await until(second, job, lambda found: found.state == "running")
        began = time.monotonic()
    assert time.monotonic() - began < 10, "nothing is waited for"
    found = await look(second, job)
    assert (found.state, found.attempts, found.error) == ("waiting", 0, "")
    assert counted.outcomes == [("work", "returned")]
    async with asyncio.timeout(10):  # at once: but what two processes hold for the database's time differs a little
        while await second.claim({"work": Kind(work)}) is None:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)


async def test_stopped_while_it_claims_nothing_is_left_behind(queue: JobQueue, second: JobQueue) -> None:
    jobs = [await put(queue) for _ in range(20)]
    worker = Worker(queue, {"work": Kind(Endless())}, slots=20)
    worker.start()
    await asyncio.sleep(0.005)
    await worker.stop()
    states = [(await look(second, job)).state for job in jobs]
    assert set(states) == {"waiting"}


async def test_a_standing_job_ends_by_itself_when_the_process_stops(queue: JobQueue, second: JobQueue) -> None:
    orderly = False

    async def stands(task: Task) -> None:
        nonlocal orderly
        await task.stopping.wait()
        await asyncio.sleep(0.05)
        orderly = True

    kind = Kind(stands, attempts=0, standing=True, patience=5, backoff=0.1, longest=0.1)
    async with working(queue, {"work": kind}):
        job = await put(queue, key="k")
        await until(second, job, lambda found: found.state == "running")
    assert orderly
    assert (await look(second, job)).state == "waiting"


async def test_a_standing_job_that_ends_too_soon_begins_again(queue: JobQueue) -> None:
    began = 0

    async def falls(task: Task) -> None:
        nonlocal began
        began += 1
        if began == 2:
            raise OSError("no")
        if began > 3:
            await asyncio.sleep(60)

    kind = Kind(falls, attempts=0, standing=True, backoff=0.02, longest=0.02)
    async with working(queue, {"work": kind}):
        job = await put(queue)
        await until(queue, job, lambda found: found.attempts == 4)
    assert began == 4


async def test_no_more_at_once_than_there_are_slots_but_for_standing_ones(queue: JobQueue) -> None:
    work, stands = Endless(), Endless()
    kinds = {"work": Kind(work), "stands": Kind(stands, standing=True)}
    async with working(queue, kinds, slots=2):
        for _ in range(4):
            await put(queue)
        await asyncio.sleep(0.3)
        assert work.at_it == 2
        await put(queue, "stands")
        await asyncio.sleep(0.5)
        assert (work.at_it, stands.at_it) == (2, 1)


async def test_what_is_done_beside_others_keeps_none_of_them_waiting(queue: JobQueue) -> None:
    work, lasts = Endless(), Endless()
    kinds = {"work": Kind(work), "lasts": Kind(lasts, beside=3)}
    async with working(queue, kinds, slots=2):
        for _ in range(5):
            await put(queue, "lasts")
        await patience.until(lambda: lasts.at_it == 3, "those beside")
        for _ in range(3):
            await put(queue)
        await patience.until(lambda: work.at_it == 2, "those in slots")
        await asyncio.sleep(0.3)
        assert (work.at_it, lasts.at_it) == (2, 3)


@pytest.mark.parametrize(
    ("attempt", "luck", "seconds"), [(1, 0, 2.5), (1, 1, 5), (2, 1, 10), (5, 1, 80), (11, 1, 3600), (10**6, 0, 1800)]
)
def test_pauses_double_up_to_a_bound_and_spread(attempt: int, luck: float, seconds: float) -> None:
    assert Kind(Endless()).pause(attempt, luck) == pytest.approx(seconds)


def test_a_task_that_tells_too_much_at_once_drops_some() -> None:
    task = Task(Claim(1, "work", None, 1, "first#1"))
    for number in range(600):
        task.log(f"{number}")
    lines = task.take_lines()
    assert len(lines) == 501
    assert lines[-1] == "(100 more lines came at once and were dropped)"
    assert task.take_lines() == []
