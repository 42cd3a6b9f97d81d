"""The queue: jobs are rows, enqueued in the transaction of what causes them and claimed under a lease.

::

    enqueue ──> waiting ──claim──> running ──finish──> done | failed | cancelled
                   ^ ^                │ │
                   │ └── give_back, ──┘ │
                   │     retry          │
                   └── its lease ran out┘

A claim has a *holder* of its own, and whatever is done with the job names it: a process that went silent and whose job
was taken over changes nothing any more. All times are the database's, so processes need not agree about theirs.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import BigInteger, ColumnElement, bindparam, case, false, literal_column, or_, select, text, update

from lading.jobs.kinds import MOST_LINE, Claim, Kind
from lading.stores.metadata.schema.work import jobs
from lading.stores.metadata.transaction import Metadata, Statement, Transaction

MOST_LINES = 1000
"""How many lines of a job's log are kept, the newest."""

_WAITING: ColumnElement[str] = literal_column("'waiting'")
_RUNNING: ColumnElement[str] = literal_column("'running'")

_ENQUEUE = Statement(
    text(
        "INSERT INTO jobs (kind, key, state, priority, payload, created_at, not_before, attempts, cancelling, done,"
        " message, error) VALUES (:kind, :key, 'waiting', :priority, :payload, :now, :not_before, 0, false, 0, '', '')"
        " ON CONFLICT (key) WHERE ended_at IS NULL DO NOTHING RETURNING id"
    )
)
_HOLDS_KEY = Statement(select(jobs.c.id).where(jobs.c.key == bindparam("of"), jobs.c.ended_at.is_(None)))
_HASTEN = Statement(
    text("UPDATE jobs SET not_before = :now WHERE id = :job AND state = 'waiting' AND not_before > :now")
)
_EXPIRED = Statement(
    text(
        "UPDATE jobs SET state = 'waiting', not_before = :now, error = :error"
        " WHERE state = 'running' AND lease_until < :now RETURNING id"
    )
)
_EXPIRED_CANCELLED = Statement(
    text(
        "UPDATE jobs SET state = 'cancelled', ended_at = :now WHERE state = 'running' AND lease_until < :now"
        " AND cancelling"
    )
)
_ANY_EXPIRED = Statement(
    select(jobs.c.id).where(jobs.c.state == _RUNNING, jobs.c.lease_until < bindparam("now")).limit(1)
)
_BEAT = Statement(
    text(
        "UPDATE jobs SET lease_until = :lease_until, done = :done, total = :total, message = :message"
        " WHERE id = :job AND holder = :holder AND state = 'running' RETURNING cancelling"
    )
)
_HELD = Statement(
    select(jobs.c.cancelling)
    .where(jobs.c.id == bindparam("job"), jobs.c.holder == bindparam("by"), jobs.c.state == _RUNNING)
    .with_for_update()
)
_END = Statement(
    text(
        "UPDATE jobs SET state = :state, ended_at = :now, result = :result, error = :error, done = :done,"
        " total = :total, message = :message WHERE id = :job"
    )
)
_AGAIN = Statement(
    text(
        "UPDATE jobs SET state = 'waiting', not_before = :not_before, error = :error, done = :done, total = :total,"
        " message = :message WHERE id = :job"
    )
)
_GIVE_BACK = Statement(text("UPDATE jobs SET state = 'waiting', attempts = attempts - 1 WHERE id = :job"))
_CANCEL_WAITING = Statement(
    text("UPDATE jobs SET state = 'cancelled', ended_at = :now WHERE id = :job AND state = 'waiting'")
)
_CANCEL_RUNNING = Statement(text("UPDATE jobs SET cancelling = true WHERE id = :job AND state = 'running'"))
_STATE = Statement(select(jobs.c.state).where(jobs.c.id == bindparam("job")))
_WRITE_LINE = Statement(text("INSERT INTO job_lines (job_id, at, line) VALUES (:job, :at, :line)"))
_TRIM_LINES = Statement(
    text(
        "DELETE FROM job_lines WHERE job_id = :job AND id <= (SELECT id FROM job_lines WHERE job_id = :job"
        " ORDER BY id DESC LIMIT 1 OFFSET :most)"
    )
)


class Enqueued(NamedTuple):
    """The job that will do it; not ``new`` when one with the same key was there."""

    job: int
    new: bool


@dataclass(frozen=True)
class Told:
    """What a heartbeat brings back: whether the job is still ``held``, and whether somebody wants it to end."""

    held: bool
    cancelling: bool = False


@dataclass(frozen=True)
class State:
    """How far a job is: ``done`` of ``total``; new ``lines`` of its log."""

    done: int = 0
    total: int | None = None
    message: str = ""
    lines: Sequence[str] = ()


class JobQueue:
    """The queue as one process sees it; ``process`` is a name no other process has."""

    def __init__(self, metadata: Metadata, process: str) -> None:
        self.metadata = metadata
        self.process = process
        self.on_enqueued: Callable[[], None] = lambda: None
        """Called whenever this process enqueues, before it commits, on any thread."""
        self._claims = itertools.count(1)
        self._claiming: dict[frozenset[str], _Claiming] = {}

    # ---- for those who want something done

    async def enqueue(
        self,
        tx: Transaction,
        kind: str,
        payload: Any = None,
        *,
        key: str | None = None,
        priority: int = 0,
        not_before: int = 0,
    ) -> Enqueued:
        """Have a job done once ``tx`` commits; ``payload`` becomes JSON. The larger ``priority`` goes first.

        A ``key`` is held until its job has ended: who asks for the same meanwhile gets the same job, also while it
        runs. ``not_before`` in milliseconds since 1970.
        """
        self.on_enqueued()
        body = msgspec.json.encode(payload).decode()
        while True:
            made = await tx.rows(
                _ENQUEUE,
                kind=kind,
                key=key,
                priority=priority,
                payload=body,
                now=tx.now,
                not_before=max(not_before, tx.now),
            )
            if made:
                return Enqueued(int(made[0][0]), new=True)
            there = await tx.value(_HOLDS_KEY, of=key)
            if there is not None:  # else it ended this very moment
                return Enqueued(int(there), new=False)

    async def hasten(self, tx: Transaction, job: int) -> bool:
        """Let a job that waits for its time begin at once; whether it did wait."""
        self.on_enqueued()
        return bool(await tx.execute(_HASTEN, job=job, now=tx.now))

    async def cancel(self, tx: Transaction, job: int) -> str | None:
        """End a job: one that waits at once, one that runs when its process hears of it. Its state before; or None."""
        if await tx.execute(_CANCEL_WAITING, job=job, now=tx.now):
            return "waiting"
        await tx.execute(_CANCEL_RUNNING, job=job)
        found = await tx.value(_STATE, job=job)
        return None if found is None else str(found)

    # ---- for those who do it

    async def anything(self, kinds: Mapping[str, Kind]) -> bool:
        """Whether there may be something to claim: cheap, and changes nothing."""
        if not kinds:
            return False
        look = self._of(kinds).look

        async def read(tx: Transaction) -> bool:
            now = tx.now
            return (await tx.row(look, now=now) or await tx.row(_ANY_EXPIRED, now=now)) is not None

        return await self.metadata.read(read)

    async def claim(self, kinds: Mapping[str, Kind]) -> Claim | None:
        """The next job of these kinds, now this process's for the kind's lease; None when there is none."""
        if not kinds:
            return None
        statement = self._of(kinds).claim
        holder = f"{self.process}#{next(self._claims)}"

        async def claim(tx: Transaction) -> Claim | None:
            now = tx.now
            await tx.execute(_EXPIRED_CANCELLED, now=now)
            for (job,) in await tx.rows(_EXPIRED, now=now, error="the process that ran it went silent"):
                await _write_lines(tx, job, ["the process that ran it went silent; it waits for another"])
            rows = await tx.rows(statement, by=holder, now=now)
            if not rows:
                return None
            job, kind, payload, attempt = rows[0]
            await _write_lines(tx, job, [f"attempt {attempt} begins on {self.process}"])
            return Claim(job, kind, msgspec.json.decode(payload), attempt, holder)

        return await self.metadata.write(claim, durable=False)

    async def beat(self, claim: Claim, lease: float, state: State) -> Told:
        """Say that the process is alive, for ``lease`` more seconds, and how far the job is."""

        async def beat(tx: Transaction) -> Told:
            rows = await tx.rows(
                _BEAT,
                job=claim.job,
                holder=claim.holder,
                lease_until=tx.now + int(lease * 1000),
                done=state.done,
                total=state.total,
                message=state.message,
            )
            if not rows:
                return Told(held=False)
            await _write_lines(tx, claim.job, state.lines)
            await _trim_lines(tx, claim.job, state.lines)
            return Told(held=True, cancelling=bool(rows[0][0]))

        return await self.metadata.write(beat, durable=False)

    async def finish(self, claim: Claim, state: State, result: Any = None) -> bool:
        """It is done. False, and nothing changed, when the job is no longer this claim's; so with the next three."""
        encoded = None if result is None else msgspec.json.encode(result, enc_hook=str).decode()
        return await self._end(claim, state, "done", result=encoded)

    async def cancelled(self, claim: Claim, state: State) -> bool:
        """It ended because somebody wanted it to."""
        return await self._end(claim, state, "cancelled", error="cancelled while it ran")

    async def fail(self, claim: Claim, state: State, error: str, retry: float | None = None) -> bool:
        """It failed; ``retry`` after so many seconds, unless somebody wanted it to end. None: for good."""
        if retry is None:
            return await self._end(claim, state, "failed", error=error)

        async def again(tx: Transaction) -> None:
            await tx.execute(
                _AGAIN,
                job=claim.job,
                not_before=tx.now + int(retry * 1000),
                error=error[:MOST_LINE],
                done=state.done,
                total=state.total,
                message=state.message,
            )
            await _write_lines(tx, claim.job, [*state.lines, f"{error}; tried again in {retry:.0f} s"])
            await _trim_lines(tx, claim.job, [error])

        return await self._unless_cancelled(claim, state, again, error)

    async def give_back(self, claim: Claim, state: State) -> bool:
        """Leave it to another process, as if it had not been tried."""

        async def give_back(tx: Transaction) -> None:
            await tx.execute(_GIVE_BACK, job=claim.job)
            await _write_lines(tx, claim.job, [*state.lines, "given back: the process stops"])

        return await self._unless_cancelled(claim, state, give_back)

    async def _end(
        self, claim: Claim, state: State, ending: str, *, result: str | None = None, error: str = ""
    ) -> bool:
        async def end(tx: Transaction) -> bool:
            if not await tx.rows(_HELD, job=claim.job, by=claim.holder):
                return False
            await _end(tx, claim, state, ending, result, error)
            return True

        return await self.metadata.write(end)

    async def _unless_cancelled(
        self, claim: Claim, state: State, work: Callable[[Transaction], Awaitable[None]], error: str = ""
    ) -> bool:
        """Have the job wait again, by ``work``; it ends instead when somebody wanted it to."""

        async def wait(tx: Transaction) -> bool:
            rows = await tx.rows(_HELD, job=claim.job, by=claim.holder)
            if not rows:
                return False
            if rows[0][0]:
                await _end(tx, claim, state, "cancelled", None, error)
            else:
                await work(tx)
            return True

        return await self.metadata.write(wait)

    def _of(self, kinds: Mapping[str, Kind]) -> _Claiming:
        names = frozenset(kinds)
        if names not in self._claiming:
            self._claiming[names] = _Claiming(kinds)
        return self._claiming[names]


class _Claiming:
    """The statements that look for, and take, a job of some kinds."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        inner = jobs.alias("candidates")
        candidates = (
            select(inner.c.id)
            .where(inner.c.state == _WAITING, inner.c.not_before <= bindparam("now"), _one_of(inner.c.kind, kinds))
            .order_by(inner.c.priority.desc(), inner.c.not_before, inner.c.id)
            .limit(1)
        )
        leases = case(*((jobs.c.kind == name, int(kind.lease * 1000)) for name, kind in kinds.items()), else_=0)
        self.look = Statement(candidates)
        self.claim = Statement(
            update(jobs)
            .where(jobs.c.id == candidates.with_for_update(skip_locked=True).scalar_subquery())
            .values(
                state="running",
                holder=bindparam("by"),
                attempts=jobs.c.attempts + 1,
                began_at=bindparam("now"),
                lease_until=bindparam("now", type_=BigInteger) + leases,
            )
            .returning(jobs.c.id, jobs.c.kind, jobs.c.payload, jobs.c.attempts)
        )


def _one_of(column: ColumnElement[str], names: Collection[str]) -> ColumnElement[bool]:
    # not IN: its list is only written out when it is executed, and these statements are compiled once
    return or_(false(), *(column == name for name in sorted(names)))


async def _end(tx: Transaction, claim: Claim, state: State, ending: str, result: str | None, error: str) -> None:
    await tx.execute(
        _END,
        job=claim.job,
        state=ending,
        now=tx.now,
        result=result,
        error=error[:MOST_LINE],
        done=state.done,
        total=state.total,
        message=state.message,
    )
    await _write_lines(tx, claim.job, [*state.lines, f"{ending}: {error}" if error else ending])
    await _trim_lines(tx, claim.job, state.lines[10:])


async def _write_lines(tx: Transaction, job: int, lines: Sequence[str]) -> None:
    if lines:
        at = tx.now
        await tx.execute_many(_WRITE_LINE, [{"job": job, "at": at, "line": line[:MOST_LINE]} for line in lines])


async def _trim_lines(tx: Transaction, job: int, written: Sequence[str]) -> None:
    """Keep the log bounded; what only begins and ends, and says little, is spared the look."""
    if written:
        await tx.execute(_TRIM_LINES, job=job, most=MOST_LINES)
