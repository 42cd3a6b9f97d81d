"""``lading export``: give a volume back to registry:2."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.cli.server.volume import number, place, tell_problems, watching

if TYPE_CHECKING:
    from lading.registry.adopt import Watch
    from lading.registry.export import Report


@click.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option("--config", metavar="CONFIG.yml", type=click.Path(path_type=Path), help="The configuration to go by.")
@click.option(
    "--report", metavar="FILE", type=click.Path(path_type=Path), help="Write what was left alone as JSON lines."
)
def export(directory: Path | None, config: Path | None, report: Path | None) -> None:
    """Write the link files that let registry:2 serve the volume again.

    DIRECTORY is the rootdirectory; without it, that of the configuration. Stop Lading first. Links of what was deleted
    are removed; what registry:2 itself wrote meanwhile is taken over before.
    """
    root, index = place(directory, config)
    with watching() as watch:
        done = asyncio.run(_export(root, index, watch))
    counts = done.counts
    news = done.adopted.counts
    if news.manifests or news.tags:
        click.echo(
            f"registry:2 had written {number(news.manifests, 'manifest')} and {number(news.tags, 'tag')} since; the "
            "index has them now."
        )
    click.echo(
        f"Exported {root}: {number(counts.repositories, 'repository', 'repositories')}, "
        f"{number(counts.manifests, 'manifest')}, {number(counts.tags, 'tag')}."
    )
    click.echo(f"{number(done.written, 'link')} written, {done.removed:,} removed.")
    tell_problems(done.kept, f"{number(len(done.kept), 'thing')} left alone:", report)


async def _export(root: Path, index: str, watch: Watch) -> Report:
    from lading.registry.export import export as give_back
    from lading.stores.blobs.filesystem import FilesystemStore
    from lading.stores.blobs.layout import Layout
    from lading.stores.metadata.engine import open_index, require_index

    require_index(index)
    await FilesystemStore(root).probe()
    metadata = open_index(index)
    try:
        return await give_back(metadata, Layout(root), watch)
    finally:
        await metadata.close()
