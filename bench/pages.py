"""The figures of long lists: a page of a hundred tags, and of a hundred repositories, out of a thousand to a million.

Pages begin at random places. An index of Lading is filled by its own tables; registry:2 has but the folders that it
reads for these lists, and is not asked for pages of a million: it reads all of a list for each.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

from bench.figures import Figure, Metric, Options, Round, Sample
from bench.servers import BenchmarkError, Lading, Server
from lading.stores.metadata.sqlite import prepare

REPOSITORY = "bench/tagged"
PAGE = 100
_MOST_OF_REGISTRY = 100_000
_SECONDS_OF_REGISTRY = 10.0


def pages(number: int, turn: Round) -> Sample:
    """Ask for pages of both lists for a while; CPU and time of one."""
    if not isinstance(turn.server, Lading) and number > _MOST_OF_REGISTRY:
        return {}
    server = turn.kept.get(f"{turn.server.name} with {number} tags", lambda: _filled(turn, number))
    draw = random.Random(turn.seed)
    tags = _ask(server, turn, lambda: f"/v2/{REPOSITORY}/tags/list?n={PAGE}&last={_tag(draw.randrange(number))}")
    names = _ask(server, turn, lambda: f"/v2/_catalog?n={PAGE}&last={_name(draw.randrange(number))}")
    return {f"{what}_{key}": value for what, of in (("tags", tags), ("catalog", names)) for key, value in of.items()}


def figures(options: Options) -> tuple[Figure, ...]:
    """The figures of long lists."""
    metrics = tuple(
        Metric(f"{what}_{key}", f"{what}: {label}", unit, "less")
        for what in ("tags", "catalog")
        for key, label, unit in (("cpu_us", "server CPU a page", "µs"), ("ms", "time a page", "ms"))
    )
    return tuple(
        Figure(
            f"pages-{number}",
            f"pages of {PAGE} of {number} tags and of {number} repositories",
            metrics,
            partial(pages, number),
            static=False,
        )
        for number in (1_000, 100_000, options.many)
    )


def _ask(server: Server, turn: Round, path: Callable[[], str]) -> dict[str, float]:
    before, begin, count = server.cpu_seconds(), time.monotonic(), 0
    patience = turn.options.seconds / 2 if isinstance(server, Lading) else _SECONDS_OF_REGISTRY
    with closing(HTTPConnection("127.0.0.1", server.port, timeout=300)) as connection:
        while count < 1 or time.monotonic() - begin < patience:
            connection.request("GET", path())
            answer = connection.getresponse()
            if answer.status != 200 or not answer.read():
                raise BenchmarkError(f"{server.name} answered a page with {answer.status}")
            count += 1
    seconds, cpu = time.monotonic() - begin, server.cpu_seconds() - before
    return {"cpu_us": cpu / count * 1e6, "ms": seconds / count * 1e3}


@contextmanager
def _filled(turn: Round, number: int) -> Iterator[Server]:
    root = turn.kept.directory / f"pages-{number}-{turn.server.name}".replace(":", "").replace(" ", "-")
    root.mkdir()
    if isinstance(turn.server, Lading):
        _fill_index(root / "lading/index.sqlite", number)
    else:
        _fill_folders(root / "docker/registry/v2/repositories", number)
    server = turn.server.beside(root, root / "server")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _fill_index(path: Path, number: int) -> None:
    prepare(path)
    with sqlite3.connect(path, isolation_level=None) as index:
        index.execute("PRAGMA synchronous = OFF")
        index.execute("BEGIN")
        index.execute("INSERT INTO blobs (id, digest, size, present, touched_at) VALUES (1, 'sha256:0', 2, 1, 0)")
        index.executemany(
            "INSERT INTO repositories (id, name, created_at) VALUES (?, ?, 0)",
            ((1 if one < 0 else one + 2, REPOSITORY if one < 0 else _name(one)) for one in range(-1, number)),
        )
        # the catalog lists what holds something
        index.executemany(
            "INSERT INTO manifests (id, repository_id, blob_id, digest, media_type, size, artifact_type, annotations,"
            " pushed_at, touched_at) VALUES (?, ?, 1, 'sha256:0', '', 2, '', '{}', 0, 0)",
            ((one + 1, one + 1) for one in range(number + 1)),
        )
        index.executemany(
            "INSERT INTO tags (repository_id, name, manifest_id, moved_at) VALUES (1, ?, 1, 0)",
            ((_tag(one),) for one in range(number)),
        )
        index.execute("COMMIT")
        index.execute("ANALYZE")


def _fill_folders(repositories: Path, number: int) -> None:
    for one in range(number):
        (repositories / REPOSITORY / "_manifests/tags" / _tag(one)).mkdir(parents=True)
        (repositories / _name(one) / "_layers").mkdir(parents=True)


def _tag(number: int) -> str:
    return f"v{number:07d}"


def _name(number: int) -> str:
    return f"team-{number // 1000:04d}/app-{number:07d}"
