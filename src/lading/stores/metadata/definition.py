"""The tables in PostgreSQL: made by whoever comes first, and told apart by their version.

Beside the tables of ``schema/`` there is ``schema_version`` with one row: which version the tables have, and the
oldest program (by the schema it knows) that may still work on them. So the programs of version N-1 go on while
``lading migrate`` brings the tables to N, and one that is too old or too new says so instead of doing harm.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors
from sqlalchemy import Connection, create_engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateIndex, CreateTable

from lading.errors import StoreError, Unavailable
from lading.stores.metadata.connections import Raw, parameters
from lading.stores.metadata.migrations.steps import Step, run, steps
from lading.stores.metadata.schema import OLDEST, VERSION, tables

DIALECT: Dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]

LOCK = "SELECT pg_advisory_xact_lock(7596469374823)"
"""Held by whoever makes or changes the tables."""

VERSION_TABLE = "CREATE TABLE schema_version (version bigint NOT NULL, least bigint NOT NULL)"

_ATTEMPTS = 5
# not to_regclass: in a transaction it may go by what it remembers from before the lock
_THERE = "SELECT EXISTS (SELECT 1 FROM pg_class WHERE relname = 'schema_version' AND pg_table_is_visible(oid))"
_VERSION = "SELECT version, least FROM schema_version"


async def prepare(connection: Raw) -> None:
    """Make the tables if there are none; raise :class:`~lading.errors.StoreError` if they are not for this program."""
    found = await _version(connection)
    if found is None:
        found = await _create(connection)
    check(*found)


def check(version: int, least: int) -> None:
    """Whether this program may work on tables of ``version``, on which programs from schema ``least`` on may."""
    if version < OLDEST:
        raise StoreError(
            f"the index has schema {version}, and this Lading needs {OLDEST} at least: run `lading migrate` "
            "(`lading migrate --check` says what it will do)"
        )
    if least > VERSION:
        raise StoreError(
            f"the index was brought to schema {version} by a newer Lading, and this one knows {VERSION}: start that "
            "version, or give this one another database"
        )


def state(url: str) -> tuple[int, int]:
    """The version of the tables at ``url`` and the oldest programs that may work on them; 0 where there are none."""
    with _connected(url) as connection:
        return _state(connection)


def migrate(url: str, chosen: Sequence[Step]) -> Iterator[Step]:
    """Run migrations, each in a transaction of its own, and tell each that is done.

    None waits long for a lock: while a change of a table waits, so does everyone else who wants the table.
    """
    with _connected(url) as connection:
        for step in chosen:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    _step(connection, step)
                except OperationalError as error:
                    if not isinstance(error.orig, errors.LockNotAvailable) or attempt == _ATTEMPTS:
                        raise
                    time.sleep(attempt)
                else:
                    break
            yield step


def _step(connection: Connection, step: Step) -> None:
    with connection.begin():
        connection.exec_driver_sql(LOCK)
        connection.exec_driver_sql("SET LOCAL lock_timeout = '3s'")
        if _state(connection)[0] != step.version - 1:
            return  # another process was first
        run(connection, [step])
        connection.exec_driver_sql("UPDATE schema_version SET version = %s, least = %s", (step.version, step.least))


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    given = parameters(url)
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(**given), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    except OperationalError as error:
        raise Unavailable(f"the index cannot be reached right now: {str(error.orig).strip()}") from error


def _state(connection: Connection) -> tuple[int, int]:
    if not connection.exec_driver_sql(_THERE).scalar():
        return 0, 0
    row = connection.exec_driver_sql(_VERSION).one()
    return row[0], row[1]


def there(connection: psycopg.Connection[tuple[Any, ...]]) -> bool:
    """Whether there are tables of Lading's in a database."""
    row = connection.execute(_THERE).fetchone()
    return bool(row and row[0])


async def _version(connection: Raw) -> tuple[int, int] | None:
    there = await (await connection.execute(_THERE)).fetchone()
    if not there or not there[0]:
        return None
    row = await (await connection.execute(_VERSION)).fetchone()
    if row is None:
        raise StoreError("the index's table schema_version is empty: it was not made, or not restored, completely")
    return row[0], row[1]


async def _create(connection: Raw) -> tuple[int, int]:
    try:
        async with connection.transaction():
            await connection.execute(LOCK)
            found = await _version(connection)
            if found is not None:
                return found  # another process was first
            for statement in definitions():
                await connection.execute(statement.encode())
            return VERSION, steps()[-1].least
    except errors.InsufficientPrivilege as error:
        raise StoreError(
            f"the index's tables cannot be made: {_first_line(error)}. Make the database the user's own "
            "(CREATE DATABASE lading OWNER lading)"
        ) from error
    except errors.DuplicateTable as error:
        raise StoreError(
            f"this database holds tables that are not Lading's: {_first_line(error)}. Give Lading a database of its own"
        ) from error


def definitions() -> Iterator[str]:
    """Every statement that makes the tables of this version."""
    for table in tables.sorted_tables:
        yield str(CreateTable(table).compile(dialect=DIALECT))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            if "where" in index.info:
                index.dialect_options["postgresql"]["where"] = index.info["where"]
            yield str(CreateIndex(index).compile(dialect=DIALECT))
    yield VERSION_TABLE
    least = steps()[-1].least
    yield f"INSERT INTO schema_version (version, least) VALUES ({VERSION}, {least})"  # noqa: S608 - two numbers


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().partition("\n")[0]
