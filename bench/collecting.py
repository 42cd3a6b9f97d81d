"""The figure of collection: a hundred thousand blobs nobody refers to go away while pushes go on.

Lading collects while it serves: told are the pushes it takes meanwhile, as a share of those it takes otherwise (asked
before and after), and how long it works. The wait between condemning and sweeping, a quarter of the grace, is passed
over. registry:2 collects while it is stopped (``garbage-collect``), so its share is none and its time is time in which
nothing is served.
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

from bench.figures import Figure, Metric, Options, Round, Sample
from bench.push import empty_server, payloads, push_all, push_as_containerd
from bench.servers import BenchmarkError, Lading, Server

_LONG_AGO = 1_000
_ALONE = 400
_BATCH = 50
_PUSHED = 100_000
_COLLECTING = "collect:\n  interval: 1s\n  grace: 1h\n"
_LONGEST = 1800.0


def collect(turn: Round) -> Sample:
    """Push, then collect and push at the same time."""
    number = turn.options.unreferenced
    root = turn.directory / "root"
    if not isinstance(turn.server, Lading):
        return {"seconds": _stopped(turn, root, number), "share": 0.0}
    index = root / "lading/index.sqlite"
    with empty_server(turn, more=_COLLECTING) as server:
        before = _alone(server)
        _fill(root, number, index=index)
        condemning, pushed = _until(server, index, "condemned_at IS NULL")
        with sqlite3.connect(index, timeout=60) as connection:
            connection.execute("UPDATE blobs SET condemned_at = touched_at WHERE touched_at = ?", (_LONG_AGO,))
        sweeping, more = _until(server, index, "true")
        after = _alone(server)
    seconds = condemning + sweeping
    return {"seconds": seconds, "share": (pushed + more) / seconds / ((before + after) / 2)}


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


def _alone(server: Server) -> float:
    """Pushes a second, asked in the same small parts as beside a collection."""
    begin = time.monotonic()
    for _ in range(_ALONE // _BATCH):
        _push(server)
    return _ALONE / (time.monotonic() - begin)


def _push(server: Server) -> None:
    """Push some blobs that are not there yet, from a few clients."""
    payloads.cache_clear()
    push_all(push_as_containerd, server.port, payloads(_PUSHED, _BATCH), 4)


def _fill(root: Path, number: int, *, index: Path | None = None) -> None:
    blobs = root / "docker/registry/v2/blobs/sha256"
    rows = []
    for one in range(number):
        content = b"nobody refers to %d" % one
        hexadecimal = hashlib.sha256(content).hexdigest()
        folder = blobs / hexadecimal[:2] / hexadecimal
        folder.mkdir(parents=True)
        (folder / "data").write_bytes(content)
        rows.append((f"sha256:{hexadecimal}", len(content), _LONG_AGO))
    if index is not None:
        with sqlite3.connect(index, timeout=60) as connection:
            connection.executemany("INSERT INTO blobs (digest, size, present, touched_at) VALUES (?, ?, 1, ?)", rows)


def _until(server: Server, index: Path, which: str) -> tuple[float, int]:
    """Push until none of those blobs is left of which that is true; the seconds it took, and how many were pushed."""
    begin, pushed = time.monotonic(), 0
    # the last ones go last: to look for one from that end costs the machine nothing
    one = f"SELECT id FROM blobs WHERE id <= ? AND touched_at = {_LONG_AGO} AND {which} ORDER BY id DESC LIMIT 1"
    with closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True, timeout=60)) as connection:
        last = connection.execute("SELECT max(id) FROM blobs WHERE touched_at = ?", (_LONG_AGO,)).fetchone()[0]
        while last is not None and connection.execute(one, (last,)).fetchone():
            seconds = time.monotonic() - begin
            if seconds > _LONGEST:
                raise BenchmarkError(f"there are blobs that are still there after {seconds:.0f} s")
            _push(server)
            pushed += _BATCH
    return time.monotonic() - begin, pushed


def _stopped(turn: Round, root: Path, number: int) -> float:
    """How long the collector of registry:2, or of a later version, works on the same blobs."""
    (root / "docker/registry/v2/repositories").mkdir(parents=True)
    _fill(root, number)
    server = turn.server.beside(root, turn.directory / "server")
    server.directory.mkdir()
    program, _, configuration = server.command()
    begin = time.monotonic()
    command = [program, "garbage-collect", configuration]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begin
    shutil.rmtree(turn.directory)
    if done.returncode != 0:
        raise BenchmarkError(f"garbage-collect failed ({done.returncode}): {done.stderr[-1000:]}")
    return seconds
