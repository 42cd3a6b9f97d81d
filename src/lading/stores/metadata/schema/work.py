"""What runs in the background, and what it must not forget."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    literal_column,
    text,
)

from lading.stores.metadata.schema.base import Id, partial, tables, word

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
"""Who does something that has no job: who looks at the schedules."""

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

jobs = Table(
    "jobs",
    tables,
    Column("id", Id, primary_key=True),
    Column("kind", word(64), nullable=False),
    Column("key", word(255)),
    Column("state", word(16), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("payload", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("holder", word(128)),
    Column("lease_until", BigInteger),
    Column("began_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("cancelling", Boolean, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("total", BigInteger),
    Column("message", Text, nullable=False),
    Column("result", Text),
    Column("error", Text, nullable=False),
    sqlite_autoincrement=True,
)
"""Work to be done, being done and done: ``state`` is waiting, running, done, failed or cancelled.

``began_at`` is when the last attempt began; ``ended_at`` is set by the last three states, and until then a ``key`` is
held by one job. ``cancelling`` asks a running job to end. ``done`` of ``total`` (NULL: unknown) is its progress.
"""

# the states stand in the indexes as words and not as parameters: a planner must see that an index fits
_active = jobs.c.ended_at.is_(None)
_waiting = jobs.c.state == literal_column("'waiting'")
_running = jobs.c.state == literal_column("'running'")
partial("jobs_key", jobs.c.key, unique=True, where=_active)
partial("jobs_waiting", jobs.c.priority.desc(), jobs.c.not_before, jobs.c.id, where=_waiting)
partial("jobs_running", jobs.c.lease_until, where=_running)
partial("jobs_ended", jobs.c.ended_at, where=~_active)

job_lines = Table(
    "job_lines",
    tables,
    Column("id", Id, primary_key=True),
    Column("job_id", Id, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("line", Text, nullable=False),
)
"""What a job had to say, its newest lines."""

Index("job_lines_job", job_lines.c.job_id, job_lines.c.id)

schedules = Table(
    "schedules",
    tables,
    Column("name", word(64), primary_key=True),
    Column("kind", word(64), nullable=False),
    Column("payload", Text, nullable=False),
    Column("timing", word(255), nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("last_at", BigInteger),
    Column("job_id", BigInteger),
    Column("configured", Boolean, nullable=False, server_default=text("false")),
)
"""When jobs are enqueued again and again; ``job_id`` is the last one. ``configured``: by the configuration."""
