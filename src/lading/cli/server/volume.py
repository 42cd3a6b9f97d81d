"""What the commands that work on a whole volume share: which one is meant, and how far the work is."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import click

if TYPE_CHECKING:
    from lading.registry.adopt import Progress
    from lading.registry.volume import Problem
    from lading.stores.metadata.transaction import Metadata

_SECONDS_BETWEEN_LINES = 5.0
_SHOWN = 20
_LINKS = (
    "what a registry:2 wrote there is taken over by `lading serve` at its first start, and no links are written back; to "
    "adopt or export a volume of files, name its DIRECTORY"
)
_IN_BYTES = ("verify", "rebuild", "backup", "restore")
_IN_REPOSITORIES = ("adopt", "export")


def place(directory: Path | None, config: Path | None, elsewhere: str = _LINKS) -> tuple[Path, str]:
    """The root of the volume that is meant, and its index; ``directory`` goes before the configuration's.

    ``elsewhere`` says what to do where the store is no volume of files.
    """
    from lading.config.load import load
    from lading.errors import ConfigurationError

    configuration = load(config, os.environ)
    root, index = configuration.root, configuration.index
    if directory is None:
        if configuration.storage.driver not in ("filesystem", "inmemory"):
            raise ConfigurationError(f"this configuration stores in {configuration.storage.driver}: {elsewhere}")
        if root is None or index is None:
            raise ConfigurationError(
                "this configuration keeps everything in memory (storage.inmemory); name the DIRECTORY of a volume"
            )
        return root, index
    if root is not None and index is not None and directory.resolve() == root.resolve():
        return root, index
    if index is not None and configuration.database.url:
        raise ConfigurationError(
            f"the index {index.shown} (database.url) belongs to the volume {root or 'in memory'}, not to {directory}; set "
            "storage.filesystem.rootdirectory to the volume that is meant, and leave DIRECTORY out"
        )
    return directory, f"sqlite:///{directory / 'lading' / 'index.sqlite'}"


@asynccontextmanager
async def by_itself(metadata: Metadata) -> AsyncIterator[None]:
    """Keep collections away, those of running servers too; wait for one that is under way."""
    from lading.jobs.leases import COLLECTION, Leases

    leases = Leases(metadata, f"shell-{socket.gethostname()[:40]}-{os.getpid()}-{uuid4().hex[:8]}")
    told = "a collection or adoption is under way, or was broken off a moment ago; waiting for its end"
    async with leases.holding(COLLECTION, lambda: click.echo(told, err=True)):
        yield


def local(index: str) -> Path:
    """The file of the index, for commands that copy it; they say what to do where it is none."""
    from lading.errors import ConfigurationError
    from lading.stores.metadata.engine import file_of

    file = file_of(index)
    if file is None:
        raise ConfigurationError(
            "the index is in PostgreSQL, which this command does not copy: use pg_dump (or its point-in-time recovery) "
            "first, and then copy the blobs; docs/how-to/backup.md says how they fit together"
        )
    return file


def pace(rate: str | None) -> int | None:
    """The bytes a second that ``--rate`` allows; None: any number."""
    from lading.config.values import parse_size

    if rate is None:
        return None
    try:
        found = parse_size(rate)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--rate") from None
    if found < 1:
        raise click.BadParameter("must be at least one byte a second", param_hint="--rate")
    return found


@contextmanager
def watching() -> Iterator[Callable[[Progress], None]]:
    """Show how far the work is: a bar on a terminal, else a line now and then."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[amount]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[counts]}"),
    )
    with Bars(*columns, console=Console(stderr=True), refresh_per_second=5) as bars:
        tasks = {}

        def show(progress: Progress) -> None:
            if progress.phase not in tasks:
                tasks[progress.phase] = bars.add_task(progress.phase, amount="", counts="")
            bars.update(
                tasks[progress.phase],
                total=progress.total,
                completed=progress.done,
                amount=_amount(progress),
                counts=_counts(progress).removeprefix(", "),
            )

        yield show


class _Lines:
    """Says how far the work is at most every few seconds."""

    def __init__(self) -> None:
        self._phase = ""
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        moment = time.monotonic()
        if progress.phase == self._phase and moment < self._next:
            return
        self._phase, self._next = progress.phase, moment + _SECONDS_BETWEEN_LINES
        click.echo(f"{progress.phase}: {_amount(progress)}{_counts(progress)}", err=True)


def _amount(progress: Progress) -> str:
    if progress.phase in _IN_BYTES:
        return f"{size(progress.done)} of {size(progress.total)}"
    unit = " repositories" if progress.phase in _IN_REPOSITORIES else ""
    return f"{progress.done:,} of {progress.total:,}{unit}"


def _counts(progress: Progress) -> str:
    counts = progress.counts
    if counts is None:
        return ""
    return f", {counts.manifests:,} manifests, {counts.tags:,} tags, {counts.blobs:,} blobs"


def size(count: int) -> str:
    """A number of bytes for a reader."""
    if count < 1000:
        return f"{count} bytes"
    power = min((len(str(count)) - 1) // 3, 4)
    return f"{count / 1000**power:,.1f} {('', 'kB', 'MB', 'GB', 'TB')[power]}"


def number(count: int, one: str, many: str = "") -> str:
    """``1 tag``, ``2,000 tags``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def tell_problems(problems: Iterable[Problem], heading: str, report: Path | None) -> None:
    """The first of the problems, and all of them, a JSON line each, into the file ``report``."""
    listed = list(problems)
    if report is not None:
        _write(listed, report)
    if not listed:
        return
    click.echo(f"\n{heading}")
    for problem in listed[:_SHOWN]:
        where = f"{problem.repository} " if problem.repository and problem.repository != problem.what else ""
        click.echo(f"  {problem.kind}: {where}{problem.what}: {problem.detail}")
    if len(listed) > _SHOWN:
        left = len(listed) - _SHOWN
        click.echo(f"  and {left:,} more" + ("" if report else "; --report FILE writes them all"))
    if report is not None:
        click.echo(f"All of them are in {report}.")


def _write(problems: list[Problem], report: Path) -> None:
    import msgspec

    from lading.errors import StoreError

    try:
        with report.open("wb") as file:
            for problem in problems:
                file.write(msgspec.json.encode(problem) + b"\n")
    except OSError as error:
        raise StoreError(f"cannot write the report {report}: {error.strerror}") from error
