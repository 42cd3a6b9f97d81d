"""``lading restore``: put a snapshot of a backup in place."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.cli.server.volume import local, number, pace, place, size, tell_problems, watching

if TYPE_CHECKING:
    from lading.registry.adopt import Watch
    from lading.registry.backup import How, Report
    from lading.registry.bundle import Bundle

_INCOMPLETE = 7
_BUCKET = "use the bucket's versioning or a copy of it, after a dump of the index; docs/how-to/backup.md says how"


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--config", metavar="CONFIG.yml", type=click.Path(path_type=Path), help="The configuration to go by.")
@click.option("--to", metavar="ROOT", type=click.Path(path_type=Path), help="Another place than the configuration's.")
@click.option("--snapshot", metavar="NAME", help="Another than the newest; --list names them.")
@click.option("--list", "listing", is_flag=True, help="Name the snapshots, and do nothing.")
@click.option("--check", is_flag=True, help="Read all of the snapshot, compare every digest, and write nothing.")
@click.option("--link", is_flag=True, help="Hard links instead of copies, on the same file system.")
@click.option("--rate", metavar="SIZE", help="Read at most so much a second, such as 50MiB.")
@click.option("--report", metavar="FILE", type=click.Path(path_type=Path), help="Write what is broken as JSON lines.")
def restore(
    directory: Path,
    config: Path | None,
    to: Path | None,
    snapshot: str | None,
    listing: bool,
    check: bool,
    link: bool,
    rate: str | None,
    report: Path | None,
) -> None:
    """Put a snapshot of the backup in DIRECTORY in place, where there is no index yet.

    Every blob is compared with its digest on the way. If it is interrupted, run it again: it goes on. The exit status is
    7 if the backup lacks a blob: everything else is in place.
    """
    from lading.registry.backup import How
    from lading.registry.bundle import Bundle

    bundle = Bundle(directory)
    if listing:
        bundle.check()
        for each in bundle.snapshots():
            click.echo(f"{each.name}  {number(each.tags, 'tag')}, {number(each.blobs, 'blob')}, {size(each.bytes)}")
        return
    how = How(link, pace(rate))
    with watching() as watch:
        if check:
            done = asyncio.run(_check(bundle, snapshot, how, watch))
            where = "sound"
        else:
            root, index = place(to, config, _BUCKET)
            done = asyncio.run(_restore(bundle, snapshot, root, index, how, watch))
            where = f"in {root}"
    made = done.snapshot
    state = where if not done.broken else "incomplete"
    click.echo(
        f"Snapshot {made.name} is {state}: {number(made.repositories, 'repository', 'repositories')}, "
        f"{number(made.manifests, 'manifest')}, {number(made.tags, 'tag')}, {done.copied + done.kept:,} of "
        f"{number(made.blobs, 'blob')} ({size(made.bytes)})."
    )
    heading = f"{number(len(done.broken), 'blob')} that the backup lacks:"
    tell_problems(done.broken, heading, report)
    if done.broken and not check:
        click.echo("Run lading verify --repair, and push images that have them.")
    if done.broken:
        raise SystemExit(_INCOMPLETE)


async def _check(bundle: Bundle, name: str | None, how: How, watch: Watch) -> Report:
    from lading.registry.backup import check as read

    return await read(bundle, name, rate=how.rate, watch=watch)


async def _restore(bundle: Bundle, name: str | None, root: Path, index: str, how: How, watch: Watch) -> Report:
    from lading.registry.backup import restore as put_back
    from lading.stores.blobs.layout import Layout

    return await put_back(bundle, name, local(index), Layout(root), how=how, watch=watch)
