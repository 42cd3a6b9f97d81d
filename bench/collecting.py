"""The figure of collection: a hundred thousand blobs nobody refers to go away while pushes go on.

The blobs are condemned already, so what is measured is their deletion. Lading collects while it serves: told are the pushes it takes meanwhile, as a share of those it takes otherwise, and how
long it takes. registry:2 collects while it is stopped (``garbage-collect``), so its share is none and its time is
time in which nothing is served.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

from bench.figures import Figure, Metric, Options, Round, Sample
from bench.push import empty_server, payloads, push_all, push_as_containerd
from bench.servers import BenchmarkError, Lading, Server, program
from lading.stores.metadata.sqlite import prepare

_LONG_AGO = 1_000
_BATCH = 50
_PUSHED = 100_000
_OFF = "collect:\n  enabled: false\n"
_ON = "collect:\n  interval: 1s\n  grace: 1h\n"
_LONGEST = 1800.0


def collect(turn: Round) -> Sample:
    """Push, then collect and push at the same time."""
    number = turn.options.unreferenced
    root = turn.directory / "root"
    if not isinstance(turn.server, Lading):
        return {"seconds": _stopped(turn, root, number), "share": 0.0}
    with empty_server(turn, more=_OFF) as server:
        alone = _rate(server, _BATCH * 4)
    prepare(root / "lading/index.sqlite")
    _fill(root, number, index=root / "lading/index.sqlite")
    with empty_server(turn, more=_ON) as server:
        begin, pushed = time.monotonic(), 0
        while _left(root) and time.monotonic() - begin < _LONGEST:
            _rate(server, _BATCH)
            pushed += _BATCH
        seconds = time.monotonic() - begin
        if _left(root):
            raise BenchmarkError(f"{_left(root)} of {number} blobs are still there after {seconds:.0f} s")
    return {"seconds": seconds, "share": pushed / seconds / alone}


def figures(options: Options) -> tuple[Figure, ...]:
    """The figure of collection."""
    return (
        Figure(
            "collect",
            f"collection of {options.unreferenced} unreferenced blobs beside pushes",
            (
                Metric("seconds", "time it takes", "s", "less"),
                Metric("share", "pushes meanwhile, share of those without", "", "more"),
            ),
            collect,
            static=False,
        ),
    )


def _rate(server: Server, count: int) -> float:
    """Push blobs that are not there yet by a few clients; how many a second."""
    payloads.cache_clear()
    blobs = payloads(_PUSHED, count)
    begin = time.monotonic()
    push_all(push_as_containerd, server.port, blobs, 4)
    return count / (time.monotonic() - begin)


def _fill(root: Path, number: int, *, index: Path | None = None) -> None:
    blobs = root / "docker/registry/v2/blobs/sha256"
    rows = []
    for one in range(number):
        content = b"nobody refers to %d" % one
        hexadecimal = hashlib.sha256(content).hexdigest()
        folder = blobs / hexadecimal[:2] / hexadecimal
        folder.mkdir(parents=True)
        (folder / "data").write_bytes(content)
        rows.append((f"sha256:{hexadecimal}", len(content), _LONG_AGO, _LONG_AGO))
    if index is not None:
        with sqlite3.connect(index) as connection:
            connection.executemany(
                "INSERT INTO blobs (digest, size, present, touched_at, condemned_at) VALUES (?, ?, 1, ?, ?)", rows
            )


def _left(root: Path) -> int:
    with sqlite3.connect(f"file:{root / 'lading/index.sqlite'}?mode=ro", uri=True) as connection:
        found: int = connection.execute("SELECT count(*) FROM blobs WHERE touched_at = ?", (_LONG_AGO,)).fetchone()[0]
    return found


def _stopped(turn: Round, root: Path, number: int) -> float:
    """How long registry:2's collector works on the same blobs."""
    (root / "docker/registry/v2/repositories").mkdir(parents=True)
    _fill(root, number)
    server = turn.server.beside(root, turn.directory / "server")
    server.directory.mkdir()
    configuration = server.command()[-1]
    begin = time.monotonic()
    command = [program("docker-registry", "docker-registry"), "garbage-collect", configuration]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begin
    shutil.rmtree(turn.directory)
    if done.returncode != 0:
        raise BenchmarkError(f"garbage-collect failed ({done.returncode}): {done.stderr[-1000:]}")
    return seconds
