"""The audit log as Harbor shows it. How many rows there are is counted up to ten thousand; the pages go on behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lading.api.harbor.call import Call, Model, moment
from lading.api.harbor.permission import refusal
from lading.api.request import Response
from lading.control.audit import EVENTS, SUCCESS, Audit, Entry, looked_up
from lading.control.projects import Projects
from lading.stores.metadata.paging import MOST_VALUES, Match, Page
from lading.stores.metadata.transaction import Transaction


class LogAnswer(Model):
    """Something that somebody did."""

    id: int
    username: str
    resource: str
    resource_type: str
    operation: str
    op_time: str


class LogMore(LogAnswer):
    """The same with what became of it."""

    operation_description: str
    operation_result: bool


class Event(Model):
    """A kind of thing that is done."""

    event_type: str


async def index(call: Call) -> Response:
    """What was done, the newest first; to those who are no administrators, in projects whose log they may list."""
    page, total, found = await _everywhere(call)
    return call.listed(page, total, [_answer(entry) for entry in found])


async def index_more(call: Call) -> Response:
    """The same, with what became of it."""
    page, total, found = await _everywhere(call)
    return call.listed(page, total, [_more(entry) for entry in found])


async def events(call: Call) -> Response:
    """The kinds of things that the log tells of."""
    return call.json([Event(event_type=name) for name in EVENTS])


async def of_project(call: Call) -> Response:
    """What was done in a project."""
    page, total, found = await _here(call)
    return call.listed(page, total, [_answer(entry) for entry in found])


async def of_project_more(call: Call) -> Response:
    """The same, with what became of it."""
    page, total, found = await _here(call)
    return call.listed(page, total, [_more(entry) for entry in found])


async def _everywhere(call: Call) -> tuple[Page, int, Sequence[Entry]]:
    page = call.page()

    async def read(tx: Transaction) -> tuple[int, Sequence[Entry]]:
        rights = await call.rights(tx)
        if await rights.allowed("audit-log", "list"):
            return await Audit(tx).listed(page)
        sight = await call.accounts.sight(tx, call.who)
        _, seen = await Projects(tx).listed(Page(size=1000), sight)
        own = [project.name for project, _, _ in seen if await rights.allowed("log", "list", project)]
        if not own:
            raise refusal(call)
        within = Match("project", "any", tuple(own[:MOST_VALUES]))
        return await Audit(tx).listed(replace(page, where=(*page.where, within)))

    total, found = await looked_up(call.services.metadata, read)
    return page, total, found


async def _here(call: Call) -> tuple[Page, int, Sequence[Entry]]:
    page = call.page()
    within = replace(page, where=(*page.where, Match("project", "is", (call.here.name,))))
    total, found = await looked_up(call.services.metadata, lambda tx: Audit(tx).listed(within))
    return page, total, found


def _answer(entry: Entry) -> LogAnswer:
    return LogAnswer(
        id=entry.id,
        username=entry.actor,
        resource=entry.resource,
        resource_type=entry.resource_type,
        operation=entry.operation,
        op_time=moment(entry.happened_at),
    )


def _more(entry: Entry) -> LogMore:
    times = f" ({entry.count} times)" if entry.count > 1 else ""
    told = f"{entry.operation} {entry.resource_type}: {entry.resource}{times}"
    return LogMore(
        id=entry.id,
        username=entry.actor,
        resource=entry.resource,
        resource_type=entry.resource_type,
        operation=entry.operation,
        op_time=moment(entry.happened_at),
        operation_description=f"{told}; {entry.detail}" if entry.detail else told,
        operation_result=entry.result == SUCCESS,
    )
