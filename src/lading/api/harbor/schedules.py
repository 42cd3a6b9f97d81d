"""Everything that runs by the clock because somebody set it: collections, purges of the audit log, replications."""

from __future__ import annotations

import zlib

from lading.api.harbor.call import Call, Model, moment
from lading.api.harbor.gc import GC
from lading.api.harbor.purgeaudit import PURGE
from lading.api.request import Response
from lading.control.replication.triggers import JOB as REPLICATION
from lading.errors import Invalid
from lading.jobs.schedule import Schedule, Schedules

_VENDORS = {GC.kind: GC.name, PURGE.kind: PURGE.name, REPLICATION: "REPLICATION"}


class ScheduleAnswer(Model):
    """A schedule. ``vendor_type`` is what is done, ``vendor_id`` of which policy; ``id`` is made of its name."""

    id: int
    vendor_type: str
    vendor_id: int
    cron: str
    update_time: str | None = None


class Paused(Model):
    """Whether schedules stand still."""

    paused: bool


async def index(call: Call) -> Response:
    """The schedules that were set; those that follow from the configuration are not among them."""
    page = call.page(sortable=False)
    every = await call.services.metadata.read(lambda tx: Schedules(tx).all())
    found = [_answer(one) for one in every if not one.configured and one.kind in _VENDORS]
    return call.listed(page, len(found), found[page.offset : page.offset + page.size])


async def paused(call: Call) -> Response:
    """Whether they stand still, which they never do here; ``job_type`` is all."""
    if call.path["job_type"] != "all":
        raise Invalid("job_type is all")
    return call.json(Paused(paused=False))


def _answer(one: Schedule) -> ScheduleAnswer:
    policy = one.payload.get("policy") if isinstance(one.payload, dict) else None
    return ScheduleAnswer(
        id=zlib.crc32(one.name.encode()),
        vendor_type=_VENDORS[one.kind],
        vendor_id=policy if isinstance(policy, int) else -1,
        cron=one.timing,
        update_time=moment(one.last_at) if one.last_at is not None else None,
    )
