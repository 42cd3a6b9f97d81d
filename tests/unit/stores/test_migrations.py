"""The tables: made at once or by migrations they are the same, and old and new programs know what they may do."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.operations import Operations
from sqlalchemy import BigInteger, Column, select

from lading.errors import StoreError
from lading.stores.metadata import definition, engine, sqlite
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.migrations.steps import Step, steps
from lading.stores.metadata.schema import OLDEST, VERSION, tables
from lading.stores.metadata.schema.work import facts
from lading.stores.metadata.transaction import Statement
from tests.support.lading import PROGRAM
from tests.support.packages import program
from tests.support.postgres import Postgres
from tests.support.process import run

pytestmark = pytest.mark.anyio

FACTS = Statement(select(facts.c.name))


def test_there_is_a_migration_for_every_version() -> None:
    assert [step.version for step in steps()] == list(range(1, VERSION + 1))
    assert all(step.least in {step.version, max(1, step.version - 1)} for step in steps())


def test_the_oldest_schema_has_all_that_this_program_uses(tmp_path: Path) -> None:
    """A program of schema N that needs what N brought cannot work on N-1: then OLDEST has to be N."""
    path = tmp_path / "oldest.sqlite"
    sqlite.migrate(path, [step for step in steps() if step.version <= OLDEST])
    with sqlite3.connect(path) as connection:
        there = {
            table: {row[1] for row in connection.execute(f"PRAGMA table_info({table})")} for table in tables.tables
        }
    connection.close()
    missing = {
        f"{table.name}.{column.name}"
        for table in tables.tables.values()
        for column in table.columns
        if column.name not in there[table.name]
    }
    assert not missing, "schema OLDEST has no such columns: raise OLDEST in schema/base.py"


def test_both_ways_lead_to_the_same_tables_in_postgresql(postgres: Postgres) -> None:
    at_once, step_by_step = postgres.fresh(), postgres.empty()
    name = step_by_step.rpartition("/")[2]
    postgres.ask(definition.VERSION_TABLE, name)
    postgres.ask("INSERT INTO schema_version VALUES (0, 0)", name)
    assert [step.version for step in definition.migrate(step_by_step, steps())] == list(range(1, VERSION + 1))
    assert dumped(step_by_step) == dumped(at_once)
    assert definition.state(step_by_step) == definition.state(at_once)


def dumped(url: str) -> list[str]:
    text = run([program("pg_dump"), "--schema-only", "--no-owner", url]).stdout
    # newer versions fence the dump with a word made up for each
    return sorted(line for line in text.splitlines() if line.strip() and not re.match(r"--|\\(un)?restrict", line))


def test_both_ways_lead_to_the_same_tables_in_sqlite(tmp_path: Path) -> None:
    sqlite.prepare(tmp_path / "at-once")
    sqlite.migrate(tmp_path / "step-by-step", steps())
    assert described(tmp_path / "step-by-step") == described(tmp_path / "at-once")


def described(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    return [f"version {version}", *sorted(re.sub(r"\s+", " ", row[0]) for row in rows)]


async def test_processes_that_start_at_once_make_the_tables_once(postgres: Postgres) -> None:
    url = postgres.empty()
    all_of_them = [open_index(url) for _ in range(8)]
    assert await asyncio.gather(*(one.row(FACTS) for one in all_of_them)) == [None] * 8
    for one in all_of_them:
        await one.close()
    assert postgres.ask("SELECT version FROM schema_version", url.rpartition("/")[2]) == [(VERSION,)]


def add_a_column(op: Operations) -> None:
    op.add_column("blobs", Column("colour", BigInteger))


def fail_halfway(op: Operations) -> None:
    add_a_column(op)
    raise ZeroDivisionError


def later(number: int = 1, *, least: int, upgrade: Callable[[Operations], None] = add_a_column) -> Step:
    return Step(VERSION + number, least, "Blobs have a colour", upgrade)


async def test_programs_of_the_version_before_go_on_while_the_tables_change(postgres: Postgres) -> None:
    url = postgres.fresh()
    serving, starting = open_index(url), open_index(url)
    await serving.row(FACTS)
    assert list(definition.migrate(url, [later(least=VERSION)])) != []
    assert await serving.row(FACTS) is None
    assert await starting.row(FACTS) is None
    await serving.close()
    await starting.close()


async def test_one_that_is_too_old_says_so(postgres: Postgres) -> None:
    url = postgres.fresh()
    assert list(definition.migrate(url, [later(least=VERSION + 1)])) != []
    old = open_index(url)
    with pytest.raises(StoreError, match="newer Lading"):
        await old.row(FACTS)
    with pytest.raises(StoreError, match="newer Lading"):
        engine.version_of(url)
    await old.close()


async def test_one_that_needs_newer_tables_says_what_to_do(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    new = open_index(postgres.fresh())
    monkeypatch.setattr(definition, "OLDEST", VERSION + 1)
    with pytest.raises(StoreError, match="lading migrate"):
        await new.row(FACTS)
    await new.close()


async def test_a_migration_that_fails_leaves_nothing(postgres: Postgres, tmp_path: Path) -> None:
    url, path = postgres.fresh(), tmp_path / "index.sqlite"
    sqlite.prepare(path)
    before = dumped(url), described(path)
    with pytest.raises(ZeroDivisionError):
        list(definition.migrate(url, [later(least=VERSION, upgrade=fail_halfway)]))
    with pytest.raises(ZeroDivisionError):
        sqlite.migrate(path, [later(least=VERSION, upgrade=fail_halfway)])
    assert (dumped(url), described(path)) == before


async def test_sqlite_is_brought_up_to_date_when_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index.sqlite"
    sqlite.prepare(path)
    monkeypatch.setattr(sqlite, "VERSION", VERSION + 1)
    monkeypatch.setattr(sqlite, "steps", lambda after: [later(least=VERSION)] if after == VERSION else [])
    index = open_index(f"sqlite:///{path}")
    assert await index.row(FACTS) is None
    await index.close()
    assert described(path)[0] == f"version {VERSION + 1}"
    assert any("colour" in line for line in described(path))


async def test_a_database_of_somebody_else(postgres: Postgres) -> None:
    url = postgres.empty()
    postgres.ask("CREATE TABLE blobs (theirs int)", url.rpartition("/")[2])
    index = open_index(url)
    with pytest.raises(StoreError, match="a database of its own"):
        await index.row(FACTS)
    await index.close()


def test_the_command(postgres: Postgres) -> None:
    url = postgres.empty().replace("lading@", "lading:geheim@")
    environment = {"REGISTRY_DATABASE_URL": url}
    said = []
    for words, status in ((["--check"], 1), ([], 0), (["--check"], 0), ([], 0)):
        done = run([PROGRAM, "migrate", *words], environment=environment, check=False)
        assert done.returncode == status, done.stderr
        said.append(done.stdout)
    assert "no index at postgresql://lading:***@127.0.0.1" in said[0]
    assert "Made." in said[1]
    assert "nothing to do" in said[2]
    assert "geheim" not in "".join(said)
