"""A running registry's index moves from SQLite to PostgreSQL, and everything is served as before."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from lading.stores.metadata import sqlite as sqlite_index
from lading.stores.metadata.moving import Progress, move
from tests.support import images
from tests.support.http import Client
from tests.support.lading import PROGRAM, Lading
from tests.support.postgres import Postgres
from tests.support.process import run
from tests.support.snapshot import snapshot


def fill(client: Client) -> None:
    client.push("one/two", images.image("first", (500, 600)), "latest")
    client.push("ünïcödé".encode("idna").decode(), images.index("multi"), "v1")
    client.push("one/two", images.artifact("sbom", images.image("first", (500, 600)).manifest.descriptor()), "sbom")
    client.delete("/v2/one/two/manifests/sbom")


@pytest.mark.parametrize("endpoint", [False, True], ids=["quiet", "with events"])
def test_everything_is_served_as_before(postgres: Postgres, tmp_path: Path, endpoint: bool) -> None:
    url = postgres.empty().replace("lading@", "lading:geheim@")
    settings = {"notifications": {"endpoints": [{"name": "away", "url": "http://127.0.0.1:9/"}]}} if endpoint else {}
    with Lading(tmp_path, settings) as registry:
        with Client(registry) as client:
            fill(client)
        index = registry.storage / "lading" / "index.sqlite"
        first = run([PROGRAM, "move-index", index, url])
        assert "compared them: they are the same" in first.stdout
        with Client(registry) as client:
            client.push("late/image", images.image("late"), "latest")
        before = snapshot(registry)
        registry.stop()
        again = run([PROGRAM, "move-index", index, url], check=False)
        assert again.returncode == 1
        assert "--replace" in again.stderr
        second = run([PROGRAM, "move-index", f"sqlite:///{index}", url, "--replace"])
        assert "written to meanwhile" not in second.stdout
        assert "geheim" not in first.stdout + first.stderr + again.stderr + second.stdout + second.stderr
        registry.configure({**settings, "database": {"url": url}})
        registry.start()
        assert snapshot(registry) == before
        with Client(registry) as client:
            client.push("new/image", images.image("new"), "latest")
            client.push("one/two", images.image("first", (500, 600)), "moved")
        assert "Traceback" not in registry.output
    with sqlite3.connect(index) as old:
        events = old.execute("SELECT count(*), max(id) FROM outbox").fetchone()
    old.close()
    database = url.rpartition("/")[2]
    assert postgres.ask(f"SELECT count(*) FROM outbox WHERE id <= {events[1] or 0}", database) == [(events[0],)]


def test_what_cannot_be_moved(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.fresh()
    for source, target, why in (
        (str(tmp_path / "none.sqlite"), url, "there is no index at"),
        (url, url, "FROM must be an index's SQLite file"),
        (str(tmp_path / "none.sqlite"), "sqlite:///other", "TO a PostgreSQL database"),
        (str(tmp_path / "none.sqlite"), "postgresql://h:port/d?x=y&geheim", "there is no index at"),
    ):
        done = run([PROGRAM, "move-index", source, target], check=False)
        assert (done.returncode, why in done.stderr) == (1, True), done.stderr
        assert "geheim" not in done.stderr


def test_a_row_that_postgresql_does_not_take_moves_nothing(postgres: Postgres, tmp_path: Path) -> None:
    with Lading(tmp_path) as registry, Client(registry) as client:
        client.push("one", images.image("first", (500,)), "latest")
    index = registry.storage / "lading" / "index.sqlite"
    with sqlite3.connect(index) as connection:
        connection.execute("UPDATE manifests SET artifact_type = 'nul' || char(0)")
    connection.close()
    url = postgres.empty()
    done = run([PROGRAM, "move-index", index, url], check=False)
    assert done.returncode == 1
    assert "does not take a row of manifests" in done.stderr
    assert postgres.ask("SELECT count(*) FROM pg_class WHERE relname = 'blobs'", url.rpartition("/")[2]) == [(0,)]


def test_what_is_written_meanwhile_is_not_moved_and_is_told(postgres: Postgres, tmp_path: Path) -> None:
    path, url = tmp_path / "index.sqlite", postgres.empty()
    sqlite_index.prepare(path)
    with sqlite3.connect(path) as writing:
        writing.execute("INSERT INTO facts VALUES ('early', 'x')")
        writing.commit()

        def write_late(progress: Progress) -> None:
            writing.execute("INSERT OR REPLACE INTO facts VALUES (?, 'x')", [f"{progress.phase} {progress.table}"])
            writing.commit()

        moved = move(path, url, write_late)
    writing.close()
    assert moved.written_meanwhile
    assert (moved.rows["facts"], sum(moved.rows.values())) == (1, 1)
    assert postgres.ask("SELECT name FROM facts", url.rpartition("/")[2]) == [("early",)]
