"""When collections and purges of the audit log run besides what the configuration says: schedules as Harbor writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lading.errors import Invalid
from lading.jobs.schedule import Schedules, following
from lading.stores.metadata.transaction import Transaction

GC, PURGE = "gc", "purgeaudit"
MANUAL: Final = "Manual"
NEVER: Final = "None"
_CRON = {"Hourly": "0 0 * * * *", "Daily": "0 0 0 * * *", "Weekly": "0 0 0 * * 0"}


def schedule_name(subject: str) -> str:
    """The name of the schedule that is set for a chore."""
    return f"harbor-{subject}"


def timing(kind: str, cron: str, now: int) -> str:
    """The timing that Harbor's word for it (Hourly, Daily, Weekly, Custom) and its cron stand for; raises ``Invalid``."""
    found = _CRON.get(kind, cron)
    if len(found.split()) != 6 or found.split()[0] != "0":
        raise Invalid("cron has six fields, the first of them 0 for the seconds, as in 0 30 2 * * *")
    following(found, now)
    return found


async def put(tx: Transaction, subject: str, job: str, kind: str, timing: str, parameters: Mapping[str, Any]) -> None:
    """Set when (:func:`timing`) a chore runs, as jobs named ``job``."""
    await Schedules(tx).put(schedule_name(subject), job, timing, {"type": kind, "parameters": parameters})
