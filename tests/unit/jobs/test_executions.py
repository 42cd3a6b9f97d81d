"""What is remembered of jobs: lists, figures, and when they are forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from lading.jobs.executions import Execution, Executions, History
from lading.jobs.kinds import Claim, Kind, Task
from lading.jobs.queue import JobQueue, State
from tests.unit.jobs.timed import Timed

pytestmark = pytest.mark.anyio

DAY = 86_400_000


@pytest.fixture
def queue(timed: Timed) -> JobQueue:
    return JobQueue(timed.metadata, "first")


async def nothing(task: Task) -> None:
    """Work that does nothing."""


async def run(queue: JobQueue, kind: str = "a") -> int:
    """A job that is done."""
    await queue.metadata.write(lambda tx: queue.enqueue(tx, kind))
    claim = await queue.claim({kind: Kind(nothing)})
    assert claim is not None
    await queue.finish(claim, State(lines=["said"]))
    return claim.job


async def newest(queue: JobQueue, limit: int = 1000, kind: str = "", state: str = "", before: int = 2**62) -> list[int]:
    found: Sequence[Execution] = await queue.metadata.read(
        lambda tx: Executions(tx).newest(limit, kind=kind, state=state, before=before)
    )
    return [each.id for each in found]


async def prune(timed: Timed, age: timedelta, keep: int) -> int:
    task = Task(Claim(0, "prune-jobs", None, 1, "first#0"))
    return (await History(timed.metadata, age=age, keep=keep).prune(task))["forgotten"]


async def test_lists_and_figures(queue: JobQueue) -> None:
    done = [await run(queue, kind) for kind in ("a", "b", "a")]
    waits = [(await queue.metadata.write(lambda tx: queue.enqueue(tx, "b"))).job for _ in range(2)]
    claim = await queue.claim({"b": Kind(nothing)})
    assert claim is not None
    assert await newest(queue) == [*done, *waits][::-1]
    assert await newest(queue, limit=2) == waits[::-1]
    assert await newest(queue, before=waits[0]) == done[::-1]
    assert await newest(queue, kind="a") == [done[2], done[0]]
    assert await newest(queue, state="running") == [claim.job]
    assert await newest(queue, kind="b", state="done") == [done[1]]
    counts = await queue.metadata.read(lambda tx: Executions(tx).counts())
    assert counts == {("b", "waiting"): 1, ("b", "running"): 1}
    assert await queue.metadata.read(lambda tx: Executions(tx).one(12345)) is None


async def test_the_old_are_forgotten_with_their_logs_and_what_is_not_done_is_not(queue: JobQueue, timed: Timed) -> None:
    old = await run(queue)
    waits = (await queue.metadata.write(lambda tx: queue.enqueue(tx, "b"))).job
    timed.clock.pass_by(3 * DAY)
    young = await run(queue)
    assert await prune(timed, timedelta(days=3, milliseconds=1), 100) == 0
    assert await prune(timed, timedelta(days=3), 100) == 1
    assert await newest(queue) == [young, waits]
    assert await queue.metadata.read(lambda tx: Executions(tx).lines(old)) == []
    assert await queue.metadata.read(lambda tx: Executions(tx).lines(young)) != []


async def test_of_too_many_the_oldest_are_forgotten(queue: JobQueue, timed: Timed) -> None:
    made = []
    for _ in range(8):
        timed.clock.pass_by(1)
        made.append(await run(queue))
    assert await prune(timed, timedelta(days=30), 3) == 5
    assert await newest(queue) == made[:-4:-1]
    assert await prune(timed, timedelta(days=30), 0) == 3


async def test_many_are_forgotten_a_page_at_a_time(
    queue: JobQueue, timed: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lading.jobs.executions._PAGE", 3)
    for _ in range(7):
        await run(queue)
    timed.clock.pass_by(DAY)
    assert await prune(timed, timedelta(hours=1), 100) == 7
    assert await newest(queue) == []
