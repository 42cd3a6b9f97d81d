"""A bounded number of connections to PostgreSQL, for one process.

Connections are opened when they are needed and kept. Nothing of a session is relied on (no ``SET``, no ``LISTEN``, no
lock that outlives a transaction), so a pooler that gives every transaction another session (PgBouncer) may stand
between. While the database is away one attempt in a moment tries it; whoever comes meanwhile is told at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.numeric import Int8BinaryDumper, Int8Dumper, NumericBinaryLoader

from lading.errors import ConfigurationError, Unavailable
from lading.stores.metadata.clock import DatabaseClock

log = logging.getLogger(__name__)

Raw = psycopg.AsyncConnection[tuple[Any, ...]]

_PATIENCE = {
    "connect_timeout": "5",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "application_name": "lading",
}
"""What the URL does not say: a database that is gone is noticed within seconds."""

_AWAY = "the index cannot be reached right now"
_TRY_AGAIN_SECONDS = 0.5
_MEASURE_SECONDS = 30.0
_HELLO = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint, pg_backend_pid()"


@dataclass(frozen=True)
class Limits:
    """``most`` connections of one process, ``wait`` seconds for a free one.

    ``prepared``: whether statements are prepared once for each connection; None: unless a pooler stands between.
    """

    most: int = 8
    wait: float = 5.0
    prepared: bool | None = None


class _WholeLoader(NumericBinaryLoader):
    def load(self, data: Any) -> Any:
        found = super().load(data)
        return int(found) if found == found.to_integral_value() else found


class Connections:
    """Lends connections; see the module."""

    def __init__(self, url: str, limits: Limits, clock: DatabaseClock) -> None:
        self._parameters = parameters(url)
        self._limits = limits
        self._clock = clock
        self._idle: list[Raw] = []
        self._open = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._away_until = float("-inf")
        self._told = False
        self._closed = False

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[Raw]:
        """A connection outside any transaction; one that comes back in another state is closed."""
        connection = await self._take()
        try:
            yield connection
        finally:
            await self._give_back(connection)

    async def forget(self) -> None:
        """Close what lies idle: one connection was found broken, so the others are most likely as well."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await self._drop(connection)

    async def close(self) -> None:
        """Close all; those that are lent, when they come back."""
        self._closed = True
        await self.forget()

    async def _take(self) -> Raw:
        while True:
            while self._idle:
                connection = self._idle.pop()
                if not connection.closed:
                    return connection
                self._lost_one()
            if self._open < self._limits.most:
                self._open += 1
                try:
                    return await self._connect()
                except BaseException:
                    self._lost_one()
                    raise
            await self._turn()

    async def _turn(self) -> None:
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            async with asyncio.timeout(self._limits.wait):
                await mine
        except BaseException as error:
            if mine.done() and not mine.cancelled():
                self._wake()  # it was this one's turn: let another have it
            if isinstance(error, TimeoutError):
                raise Unavailable(
                    f"all {self._limits.most} connections to the index were busy for {self._limits.wait:g} s",
                    retry_after=1,
                ) from None
            raise

    async def _give_back(self, connection: Raw) -> None:
        usable = not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        if not usable or self._closed:
            await self._drop(connection)
            return
        self._idle.append(connection)
        self._wake()

    async def _drop(self, connection: Raw) -> None:
        self._lost_one()
        await connection.close()

    def _lost_one(self) -> None:
        self._open -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            first = self._waiting.popleft()
            if not first.done():
                first.set_result(None)
                return

    async def _connect(self) -> Raw:
        if time.monotonic() < self._away_until:
            raise Unavailable(_AWAY)
        try:
            connection = await psycopg.AsyncConnection.connect(**self._parameters, autocommit=True)
            try:
                await self._greet(connection)
            except BaseException:
                await connection.close()
                raise
        except (psycopg.Error, OSError) as error:
            if not self._told:
                log.error("%s: %s; it is tried again all the time", _AWAY, str(error).strip())
            self._told = True
            self._away_until = time.monotonic() + _TRY_AGAIN_SECONDS
            raise Unavailable(_AWAY) from error
        if self._told:
            log.info("the index can be reached again")
        self._told = False
        return connection

    async def _greet(self, connection: Raw) -> None:
        # one form for each statement, whatever the size of a number
        connection.adapters.register_dumper(int, Int8Dumper)
        connection.adapters.register_dumper(int, Int8BinaryDumper)
        # and a sum of whole numbers is one, as on SQLite
        connection.adapters.register_loader("numeric", _WholeLoader)
        connection.prepare_threshold = None
        own = await self.measure(connection)
        prepared = self._limits.prepared
        if prepared is None:
            # a pooler makes up the number of the process that it tells its clients
            prepared = own == connection.info.backend_pid
        connection.prepare_threshold = 2 if prepared else None

    async def measure(self, connection: Raw) -> int:
        """Ask for the database's time; the number of the process that answered."""
        asked_at = time.monotonic_ns()
        cursor = await connection.execute(_HELLO, prepare=False)
        moment, process = cast("tuple[int, int]", await cursor.fetchone())
        self._clock.measured(moment, asked_at)
        return process

    def must_measure(self) -> bool:
        """Whether the last measurement was long ago."""
        return self._clock.is_older_than(_MEASURE_SECONDS)


def parameters(url: str) -> Mapping[str, Any]:
    """What libpq makes of a URL, with what it does not say; an error does not repeat the URL, which has a password."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:
        raise ConfigurationError(
            "database.url is not a URL that PostgreSQL's clients understand; write it as "
            "postgresql://user:password@host:5432/database?sslmode=verify-full"
        ) from None
    return {**_PATIENCE, **given}
