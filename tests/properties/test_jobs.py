"""The queue against a model: never two holders of a job, and each ends in one state for good or waits."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lading.jobs.executions import Execution, Executions
from lading.jobs.kinds import Claim, Kind, Task
from lading.jobs.queue import JobQueue, State
from lading.stores.metadata.engine import open_index
from tests.unit.jobs.timed import Timed

T = TypeVar("T")

LEASE = 1000
PROCESSES = (0, 1)


async def nothing(task: Task) -> None:
    """Work that does nothing."""


KINDS = {"a": Kind(nothing, lease=LEASE / 1000)}


@dataclass
class Model:
    """What a job must be."""

    key: str | None
    priority: int
    not_before: int
    state: str = "waiting"
    attempts: int = 0
    lease_until: int = 0
    cancelling: bool = False
    holder: Claim | None = None


class Machine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp(prefix="lading-jobs-"))
        self.indexes = [open_index(f"sqlite:///{self.root / 'index.sqlite'}") for _ in PROCESSES]
        first = Timed(self.indexes[0])
        self.clock = first.clock
        self.queues = [JobQueue(first.metadata, "0"), JobQueue(Timed(self.indexes[1], self.clock).metadata, "1")]
        self.model: dict[int, Model] = {}
        self.claims: list[tuple[int, Claim]] = []

    def teardown(self) -> None:
        if hasattr(self, "indexes"):
            for index in self.indexes:
                self.do(index.close())
            self.loop.close()
            shutil.rmtree(self.root)

    def do(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self.loop.run_until_complete(wait())

    @property
    def now(self) -> int:
        return self.clock.milliseconds

    def held(self, claim: Claim) -> Model | None:
        """The job a claim is of, while it is this claim's."""
        job = self.model[claim.job]
        return job if job.state == "running" and job.holder == claim else None

    @rule(key=st.sampled_from(["x", "y", None]), priority=st.integers(0, 2), later=st.sampled_from([0, 0, 500, 3000]))
    def enqueue(self, key: str | None, priority: int, later: int) -> None:
        queue = self.queues[0]
        not_before = self.now + later
        made = self.do(
            queue.metadata.write(lambda tx: queue.enqueue(tx, "a", key=key, priority=priority, not_before=not_before))
        )
        active = [n for n, job in self.model.items() if key and job.key == key and job.state in ("waiting", "running")]
        assert made.new == (not active)
        if active:
            assert made.job == active[0]
        else:
            assert made.job not in self.model
            self.model[made.job] = Model(key, priority, not_before)

    @rule(process=st.sampled_from(PROCESSES))
    def claim(self, process: int) -> None:
        for job in self.model.values():  # whoever claims first sets free what ran out
            if job.state == "running" and job.lease_until < self.now:
                job.state, job.holder = ("cancelled" if job.cancelling else "waiting"), None
                job.not_before = self.now
        due = {n: job for n, job in self.model.items() if job.state == "waiting" and job.not_before <= self.now}
        claim = self.do(self.queues[process].claim(KINDS))
        assert (claim is None) == (not due)
        if claim is None:
            return
        assert claim.job == min(due, key=lambda n: (-due[n].priority, due[n].not_before, n))
        job = due[claim.job]
        assert job.holder is None, "never two holders at once"
        job.state, job.holder, job.attempts, job.lease_until = "running", claim, job.attempts + 1, self.now + LEASE
        assert claim.attempt == job.attempts
        self.claims.append((process, claim))

    def some(self, choice: int) -> tuple[JobQueue, Claim] | None:
        """A claim that was ever made, perhaps long lost."""
        if not self.claims:
            return None
        process, claim = self.claims[choice % len(self.claims)]
        return self.queues[process], claim

    @rule(choice=st.integers(0, 50))
    def beat(self, choice: int) -> None:
        if (found := self.some(choice)) is None:
            return
        queue, claim = found
        told = self.do(queue.beat(claim, LEASE / 1000, State()))
        job = self.held(claim)
        assert told.held == (job is not None)
        if job is not None:
            assert told.cancelling == job.cancelling
            job.lease_until = self.now + LEASE

    @rule(choice=st.integers(0, 50), how=st.sampled_from(["done", "failed", "cancelled", "again", "give back"]))
    def end(self, choice: int, how: str) -> None:
        if (found := self.some(choice)) is None:
            return
        queue, claim = found
        ending = {
            "done": lambda: queue.finish(claim, State()),
            "failed": lambda: queue.fail(claim, State(), "no"),
            "cancelled": lambda: queue.cancelled(claim, State()),
            "again": lambda: queue.fail(claim, State(), "no", retry=0.5),
            "give back": lambda: queue.give_back(claim, State()),
        }
        job = self.held(claim)
        assert self.do(ending[how]()) == (job is not None)
        if job is None:
            return
        job.holder = None
        if how in ("again", "give back"):
            job.state = "cancelled" if job.cancelling else "waiting"
            job.not_before = self.now + (500 if how == "again" else 0)
            job.attempts -= how == "give back" and not job.cancelling
        else:
            job.state = how

    @rule(choice=st.integers(0, 50), process=st.sampled_from(PROCESSES))
    def cancel(self, choice: int, process: int) -> None:
        if not self.model:
            return
        number = list(self.model)[choice % len(self.model)]
        job, queue = self.model[number], self.queues[process]
        assert self.do(queue.metadata.write(lambda tx: queue.cancel(tx, number))) == job.state
        if job.state == "waiting":
            job.state = "cancelled"
        elif job.state == "running":
            job.cancelling = True

    @rule(milliseconds=st.sampled_from([1, 400, LEASE, LEASE + 1, 5000]))
    def time_passes(self, milliseconds: int) -> None:
        self.clock.pass_by(milliseconds)

    @rule(process=st.sampled_from(PROCESSES), choice=st.integers(0, 50))
    def a_process_goes_silent_and_comes_back(self, process: int, choice: int) -> None:
        self.clock.pass_by(LEASE + 1)
        self.claim(process)
        self.beat(choice)

    @invariant()
    def the_index_says_the_same(self) -> None:
        if not hasattr(self, "queues"):
            return
        found: Sequence[Execution] = self.do(self.queues[1].metadata.read(lambda tx: Executions(tx).newest(10_000)))
        told = {e.id: (e.state, e.attempts, e.key, e.ended) for e in found}
        ended = ("done", "failed", "cancelled")
        assert told == {n: (j.state, j.attempts, j.key, j.state in ended) for n, j in self.model.items()}


TestJobs = Machine.TestCase
