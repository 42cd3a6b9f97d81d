"""``lading migrate``: bring the index to the schema of this version, or say what that would change."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from lading.errors import ConfigurationError


@click.command()
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Change nothing; say what would be done. Ends with 1 if that is anything.")
def migrate(config: Path | None, check: bool) -> None:
    """Bring the index to the schema of this version.

    A new index needs none of this, and one in SQLite is brought up to date whenever a server starts. In PostgreSQL,
    run it once before or after the servers of a new version start: those of the version before go on meanwhile.
    """
    from lading.config.load import load
    from lading.stores.metadata import engine
    from lading.stores.metadata.migrations.steps import steps
    from lading.stores.metadata.schema import VERSION

    index = load(config, os.environ).index
    if index is None:
        raise ConfigurationError("this registry keeps its index in a temporary file, which is always new")
    version = engine.version_of(index)
    if not version:
        click.echo(f"There is no index at {index.shown} yet; a new one is made with schema {VERSION}.")
        if check:
            raise SystemExit(1)
        asyncio.run(_make(index))
        click.echo("Made.")
        return
    pending = steps(version)
    if not pending:
        click.echo(f"The index {index.shown} has schema {version}, and this Lading needs no newer one: nothing to do.")
        return
    click.echo(f"The index {index.shown} has schema {version}; {'to do' if check else 'doing'}:")
    for step in pending if check else engine.migrate(index, pending):
        click.echo(f"  {step.version}: {step.title}; servers of schema {step.least} and later can work on it")
    if check:
        raise SystemExit(1)
    click.echo("Done.")


async def _make(index: str) -> None:
    from lading.stores.metadata.engine import open_index
    from lading.stores.metadata.transaction import Transaction

    async def nothing(tx: Transaction) -> None:
        """The tables are made by whoever connects first."""

    metadata = open_index(index)
    try:
        await metadata.read(nothing)
    finally:
        await metadata.close()
