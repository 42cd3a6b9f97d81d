"""The figure of an index in PostgreSQL: manifests by tag, beside registry:2 on its files.

PostgreSQL is Debian's, on this machine, with commits that are synced; what it costs is told apart from the server.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from bench.figures import Figure, Metric, Options, Round, Sample
from bench.pull import REQUESTS, wrk
from bench.servers import BenchmarkError, Lading, cpu_seconds, family
from tests.support.postgres import Postgres


@dataclass(frozen=True)
class Moved:
    """A running server over the round's volume, its index in a database."""

    server: Lading
    database: Postgres

    def database_seconds(self) -> float:
        """CPU time of PostgreSQL so far."""
        assert self.database.pid is not None
        return cpu_seconds(family(self.database.pid))


@contextmanager
def moved(turn: Round) -> Iterator[Moved]:
    """The round's Lading again, with its index moved to a PostgreSQL of its own."""
    assert isinstance(turn.server, Lading)
    here = turn.kept.directory / f"{turn.server.name}-postgresql".replace(" ", "-")
    with Postgres({"shared_buffers": "256MB"}, quick=False) as database:
        url = database.empty()
        words = turn.server.words
        command = [*words[: words.index("serve")], "move-index", str(turn.server.root / "lading/index.sqlite"), url]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchmarkError(f"{shlex.join(command)} failed:\n{(done.stdout + done.stderr)[-2000:]}")
        database.ask("VACUUM ANALYZE", url.rpartition("/")[2])
        server = turn.server.beside(turn.server.root, here, more=f"database:\n  url: {url}\n")
        server.start()
        try:
            yield Moved(server, database)
        finally:
            server.stop()


def manifest_get(turn: Round) -> Sample:
    """GET by tag over connections that stay open; of registry:2, which has no database, from its files."""
    if not isinstance(turn.server, Lading):
        return {**wrk(turn, turn.options.connections), "database_us": 0.0}
    here = turn.kept.get(f"postgresql of {turn.server.name}", lambda: moved(turn))
    before = here.database_seconds()
    found = wrk(replace(turn, server=here.server), turn.options.connections)
    requests = found["rate"] * turn.options.seconds
    return {**found, "database_us": (here.database_seconds() - before) / requests * 1e6}


def figures(options: Options) -> tuple[Figure, ...]:
    """The figure of an index in PostgreSQL."""
    return (
        Figure(
            "manifest-get-postgresql",
            f"manifest GET by tag, index in PostgreSQL, {options.connections} connections",
            (*REQUESTS, Metric("database_us", "PostgreSQL's CPU a request", "µs", "less")),
            manifest_get,
            static=False,
            volume=True,
        ),
    )
