"""The index on SQLite: how it commits, and what it says of a file it cannot use."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from lading.errors import ConfigurationError, StoreError
from lading.stores.metadata import sqlite
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.schema import VERSION
from lading.stores.metadata.transaction import Transaction

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
    with pytest.raises(StoreError, match="cannot open the index"):
        open_index(f"sqlite:///{path}")


async def test_a_place_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot open the index"):
        open_index(f"sqlite:///{tmp_path / 'file' / 'index.sqlite'}")


def test_a_database_nobody_knows() -> None:
    with pytest.raises(ConfigurationError, match="'mysql' is not a database"):
        open_index("mysql://localhost")
