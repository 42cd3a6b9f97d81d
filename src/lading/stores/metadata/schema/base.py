"""What the tables share."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, MetaData

tables = MetaData()

VERSION = 1
"""Version of the whole schema; an index that a newer Lading wrote is not opened."""

# SQLite makes only a column declared INTEGER its row id; PostgreSQL needs 64 bits asked for by name
Id = BigInteger().with_variant(Integer, "sqlite")
