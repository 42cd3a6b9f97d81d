"""What is done once in a while and begun by hand, as Harbor shows it: runs, what they wrote down, and when they come.

What is set here is a schedule of its own, beside those that follow from the configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from lading.api.harbor.call import Call, Model, Text, moment
from lading.api.request import Response
from lading.control import chores
from lading.errors import Invalid, Missing
from lading.jobs.executions import Execution, Executions
from lading.jobs.schedule import Schedules
from lading.stores.metadata.transaction import Transaction

_STATES = {"waiting": "Pending", "running": "Running", "done": "Success", "failed": "Error", "cancelled": "Stopped"}
_MOST_PARAMETERS = 4096


Parameters = dict[str, Any]
Type = Literal["Hourly", "Daily", "Weekly", "Custom", "Manual", "None", "Schedule"]


class When(Model):
    """When it runs: a cron expression of six fields, the first of them seconds; Manual is now, None never."""

    type: Type
    cron: Text = ""
    next_scheduled_time: Text | None = None


class Schedule(Model):
    """A schedule."""

    schedule: When
    parameters: Parameters | None = None


class Planned(Model):
    """The schedule that is set; empty where none is."""

    schedule: When | None = None
    parameters: Parameters | None = None
    job_parameters: str | None = None


class Run(Model):
    """A run; ``job_parameters`` is JSON, with what came of it once it is over."""

    id: int
    job_name: str
    job_kind: str
    job_parameters: str
    job_status: str
    schedule: When
    deleted: bool
    creation_time: str
    update_time: str


@dataclass(frozen=True)
class Chore:
    """One of them: jobs of a ``kind``, at ``path`` below the API's own; ``number`` is what its runs are called there.

    ``name`` is Harbor's for its jobs, ``subject`` its tag and the word for the audit log. ``check`` raises for
    parameters that it cannot have, or where it cannot be done.
    """

    kind: str
    name: str
    subject: str
    path: str
    number: str
    check: Callable[[Call, Parameters], None]

    @property
    def schedule_name(self) -> str:
        """The name of the schedule that is set here."""
        return chores.schedule_name(self.subject)

    async def index(self, call: Call) -> Response:
        """The runs, the newest first."""
        page = call.page()
        total, found = await call.services.metadata.read(lambda tx: Executions(tx).listed(self.kind, page))
        return call.listed(page, total, [self._run(one) for one in found])

    async def get(self, call: Call) -> Response:
        """One run."""
        return call.json(self._run(await call.services.metadata.read(lambda tx: self._find(call, tx))))

    async def stop(self, call: Call) -> Response:
        """End a run; one that goes on ends when its process hears of it."""

        async def cancel(tx: Transaction) -> None:
            one = await self._find(call, tx)
            await call.services.queue.cancel(tx, one.id)
            await call.note(tx, "stop", self.subject, str(one.id))

        await call.services.metadata.write(cancel)
        return call.done()

    async def log(self, call: Call) -> Response:
        """What a run wrote down."""

        async def read(tx: Transaction) -> str:
            one = await self._find(call, tx)
            lines = [f"{moment(line.at)} {line.line}\n" for line in await Executions(tx).lines(one.id)]
            told = [f"{moment(one.ended_at or one.created_at)} {text}\n" for text in (one.message, one.error) if text]
            return "".join([*lines, *told])

        text = await call.services.metadata.read(read)
        return Response(200, [(b"content-type", b"text/plain; charset=utf-8")], text.encode())

    async def schedule(self, call: Call) -> Response:
        """When it runs by itself, besides what the configuration says."""

        async def read(tx: Transaction) -> Planned:
            found = {each.name: each for each in await Schedules(tx).all()}.get(self.schedule_name)
            if found is None:
                return Planned()
            payload = found.payload or {}
            following = moment(found.next_at)
            when = When(type=payload.get("type", "Custom"), cron=found.timing, next_scheduled_time=following)
            parameters = payload.get("parameters") or {}
            return Planned(schedule=when, parameters=parameters, job_parameters=_text(parameters))

        return call.json(await call.services.metadata.read(read))

    async def create(self, call: Call) -> Response:
        """Run now (Manual), or set when it runs."""
        job = await self._set(call)
        return call.made(f"{self.path}/{job}")

    async def update(self, call: Call) -> Response:
        """The same."""
        await self._set(call)
        return call.done()

    async def _set(self, call: Call) -> int:
        """The run that was begun, 0 where only the schedule changed."""
        given = await call.body(Schedule)
        when, parameters = given.schedule, given.parameters or {}
        if len(_text(parameters)) > _MOST_PARAMETERS:
            raise Invalid("the parameters are too large")
        if when.type != chores.NEVER:
            self.check(call, parameters)
        timing = when.cron
        if when.type not in (chores.MANUAL, chores.NEVER):
            timing = chores.timing(when.type, when.cron, call.services.metadata.now())

        async def change(tx: Transaction) -> int:
            await call.note(tx, "update", self.subject, when.type, detail=timing)
            if when.type == chores.MANUAL:
                payload = {"parameters": parameters}
                return (await call.services.queue.enqueue(tx, self.kind, payload, key=self.kind)).job
            if when.type == chores.NEVER:
                await Schedules(tx).remove(self.schedule_name)
            else:
                await chores.put(tx, self.subject, self.kind, when.type, timing, parameters)
            return 0

        return await call.services.metadata.write(change)

    async def _find(self, call: Call, tx: Transaction) -> Execution:
        found = await Executions(tx).one(call.number(self.number))
        if found is None or found.kind != self.kind:
            raise Missing(f"there is no run {call.number(self.number)} of this")
        return found

    def _run(self, one: Execution) -> Run:
        manual = one.key == self.kind and one.payload is not None
        told = {**((one.payload or {}).get("parameters") or {}), **(one.result if isinstance(one.result, dict) else {})}
        return Run(
            id=one.id,
            job_name=self.name,
            job_kind="MANUAL" if manual else "SCHEDULE",
            job_parameters=_text(told),
            job_status=_STATES[one.state],
            schedule=When(type=chores.MANUAL if manual else "Schedule"),
            deleted=False,
            creation_time=moment(one.created_at),
            update_time=moment(one.ended_at or one.began_at or one.created_at),
        )


def _text(content: object) -> str:
    return msgspec.json.encode(content).decode()
