"""``lading verify``: check index and store against each other, and mend what can be mended."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.cli.server.volume import number, pace, place, size, tell_problems, watching
from lading.errors import ConfigurationError, StoreError, StoreFull

if TYPE_CHECKING:
    from lading.config.storage import Storage
    from lading.registry.adopt import Watch
    from lading.registry.rebuild import Report as Rebuilt
    from lading.registry.verify import Report, Terms

_BROKEN = 7


@click.command()
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option("--config", metavar="CONFIG.yml", type=click.Path(path_type=Path), help="The configuration to go by.")
@click.option("--quick", is_flag=True, help="Compare sizes instead of reading every byte.")
@click.option("--rate", metavar="SIZE", help="Read at most so much a second, such as 50MiB.")
@click.option("--repair", is_flag=True, help="Mend what can be mended.")
@click.option("--rebuild", is_flag=True, help="The index is lost: make a new one from the store, then --repair.")
@click.option("--grace", metavar="DURATION", default="24h", help="How old left-overs must be to be deleted (24h).")
@click.option("--report", metavar="FILE", help="Write everything that was found as JSON; - for standard output.")
def verify(
    directory: Path | None,
    config: Path | None,
    quick: bool,
    rate: str | None,
    repair: bool,
    rebuild: bool,
    grace: str,
    report: str | None,
) -> None:
    """Check the index and the store against each other, and every digest.

    DIRECTORY is the rootdirectory; without it, that of the configuration, or its bucket. A server may go on serving
    meanwhile. The exit status is 0 if everything can be served as it was pushed, and 7 if something is broken.
    """
    from lading.registry.verify import document

    terms = _terms(quick=quick, rate=rate, repair=repair, rebuild=rebuild, grace=grace)
    storage, root, index = _meant(directory, config)
    mirrors = _mirrors(config) if rebuild and directory is None else ()
    if storage is None:
        shown = str(root)
    else:
        from lading.stores.blobs.driver import where

        shown = where(storage, None)
        if rebuild:
            raise ConfigurationError(
                f"a lost index is not made anew from {shown}: restore the dump of it (docs/how-to/backup.md), and run "
                "lading verify --repair"
            )
    with watching() as watch:
        rebuilt, done = asyncio.run(_verify(storage, root, index, terms, watch, mirrors, rebuild=rebuild))
    written = document(done, shown, terms)
    if report == "-":
        sys.stdout.write(written.decode() + "\n")
    else:
        if rebuilt is not None:
            _tell_rebuilt(rebuilt)
        _tell(done, terms)
        if report is not None:
            _write(Path(report), written)
    if not done.sound:
        raise SystemExit(_BROKEN)


def _meant(directory: Path | None, config: Path | None) -> tuple[Storage | None, Path | None, str]:
    """The bucket that is meant, or the root of a volume of files; and the index."""
    from lading.config.load import load

    if directory is None:
        configuration = load(config, os.environ)
        storage, index = configuration.storage, configuration.index
        if index is not None and storage.driver not in ("filesystem", "inmemory"):
            return storage, None, index
    return None, *place(directory, config)


def _mirrors(config: Path | None) -> Collection[str]:
    from lading.config.load import load
    from lading.settings import upstreams

    return upstreams(load(config, os.environ)).keys()


def _terms(*, quick: bool, rate: str | None, repair: bool, rebuild: bool, grace: str) -> Terms:
    from lading.config.values import milliseconds, parse_duration
    from lading.registry.verify import Terms

    try:
        kept = parse_duration(grace)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--grace") from None
    terms = Terms(quick=quick, repair=repair, rate=pace(rate), grace=milliseconds(kept))
    return replace(terms, repair=True, patience=0) if rebuild else terms


async def _verify(
    storage: Storage | None,
    root: Path | None,
    index: str,
    terms: Terms,
    watch: Watch,
    mirrors: Collection[str],
    *,
    rebuild: bool,
) -> tuple[Rebuilt | None, Report]:
    from lading.registry.rebuild import rebuild as bring_back
    from lading.registry.rebuild import rebuild_lost
    from lading.registry.verify import Verify
    from lading.stores.blobs.base import BlobStore
    from lading.stores.blobs.driver import open_store
    from lading.stores.blobs.filesystem import FilesystemStore
    from lading.stores.metadata.engine import file_of, open_index
    from lading.stores.metadata.snapshot import integrity

    file = file_of(index)
    if not rebuild and file is not None and not file.exists():
        raise StoreError(
            f"there is no index at {file}; if it was lost, restore a backup, or make a new one from the store with "
            "lading verify --rebuild"
        )
    store: BlobStore = open_store(storage, root) if storage is not None else FilesystemStore(root or Path())
    layout = store.layout if isinstance(store, FilesystemStore) else None
    with contextlib.suppress(StoreFull):
        await store.probe()
    rebuilt = None
    if rebuild and isinstance(store, FilesystemStore) and file is not None and not file.exists():
        rebuilt = await rebuild_lost(file, store, store.layout, mirrors=mirrors, rate=terms.rate, watch=watch)
    metadata = open_index(index)
    try:
        if rebuild and rebuilt is None and isinstance(store, FilesystemStore):
            rebuilt = await bring_back(metadata, store, store.layout, mirrors=mirrors, rate=terms.rate, watch=watch)
        check = functools.partial(integrity, file) if file is not None else list
        done = await Verify(metadata, store, layout, check).run(terms, watch)
        return rebuilt, done
    finally:
        await metadata.close()
        await store.close()


def _tell_rebuilt(rebuilt: Rebuilt) -> None:
    from lading.registry.rebuild import REPOSITORY

    adopted = rebuilt.adopted
    if adopted is not None:
        counts = adopted.counts
        click.echo(
            f"Link files in the volume gave back {number(counts.repositories, 'repository', 'repositories')}, "
            f"{number(counts.manifests, 'manifest')} and {number(counts.tags, 'tag')}, as of when they were written."
        )
        tell_problems(adopted.problems, f"{number(len(adopted.problems), 'thing')} of them broken:", None)
    click.echo(f"{number(rebuilt.blobs, 'blob')} found in the store, {size(rebuilt.bytes)}.")
    if rebuilt.manifests:
        click.echo(
            f"{number(rebuilt.manifests, 'manifest')} of which no name is known are in the repository {REPOSITORY}, "
            f"{rebuilt.tags:,} of them with a tag (the first digits of the digest). Give them their names again with a "
            "client. What had been deleted, and not yet collected, is among them."
        )
    if rebuilt.mirrored:
        click.echo(f"{number(rebuilt.mirrored, 'manifest')} are a mirror's: its ttl and maxsize hold for them.")
    click.echo("Names, tags and who could see what are only in the index: what no link file said is lost.")
    tell_problems(rebuilt.problems, f"{number(len(rebuilt.problems), 'blob')} not brought back:", None)


def _tell(report: Report, terms: Terms) -> None:
    from lading.registry.volume import Problem

    if not report.whole:
        click.echo("The index is damaged; nothing else was looked at.")
    else:
        how = "by their sizes" if terms.quick else "and every digest"
        click.echo(
            f"Checked {number(report.manifests, 'manifest')}, {number(report.blobs, 'blob')} ({size(report.bytes)}) "
            f"{how}, and {number(report.files, 'file')} in the store."
        )
    weights = report.weights()
    for weight, heading in (
        ("broken", "{} broken:"),
        ("incomplete", "{} incomplete, as the settings may allow:"),
        ("garbage", "{} garbage, which harms nothing:"),
    ):
        some = [finding for finding in report.findings if finding.weight == weight and not finding.mended]
        tell_problems(some, heading.format(number(len(some), "thing")), None)
    mended = [Problem(each.kind, each.repository, each.what, each.mended) for each in report.findings if each.mended]
    tell_problems(mended, f"{number(len(mended), 'thing')} mended:", None)
    if report.sound:
        click.echo("Everything can be served as it was pushed.")
    elif not terms.repair:
        click.echo(f"{number(weights['broken'], 'thing')} broken; --repair mends what can be mended.")


def _write(path: Path, written: bytes) -> None:
    try:
        path.write_bytes(written + b"\n")
    except OSError as error:
        raise StoreError(f"cannot write the report {path}: {error.strerror}") from error
