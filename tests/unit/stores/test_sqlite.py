"""The index on SQLite: how it commits, and what it says of a file it cannot use."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from lading.errors import ConfigurationError, StoreError, Unavailable
from lading.stores.metadata import sqlite
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.schema import VERSION
from lading.stores.metadata.transaction import Metadata, Statement, Transaction

pytestmark = pytest.mark.anyio


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement that SQLite is given on a connection that may write."""
    statements: list[str] = []
    connect = sqlite._connect

    def traced(path: Path, *, read_only: bool) -> sqlite3.Connection:
        connection = connect(path, read_only=read_only)
        if not read_only:
            connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr(sqlite, "_connect", traced)
    return statements


FACT = Statement(text("SELECT value FROM facts WHERE name = :name"))
NOTE = Statement(text("INSERT INTO facts (name, value) VALUES (:name, :value)"))


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[Metadata]:
    opened = open_index(f"sqlite:///{tmp_path / 'index.sqlite'}")
    yield opened
    await opened.close()


def note(path: Path, name: str) -> None:
    """Another process commits a fact."""
    with closing(sqlite3.connect(path, timeout=30)) as other, other:
        other.execute("INSERT INTO facts (name, value) VALUES (?, 'x')", [name])


@contextmanager
def readers_without_a_gap(path: Path) -> Iterator[None]:
    """Three that read in turns, so that at every moment somebody has a view that is some milliseconds old."""
    over = threading.Event()

    def read() -> None:
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            while not over.is_set():
                connection.execute("BEGIN")
                connection.execute("SELECT count(*) FROM facts").fetchone()
                over.wait(0.01)
                connection.execute("ROLLBACK")

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


async def fill(index: Metadata, commits: int, start: int = 0) -> None:
    """So many commits of some 130 kB each."""
    for number in range(start, start + commits):
        await index.write(lambda tx, n=number: tx.execute(NOTE, name=f"{n}", value="v" * 130_000), durable=False)  # type: ignore[misc]


async def nothing(tx: Transaction) -> None:
    """Work that does nothing."""


@pytest.mark.parametrize(("durable", "level"), [(True, "FULL"), (False, "NORMAL")])
async def test_a_durable_commit_is_synced(tmp_path: Path, said: list[str], durable: bool, level: str) -> None:
    index = open_index(f"sqlite:///{tmp_path / 'index.sqlite'}")
    await index.write(nothing, durable=durable)
    await index.close()
    assert said == [
        f"PRAGMA synchronous = {level}", "BEGIN IMMEDIATE", "SAVEPOINT work", "RELEASE work", "COMMIT",
    ]  # fmt: skip


@pytest.mark.parametrize(("last", "level"), [(True, "FULL"), (False, "NORMAL")])
async def test_what_waits_is_committed_together_and_one_durable_work_makes_all_so(
    tmp_path: Path, said: list[str], last: bool, level: str
) -> None:
    index = open_index(f"sqlite:///{tmp_path / 'index.sqlite'}")
    entered, go = threading.Event(), threading.Event()

    async def blocks(tx: Transaction) -> None:
        entered.set()
        go.wait(5)

    first = asyncio.create_task(index.write(blocks))
    await asyncio.to_thread(entered.wait, 5)
    rest = [asyncio.create_task(index.write(nothing, durable=last and number == 7)) for number in range(20)]
    await asyncio.sleep(0.05)
    said.clear()
    go.set()
    await asyncio.gather(first, *rest)
    await index.close()
    assert (said.count("COMMIT"), said.count("SAVEPOINT work")) == (2, 20)
    assert f"PRAGMA synchronous = {level}" in said


async def test_an_index_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="written by a newer Lading"):
        open_index(f"sqlite:///{path}")
    assert path.read_bytes() == before


async def test_a_file_that_is_no_index(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    path.write_bytes(b"this is no database " * 100)
    with pytest.raises(StoreError, match="is damaged, or no index"):
        open_index(f"sqlite:///{path}")


async def test_a_place_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot open the index"):
        open_index(f"sqlite:///{tmp_path / 'file' / 'index.sqlite'}")


def test_a_database_nobody_knows() -> None:
    with pytest.raises(ConfigurationError, match="'mysql' is not a database"):
        open_index("mysql://localhost")


async def test_what_asks_in_one_turn_of_the_loop_has_one_view_and_the_next_turn_a_new_one(
    tmp_path: Path, index: Metadata
) -> None:
    assert await index.row(FACT, name="one") is None
    note(tmp_path / "index.sqlite", "one")
    assert await index.row(FACT, name="one") is None
    assert await index.read(lambda tx: tx.row(FACT, name="one")) is None
    await asyncio.sleep(0)
    assert await index.row(FACT, name="one") == ("x",)


async def test_who_wrote_sees_it_beside_others_who_read_without_a_pause(index: Metadata) -> None:
    over = False

    async def reads() -> None:
        while not over:
            await index.row(FACT, name="any")
            await asyncio.sleep(0)

    others = [asyncio.create_task(reads()) for _ in range(5)]
    for number in range(200):
        name = f"{number}"
        await index.write(lambda tx, n=name: tx.execute(NOTE, name=n, value="v"), durable=False)  # type: ignore[misc]
        assert await index.row(FACT, name=name) == ("v",)
    over = True
    await asyncio.gather(*others)


async def test_after_a_statement_that_failed_the_next_one_has_a_view_of_its_own(
    tmp_path: Path, index: Metadata
) -> None:
    with pytest.raises(Unavailable):
        await index.row(Statement(text("SELECT nothing FROM nowhere")))
    await asyncio.sleep(0)
    note(tmp_path / "index.sqlite", "one")
    assert await index.row(FACT, name="one") == ("x",)


async def test_the_log_stays_short_beside_readers_who_leave_no_gap(
    tmp_path: Path, index: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_LOG_SECONDS", 20)  # a loaded machine may let readers stay longer than they mean to
    longest = 0
    with readers_without_a_gap(tmp_path / "index.sqlite"):
        for part in range(20):
            await fill(index, 10, part * 10)
            longest = max(longest, (tmp_path / "index.sqlite-wal").stat().st_size)
    assert longest < 2 * sqlite._LOG_BYTES  # 26 MB went through it


async def test_a_reader_of_long_holds_no_writer_up_and_the_log_is_short_again_after_it(
    tmp_path: Path, index: Metadata
) -> None:
    log = tmp_path / "index.sqlite-wal"
    with closing(sqlite3.connect(tmp_path / "index.sqlite", isolation_level=None)) as reader:
        await fill(index, 1)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM facts").fetchone() == (1,)
        await fill(index, 120, 1)
        assert reader.execute("SELECT count(*) FROM facts").fetchone() == (1,)
        assert log.stat().st_size > 3 * sqlite._LOG_BYTES
    await fill(index, 40, 121)
    assert log.stat().st_size < 2 * sqlite._LOG_BYTES


async def test_whoever_copies_the_file_of_a_closed_index_has_everything(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    opened = open_index(f"sqlite:///{path}")
    await opened.write(lambda tx: tx.execute(NOTE, name="a", value="x"))
    assert await opened.scan(lambda tx: tx.value(FACT, name="a")) == "x"
    await opened.close()
    assert not path.with_name("index.sqlite-wal").exists()


async def test_what_opens_an_index_that_was_moved_away_makes_none(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    index = open_index(f"sqlite:///{path}")
    path.rename(tmp_path / "aside")
    with pytest.raises(Unavailable, match="unable to open"):
        await index.scan(lambda tx: tx.value(FACT, name="a"))
    assert not path.exists()
    (tmp_path / "aside").rename(path)
    assert await index.scan(lambda tx: tx.value(FACT, name="a")) is None
    await index.close()


def garble(path: Path, table: str) -> None:
    """Have the pages of a table, and of what finds its rows, be none."""
    with closing(sqlite3.connect(path)) as connection:
        roots = connection.execute("SELECT rootpage FROM sqlite_master WHERE tbl_name = ?", [table]).fetchall()
        [size] = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        for (root,) in roots:
            file.seek((root - 1) * size)
            file.write(b"\xff" * size)


async def test_a_damaged_page_is_told_as_that_and_writers_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "index.sqlite"
    await open_index(f"sqlite:///{path}").close()
    garble(path, "facts")
    index = open_index(f"sqlite:///{path}")
    for asked in (
        index.row(FACT, name="a"),
        index.read(lambda tx: tx.value(FACT, name="a")),
        index.scan(lambda tx: tx.value(FACT, name="a")),
        index.write(lambda tx: tx.execute(NOTE, name="a", value="x")),
    ):
        with pytest.raises(Unavailable, match="damaged"):
            await asked
    assert "lading verify" in caplog.text
    assert await index.write(lambda tx: tx.value(Statement(text("SELECT count(*) FROM tags")))) == 0
    await index.close()
