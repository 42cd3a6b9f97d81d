"""What the tables share."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Index, Integer, MetaData, String

tables = MetaData()

VERSION = 10
"""Version of the whole schema: the number of the newest file in ``migrations/``."""

OLDEST = 9
"""The oldest version this program can still work on. A program works on its own schema and on the one before, so that
it can be started before or after ``lading migrate``; a migration says likewise which programs can work on its result."""

# SQLite makes only a column declared INTEGER its row id; PostgreSQL needs 64 bits asked for by name
Id = BigInteger().with_variant(Integer, "sqlite")


def word(length: int) -> String:
    """Text of at most ``length`` characters that is compared and sorted byte by byte, whatever the database's language."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def partial(name: str, *columns: ColumnElement[Any], where: ColumnElement[bool], unique: bool = False) -> Index:
    """An index of the rows for which ``where`` holds.

    Who makes it in PostgreSQL takes the condition from ``info``: to name that dialect here would have it imported by
    everyone, and it is a twentieth of what a server imports.
    """
    return Index(name, *columns, unique=unique, sqlite_where=where, info={"where": where})
