"""``lading admin audit``: the audit log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.cli.admin import index
from lading.cli.admin.index import config_option

if TYPE_CHECKING:
    from lading.control.audit import Entry, Filter
    from lading.stores.metadata.transaction import Transaction


@click.group()
def audit() -> None:
    """Who did what where, with which result."""


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    for name, what in (
        ("--project", "In this project."),
        ("--actor", "By this account."),
        ("--operation", "create, pull, delete, update or login."),
        ("--result", "success, failure, denied or locked."),
        ("--since", "From then on: 2026-01-31, or 36h for the last 36 hours."),
        ("--until", "Up to then."),
    ):
        command = click.option(name, default="", help=what)(command)
    return command


@audit.command("list")
@_filters
@click.option("--limit", default=50, show_default=True)
@config_option
def list_entries(limit: int, config: Path | None, **given: str) -> None:
    """The newest entries."""
    wanted = _wanted(given)

    async def work(tx: Transaction) -> list[Entry]:
        from lading.control.audit import Audit

        return await Audit(tx).page(wanted, limit)

    rows = (
        (
            index.moment(each.happened_at),
            each.actor,
            each.address,
            each.operation,
            each.resource,
            each.result,
            each.count,
        )
        for each in index.run(config, work)
    )
    index.table(("WHEN", "WHO", "FROM", "WHAT", "WHERE", "RESULT", "TIMES"), rows)


@audit.command()
@_filters
@config_option
def export(config: Path | None, **given: str) -> None:
    """Every entry that fits, the newest first, one JSON object a line."""
    wanted = _wanted(given)
    before = 2**62
    while True:

        async def work(tx: Transaction, before: int = before) -> list[Entry]:
            from lading.control.audit import MOST, Audit

            return await Audit(tx).page(wanted, MOST, before)

        page = index.run(config, work)
        if not page:
            return
        from lading.control.audit import as_json

        for each in page:
            click.echo(as_json(each).decode())
        before = page[-1].id


def _wanted(given: dict[str, str]) -> Filter:
    from lading.control.audit import Filter

    return Filter(
        project=given["project"],
        actor=given["actor"],
        operation=given["operation"],
        result=given["result"],
        since=_moment(given["since"]),
        until=_moment(given["until"]),
    )


def _moment(text: str) -> int:
    from datetime import UTC, datetime

    from lading.config.values import parse_duration
    from lading.stores.metadata.clock import local

    if not text:
        return 0
    try:
        return local() - int(parse_duration(text).total_seconds() * 1000)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is neither a date, as 2026-01-31, nor a duration, as 36h") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)
