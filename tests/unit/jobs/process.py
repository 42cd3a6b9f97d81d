"""A process that does jobs until it is killed: ``python -m tests.unit.jobs.process URL FILE LEASE``.

``note`` jobs write a line into FILE; ``hang`` jobs write one and go on for ever.
"""

from __future__ import annotations

import asyncio
import os
import sys

from lading.jobs.kinds import Kind, Task
from lading.jobs.queue import JobQueue
from lading.jobs.worker import Worker
from lading.stores.metadata.engine import open_index


async def work(url: str, file: str, lease: float) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    async def note(task: Task) -> None:
        os.write(descriptor, f"{task.claim.job} {task.claim.attempt} {os.getpid()}\n".encode())

    async def hang(task: Task) -> None:
        await note(task)
        await asyncio.sleep(600)

    queue = JobQueue(open_index(url), f"process-{os.getpid()}")
    worker = Worker(queue, {"note": Kind(note), "hang": Kind(hang, lease=lease)}, slots=4)
    worker.start()
    await asyncio.sleep(600)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], float(sys.argv[3])))
