"""Collection of what nothing refers to, as Harbor's garbage collection: its runs, and when it runs by itself.

The collector also runs as the configuration says; what is set here comes on top. What it takes is the configuration's
too, so that the parameters of a schedule are kept and shown, and change nothing.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from lading.api.distribution.base import require_writable
from lading.api.harbor.call import Call, Model, Text, moment
from lading.api.request import Response
from lading.errors import Invalid, Missing
from lading.jobs.executions import Execution, Executions
from lading.jobs.schedule import Schedules, following
from lading.stores.metadata.transaction import Transaction

KIND = "collect"
_SCHEDULE = "harbor-gc"
_STATES = {"waiting": "Pending", "running": "Running", "done": "Success", "failed": "Error", "cancelled": "Stopped"}
_CRON = {"Hourly": "0 0 * * * *", "Daily": "0 0 0 * * *", "Weekly": "0 0 0 * * 0"}
_MANUAL: Type = "Manual"
_MOST_PARAMETERS = 4096


Type = Literal["Hourly", "Daily", "Weekly", "Custom", "Manual", "None", "Schedule"]


class When(Model):
    """When it runs: a cron expression of six fields, the first of them seconds; Manual is now, None never."""

    type: Type
    cron: Text = ""
    next_scheduled_time: Text | None = None


class Schedule(Model):
    """A schedule."""

    schedule: When
    parameters: dict[str, Any] | None = None


class Planned(Model):
    """The schedule that is set; empty where none is."""

    schedule: When | None = None
    parameters: dict[str, Any] | None = None
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


async def index(call: Call) -> Response:
    """The runs, the newest first."""
    page = call.page()
    total, found = await call.services.metadata.read(lambda tx: Executions(tx).listed(KIND, page))
    return call.listed(page, total, [_run(one) for one in found])


async def get(call: Call) -> Response:
    """One run."""
    return call.json(_run(await call.services.metadata.read(lambda tx: _find(call, tx))))


async def stop(call: Call) -> Response:
    """End a run; one that goes on ends when its process hears of it."""

    async def cancel(tx: Transaction) -> None:
        one = await _find(call, tx)
        await call.services.queue.cancel(tx, one.id)
        await call.note(tx, "stop", "gc", str(one.id))

    await call.services.metadata.write(cancel)
    return call.done()


async def log(call: Call) -> Response:
    """What a run wrote down."""

    async def read(tx: Transaction) -> str:
        one = await _find(call, tx)
        lines = [f"{moment(line.at)} {line.line}\n" for line in await Executions(tx).lines(one.id)]
        told = [f"{moment(one.ended_at or one.created_at)} {text}\n" for text in (one.message, one.error) if text]
        return "".join([*lines, *told])

    text = await call.services.metadata.read(read)
    return Response(200, [(b"content-type", b"text/plain; charset=utf-8")], text.encode())


async def schedule(call: Call) -> Response:
    """When it runs by itself, besides what the configuration says."""

    async def read(tx: Transaction) -> Planned:
        found = {each.name: each for each in await Schedules(tx).all()}.get(_SCHEDULE)
        if found is None:
            return Planned()
        payload = found.payload or {}
        when = When(type=payload.get("type", "Custom"), cron=found.timing, next_scheduled_time=moment(found.next_at))
        parameters = payload.get("parameters") or {}
        return Planned(schedule=when, parameters=parameters, job_parameters=_text(parameters))

    return call.json(await call.services.metadata.read(read))


async def create(call: Call) -> Response:
    """Run now (Manual), or set when it runs."""
    job = await _set(call)
    return call.made(f"/system/gc/{job}")


async def update(call: Call) -> Response:
    """The same."""
    await _set(call)
    return call.done()


async def _set(call: Call) -> int:
    """The run that was begun, 0 where only the schedule changed."""
    require_writable(call.services.manners)
    given = await call.body(Schedule)
    when, parameters = given.schedule, given.parameters or {}
    if parameters.get("dry_run") is True:
        raise Invalid("dry_run: what would go is told by `lading collect --dry-run` on the server")
    if len(_text(parameters)) > _MOST_PARAMETERS:
        raise Invalid("the parameters are too large")
    timing = _CRON.get(when.type, when.cron)
    if when.type not in (_MANUAL, "None"):
        if len(timing.split()) != 6 or timing.split()[0] != "0":
            raise Invalid("cron has six fields, the first of them 0 for the seconds, as in 0 30 2 * * *")
        following(timing, call.services.metadata.now())

    async def change(tx: Transaction) -> int:
        await call.note(tx, "update", "gc", when.type, detail=timing)
        if when.type == _MANUAL:
            return (await call.services.queue.enqueue(tx, KIND, {"parameters": parameters}, key=KIND)).job
        if when.type == "None":
            await Schedules(tx).remove(_SCHEDULE)
        else:
            kept = {"type": when.type, "parameters": parameters}
            await Schedules(tx).put(_SCHEDULE, KIND, timing, kept)
        return 0

    return await call.services.metadata.write(change)


async def _find(call: Call, tx: Transaction) -> Execution:
    found = await Executions(tx).one(call.number("gc_id"))
    if found is None or found.kind != KIND:
        raise Missing(f"there is no run {call.number('gc_id')} of the collection")
    return found


def _run(one: Execution) -> Run:
    manual = one.key == KIND and one.payload is not None
    told = {**((one.payload or {}).get("parameters") or {}), **(one.result if isinstance(one.result, dict) else {})}
    return Run(
        id=one.id,
        job_name="GARBAGE_COLLECTION",
        job_kind="MANUAL" if manual else "SCHEDULE",
        job_parameters=_text(told),
        job_status=_STATES[one.state],
        schedule=When(type=_MANUAL if manual else "Schedule"),
        deleted=False,
        creation_time=moment(one.created_at),
        update_time=moment(one.ended_at or one.began_at or one.created_at),
    )


def _text(content: object) -> str:
    return msgspec.json.encode(content).decode()
