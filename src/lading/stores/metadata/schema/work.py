"""What runs in the background, and what it must not forget."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, Table, Text

from lading.stores.metadata.schema.base import Id, tables, word

facts = Table(
    "facts",
    tables,
    Column("name", word(64), primary_key=True),
    Column("value", Text, nullable=False),
)
"""Single values: the installation's secret, how far an adoption came."""

leases = Table(
    "leases",
    tables,
    Column("name", word(128), primary_key=True),
    Column("holder", word(64), nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)
"""Who does a piece of background work now."""

outbox = Table(
    "outbox",
    tables,
    Column("id", Id, primary_key=True),
    Column("kind", word(64), nullable=False),
    Column("payload", Text, nullable=False),
    Column("happened_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)
"""Events, in the order in which they were committed; each consumer reads from its own place."""

consumers = Table(
    "consumers",
    tables,
    Column("name", word(255), primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("next_at", BigInteger, nullable=False),
)
"""How far each consumer of the outbox came: the id of the last event it is done with."""
