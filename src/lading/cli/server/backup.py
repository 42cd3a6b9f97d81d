"""``lading backup``: a copy of everything, made while the registry serves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.cli.server.volume import local, number, pace, place, size, tell_problems, watching
from lading.errors import StoreError

if TYPE_CHECKING:
    from lading.registry.adopt import Watch
    from lading.registry.backup import How, Report

_INCOMPLETE = 7
_BUCKET = "use the bucket's versioning or a copy of it, after a dump of the index; docs/how-to/backup.md says how"


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--config", metavar="CONFIG.yml", type=click.Path(path_type=Path), help="The configuration to go by.")
@click.option("--link", is_flag=True, help="Hard links instead of copies: no room, the same disk, the same fate.")
@click.option("--rate", metavar="SIZE", help="Copy at most so much a second, such as 50MiB.")
@click.option("--keep", metavar="N", type=click.IntRange(min=1), help="Leave the newest N snapshots only.")
@click.option("--again", is_flag=True, help="Also read the blobs that DIRECTORY has already.")
@click.option("--report", metavar="FILE", type=click.Path(path_type=Path), help="Write what is broken as JSON lines.")
def backup(
    directory: Path,
    config: Path | None,
    link: bool,
    rate: str | None,
    keep: int | None,
    again: bool,
    report: Path | None,
) -> None:
    """Add a snapshot of the registry to the backup in DIRECTORY, while it serves.

    The first one copies everything, the next ones only what is new. The exit status is 7 if a blob was damaged or gone:
    the snapshot has everything else. PostgreSQL and object stores have their own means: use pg_dump first, and then
    the bucket's versioning or a copy of the bucket.
    """
    from lading.registry.backup import How

    root, index = place(None, config, _BUCKET)
    with watching() as watch:
        done = asyncio.run(_backup(root, index, directory, How(link, pace(rate), again), keep, watch))
    made = done.snapshot
    click.echo(
        f"Snapshot {made.name}: {number(made.repositories, 'repository', 'repositories')}, "
        f"{number(made.manifests, 'manifest')}, {number(made.tags, 'tag')}, {number(made.blobs, 'blob')} "
        f"({size(made.bytes)})."
    )
    click.echo(f"{number(done.copied, 'blob')} new, {size(done.bytes)} written; {done.kept:,} were there already.")
    if done.freed:
        click.echo(f"{size(done.freed)} freed with older snapshots.")
    tell_problems(done.broken, f"{number(len(done.broken), 'blob')} not in it; see lading verify:", report)
    if done.broken:
        raise SystemExit(_INCOMPLETE)


async def _backup(root: Path, index: str, directory: Path, how: How, keep: int | None, watch: Watch) -> Report:
    from lading.registry.backup import backup as back_up
    from lading.registry.bundle import Bundle
    from lading.stores.blobs.layout import Layout
    from lading.stores.metadata.engine import open_index, require_index

    require_index(index)
    file = local(index)
    if directory.resolve().is_relative_to((root / "docker").resolve()):
        raise StoreError(f"{directory} lies among what is to be backed up; choose another place")
    metadata = open_index(index)
    try:
        return await back_up(metadata, file, Layout(root), Bundle(directory), how=how, keep=keep, watch=watch)
    finally:
        await metadata.close()
