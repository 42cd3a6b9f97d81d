"""The job that takes from the audit log what is older than some hours, of the kinds that somebody named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, delete, false, literal_column, not_, or_, select

from lading.control.audit import EVENTS
from lading.errors import Invalid
from lading.jobs.kinds import Task
from lading.stores.metadata.schema.control import audit
from lading.stores.metadata.transaction import Metadata, Statement, Transaction

KIND = "purge-audit"
MOST_HOURS = 240_000
_HOUR = 3_600_000
_BATCH = 1000
_OPERATIONS = ("create", "delete", "pull", "update", "login")
_MEANT = {"push": "create_artifact"}
_OTHER = "other"
_USUAL = ("create_artifact", "delete_artifact", "pull_artifact")
"""Harbor's *other* is everything else."""
_WORD = re.compile(r"[a-z]+(_[a-z-]+)?")

_DELETE = Statement(delete(audit).where(audit.c.id == bindparam("row")))


@dataclass(frozen=True)
class Doomed:
    """What is to go. ``events`` are operations, operations on a kind (``create_artifact``), or ``other``."""

    hours: int
    events: frozenset[str]
    dry_run: bool = False

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Doomed:
        """As Harbor's clients write it; raises ``Invalid``."""
        hours, dry_run = parameters.get("audit_retention_hour"), parameters.get("dry_run", False)
        if isinstance(hours, bool) or not isinstance(hours, int) or not 0 <= hours <= MOST_HOURS:
            raise Invalid(f"audit_retention_hour is a whole number of hours, from 0 to {MOST_HOURS}")
        if not isinstance(dry_run, bool):
            raise Invalid("dry_run is true or false")
        named: list[str] = []
        for name in ("include_event_types", "include_operations"):
            given = parameters.get(name, "")
            if not isinstance(given, str):
                raise Invalid(f"{name} is a text, as create_artifact,pull_artifact")
            named += [word.strip() for word in given.split(",") if word.strip()]
        if not named:
            raise Invalid("include_event_types is empty, so nothing would ever go: create_artifact,pull_artifact, say")
        for word in named:
            if not is_event(word):
                raise Invalid(
                    f"include_event_types: there is no {word[:60]!r}; there are other, push, {', '.join(EVENTS)}"
                )
        return cls(hours, frozenset(_MEANT.get(word, word) for word in named), dry_run)


def is_event(word: str) -> bool:
    """Whether there is an event of that name, in the words of Harbor's clients."""
    return word in {*_OPERATIONS, *EVENTS, *_MEANT, _OTHER}


class AuditPurge:
    """The job; ``metadata`` is where the log is."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    async def work(self, task: Task) -> dict[str, int]:
        """Take what its parameters name, some rows at a time; how many."""
        doomed = Doomed.of((task.payload or {}).get("parameters") or {})
        before = self._metadata.now() - doomed.hours * _HOUR
        statement, place, gone = _oldest(doomed.events), (-1, 0), 0
        task.log(f"what is older than {doomed.hours} hours goes: {', '.join(sorted(doomed.events))}")

        async def take(tx: Transaction) -> list[tuple[int, int]]:
            rows = await tx.rows(statement, before=before, since=place[0], behind=place[1], most=_BATCH)
            if not doomed.dry_run:
                await tx.execute_many(_DELETE, [{"row": row[0]} for row in rows])
            return [(row[1], row[0]) for row in rows]

        while rows := await (self._metadata.read(take) if doomed.dry_run else self._metadata.write(take)):
            gone += len(rows)
            place = rows[-1]
            task.progress(gone)
        task.log(f"{gone} rows {'would go' if doomed.dry_run else 'are gone'}")
        return {"purged": 0 if doomed.dry_run else gone, "found": gone}


@lru_cache(maxsize=64)
def _oldest(events: frozenset[str]) -> Statement:
    """The oldest rows of these events behind a place, which is a time and an id."""
    conditions = [_is(event) for event in sorted(events - {_OTHER})]
    if _OTHER in events:
        conditions.append(not_(or_(*map(_is, _USUAL))))
    behind = or_(
        audit.c.happened_at > bindparam("since"),
        and_(audit.c.happened_at == bindparam("since"), audit.c.id > bindparam("behind")),
    )
    return Statement(
        select(audit.c.id, audit.c.happened_at)
        .where(
            audit.c.happened_at < bindparam("before"),
            audit.c.happened_at >= bindparam("since"),
            behind,
            or_(false(), *conditions),
        )
        .order_by(audit.c.happened_at, audit.c.id)
        .limit(bindparam("most"))
    )


def _is(event: str) -> ColumnElement[bool]:
    """Whether a row tells of an event; a word of :data:`EVENTS`, so that it may stand in the statement."""
    assert _WORD.fullmatch(event)
    operation, on, kind = event.partition("_")
    done = audit.c.operation == literal_column(f"'{operation}'")
    return and_(done, audit.c.resource_type == literal_column(f"'{kind}'")) if on else done
