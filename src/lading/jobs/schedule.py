"""What is enqueued again and again, by whichever process looks first; what was missed is made up for once.

A *timing* is ``@every 1h30m``, ``@hourly``, ``@daily``, ``@weekly``, ``@monthly``, ``@yearly``, or a cron expression of
five fields or of six, seconds first; all in UTC.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from cronsim import CronSim, CronSimError
from sqlalchemy import bindparam, delete, func, select, text

from lading.config.values import format_duration, parse_duration
from lading.errors import Invalid, Unavailable
from lading.jobs.leases import Leases
from lading.jobs.queue import JobQueue
from lading.stores.metadata.schema.work import schedules
from lading.stores.metadata.transaction import Metadata, Statement, Transaction

log = logging.getLogger(__name__)

_LEASE = "schedules"
_LEASE_SECONDS = 10.0
_POLL_SECONDS = 5.0
_NOT_LEADING_SECONDS = 0.5
_MS = timedelta(milliseconds=1)
_EVERY = "@every "
_WORDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_COLUMNS = (
    schedules.c.name,
    schedules.c.kind,
    schedules.c.payload,
    schedules.c.timing,
    schedules.c.next_at,
    schedules.c.last_at,
    schedules.c.job_id,
    schedules.c.configured,
)
_ALL = Statement(select(*_COLUMNS).order_by(schedules.c.name))
_DUE = Statement(select(*_COLUMNS).where(schedules.c.next_at <= bindparam("now")).order_by(schedules.c.next_at))
_NEXT = Statement(select(func.min(schedules.c.next_at)))
_PUT = Statement(
    text(
        "INSERT INTO schedules (name, kind, payload, timing, next_at, configured)"
        " VALUES (:name, :kind, :payload, :timing, :next_at, :configured)"
        " ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, payload = excluded.payload, timing = excluded.timing,"
        " next_at = excluded.next_at, configured = excluded.configured"
    )
)
_TAKE = Statement(text("UPDATE schedules SET next_at = :next_at, last_at = :now WHERE name = :name AND next_at = :due"))
_NOTE = Statement(text("UPDATE schedules SET job_id = :job WHERE name = :name"))
_REMOVE = Statement(delete(schedules).where(schedules.c.name == bindparam("called")))


@dataclass(frozen=True)
class Schedule:
    """When jobs of a ``kind`` are enqueued. Times in milliseconds since 1970; ``job`` is the last one."""

    name: str
    kind: str
    payload: Any
    timing: str
    next_at: int
    last_at: int | None
    job: int | None
    configured: bool


def every(interval: timedelta) -> str:
    """The timing of something done once an ``interval``."""
    return _EVERY + format_duration(interval)


def following(timing: str, moment: int) -> int:
    """The first time after ``moment`` (milliseconds) that a timing names; ``Invalid`` outside the grammar."""
    if timing.startswith(_EVERY):
        return moment + _interval(timing) // _MS
    try:
        # Harbor takes one for the other
        expression = _WORDS.get(timing, timing).replace("?", "*")
        found = next(CronSim(expression, datetime.fromtimestamp(moment / 1000, UTC)))
    except (CronSimError, StopIteration):
        raise Invalid(
            f"{timing[:100]!r} is no timing; give a cron expression of five fields (minute hour day month weekday) or "
            "of six (second first), @daily and the like, or @every 1h30m"
        ) from None
    return int(found.timestamp() * 1000)


def _interval(timing: str) -> timedelta:
    try:
        interval = parse_duration(timing.removeprefix(_EVERY).strip())
    except ValueError as error:
        raise Invalid(f"{timing[:100]!r} is no timing: {error}; write it as @every 1h30m") from None
    if interval < _MS:
        raise Invalid(f"{timing[:100]!r} is no timing: the interval must be a millisecond or more")
    return interval


class Schedules:
    """What is scheduled, in one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def all(self) -> Sequence[Schedule]:
        """Every schedule, by name."""
        return [_schedule(row) for row in await self._tx.rows(_ALL)]

    async def put(self, name: str, kind: str, timing: str, payload: Any = None, *, configured: bool = False) -> None:
        """Make a schedule, or change it; with another timing it begins anew, else its next run stays."""
        there = {each.name: each for each in await self.all()}.get(name)
        if there and (there.kind, there.payload, there.timing, there.configured) == (kind, payload, timing, configured):
            return
        next_at = there.next_at if there and there.timing == timing else self._first(timing, there)
        await self._tx.execute(
            _PUT,
            name=name,
            kind=kind,
            payload=msgspec.json.encode(payload).decode(),
            timing=timing,
            next_at=next_at,
            configured=configured,
        )

    async def remove(self, name: str) -> None:
        """Take a schedule away; jobs it enqueued stay."""
        await self._tx.execute(_REMOVE, called=name)

    async def configure(self, timings: Mapping[str, str]) -> None:
        """Have exactly these as the configuration's schedules, each of the kind of its name."""
        for there in await self.all():
            if there.configured and there.name not in timings:
                await self.remove(there.name)
        for name, timing in timings.items():
            await self.put(name, name, timing, configured=True)

    async def differ(self, timings: Mapping[str, str]) -> bool:
        """Whether :meth:`configure` has anything to do."""
        return {each.name: each.timing for each in await self.all() if each.configured} != dict(timings)

    async def due(self, queue: JobQueue) -> int:
        """Enqueue what is due, each once however long it has been due; how many."""
        now, count = self._tx.now, 0
        for row in await self._tx.rows(_DUE, now=now):
            schedule = _schedule(row)
            next_at = _next(schedule, now)
            if not await self._tx.execute(_TAKE, name=schedule.name, next_at=next_at, now=now, due=schedule.next_at):
                continue  # another process was first
            made = await queue.enqueue(self._tx, schedule.kind, schedule.payload, key=schedule.name)
            await self._tx.execute(_NOTE, name=schedule.name, job=made.job)
            count += 1
        return count

    async def wait(self) -> float | None:
        """Seconds until something is due, 0 when it is; None where nothing is scheduled."""
        next_at = await self._tx.value(_NEXT)
        return None if next_at is None else max(0.0, (next_at - self._tx.now) / 1000)

    def _first(self, timing: str, there: Schedule | None) -> int:
        # an interval that was changed counts from the last run, so that a restart with another one does not put it off
        begun = there.last_at if there and there.last_at and timing.startswith(_EVERY) else self._tx.now
        return following(timing, begun)


def _next(schedule: Schedule, now: int) -> int:
    on_time = following(schedule.timing, schedule.next_at)
    return on_time if on_time > now else following(schedule.timing, now)


class Scheduler:
    """Looks after the schedules in one process; the holder of a lease acts for all."""

    def __init__(self, metadata: Metadata, queue: JobQueue, leases: Leases, timings: Mapping[str, str]) -> None:
        self._metadata = metadata
        self._queue = queue
        self._leases = leases
        self._timings = timings
        self._leading = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; on the running event loop."""
        self._task = asyncio.create_task(self._keep(), name="schedules")

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._leading:
            await self._leases.give_back(_LEASE)

    async def _keep(self) -> None:
        configured = False
        while True:
            pause = _POLL_SECONDS
            try:
                if not configured:
                    await self._configure()
                    configured = True
                pause = await self._look()
            except Unavailable as error:
                log.warning("the schedules wait: %s", error.message)
            except Exception:
                log.exception("the schedules could not be looked at; it is tried again")
            # a little more, so that processes do not all ask at once
            await asyncio.sleep(pause + random.uniform(0.02, 0.3))  # noqa: S311 - not a secret

    async def _configure(self) -> None:
        if await self._metadata.read(lambda tx: Schedules(tx).differ(self._timings)):  # spares a write
            await self._metadata.write(lambda tx: Schedules(tx).configure(self._timings))

    async def _look(self) -> float:
        """Seconds until the next look."""
        wait = await self._metadata.read(lambda tx: Schedules(tx).wait())
        if wait == 0.0:
            self._leading = await self._leases.take(_LEASE, _LEASE_SECONDS)
            if not self._leading:
                return _NOT_LEADING_SECONDS
            await self._metadata.write(lambda tx: Schedules(tx).due(self._queue))
            wait = await self._metadata.read(lambda tx: Schedules(tx).wait())
        return _POLL_SECONDS if wait is None else min(wait, _POLL_SECONDS)


def _schedule(row: Sequence[Any]) -> Schedule:
    name, kind, payload, timing, next_at, last_at, job, configured = row
    return Schedule(name, kind, msgspec.json.decode(payload), timing, next_at, last_at, job, bool(configured))
