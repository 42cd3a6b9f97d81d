"""The tables in PostgreSQL: made by whoever comes first, and told apart by their version.

Beside the tables of ``schema/`` there is ``schema_version`` with one row: which version the tables have, and the
oldest program (by the schema it knows) that may still work on them. So the programs of version N-1 go on while
``lading migrate`` brings the tables to N, and one that is too old or too new says so instead of doing harm.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
from psycopg import errors
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from lading.errors import StoreError
from lading.stores.metadata.connections import Raw
from lading.stores.metadata.schema import OLDEST, VERSION, tables

DIALECT: Dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]

LOCK = "SELECT pg_advisory_xact_lock(7596469374823)"
"""Held by whoever makes or changes the tables."""

VERSION_TABLE = "CREATE TABLE schema_version (version bigint NOT NULL, least bigint NOT NULL)"

_THERE = "SELECT to_regclass('schema_version') IS NOT NULL"
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
            return VERSION, OLDEST
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
            yield str(CreateIndex(index).compile(dialect=DIALECT))
    yield VERSION_TABLE
    yield f"INSERT INTO schema_version (version, least) VALUES ({VERSION}, {OLDEST})"  # noqa: S608 - two numbers


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().partition("\n")[0]
