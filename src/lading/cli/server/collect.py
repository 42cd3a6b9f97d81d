"""``lading collect``: take away now what nothing refers to, or say what would go."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.errors import ConfigurationError

if TYPE_CHECKING:
    from lading.config.model import Configuration
    from lading.registry.collection import Report


@click.command()
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would go, and why.")
@click.option("--grace", metavar="DURATION", help="Instead of collect.grace, such as 1h or 0s.")
@click.option("--untagged", metavar="DURATION", help="Instead of collect.untagged, such as 24h, or keep.")
def collect(config: Path | None, dry_run: bool, grace: str | None, untagged: str | None) -> None:
    """Delete what no tag leads to, while the registry goes on serving.

    A running server does this by itself every collect.interval. Run it by hand to free space at once, or with
    --dry-run to see what would go. One at a time: it waits for a collection that is under way, and holds up the next.
    """
    from lading.config.load import load

    given = {"REGISTRY_COLLECT_GRACE": grace, "REGISTRY_COLLECT_UNTAGGED": untagged}
    environ = {**os.environ, **{name: value for name, value in given.items() if value is not None}}
    configuration = load(config, environ)
    report = asyncio.run(_collect(configuration, dry_run=dry_run))
    for gone in report.gone:
        where = f" in {gone.repository}" if gone.repository else ""
        click.echo(f"{'would delete' if dry_run else 'deleted'} {gone.kind} {gone.digest}{where}: {gone.reason}")
    for failure in report.failed:
        click.echo(f"could not delete {failure}", err=True)
    _summary(report, dry_run=dry_run)
    if report.failed:
        raise SystemExit(1)


async def _collect(configuration: Configuration, *, dry_run: bool) -> Report:
    from lading.app import COLLECTED
    from lading.cli.server.volume import by_itself
    from lading.registry.admission import Admission
    from lading.registry.collect import Collect
    from lading.settings import terms
    from lading.stores.blobs.driver import open_store
    from lading.stores.metadata.engine import open_index, require_index

    root, index = configuration.root, configuration.index
    if index is None:
        raise ConfigurationError("this registry keeps everything in memory; there is nothing to collect from outside")
    require_index(index)
    metadata, store = open_index(index), open_store(configuration.storage, root)
    try:
        if configuration.root is None:
            await store.probe()
        collector = Collect(metadata, store, admission=Admission(COLLECTED))
        if dry_run:
            return await collector.preview(terms(configuration))
        async with by_itself(metadata):
            return await collector.run(terms(configuration))
    finally:
        await metadata.close()
        await store.close()


def _summary(report: Report, *, dry_run: bool) -> None:
    size = f"{report.bytes / 1e6:,.1f} MB"
    if dry_run:
        click.echo(f"{report.manifests} manifests and {report.blobs} blobs would go, {size}; nothing was changed")
        return
    click.echo(f"{report.manifests} manifests and {report.blobs} blobs deleted, {size} freed")
    if report.held:
        click.echo("a backup is being made: marked blobs go at the first collection after it")
        return
    waiting = report.condemned - report.blobs
    if waiting > 0:
        click.echo(
            f"{waiting} blobs are marked and go after a wait ({timedelta(hours=1)} at most), unless a push needs them"
        )
