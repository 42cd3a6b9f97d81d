"""The index in PostgreSQL, for any number of processes on any number of machines.

Writes run at READ COMMITTED (``transaction.py`` says what that asks of a piece of work) and from their beginning once
more when the database broke them off for another's sake. Reads see one moment. Single rows are asked for in batches
(``batches.py``), and every one of them sees what was committed before it was asked.

The pieces of work run in tasks of their own: whoever asked may go away, and the work is done or not, but not half.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from typing import Any, TypeVar, cast

import psycopg
from psycopg import errors

from lading.errors import Invalid, TooWide, Unavailable
from lading.stores.metadata import batches
from lading.stores.metadata.batches import Batched
from lading.stores.metadata.clock import DatabaseClock
from lading.stores.metadata.connections import Connections, Limits, Raw
from lading.stores.metadata.definition import DIALECT, prepare
from lading.stores.metadata.transaction import Row, Statement, Work

T = TypeVar("T")
Cursor = psycopg.AsyncCursor[tuple[Any, ...]]

_BOUNDS = "SET LOCAL lock_timeout = '20s'; SET LOCAL idle_in_transaction_session_timeout = '60s'"
_WRITE = f"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {_BOUNDS}"
_WRITE_SOON = f"{_WRITE}; SET LOCAL synchronous_commit = off"
_READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

_ALONE = "SET LOCAL jit = off; SET LOCAL max_parallel_workers_per_gather = 0"
"""For what somebody waits for: to compile it, or to have other processes help, takes longer than most of it."""

_ATTEMPTS = 12
_ANSWER_SECONDS = 15.0
_SCANS_AT_ONCE = 2
_SETTLE_SECONDS = 0.005

_BROKEN_OFF = (errors.SerializationFailure, errors.DeadlockDetected)
_ELSEWHERE = (errors.ReadOnlySqlTransaction, errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow)
"""The server that answered goes away, or is no primary any more: another connection may find the one that is."""

_LOCK = "SELECT pg_advisory_xact_lock(%s)"
_LOCK_SHARED = "SELECT pg_advisory_xact_lock_shared(%s)"
_HOLDERS = (
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND classid::bigint = %s AND objid::bigint = %s"
)


class Compiled:
    """Statements in PostgreSQL's words, each compiled once."""

    def __init__(self) -> None:
        self._batched: dict[Statement, Batched | None] = {}

    def batched(self, statement: Statement) -> Batched | None:
        """The form that answers a list of parameters, where the statement has one."""
        if statement not in self._batched:
            compiled = statement.construct.compile(dialect=DIALECT)  # type: ignore[attr-defined]
            self._batched[statement] = batches.batched(compiled, statement.compiled(DIALECT)[1])
        return self._batched[statement]


class PostgresTransaction:
    """A transaction on one connection; ``asking`` while it waits for the database."""

    __slots__ = ("_clock", "_compiled", "_cursor", "asking")

    def __init__(self, connection: Raw, compiled: Compiled, clock: DatabaseClock) -> None:
        self._cursor = connection.cursor(binary=True)
        self._compiled = compiled
        self._clock = clock
        self.asking = False

    @property
    def now(self) -> int:
        return self._clock.now()

    async def lock(self, name: str, *, shared: bool = False) -> None:
        await self._ask(self._cursor.execute(_LOCK_SHARED if shared else _LOCK, [number_of(name)]))

    async def rows(self, statement: Statement, /, **parameters: Any) -> Sequence[Row]:
        await self._run(statement, parameters)
        return await self._cursor.fetchall()

    async def row(self, statement: Statement, /, **parameters: Any) -> Row | None:
        await self._run(statement, parameters)
        return await self._cursor.fetchone()

    async def value(self, statement: Statement, /, **parameters: Any) -> Any:
        found = await self.row(statement, **parameters)
        return found[0] if found else None

    async def execute(self, statement: Statement, /, **parameters: Any) -> int:
        await self._run(statement, parameters)
        return self._cursor.rowcount

    async def beside(self, work: Awaitable[T], /) -> T:
        self.asking = True
        try:
            return await work
        finally:
            self.asking = False

    async def execute_many(self, statement: Statement, parameters: Sequence[Mapping[str, Any]], /) -> None:
        if parameters:
            sql, constants = statement.compiled(DIALECT)
            await self._ask(self._cursor.executemany(sql, [{**constants, **given} for given in parameters]))

    async def each(self, statement: Statement, parameters: Sequence[Mapping[str, Any]], /) -> Sequence[Row | None]:
        batched = self._compiled.batched(statement)
        if batched is None:
            return [await self.row(statement, **given) for given in parameters]
        found: list[Row | None] = []
        for start in range(0, len(parameters), batches.MOST):
            part = parameters[start : start + batches.MOST]
            await self._ask(self._cursor.execute(batched.sql, batched.parameters(part)))
            found += batches.rows(await self._cursor.fetchall())
        return found

    async def _run(self, statement: Statement, parameters: Mapping[str, Any]) -> None:
        sql, constants = statement.compiled(DIALECT)
        await self._ask(self._cursor.execute(sql, {**constants, **parameters}))

    async def _ask(self, answer: Awaitable[object]) -> None:
        self.asking = True
        try:
            await answer
        finally:
            self.asking = False


class PostgresMetadata:
    """The index in the database at ``url``; see the module."""

    def __init__(self, url: str, limits: Limits) -> None:
        self._clock = DatabaseClock()
        self.connections = Connections(url, limits, self._clock)
        self._compiled = Compiled()
        self._queues: dict[Statement, batches.Queue] = {}
        self._scans = asyncio.Semaphore(_SCANS_AT_ONCE)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._preparing = asyncio.Lock()
        self._prepared = False

    def now(self) -> int:
        return self._clock.now()

    async def read(self, work: Work[T], /) -> T:
        return await self._as_task(self._read(work, None))

    async def scan(self, work: Work[T], /, *, seconds: float | None = None) -> T:
        async with self._scans:
            return await self._as_task(self._read(work, seconds))

    async def write(self, work: Work[T], /, *, durable: bool = True) -> T:
        return await self._as_task(self._write(work, _WRITE if durable else _WRITE_SOON))

    async def row(self, statement: Statement, /, **parameters: Any) -> Row | None:
        queue = self._queues.get(statement)
        if queue is None:
            queue = self._queues[statement] = batches.Queue(lambda given: self._rows(statement, given))
        return await queue.row(parameters)

    async def settled(self, name: str, /) -> None:
        # as CREATE INDEX CONCURRENTLY does it: nobody who comes now is kept waiting
        holders = await self._holders(name)
        while holders:
            await asyncio.sleep(_SETTLE_SECONDS)
            holders &= await self._holders(name)

    async def close(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self.connections.close()

    async def _as_task(self, coroutine: Coroutine[Any, Any, T]) -> T:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    # ---- attempts

    async def _read(self, work: Work[T], seconds: float | None) -> T:
        within = "" if seconds is None else f"; SET LOCAL statement_timeout = {max(1, int(seconds * 1000))}; {_ALONE}"

        async def attempt(connection: Raw) -> T:
            await self._begin(connection, _READ + within)
            try:
                return await self._driven(connection, work)
            except errors.QueryCanceled as error:
                if seconds is None:
                    raise
                raise TooWide(f"this goes through more of the index than can be looked at in {seconds:g} s") from error
            except errors.ReadOnlySqlTransaction as error:
                raise RuntimeError(f"a piece of work that only reads was to write: {_said(error)}") from error
            finally:
                await _end(connection, "ROLLBACK")

        return await self._attempts(attempt)

    async def _write(self, work: Work[T], begin: str) -> T:
        async def attempt(connection: Raw) -> T:
            if self.connections.must_measure():
                await self.connections.measure(connection)
            await self._begin(connection, begin)
            try:
                result = await self._driven(connection, work)
            except BaseException:
                await _end(connection, "ROLLBACK")
                raise
            try:
                await connection.execute("COMMIT")
            except psycopg.Error as error:
                if isinstance(error, _BROKEN_OFF):
                    raise
                # whether it was done nobody knows: it must not be done again unasked
                raise Unavailable(f"the index went away while it committed: {_said(error)}") from error
            return result

        return await self._attempts(attempt)

    async def _begin(self, connection: Raw, how: str) -> None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await connection.execute(how.encode())
        except TimeoutError:
            raise Unavailable(f"the index did not answer within {_ANSWER_SECONDS:g} s") from None

    async def _rows(self, statement: Statement, given: Sequence[Mapping[str, Any]]) -> Sequence[Row | None]:
        batched = self._compiled.batched(statement) if len(given) > 1 else None

        async def attempt(connection: Raw) -> Sequence[Row | None]:
            cursor = connection.cursor(binary=True)
            if batched is not None:
                await cursor.execute(batched.sql, batched.parameters(given))
                return batches.rows(await cursor.fetchall())
            sql, constants = statement.compiled(DIALECT)
            found = []
            for parameters in given:
                await cursor.execute(sql, {**constants, **parameters})
                found.append(await cursor.fetchone())
            return found

        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._attempts(attempt)
        except TimeoutError:
            raise Unavailable(f"the index did not answer within {_ANSWER_SECONDS:g} s") from None

    async def _holders(self, name: str) -> set[str]:
        number = number_of(name) & (1 << 64) - 1

        async def attempt(connection: Raw) -> set[str]:
            cursor = await connection.execute(_HOLDERS, [number >> 32, number & (1 << 32) - 1])
            return {row[0] for row in await cursor.fetchall()}

        return await self._attempts(attempt)

    async def _attempts(self, attempt: Callable[[Raw], Awaitable[T]]) -> T:
        """Try with one connection after the other, as long as that may help."""
        number = 0
        while True:
            number += 1
            async with self.connections.lend() as connection:
                try:
                    if not self._prepared:
                        await self._prepare(connection)
                    return await attempt(connection)
                except psycopg.Error as error:
                    if number == _ATTEMPTS or not await self._may_try_again(connection, error, number):
                        raise _translated(error) from error
            if not connection.closed:
                await asyncio.sleep(random.uniform(0, 0.005 * number**2))  # noqa: S311 - so that the two do not meet again

    async def _may_try_again(self, connection: Raw, error: psycopg.Error, number: int) -> bool:
        if isinstance(error, _BROKEN_OFF):
            return True
        if connection.closed or isinstance(error, _ELSEWHERE):
            await connection.close()
            await self.connections.forget()
            return number <= 3
        return False

    async def _prepare(self, connection: Raw) -> None:
        async with self._preparing:
            if not self._prepared:
                await prepare(connection)
                self._prepared = True

    async def _driven(self, connection: Raw, work: Work[T]) -> T:
        transaction = PostgresTransaction(connection, self._compiled, self._clock)
        return await _Driven(transaction, work)


class _Driven(Awaitable[T]):
    """Runs work to its end, as long as it waits for nothing but its transaction."""

    def __init__(self, transaction: PostgresTransaction, work: Work[T]) -> None:
        self._transaction = transaction
        self._work = work

    def __await__(self) -> Generator[Any, Any, T]:
        steps = self._work(self._transaction).__await__()
        step: Callable[[Any], Any] = steps.send
        sent: Any = None
        while True:
            try:
                waited_for = step(sent)
            except StopIteration as end:
                return cast("T", end.value)
            if not self._transaction.asking:
                steps.close()
                raise RuntimeError("a transaction waited for something other than its database")
            try:
                sent, step = (yield waited_for), steps.send
            except BaseException as error:  # noqa: BLE001 - it is the work's
                sent, step = error, steps.throw


async def _end(connection: Raw, how: str) -> None:
    try:
        await connection.execute(how)
    except psycopg.Error:
        await connection.close()  # broken already; what broke it is told


def number_of(name: str) -> int:
    """The number that PostgreSQL knows a lock by."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


def _translated(error: psycopg.Error) -> Exception:
    if isinstance(error, psycopg.DataError):
        return Invalid(f"the index cannot keep this: {_said(error)}")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | errors.ReadOnlySqlTransaction):
        return Unavailable(f"the index cannot be used right now: {_said(error)}")
    return error


def _said(error: psycopg.Error) -> str:
    return str(error).strip().partition("\n")[0]
