"""How far a copy is: bars on a terminal, a line for each blob elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import click

from lading.oci.manifest import Descriptor
from lading.remotes.copy import Silent, Watch

_WORDS = {
    "pull": {"moved": "Pull complete", "there": "Already exists", "mounted": "Already exists"},
    "push": {"moved": "Pushed", "there": "Layer already exists", "mounted": "Mounted"},
    "copy": {"moved": "Copied", "there": "Already there", "mounted": "Mounted"},
}


@contextmanager
def watching(verb: str, *, quiet: bool) -> Generator[Watch]:
    """Tell how far it is on standard error; ``verb`` is pull, push or copy."""
    if quiet:
        yield Silent()
    elif sys.stderr.isatty():
        with _bars() as bars:
            yield _Bars(bars, _WORDS[verb])
    else:
        yield _Lines(_WORDS[verb])


class _Lines:
    def __init__(self, words: dict[str, str]) -> None:
        self._words = words

    def begin(self, blob: Descriptor) -> None: ...

    def reads(self, blob: Descriptor, start: int) -> None: ...

    def moved(self, blob: Descriptor, count: int) -> None: ...

    def end(self, blob: Descriptor, how: str) -> None:
        click.echo(f"{short(blob.digest)}: {self._words[how]}", err=True)


class _Bars:
    def __init__(self, bars: Any, words: dict[str, str]) -> None:
        self._bars = bars
        self._words = words
        self._tasks: dict[str, Any] = {}

    def begin(self, blob: Descriptor) -> None:
        self._tasks[blob.digest] = self._bars.add_task(short(blob.digest), total=blob.size, said="")

    def reads(self, blob: Descriptor, start: int) -> None:
        self._bars.update(self._tasks[blob.digest], completed=start)

    def moved(self, blob: Descriptor, count: int) -> None:
        self._bars.advance(self._tasks[blob.digest], count)

    def end(self, blob: Descriptor, how: str) -> None:
        self._bars.update(self._tasks[blob.digest], completed=blob.size, said=self._words[how])


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[said]}"),
    )
    return Progress(*columns, console=Console(stderr=True), refresh_per_second=8)


def short(digest: str) -> str:
    """The twelve digits people compare."""
    return digest.partition(":")[2][:12]
