"""The audit log: who did what where, with which result.

Pushes, deletions and changes of settings are written in the transaction that makes them true; logins and pulls, which
change nothing, are gathered in memory for a second or a minute (*summed*: one row for each caller and artifact). Rows
are only ever added; the purge takes the oldest. Pages go by key from the newest on, and each filter has an index.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, TypeVar

import msgspec
from sqlalchemy import String, bindparam, delete, func, insert, select

from lading.access.members import namespace
from lading.errors import TooWide, Unavailable
from lading.jobs.events import (
    BlobDeleted,
    By,
    Event,
    ManifestDeleted,
    ManifestPushed,
    QuotaExceeded,
    TagDeleted,
)
from lading.jobs.kinds import Task
from lading.stores.metadata import facts
from lading.stores.metadata.gathering import Gathering
from lading.stores.metadata.paging import Field, Listing, Match, Page
from lading.stores.metadata.schema.control import audit, resource_begins
from lading.stores.metadata.transaction import Metadata, Row, Statement, Transaction, Work

T = TypeVar("T")

SUCCESS, FAILURE, DENIED, LOCKED = "success", "failure", "denied", "locked"
MOST = 1000
"""Rows one page may have."""
COUNTED = 10_000
"""Rows that are counted where a list says how many there are; with more it says this many."""
PATIENCE = 2.0
"""Seconds after which a question is given up that no index answers."""
_LONGEST = 512
"""Characters of what something was done to; the index has as many, and names and digests are shorter."""
_MOST_WAITING = 50_000
_HOUR = 3_600_000
_LATEST = 2**62
_BATCH = 5000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A row. ``count`` is how often it happened, for pulls that are summed."""

    id: int
    happened_at: int
    operation: str
    resource_type: str
    resource: str
    project: str
    actor: str
    address: str
    result: str
    count: int
    detail: str


@dataclass(frozen=True)
class Filter:
    """Which rows are wanted; what is empty does not matter. Times in milliseconds."""

    project: str = ""
    actor: str = ""
    operation: str = ""
    resource_type: str = ""
    resource: str = ""
    result: str = ""
    since: int = 0
    until: int = 0

    def given(self) -> Mapping[str, Any]:
        """The conditions that were named."""
        return {name: value for name, value in asdict(self).items() if value}


_columns = tuple(audit.c[name] for name in Entry.__dataclass_fields__)
_INSERT = Statement(
    insert(audit).values({name: bindparam(name) for name in Entry.__dataclass_fields__ if name != "id"})
)
_FIRST_SINCE = Statement(
    select(audit.c.id)
    .where(audit.c.happened_at >= bindparam("since"))
    .order_by(audit.c.happened_at, audit.c.id)
    .limit(1)
)
_LAST_UNTIL = Statement(
    select(audit.c.id)
    .where(audit.c.happened_at < bindparam("until"))
    .order_by(audit.c.happened_at.desc(), audit.c.id.desc())
    .limit(1)
)
_OLDEST = Statement(
    select(audit.c.id).where(audit.c.happened_at < bindparam("before")).order_by(audit.c.happened_at).limit(_BATCH)
)
_PURGE = Statement(delete(audit).where(audit.c.id == bindparam("row")))
_AFTER = Statement(
    select(*_columns).where(audit.c.id > bindparam("after")).order_by(audit.c.id).limit(bindparam("limit"))
)
_PLACE = "audit-syslog"
_NEWEST = Statement(select(func.coalesce(func.max(audit.c.id), 0)))

_LISTED = Listing(
    select(*_columns),
    {
        "id": Field(audit.c.id, "number"),
        "username": Field(audit.c.actor),
        "resource": Field(resource_begins),
        "resource_type": Field(audit.c.resource_type),
        "operation": Field(audit.c.operation),
        "operation_result": Field(audit.c.result),
        "project": Field(audit.c.project),
        "op_time": Field(audit.c.happened_at, "moment"),
    },
    (audit.c.id.desc(),),
    most=COUNTED,
    along=audit.c.id,
    bare=audit.c.detail,
)

EVENTS = (
    "create_artifact",
    "create_label",
    "create_member",
    "create_project",
    "create_robot",
    "create_user",
    "create_user-group",
    "delete_artifact",
    "delete_blob",
    "delete_label",
    "delete_member",
    "delete_metadata",
    "delete_project",
    "delete_repository",
    "delete_robot",
    "delete_tag",
    "delete_user",
    "delete_user-group",
    "login_user",
    "pull_artifact",
    "update_artifact",
    "update_configuration",
    "update_label",
    "update_member",
    "update_metadata",
    "update_project",
    "update_quota",
    "update_repository",
    "update_robot",
    "update_user",
    "update_user-group",
)
"""The kinds of things that the log tells of: operations, each on a kind of thing."""


@lru_cache(maxsize=256)
def _page(names: frozenset[str]) -> Statement:
    statement = select(*_columns).where(audit.c.id < bindparam("before"))
    for name in sorted(names):
        if name == "since":
            statement = statement.where(audit.c.happened_at >= bindparam("since"), audit.c.id >= bindparam("lowest"))
        elif name == "until":
            statement = statement.where(audit.c.happened_at < bindparam("until"), audit.c.id <= bindparam("highest"))
        else:
            column = resource_begins if name == "resource" else audit.c[name]
            statement = statement.where(column == bindparam(name, type_=String()))
    return Statement(statement.order_by(audit.c.id.desc()).limit(bindparam("limit")))


class Audit:
    """The audit log, in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def add(
        self,
        operation: str,
        resource_type: str,
        resource: str,
        *,
        by: By,
        project: str = "",
        result: str = SUCCESS,
        detail: str = "",
    ) -> None:
        """Note something that is done in this very transaction."""
        await self._tx.execute(
            _INSERT,
            **_entry(operation, resource_type, resource, by.actor, _host(by), project, result=result, detail=detail),
            happened_at=self._tx.now,
        )

    async def page(self, wanted: Filter, limit: int, before: int = 2**62) -> list[Entry]:
        """Rows with an id below ``before`` that fit, the newest first."""
        given = dict(wanted.given())
        if "since" in given:
            given["lowest"] = await self._lowest(given["since"])
        if "until" in given:
            given["highest"] = await self._highest(given["until"])
        statement = _page(frozenset(wanted.given()))
        rows = await self._tx.rows(statement, before=before, limit=min(limit, MOST), **given)
        return [Entry(*row) for row in rows]

    async def listed(self, page: Page) -> tuple[int, Sequence[Entry]]:
        """How many rows fit (:data:`COUNTED` at most), and a page of them, under Harbor's names for their fields."""
        # a time is found by its index, and the rows from there on by their ids, which are the order of the list
        spans = [await self._span(match) for match in page.where if match.field == "op_time"]
        total, rows = await _LISTED.page(self._tx, replace(page, where=(*page.where, *spans)))
        return total, [Entry(*row) for row in rows]

    async def _span(self, match: Match) -> Match:
        """The ids that rows of these times may have."""
        low, high = match.values if match.how == "between" else (None, None)
        if match.how == "is":
            low = high = match.values[0]
        lowest = 0 if low is None else await self._lowest(_LISTED.value("op_time", low))
        highest = _LATEST if high is None else await self._highest(_LISTED.value("op_time", high))
        return Match("id", "between", (str(lowest), str(highest)))

    async def _lowest(self, since: int) -> int:
        """An id below which nothing happened since then: a row is written within the hour, in the order of ids."""
        return await self._tx.value(_LAST_UNTIL, until=max(since - _HOUR, 0)) or 0

    async def _highest(self, until: int) -> int:
        """An id above which nothing happened until then."""
        found: int | None = await self._tx.value(_FIRST_SINCE, since=min(until + _HOUR, _LATEST))
        return _LATEST if found is None else found

    async def after(self, place: int, limit: int) -> list[Entry]:
        """Rows in the order in which they came, from behind ``place`` on."""
        return [Entry(*row) for row in await self._tx.rows(_AFTER, after=place, limit=limit)]

    async def add_all(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Note what was gathered."""
        await self._tx.execute_many(_INSERT, rows)

    async def purge(self, before: int) -> int:
        """Delete some of the rows older than that; how many, 0 when there are no more."""
        doomed: Sequence[Row] = await self._tx.rows(_OLDEST, before=before)
        await self._tx.execute_many(_PURGE, [{"row": row[0]} for row in doomed])
        return len(doomed)


class Recorder:
    """Notes what happens in one process. ``pulls``: none, summed, each."""

    def __init__(self, metadata: Metadata, *, pulls: str) -> None:
        self._metadata = metadata
        self._pulls = pulls
        self._waiting: deque[dict[str, Any]] = deque(maxlen=_MOST_WAITING)
        self._summed: dict[tuple[str, str, str, str], int] = {}
        self._gathering = Gathering("notes of logins", 1.0, self._write_waiting)
        self._summing = Gathering("sums of pulls", 60.0, self._write_summed)

    async def react(self, tx: Transaction, event: Event, moment: int) -> None:
        """Note an event in its own transaction."""
        if isinstance(event, ManifestPushed):
            where = f"{event.repository}:{event.tag}" if event.tag else f"{event.repository}@{event.target.digest}"
            row = _of("create", "artifact", where, event, detail=event.target.digest if event.tag else "")
        elif isinstance(event, ManifestDeleted | BlobDeleted):
            kind = "artifact" if isinstance(event, ManifestDeleted) else "blob"
            row = _of("delete", kind, f"{event.repository}@{event.digest}", event)
        elif isinstance(event, TagDeleted):
            row = _of("delete", "tag", f"{event.repository}:{event.tag}", event)
        else:
            return
        await tx.execute(_INSERT, **row, happened_at=moment)

    def login(self, name: str, address: str, *, result: str, detail: str = "") -> None:
        """Somebody logged in, or could not."""
        self._soon(_entry("login", "user", name[:512], name[:512], address, "", result=result, detail=detail))

    def refused(self, event: QuotaExceeded) -> None:
        """A push was refused."""
        self._soon(_of("create", "artifact", event.repository, event, result=DENIED, detail="quota exceeded"))

    def pulled(self, repository: str, digest: str, tag: str, actor: str, address: str) -> None:
        """Somebody was given a manifest."""
        if self._pulls == "none":
            return
        where = f"{repository}:{tag}" if tag else f"{repository}@{digest}"
        if self._pulls == "each":
            detail = digest if tag else ""
            self._soon(_entry("pull", "artifact", where, actor, address, namespace(repository), detail=detail))
            return
        key = (where, digest if tag else "", actor, address)
        if key not in self._summed and len(self._summed) >= _MOST_WAITING:
            return
        self._summed[key] = self._summed.get(key, 0) + 1
        self._summing.noted()

    async def flush(self) -> None:
        """Write all that waits."""
        await self._gathering.flush()
        await self._summing.flush()

    async def close(self) -> None:
        """Write all that waits, at the end of the program."""
        await self._gathering.close()
        await self._summing.close()

    async def _write_waiting(self) -> None:
        rows, self._waiting = self._waiting, deque(maxlen=_MOST_WAITING)
        try:
            await self._add(rows)
        except Unavailable:
            self._waiting.extendleft(reversed(rows))
            raise

    async def _write_summed(self) -> None:
        summed, self._summed = self._summed, {}
        rows = []
        for (where, detail, actor, address), count in summed.items():
            repository = where.partition("@")[0].partition(":")[0]
            row = _entry("pull", "artifact", where, actor, address, namespace(repository), detail=detail)
            rows.append({**row, "count": count, "happened_at": self._metadata.now()})
        try:
            await self._add(rows)
        except Unavailable:
            for key, count in self._summed.items():
                summed[key] = summed.get(key, 0) + count
            self._summed = summed
            raise

    async def _add(self, rows: Collection[dict[str, Any]]) -> None:
        if rows:
            await self._metadata.write(lambda tx: Audit(tx).add_all([*rows]))

    def _soon(self, row: dict[str, Any]) -> None:
        self._waiting.append({**row, "happened_at": self._metadata.now()})
        self._gathering.noted()


class Syslog:
    """Sends the audit log on, row by row in order, each as JSON behind a header of RFC 3164's form.

    ``where`` is a socket's path or ``host:port``. How far it came is kept: after a restart it goes on from there.
    """

    _FACILITY_AUTHPRIV, _NOTICE = 10, 5

    def __init__(self, metadata: Metadata, where: str) -> None:
        self._metadata = metadata
        self._where = where

    async def work(self, task: Task) -> None:
        """The job: send what is new."""
        while True:
            place = await facts.read(self._metadata, _PLACE)
            if place is None:
                newest = await self._metadata.read(lambda tx: tx.value(_NEWEST))
                await self._keep(int(newest))
                return
            came = int(place)
            entries = await self._metadata.scan(lambda tx, came=came: Audit(tx).after(came, 500))  # type: ignore[misc]
            if not entries:
                return
            await asyncio.to_thread(self._send, entries)
            await self._keep(entries[-1].id)
            task.progress(task.done + len(entries))

    async def _keep(self, place: int) -> None:
        await self._metadata.write(lambda tx: facts.write(tx, _PLACE, str(place)), durable=False)

    def _send(self, entries: Sequence[Entry]) -> None:
        host, _, port = self._where.rpartition(":")
        local = self._where.startswith("/")
        with socket.socket(socket.AF_UNIX if local else socket.AF_INET, socket.SOCK_DGRAM) as line:
            line.connect(self._where if local else (host, int(port)))
            for entry in entries:
                head = f"<{self._FACILITY_AUTHPRIV * 8 + self._NOTICE}>lading-audit: "
                line.send(head.encode() + as_json(entry))


async def looked_up(metadata: Metadata, work: Work[T], seconds: float = PATIENCE) -> T:
    """Look something up that may take long; raises ``TooWide`` with what to ask instead where it takes too long."""
    try:
        return await metadata.scan(work, seconds=seconds)
    except TooWide as error:
        raise TooWide(
            f"{error.message}. Ask for less: a value as it is instead of a part of it (q=resource=team/app:1), a user, a project"
            " or a span of time beside it (q=op_time=[2026-01-01T00:00:00~2026-01-02T00:00:00]), or sort by one field alone"
        ) from error


async def purge(metadata: Metadata, keep: int) -> int:
    """Delete the rows older than ``keep`` milliseconds, some at a time; how many."""
    gone = 0
    while count := await metadata.write(lambda tx: Audit(tx).purge(tx.now - keep)):
        gone += count
    return gone


def as_json(entry: Entry) -> bytes:
    """A row as one line of JSON, without control characters that could end it."""
    return msgspec.json.encode(asdict(entry))


def _of(
    operation: str, kind: str, resource: str, event: Event, *, result: str = SUCCESS, detail: str = ""
) -> dict[str, Any]:
    by = event.by
    project = namespace(event.repository)
    return _entry(operation, kind, resource, by.actor, _host(by), project, result=result, detail=detail)


def _host(by: By) -> str:
    """Where a request came from, without the port."""
    try:
        return str(ip_address(by.address))
    except ValueError:
        return by.address.rpartition(":")[0]


def _entry(
    operation: str,
    resource_type: str,
    resource: str,
    actor: str,
    address: str,
    project: str,
    *,
    result: str = SUCCESS,
    detail: str = "",
) -> dict[str, Any]:
    return {
        "operation": operation,
        "resource_type": resource_type,
        "resource": resource[:_LONGEST],
        "project": project[:255],
        "actor": actor[:512],
        "address": address[:64],
        "result": result,
        "count": 1,
        "detail": detail[:4096],
    }
