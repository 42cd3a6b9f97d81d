"""When a Harbor collects garbage and shortens its audit log."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lading.control import chores
from lading.control.auditpurge import KIND as PURGE_JOB
from lading.control.auditpurge import Doomed, is_event
from lading.control.fromharbor.importing import Import
from lading.control.fromharbor.report import part, text
from lading.errors import Invalid
from lading.jobs.schedule import Schedules
from lading.stores.metadata.transaction import Transaction


@dataclass(frozen=True)
class _Kind:
    """A chore; ``says`` are the parameters that come along, of others that Harbor keeps with them, secrets among these."""

    shown: str
    subject: str
    job: str
    says: frozenset[str]
    check: Callable[[Mapping[str, Any]], object]


def _real(parameters: Mapping[str, Any]) -> None:
    if parameters.get("dry_run") is True:
        raise Invalid("it only tells what would go; `lading collect --dry-run` does that here")


_EVENTS = ("include_event_types", "include_operations")
_KINDS = (
    _Kind("garbage collection", chores.GC, "collect", frozenset({"delete_untagged", "workers", "dry_run"}), _real),
    _Kind(
        "purge of the audit log",
        chores.PURGE,
        PURGE_JOB,
        frozenset({"audit_retention_hour", "dry_run", *_EVENTS}),
        Doomed.of,
    ),
)


async def bring(run: Import) -> None:
    """Set what is not set here."""
    for kind in _KINDS:
        entry = await run.source.get(f"/system/{kind.subject}/schedule")
        if isinstance(entry, dict) and text(part(entry, "schedule"), "type") not in ("", chores.NEVER, chores.MANUAL):
            await run.attempt(
                "schedule",
                f"of the {kind.shown}",
                lambda tx, kind=kind, entry=entry: _set(run, tx, kind, entry),  # type: ignore[misc]
            )


async def _set(run: Import, tx: Transaction, kind: _Kind, entry: Mapping[str, Any]) -> None:
    if chores.schedule_name(kind.subject) in {each.name for each in await Schedules(tx).all()}:
        run.report.count("schedules", made=False)
        return
    when, parameters = part(entry, "schedule"), _parameters(entry, kind.says)
    if unknown := _take_unknown(parameters):
        run.report.leave("event", f"{', '.join(unknown[:20])} of the {kind.shown}", "there is none of that name here")
    kind.check(parameters)
    name = text(when, "type")
    timing = chores.timing(name, text(when, "cron"), tx.now)
    run.report.count("schedules", made=True)
    if not run.dry:
        await chores.put(tx, kind.subject, kind.job, name, timing, parameters)
        await run.note(tx, "update", kind.subject, name)


def _parameters(entry: Mapping[str, Any], says: frozenset[str]) -> dict[str, Any]:
    """What is to be done; Harbor has it as JSON in a text."""
    try:
        found = json.loads(text(entry, "job_parameters") or "{}")
    except (ValueError, RecursionError):
        found = None
    return {name: value for name, value in found.items() if name in says} if isinstance(found, dict) else {}


def _take_unknown(parameters: dict[str, Any]) -> list[str]:
    """Take out the events that are none here; which ones."""
    unknown = []
    for name in _EVENTS:
        words = [word.strip() for word in text(parameters, name).split(",") if word.strip()]
        if words:
            unknown += [word for word in words if not is_event(word)]
            parameters[name] = ",".join(word for word in words if is_event(word))
    return unknown
