"""``lading adopt``: take over the volume of a registry:2."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.cli.server.volume import by_itself, number, place, size, tell_problems, watching

if TYPE_CHECKING:
    from lading.registry.adopt import Report, Watch


@click.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option("--config", metavar="CONFIG.yml", type=click.Path(path_type=Path), help="The configuration to go by.")
@click.option(
    "--report", metavar="FILE", type=click.Path(path_type=Path), help="Write all that is broken as JSON lines."
)
@click.option("--verify", is_flag=True, help="Read every blob and compare its digest.")
@click.option("--everything", is_flag=True, help="When adopting again: also bring back what was deleted since.")
def adopt(directory: Path | None, config: Path | None, report: Path | None, verify: bool, everything: bool) -> None:
    """Take over the volume of a registry:2, in place.

    DIRECTORY is its rootdirectory; without it, that of the configuration. Stop registry:2 first. Blobs stay where they
    are and link files are only read. If it is interrupted, run it again: it goes on. Run on a volume that was adopted
    before, it brings what registry:2 wrote since. While it runs nothing is collected, and it waits for a collection that
    is under way.
    """
    root, index = place(directory, config)
    with watching() as watch:
        done = asyncio.run(_adopt(root, index, watch, verify=verify, everything=everything))
    tell(done, root, report)


async def _adopt(root: Path, index: str, watch: Watch, *, verify: bool, everything: bool) -> Report:
    from lading.registry.adopt import adopt as take_over
    from lading.registry.volume import check
    from lading.stores.blobs.filesystem import FilesystemStore
    from lading.stores.blobs.layout import Layout
    from lading.stores.metadata.engine import open_index

    layout = Layout(root)
    check(layout)
    await FilesystemStore(root).probe()
    metadata = open_index(index)
    try:
        async with by_itself(metadata):
            return await take_over(metadata, layout, watch, verify=verify, everything=everything)
    finally:
        await metadata.close()


def tell(report: Report, root: Path | str, problems: Path | None = None) -> None:
    """Say what an adoption did; what is broken goes to the file ``problems`` too."""
    counts = report.counts
    if report.resumed:
        click.echo("Went on with an adoption that had been interrupted.")
    what = "new since the last adoption: " if report.again else ""
    click.echo(
        f"Adopted {root}: {what}{number(counts.repositories, 'repository', 'repositories')}, "
        f"{number(counts.manifests, 'manifest')}, {number(counts.tags, 'tag')}."
    )
    click.echo(f"The index now has {number(report.stored, 'blob')}, {size(report.bytes)}.")
    if counts.mended:
        click.echo(f"{number(counts.mended, 'layer link')} that had got lost no longer matter.")
    if report.verified:
        click.echo(f"{number(report.verified, 'blob')} verified.")
    found = f"{number(len(report.problems), 'thing')} found broken, and left as they are:"
    tell_problems(report.problems, found, problems)
