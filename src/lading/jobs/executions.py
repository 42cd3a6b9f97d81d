"""What the tables say of jobs, for people: lists, one with its log, figures; and the end of what nobody will ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy import Boolean, bindparam, func, or_, select, text

from lading.jobs.kinds import Task
from lading.stores.metadata.paging import Field, Listing, Match, Page
from lading.stores.metadata.schema.work import job_lines, jobs
from lading.stores.metadata.transaction import Metadata, Row, Statement, Transaction

STATES = ("waiting", "running", "done", "failed", "cancelled")

_PAGE = 500

_COLUMNS = (
    jobs.c.id,
    jobs.c.kind,
    jobs.c.key,
    jobs.c.state,
    jobs.c.priority,
    jobs.c.payload,
    jobs.c.attempts,
    jobs.c.holder,
    jobs.c.created_at,
    jobs.c.not_before,
    jobs.c.began_at,
    jobs.c.ended_at,
    jobs.c.cancelling,
    jobs.c.done,
    jobs.c.total,
    jobs.c.message,
    jobs.c.result,
    jobs.c.error,
)
_ONE = Statement(select(*_COLUMNS).where(jobs.c.id == bindparam("job")))
_NEWEST = Statement(
    select(*_COLUMNS)
    .where(
        or_(bindparam("any_kind", type_=Boolean), jobs.c.kind == bindparam("of_kind")),
        or_(bindparam("any_state", type_=Boolean), jobs.c.state == bindparam("in_state")),
        jobs.c.id < bindparam("before"),
    )
    .order_by(jobs.c.id.desc())
    .limit(bindparam("most"))
)
_LISTED = Listing(
    select(*_COLUMNS),
    {
        "id": Field(jobs.c.id, "number"),
        "kind": Field(jobs.c.kind),
        "state": Field(jobs.c.state),
        "creation_time": Field(jobs.c.created_at, "moment"),
        "update_time": Field(func.coalesce(jobs.c.ended_at, jobs.c.began_at, jobs.c.created_at), "moment"),
    },
    (jobs.c.id.desc(),),
)
_LINES = Statement(
    select(job_lines.c.at, job_lines.c.line).where(job_lines.c.job_id == bindparam("job")).order_by(job_lines.c.id)
)
_COUNTS = Statement(
    select(jobs.c.kind, jobs.c.state, func.count()).where(jobs.c.ended_at.is_(None)).group_by(jobs.c.kind, jobs.c.state)
)
_TOO_MANY = Statement(
    select(jobs.c.ended_at)
    .where(jobs.c.ended_at.is_not(None))
    .order_by(jobs.c.ended_at.desc())
    .limit(1)
    .offset(bindparam("keep"))
)
_FORGET = Statement(
    text(
        "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE ended_at IS NOT NULL AND ended_at <= :until"
        " ORDER BY ended_at LIMIT :most)"
    )
)


class Execution(msgspec.Struct, frozen=True):
    """A job as it stands. Times in milliseconds since 1970; ``state`` is one of :data:`STATES`.

    ``process`` has it, or had it last; ``next_at`` is when a job that waits may begin; ``began_at`` is of the last
    attempt. ``error`` is that of the last attempt which failed.
    """

    id: int
    kind: str
    key: str | None
    state: str
    priority: int
    payload: Any
    attempts: int
    process: str | None
    created_at: int
    next_at: int | None
    began_at: int | None
    ended_at: int | None
    cancelling: bool
    done: int
    total: int | None
    message: str
    result: Any
    error: str

    @property
    def ended(self) -> bool:
        """Whether it is done, failed or cancelled."""
        return self.ended_at is not None


class Line(msgspec.Struct, frozen=True):
    """A line of a job's log; ``at`` in milliseconds since 1970."""

    at: int
    line: str


class Executions:
    """What became of jobs, in one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def one(self, job: int) -> Execution | None:
        """One job."""
        row = await self._tx.row(_ONE, job=job)
        return _execution(row) if row else None

    async def newest(self, limit: int, *, kind: str = "", state: str = "", before: int = 2**62) -> Sequence[Execution]:
        """The newest jobs first, those with an id below ``before``; empty words mean any."""
        rows = await self._tx.rows(
            _NEWEST, any_kind=not kind, of_kind=kind, any_state=not state, in_state=state, before=before, most=limit
        )
        return [_execution(row) for row in rows]

    async def listed(self, kind: str, page: Page) -> tuple[int, Sequence[Execution]]:
        """How many jobs of a kind fit, and a page of them."""
        total, rows = await _LISTED.page(self._tx, replace(page, where=(*page.where, Match("kind", "is", (kind,)))))
        return total, [_execution(row) for row in rows]

    async def lines(self, job: int) -> Sequence[Line]:
        """A job's log, the oldest line first."""
        return [Line(at, line) for at, line in await self._tx.rows(_LINES, job=job)]

    async def counts(self) -> Mapping[tuple[str, str], int]:
        """How many jobs wait and run, by kind and state."""
        return {(kind, state): count for kind, state, count in await self._tx.rows(_COUNTS)}


class History:
    """Forgets jobs that ended longer ago than ``age``, and the oldest beyond ``keep``, with their logs."""

    def __init__(self, metadata: Metadata, *, age: timedelta, keep: int) -> None:
        self._metadata = metadata
        self._age = int(age.total_seconds() * 1000)
        self._keep = keep

    async def prune(self, task: Task) -> Mapping[str, int]:
        """The job: forget what is due."""
        forgotten = 0
        while True:
            gone = await self._metadata.write(self._forget, durable=False)
            forgotten += gone
            task.progress(forgotten)
            if gone < _PAGE:
                return {"forgotten": forgotten}

    async def _forget(self, tx: Transaction) -> int:
        until = max(tx.now - self._age, await tx.value(_TOO_MANY, keep=self._keep) or 0)
        return await tx.execute(_FORGET, until=until, most=_PAGE)


def _execution(row: Row) -> Execution:
    (job, kind, key, state, priority, payload, attempts, holder, created_at, not_before, began_at, ended_at) = row[:12]
    cancelling, done, total, message, result, error = row[12:]
    return Execution(
        id=job,
        kind=kind,
        key=key,
        state=state,
        priority=priority,
        payload=msgspec.json.decode(payload),
        attempts=attempts,
        process=holder.rpartition("#")[0] if holder else None,
        created_at=created_at,
        next_at=not_before if state == "waiting" else None,
        began_at=began_at,
        ended_at=ended_at,
        cancelling=bool(cancelling),
        done=done,
        total=total,
        message=message,
        result=None if result is None else msgspec.json.decode(result),
        error=error,
    )
