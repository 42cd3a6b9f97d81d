"""A few threads for the short blocking work of many requests, which goes on together and is synced together.

Syncing is what a small blob costs: each sync ends a transaction of the file system's journal, and each turn of a thread
costs the others theirs at the interpreter's lock. So work comes as a generator that yields what it wants to survive power
loss before it goes on. In each round a thread takes all that wait one step on, then syncs everything they asked for, one
behind the other: the first sync takes the others' names and bytes along, and theirs find little left to do. Who comes
meanwhile goes with another thread, or joins with the next round.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, cast

from lading.stores.blobs.disk import sync_folder
from lading.stores.waiting import Waiting, settle

T = TypeVar("T")

Syncs: TypeAlias = "tuple[int | str, ...]"
"""What is to be synced: the bytes of an open file, by its descriptor, and the names in a folder."""
Steps: TypeAlias = "Generator[Syncs, None, T]"


@dataclass
class _Job(Waiting):
    steps: Steps[Any]
    wanted: Syncs = ()
    failed: Exception | None = None
    done: bool = False

    def step(self) -> None:
        """Go on to the next sync, or to the end."""
        failed, self.failed = self.failed, None
        try:
            self.wanted = self.steps.throw(failed) if failed else next(self.steps)
        except StopIteration as end:
            self.done, self.result = True, end.value
        except BaseException as error:  # noqa: BLE001 - whatever it is, whoever waits must hear of it
            self.done, self.error = True, error


class Group:
    """Runs steps on a number of ``threads``, which are there from the first of them on; see the module."""

    def __init__(self, name: str, *, threads: int = 4) -> None:
        self._name = name
        self._threads = threads
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._started = False

    def run(self, steps: Steps[T]) -> asyncio.Future[T]:
        """The steps' result, or what they raised; a sync that fails is raised in them, where they asked for it."""
        if not self._started:
            self._started = True
            for _ in range(self._threads):
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
        loop = asyncio.get_running_loop()
        job = _Job(steps, loop=loop, future=loop.create_future())
        self._queue.put(job)
        return cast("asyncio.Future[T]", job.future)

    def close(self) -> None:
        """Run what waits to its end, and no more."""
        for _ in range(self._threads):
            self._queue.put(None)

    def _work(self) -> None:
        going: list[_Job] = []
        open_ = True
        while going or open_:
            try:
                while open_ and (came := self._queue.get(block=not going)):
                    going.append(came)
                open_ = False
            except queue.Empty:
                pass
            for job in going:
                job.step()
            settle([job for job in going if job.done])
            going = [job for job in going if not job.done]
            _sync(going)


def _sync(jobs: list[_Job]) -> None:
    done: dict[int | str, Exception | None] = {}
    for job in jobs:
        for wanted in job.wanted:
            if wanted not in done:
                done[wanted] = _synced(wanted)
            job.failed = job.failed or done[wanted]


def _synced(wanted: int | str) -> Exception | None:
    try:
        if isinstance(wanted, int):
            os.fdatasync(wanted)
        else:
            sync_folder(wanted)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told to who wanted it: the thread goes on for others
        return error
    return None
