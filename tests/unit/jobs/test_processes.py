"""Several processes on one index, and what a ``kill -9`` leaves to the others."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from lading.jobs.executions import Executions
from lading.jobs.kinds import Kind, Task
from lading.jobs.queue import JobQueue
from lading.stores.metadata.schema.work import jobs
from lading.stores.metadata.transaction import Metadata, Statement, Transaction
from tests.support.patience import until

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]
LEASE = 2.0

_LEASE_UNTIL = Statement(select(jobs.c.lease_until))


@pytest.fixture
def start(index_url: str, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.unit.jobs.process", index_url, str(tmp_path / "notes"), str(LEASE)]
        running.append(subprocess.Popen(command, cwd=ROOT))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()


def notes(folder: Path) -> list[list[int]]:
    """What was done: job, attempt, process."""
    file = folder / "notes"
    return [[int(word) for word in line.split()] for line in file.read_text().splitlines()] if file.exists() else []


async def enqueue(metadata: Metadata, kind: str, count: int) -> None:
    queue = JobQueue(metadata, "test")

    async def write(tx: Transaction) -> None:
        for _ in range(count):
            await queue.enqueue(tx, kind)

    await metadata.write(write)


async def test_of_many_processes_each_job_is_done_by_one(
    metadata: Metadata, start: Callable[[], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    processes = [start() for _ in range(3)]
    await enqueue(metadata, "note", 12)
    await until(lambda: len({pid for _, _, pid in notes(tmp_path)}) > 0)
    await enqueue(metadata, "note", 488)
    await until(lambda: len(notes(tmp_path)) >= 500)
    await asyncio.sleep(0.3)
    done = notes(tmp_path)
    assert len(done) == len({job for job, _, _ in done}) == 500
    assert {attempt for _, attempt, _ in done} == {1}
    assert {pid for _, _, pid in done} <= {process.pid for process in processes}
    assert len({pid for _, _, pid in done}) > 1


async def test_a_killed_process_is_taken_over_from_when_its_lease_runs_out_and_not_before(
    metadata: Metadata, start: Callable[[], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    async def nothing(task: Task) -> None:
        """Work that does nothing."""

    first = start()
    await enqueue(metadata, "hang", 1)
    await until(lambda: len(notes(tmp_path)) == 1)
    await asyncio.sleep(LEASE + 0.5)
    assert await JobQueue(metadata, "test").claim({"hang": Kind(nothing)}) is None, "it is alive"
    second = start()
    await asyncio.sleep(0.5)
    first.kill()
    first.wait()
    lease_until = await metadata.read(lambda tx: tx.value(_LEASE_UNTIL))
    await until(lambda: len(notes(tmp_path)) == 2)
    (job, _, _), (again, attempt, pid) = notes(tmp_path)
    assert (again, attempt, pid) == (job, 2, second.pid)
    found = await metadata.read(lambda tx: Executions(tx).one(job))
    assert found is not None
    assert found.began_at is not None
    assert 0 < found.began_at - lease_until < 5000
