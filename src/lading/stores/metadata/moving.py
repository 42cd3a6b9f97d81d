"""Moves an index from a SQLite file to PostgreSQL, table by table, and compares what arrived with what was sent.

The file is only read, as it was at one moment; servers may go on with it, but what they write after that moment is not
moved. In PostgreSQL all of it happens in one transaction: it is there completely and compared, or not at all.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from psycopg import sql
from sqlalchemy import Boolean, Table

from lading.errors import StoreError, Unavailable
from lading.stores.metadata import sqlite
from lading.stores.metadata.connections import parameters
from lading.stores.metadata.definition import LOCK, definitions, there
from lading.stores.metadata.schema import VERSION, tables

_AT_ONCE = 2000


@dataclass
class Progress:
    """How far a move is: ``phase`` is copy or compare, ``done`` of ``total`` rows."""

    phase: str
    table: str
    total: int
    done: int = 0


@dataclass
class Moved:
    """What was moved: rows by table, and whether somebody wrote to the file meanwhile."""

    rows: dict[str, int]
    written_meanwhile: bool


Watch = Callable[[Progress], None]


def move(source: Path, url: str, watch: Watch, *, replace: bool = False) -> Moved:
    """Move the index in the file ``source`` to the database at ``url``, which has none yet, unless it is to be replaced.

    Raises :class:`~lading.errors.StoreError` where there is nothing to move, or something is in the way.
    """
    version = sqlite.state(source)
    if version == 0:
        raise StoreError(f"there is no index at {source}")
    if version != VERSION:
        raise StoreError(
            f"the index {source} has schema {version}, and this Lading moves {VERSION}: bring it up to date first, by "
            "starting this version on it once"
        )
    with closing(_opened(source)) as reading, closing(_opened(source)) as noticing:
        before = noticing.execute("PRAGMA data_version").fetchone()
        reading.execute("BEGIN")
        try:
            with psycopg.connect(**parameters(url)) as writing:
                _make_room(writing, replace=replace)
                rows = _Move(reading, writing, watch).run()
        except psycopg.OperationalError as error:
            raise Unavailable(f"PostgreSQL cannot be reached: {str(error).strip()}") from error
        return Moved(rows, noticing.execute("PRAGMA data_version").fetchone() != before)


def _opened(source: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


def _make_room(writing: psycopg.Connection[tuple[Any, ...]], *, replace: bool) -> None:
    writing.execute(LOCK)
    if not there(writing):
        for statement in definitions():
            writing.execute(statement.encode())
        return
    names = sql.SQL(", ").join(sql.Identifier(table.name) for table in tables.sorted_tables)
    writing.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names))
    full = [table.name for table in tables.sorted_tables if _has_rows(writing, table)]
    if full and not replace:
        raise StoreError(
            f"there is an index in this database already (rows in {', '.join(full)}); give it another database, or "
            "--replace to throw that index away"
        )
    writing.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY").format(names))


def _has_rows(writing: psycopg.Connection[tuple[Any, ...]], table: Table) -> bool:
    row = writing.execute(sql.SQL("SELECT EXISTS (SELECT 1 FROM {})").format(sql.Identifier(table.name))).fetchone()
    return bool(row and row[0])


class _Move:
    def __init__(self, reading: sqlite3.Connection, writing: psycopg.Connection[tuple[Any, ...]], watch: Watch) -> None:
        self._reading = reading
        self._writing = writing
        self._watch = watch
        self._counts = {table.name: self._count(table) for table in tables.sorted_tables}

    def run(self) -> dict[str, int]:
        """Copy, then compare; the rows of each table."""
        total = sum(self._counts.values())
        copying, comparing = Progress("copy", "", total), Progress("compare", "", total)
        sent = {table.name: self._copy(table, copying) for table in tables.sorted_tables}
        for table in tables.sorted_tables:
            self._number_on(table)
            if self._arrived(table, comparing) != sent[table.name]:
                raise StoreError(
                    f"the rows of {table.name} in PostgreSQL are not those in SQLite; nothing was moved. Please report it"
                )
        return self._counts

    def _count(self, table: Table) -> int:
        return int(self._reading.execute(f'SELECT count(*) FROM "{table.name}"').fetchone()[0])  # noqa: S608 - our own

    def _copy(self, table: Table, progress: Progress) -> tuple[int, str]:
        flags = [isinstance(column.type, Boolean) for column in table.columns]
        columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), columns)
        checksum = _Checksum()
        try:
            with self._writing.cursor() as cursor, cursor.copy(statement) as copy:
                for row in self._told(table, self._source(table), progress):
                    checksum.add(row)
                    copy.write_row(
                        [
                            bool(value) if flag and value is not None else value
                            for flag, value in zip(flags, row, strict=True)
                        ]
                    )
        except psycopg.DataError as error:
            raise StoreError(
                f"PostgreSQL does not take a row of {table.name}: {str(error).strip()}. Nothing was moved"
            ) from error
        return checksum.result()

    def _arrived(self, table: Table, progress: Progress) -> tuple[int, str]:
        checksum = _Checksum()
        with self._writing.cursor(name="compare", binary=True) as cursor:
            cursor.itersize = _AT_ONCE
            cursor.execute(_ordered(table))
            for row in self._told(table, cursor, progress):
                checksum.add(tuple(int(value) if isinstance(value, bool) else value for value in row))
        return checksum.result()

    def _source(self, table: Table) -> Iterator[tuple[Any, ...]]:
        cursor = self._reading.execute(_ordered(table).as_string(None))
        while rows := cursor.fetchmany(_AT_ONCE):
            yield from rows

    def _told(self, table: Table, rows: Iterable[tuple[Any, ...]], progress: Progress) -> Iterator[tuple[Any, ...]]:
        progress.table = table.name
        self._watch(progress)
        for row in rows:
            yield row
            progress.done += 1
            if progress.done % _AT_ONCE == 0:
                self._watch(progress)
        self._watch(progress)

    def _number_on(self, table: Table) -> None:
        """Have PostgreSQL go on behind the last number that SQLite gave, also where its row is gone."""
        if "id" not in table.columns:
            return
        name = table.name
        numbers = self._reading.execute(f'SELECT coalesce(max(id), 0) FROM "{name}"').fetchone()  # noqa: S608 - our own
        given = self._reading.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", [name]).fetchone()
        last = max(numbers[0], given[0] if given else 0)
        if last:
            self._writing.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", [name, last])


def _ordered(table: Table) -> sql.Composed:
    """All rows in the order of the primary key, which is the same in both: numbers, and text byte by byte."""
    columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns)
    key = sql.SQL(", ").join(sql.Identifier(column.name) for column in table.primary_key)
    return sql.SQL("SELECT {} FROM {} ORDER BY {}").format(columns, sql.Identifier(table.name), key)


class _Checksum:
    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self._rows = 0

    def add(self, row: tuple[Any, ...]) -> None:
        self._hash.update(msgspec.msgpack.encode(row))
        self._rows += 1

    def result(self) -> tuple[int, str]:
        """How many rows, and a sum of them all."""
        return self._rows, self._hash.hexdigest()
