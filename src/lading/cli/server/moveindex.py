"""``lading move-index``: from a SQLite file to PostgreSQL."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.cli.server.volume import number
from lading.errors import ConfigurationError

if TYPE_CHECKING:
    from lading.stores.metadata.moving import Progress

_SQLITE = "sqlite:///"


@click.command("move-index")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--replace", is_flag=True, help="Throw away the index that is in TO already.")
def move_index(source: str, target: str, replace: bool) -> None:
    """Copy the index from SQLite to PostgreSQL, and compare the copies.

    FROM is the index's file, such as /var/lib/registry/lading/index.sqlite; TO is postgresql://user@host/database
    (leave the password to PGPASSWORD or ~/.pgpass). Servers may run meanwhile; what is pushed after the copy began is
    not in it. So: copy once to see how long it takes, make the servers read-only
    (REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED), copy again with --replace, and switch.
    """
    from lading.config.values import URL
    from lading.stores.metadata.engine import is_remote
    from lading.stores.metadata.moving import move

    url = URL(target)
    if is_remote(source) or not is_remote(url):
        raise ConfigurationError(
            "FROM must be an index's SQLite file and TO a PostgreSQL database: lading move-index "
            "/var/lib/registry/lading/index.sqlite postgresql://lading@host/lading"
        )
    file = Path(source.removeprefix(_SQLITE))
    with _watching() as watch:
        moved = move(file, url, watch, replace=replace)
    click.echo(
        f"Copied {number(sum(moved.rows.values()), 'row')} of {number(len(moved.rows), 'table')} from {file} to "
        f"{url.shown}, and compared them: they are the same."
    )
    if moved.written_meanwhile:
        click.echo(
            "The file was written to meanwhile, and that is not in the copy. Make the servers read-only "
            "(REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED=true), then run this again with --replace."
        )
    click.echo(
        f"To switch: stop the servers, set database.url (REGISTRY_DATABASE_URL) to {url.shown}, start them. The file "
        "stays as it is, and to go back means to go back to what it holds now."
    )


@contextmanager
def _watching() -> Iterator[Callable[[Progress], None]]:
    """Show how far the move is: a bar on a terminal, else a line for each table."""
    if not sys.stderr.isatty():
        told: set[tuple[str, str]] = set()

        def tell(progress: Progress) -> None:
            if (progress.phase, progress.table) not in told:
                told.add((progress.phase, progress.table))
                click.echo(f"{progress.phase} {progress.table}: {progress.done:,} of {progress.total:,} rows", err=True)

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Bars(*columns, TextColumn("{task.fields[table]}"), console=Console(stderr=True)) as bars:
        tasks = {}

        def show(progress: Progress) -> None:
            if progress.phase not in tasks:
                tasks[progress.phase] = bars.add_task(progress.phase, total=progress.total, table="")
            bars.update(tasks[progress.phase], completed=progress.done, table=progress.table)

        yield show
