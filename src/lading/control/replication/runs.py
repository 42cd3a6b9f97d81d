"""Runs of a policy, which Harbor calls executions, and their tasks: one for each repository.

The runs of a policy are done one after the other, so that an older state is never brought after a newer one: only the
first that has not ended has a job. What happens meanwhile is added to the run that waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import bindparam, delete, func, insert, select, text, update

from lading.control.replication.policies import EVENT, Policies, Policy
from lading.jobs.queue import JobQueue
from lading.stores.metadata.paging import Field, Listing, Page
from lading.stores.metadata.schema.replication import replication_runs as runs
from lading.stores.metadata.schema.replication import replication_tasks as tasks
from lading.stores.metadata.schema.work import jobs
from lading.stores.metadata.transaction import Row, Statement, Transaction

JOB = "replicate"
PENDING, RUNNING, DONE, FAILED, STOPPED = "Pending", "InProgress", "Succeed", "Failed", "Stopped"
"""States, by Harbor's words; a run is never pending."""
COPY, DELETION = "copy", "deletion"
MOST_LOG = 64 << 10
_MOST_TAGS = 1000


@dataclass(frozen=True)
class Run:
    """A run. ``told`` says more of its state; ``planned``: it has all its tasks. Times in milliseconds."""

    id: int
    policy: int
    cause: str
    state: str
    told: str
    planned: bool
    job: int | None
    began_at: int
    ended_at: int | None


@dataclass(frozen=True)
class Task:
    """What is done to one repository. ``tags`` empty: those that the policy takes."""

    id: int
    run: int
    action: str
    kind: str
    source: str
    target: str
    tags: tuple[str, ...]
    state: str
    attempts: int
    began_at: int
    ended_at: int | None


@dataclass(frozen=True)
class Planned:
    """A task to be."""

    action: str
    kind: str
    source: str
    target: str
    tags: tuple[str, ...] = ()


_run_columns = (
    runs.c.id,
    runs.c.policy_id,
    runs.c.cause,
    runs.c.state,
    runs.c.told,
    runs.c.planned,
    runs.c.job_id,
    runs.c.began_at,
    runs.c.ended_at,
)
_task_columns = (
    tasks.c.id,
    tasks.c.run_id,
    tasks.c.action,
    tasks.c.kind,
    tasks.c.source,
    tasks.c.target,
    tasks.c.tags,
    tasks.c.state,
    tasks.c.attempts,
    tasks.c.began_at,
    tasks.c.ended_at,
)
_RUN = Statement(select(*_run_columns).where(runs.c.id == bindparam("id")))
_TASK = Statement(select(*_task_columns).where(tasks.c.id == bindparam("id")))
_LOG = Statement(select(tasks.c.log).where(tasks.c.id == bindparam("id")))
_OPEN = Statement(
    select(*_run_columns).where(runs.c.policy_id == bindparam("policy"), runs.c.ended_at.is_(None)).order_by(runs.c.id)
)
_OPEN_POLICIES = Statement(select(runs.c.policy_id).where(runs.c.ended_at.is_(None)).distinct())
_OPEN_TASKS = Statement(
    select(*_task_columns).where(tasks.c.run_id == bindparam("run"), tasks.c.ended_at.is_(None)).order_by(tasks.c.id)
)
_JOB_OPEN = Statement(select(jobs.c.id).where(jobs.c.id == bindparam("job"), jobs.c.ended_at.is_(None)))
_ADD = Statement(
    text(
        "INSERT INTO replication_runs (policy_id, cause, state, told, planned, began_at, ended_at)"
        " VALUES (:policy, :cause, :state, :told, :planned, :now, :ended_at) RETURNING id"
    )
)
_GIVE_JOB = Statement(update(runs).where(runs.c.id == bindparam("run")).values(job_id=bindparam("job")))
_TELL = Statement(
    update(runs).where(runs.c.id == bindparam("run"), runs.c.ended_at.is_(None)).values(told=bindparam("words"))
)
_END = Statement(
    update(runs)
    .where(runs.c.id == bindparam("run"), runs.c.ended_at.is_(None))
    .values(state=bindparam("new_state"), told=bindparam("words"), ended_at=bindparam("now"))
)
_END_TASKS = Statement(
    update(tasks)
    .where(tasks.c.run_id == bindparam("run"), tasks.c.ended_at.is_(None))
    .values(state=bindparam("new_state"), ended_at=bindparam("now"))
)
_PLANNED = Statement(update(runs).where(runs.c.id == bindparam("run")).values(planned=True))
_ADD_TASK = Statement(
    insert(tasks).values(
        run_id=bindparam("run"),
        action=bindparam("action"),
        kind=bindparam("kind"),
        source=bindparam("source"),
        target=bindparam("target"),
        tags=bindparam("tags"),
        state=PENDING,
        log="",
        attempts=0,
        began_at=bindparam("now"),
    )
)
_SET_TAGS = Statement(update(tasks).where(tasks.c.id == bindparam("task")).values(tags=bindparam("new_tags")))
_BEGIN_TASK = Statement(
    update(tasks)
    .where(tasks.c.id == bindparam("task"), tasks.c.ended_at.is_(None))
    .values(state=RUNNING, began_at=bindparam("now"), attempts=tasks.c.attempts + 1)
)
_NOTE_TASK = Statement(
    update(tasks)
    .where(tasks.c.id == bindparam("task"), tasks.c.ended_at.is_(None))
    .values(
        state=bindparam("new_state"),
        kind=bindparam("new_kind"),
        log=bindparam("new_log"),
        ended_at=bindparam("end"),
    )
)
_LOG_TASK = Statement(update(tasks).where(tasks.c.id == bindparam("task")).values(log=bindparam("new_log")))
_COUNTS = Statement(
    select(tasks.c.state, func.count()).where(tasks.c.run_id == bindparam("run")).group_by(tasks.c.state)
)
_TOO_MANY = Statement(
    select(runs.c.ended_at)
    .where(runs.c.ended_at.is_not(None))
    .order_by(runs.c.ended_at.desc())
    .limit(1)
    .offset(bindparam("keep"))
)
_FORGET = Statement(delete(runs).where(runs.c.ended_at <= bindparam("until")))
_LISTED = Listing(
    select(*_run_columns),
    {
        "id": Field(runs.c.id, "number"),
        "policy_id": Field(runs.c.policy_id, "number"),
        "trigger": Field(runs.c.cause),
        "status": Field(runs.c.state),
        "start_time": Field(runs.c.began_at, "moment"),
        "end_time": Field(runs.c.ended_at, "moment"),
    },
    (runs.c.id.desc(),),
)
_LISTED_TASKS = Listing(
    select(*_task_columns).where(tasks.c.run_id == bindparam("run")),
    {
        "id": Field(tasks.c.id, "number"),
        "status": Field(tasks.c.state),
        "operation": Field(tasks.c.action),
        "resource_type": Field(tasks.c.kind),
        "src_resource": Field(tasks.c.source),
        "dst_resource": Field(tasks.c.target),
        "start_time": Field(tasks.c.began_at, "moment"),
        "end_time": Field(tasks.c.ended_at, "moment"),
    },
    (tasks.c.id,),
)


class Runs:
    """The runs, in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def find(self, run: int) -> Run | None:
        """The run of that id."""
        row = await self._tx.row(_RUN, id=run)
        return _run(row) if row else None

    async def task(self, task: int) -> Task | None:
        """The task of that id."""
        row = await self._tx.row(_TASK, id=task)
        return _task(row) if row else None

    async def log(self, task: int) -> str:
        """What a task wrote down, its newest lines."""
        return str(await self._tx.value(_LOG, id=task) or "")

    async def listed(self, page: Page) -> tuple[int, Sequence[Run]]:
        """How many runs fit, and a page of them, the newest first."""
        total, rows = await _LISTED.page(self._tx, page)
        return total, [_run(row) for row in rows]

    async def tasks(self, run: int, page: Page) -> tuple[int, Sequence[Task]]:
        """How many tasks of a run fit, and a page of them."""
        total, rows = await _LISTED_TASKS.page(self._tx, page, run=run)
        return total, [_task(row) for row in rows]

    async def counts(self, run: int) -> Mapping[str, int]:
        """How many tasks are in which state."""
        return dict(await self._tx.rows(_COUNTS, run=run))

    async def under_way(self, policy: int) -> bool:
        """Whether a run of a policy has not ended."""
        return bool(await self._tx.rows(_OPEN, policy=policy))

    # ---- begin

    async def start(self, policy: Policy, cause: str, queue: JobQueue, planned: Sequence[Planned] = ()) -> int:
        """Have a policy done, or what is ``planned`` of it; the run's id. It waits for those before it."""
        await Policies(self._tx).hold(policy.id)
        await self.settle(policy.id, queue)
        waiting = await self._tx.rows(_OPEN, policy=policy.id)
        if policy.terms.single and waiting and cause != EVENT:
            return await self._add(policy.id, cause, STOPPED, f"skipped: execution {waiting[0][0]} has not ended")
        run = await self._add(policy.id, cause, RUNNING, "", planned=bool(planned))
        await self.plan(run, planned)
        await self._next(policy.id, queue)
        return run

    async def happened(self, policy: Policy, one: Planned, queue: JobQueue) -> None:
        """Have something done that an event asks for: with others, if a run waits for its turn."""
        await Policies(self._tx).hold(policy.id)
        open_runs = [_run(row) for row in await self._tx.rows(_OPEN, policy=policy.id)]
        waiting = next((run for run in open_runs if run.job is None and run.cause == EVENT), None)
        if waiting is None:
            await self.start(policy, EVENT, queue, [one])
            return
        for there in await self.open_tasks(waiting.id):
            if (there.action, there.source) == (one.action, one.source) and len(there.tags) < _MOST_TAGS:
                tags = tuple(dict.fromkeys((*there.tags, *one.tags)))
                await self._tx.execute(_SET_TAGS, task=there.id, new_tags=_encoded(tags))
                return
        await self.plan(waiting.id, [one])

    async def plan(self, run: int, planned: Sequence[Planned], *, whole: bool = False) -> None:
        """Add tasks to a run; ``whole``: those are all."""
        rows = [
            {
                "run": run,
                "action": one.action,
                "kind": one.kind,
                "source": one.source,
                "target": one.target,
                "tags": _encoded(one.tags),
                "now": self._tx.now,
            }
            for one in planned
        ]
        if rows:
            await self._tx.execute_many(_ADD_TASK, rows)
        if whole:
            await self._tx.execute(_PLANNED, run=run)

    # ---- while it goes on

    async def open_tasks(self, run: int) -> Sequence[Task]:
        """The tasks of a run that have not ended."""
        return [_task(row) for row in await self._tx.rows(_OPEN_TASKS, run=run)]

    async def tell(self, run: int, words: str) -> None:
        """Say more of a run that has not ended."""
        await self._tx.execute(_TELL, run=run, words=words[:2000])

    async def begin(self, task: int) -> bool:
        """Begin a task, unless it was stopped."""
        return bool(await self._tx.execute(_BEGIN_TASK, task=task, now=self._tx.now))

    async def note(self, task: Task, state: str, kind: str, lines: str) -> None:
        """Say how far a task is, unless it was stopped; ``lines`` go to the end of its log."""
        end = None if state in (PENDING, RUNNING) else self._tx.now
        log = (await self.log(task.id) + lines)[-MOST_LOG:]
        await self._tx.execute(_NOTE_TASK, task=task.id, new_state=state, new_kind=kind, new_log=log, end=end)

    async def tell_task(self, task: Task, lines: str) -> None:
        """Put lines to the end of a task's log."""
        await self._tx.execute(_LOG_TASK, task=task.id, new_log=(await self.log(task.id) + lines)[-MOST_LOG:])

    # ---- end

    async def end(self, run: Run, state: str, words: str, queue: JobQueue) -> None:
        """End a run and what is left of it, and let the next one of its policy begin."""
        await Policies(self._tx).hold(run.policy)
        await self._end(run.id, state, words)
        await self._next(run.policy, queue)

    async def stop(self, run: Run, queue: JobQueue) -> None:
        """End a run because somebody wants it to."""
        if run.job is not None and run.ended_at is None:
            await queue.cancel(self._tx, run.job)
        await self.end(run, STOPPED, "", queue)

    async def settle(self, policy: int, queue: JobQueue) -> None:
        """End runs whose job did not: its process was killed time and again, or somebody cancelled the job alone."""
        for row in await self._tx.rows(_OPEN, policy=policy):
            run = _run(row)
            if run.job is not None and await self._tx.value(_JOB_OPEN, job=run.job) is None:
                await self._end(run.id, FAILED, f"its job {run.job} ended before it was done; begin it again")
        await self._next(policy, queue)

    async def unsettled(self) -> Sequence[int]:
        """The policies of which a run has not ended."""
        return [row[0] for row in await self._tx.rows(_OPEN_POLICIES)]

    async def forget(self, until: int, keep: int) -> int:
        """Delete runs that ended up to a moment, and the oldest beyond ``keep``; how many."""
        oldest = await self._tx.value(_TOO_MANY, keep=keep)
        return await self._tx.execute(_FORGET, until=max(until, oldest or 0))

    async def _add(self, policy: int, cause: str, state: str, words: str, *, planned: bool = True) -> int:
        now = self._tx.now
        ended = None if state == RUNNING else now
        rows = await self._tx.rows(
            _ADD, policy=policy, cause=cause, state=state, told=words, planned=planned, now=now, ended_at=ended
        )
        return int(rows[0][0])

    async def _end(self, run: int, state: str, words: str) -> None:
        await self._tx.execute(_END, run=run, new_state=state, words=words[:2000], now=self._tx.now)
        left = STOPPED if state in (STOPPED, DONE) else FAILED
        await self._tx.execute(_END_TASKS, run=run, new_state=left, now=self._tx.now)

    async def _next(self, policy: int, queue: JobQueue) -> None:
        first = await self._tx.row(_OPEN, policy=policy)
        if first is not None and (run := _run(first)).job is None:
            made = await queue.enqueue(self._tx, JOB, {"run": run.id})
            await self._tx.execute(_GIVE_JOB, run=run.id, job=made.job)


def _encoded(tags: Sequence[str]) -> str:
    return msgspec.json.encode(list(tags)).decode()


def _run(row: Row) -> Run:
    fields = list(row)
    fields[5] = bool(row[5])
    return Run(*fields)


def _task(row: Row) -> Task:
    fields = list(row)
    fields[6] = tuple(msgspec.json.decode(row[6]))
    return Task(*fields)
