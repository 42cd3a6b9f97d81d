"""The index in a SQLite file, shared by any number of processes of one machine.

Reads run where they are asked for, on the event loop, on a connection that sees only committed rows (about 10 µs
each); all of one turn of the loop see the same. Writes go to one thread: it takes what waits, runs each piece of work
under a savepoint and commits all of them together, so that many pushers share one sync of the disk. Processes take turns
by a lock file, since SQLite itself only polls.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from lading.errors import StoreError, TooWide, Unavailable
from lading.stores.metadata import clock
from lading.stores.metadata.migrations.steps import Step, run, steps
from lading.stores.metadata.schema import VERSION, tables
from lading.stores.metadata.transaction import Row, Statement, Work
from lading.stores.waiting import Waiting, settle

T = TypeVar("T")

log = logging.getLogger(__name__)

_DIALECT = sqlite.dialect(paramstyle="named")
_BUSY_SECONDS = 30.0
_MOST_IN_ONE_COMMIT = 128
_MADE = b"an index was made beside this file\n"
_LOG_BYTES = 4 << 20
"""How long the log may get before what is in it is moved into the file, and it begins anew."""
_LOG_SECONDS = 0.25
_LOG_TRY_SECONDS = 0.01
"""How long that waits for those who read an older view, and how long one attempt does."""


class SqliteTransaction:
    """A transaction whose statements never suspend."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @property
    def now(self) -> int:
        return clock.local()

    def close(self) -> None:
        """Let go of its connection."""
        self._connection.close()

    async def lock(self, name: str, *, shared: bool = False) -> None:
        """There is one writer, so everything is locked already."""

    async def rows(self, statement: Statement, /, **parameters: Any) -> Sequence[Row]:
        return _run(self._connection, statement, parameters).fetchall()

    async def row(self, statement: Statement, /, **parameters: Any) -> Row | None:
        return cast("Row | None", _run(self._connection, statement, parameters).fetchone())

    async def value(self, statement: Statement, /, **parameters: Any) -> Any:
        found = _run(self._connection, statement, parameters).fetchone()
        return found[0] if found else None

    async def execute(self, statement: Statement, /, **parameters: Any) -> int:
        return _run(self._connection, statement, parameters).rowcount

    async def each(self, statement: Statement, parameters: Sequence[Mapping[str, Any]], /) -> Sequence[Row | None]:
        return [_run(self._connection, statement, dict(given)).fetchone() for given in parameters]

    async def beside(self, work: Awaitable[T], /) -> T:
        return await work

    async def execute_many(self, statement: Statement, parameters: Sequence[Mapping[str, Any]], /) -> None:
        sql, constants = statement.compiled(_DIALECT)
        self._connection.executemany(sql, [{**constants, **given} for given in parameters])


def _run(connection: sqlite3.Connection, statement: Statement, parameters: dict[str, Any]) -> sqlite3.Cursor:
    sql, constants = statement.compiled(_DIALECT)
    return connection.execute(sql, {**constants, **parameters} if constants else parameters)


def _finish(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends to its end."""
    try:
        work.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    work.close()
    raise RuntimeError("a transaction waited for something other than its database")


@dataclass
class _Request(Waiting):
    work: Callable[[SqliteTransaction], Any]
    durable: bool


class SqliteMetadata:
    """The index in one file; see the module."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = prepare(path)
        try:
            self._reader, writing = _connect(path, read_only=True), _connect(path, read_only=False)
        except sqlite3.Error as error:
            raise _cannot_open(path, error) from error
        self._reading = SqliteTransaction(self._reader)
        self._looking = False
        self._log = path.with_name(path.name + "-wal")
        self._long = _LOG_BYTES
        self._scanner = ThreadPoolExecutor(1, thread_name_prefix="index-scan")
        self._scanning: SqliteTransaction | None = None
        self._queue: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, args=(writing,), name="index-writer", daemon=True)
        self._writer.start()

    def now(self) -> int:
        return clock.local()

    async def read(self, work: Work[T], /) -> T:
        with _translated():
            self._look()
            return _finish(cast("Coroutine[Any, Any, T]", work(self._reading)))

    async def scan(self, work: Work[T], /, *, seconds: float | None = None) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._scanner, self._scan, work, seconds)

    def _scan(self, work: Work[T], seconds: float | None) -> T:
        with _translated():
            if self._scanning is None:
                self._scanning = SqliteTransaction(_connect(self.path, read_only=True))
            with _within(self._scanning._connection, seconds):
                return _in_one_view(self._scanning._connection, self._scanning, work)

    async def row(self, statement: Statement, /, **parameters: Any) -> Row | None:
        try:  # as below, but every pull comes by, and a generator costs as much as a look-up in an index
            if not self._looking:
                self._look()
            return cast("Row | None", _run(self._reader, statement, parameters).fetchone())
        except sqlite3.DatabaseError as error:
            if not _is_of_the_file(error):
                raise
            raise _unavailable(error) from error

    def _look(self) -> None:
        """Have one view of the index for all that asks in this turn of the loop; views of their own cost them locks.

        Nobody sees what is older than what they know: who waits for a commit, or was sent a request because of one, is
        woken by the loop, and behind :meth:`_look_away`, which stood in line before it.
        """
        if not self._looking:
            loop = asyncio.get_running_loop()
            self._reader.execute("BEGIN")
            self._looking = True
            loop.call_soon(self._look_away)

    def _look_away(self) -> None:
        if self._looking:
            self._looking = False
            if self._reader.in_transaction:  # an error may have ended it
                self._reader.execute("ROLLBACK")

    async def write(self, work: Work[T], /, *, durable: bool = True) -> T:
        loop = asyncio.get_running_loop()
        request = _Request(work, durable, loop=loop, future=loop.create_future())
        self._queue.put(request)
        return cast("T", await request.future)

    async def settled(self, name: str, /) -> None:
        """Transactions end in the order in which they begin, so what can be seen is settled."""

    async def close(self) -> None:
        self._queue.put(None)
        await asyncio.get_running_loop().run_in_executor(None, self._writer.join)
        self._scanner.shutdown()
        self._look_away()
        # the last connection to go has SQLite put the log into the file: whoever copies that alone has everything
        if self._scanning is not None:
            self._scanning.close()
        self._reader.close()
        os.close(self._lock)

    # ---- the writer thread

    def _write_all(self, connection: sqlite3.Connection) -> None:
        transaction = SqliteTransaction(connection)
        more = True
        while more:
            batch, more = self._take()
            if batch:
                self._commit(connection, transaction, batch)
                settle(batch)
                self._shorten(connection)
        connection.close()

    def _shorten(self, connection: sqlite3.Connection) -> None:
        """Begin the log anew once it is long.

        SQLite would do so by itself, but only in a moment in which nobody reads, and readers who come by the thousand
        leave none. Here they are waited for: those who come meanwhile read the file, and need the log no more. SQLite
        goes on waiting for a place that newer readers have taken over; hence many short attempts.
        """
        try:
            length = self._log.stat().st_size  # cut to _LOG_BYTES by the first write after it began anew
            if length <= self._long:
                return
            # what is in the way may stay for long: nothing more of this before it has grown as much again
            self._long = length + _LOG_BYTES
            with _turn(self._lock):
                connection.execute(f"PRAGMA busy_timeout = {int(_LOG_TRY_SECONDS * 1000)}")
                try:
                    if _begin_anew(connection):
                        self._long = _LOG_BYTES
                finally:
                    connection.execute(f"PRAGMA busy_timeout = {int(_BUSY_SECONDS * 1000)}")
        except (OSError, sqlite3.DatabaseError) as error:  # whatever it is, those who write next need this thread
            log.warning("the log of the index could not be moved into it; it is tried again later: %s", error)

    def _take(self) -> tuple[list[_Request], bool]:
        batch: list[_Request] = []
        request = self._queue.get()
        while request is not None:
            batch.append(request)
            if len(batch) == _MOST_IN_ONE_COMMIT:
                return batch, True
            try:
                request = self._queue.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _commit(self, connection: sqlite3.Connection, transaction: SqliteTransaction, batch: list[_Request]) -> None:
        try:
            with _turn(self._lock), _translated():
                durable = any(request.durable for request in batch)
                connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                connection.execute("BEGIN IMMEDIATE")
                for request in batch:
                    _under_savepoint(connection, transaction, request)
                connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - whatever it is, whoever waits must hear of it
            if connection.in_transaction:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            for request in batch:
                request.error = request.error or error


def prepare(path: Path) -> int:
    """Make the index, or bring it to the schema of this version; the descriptor of the file that writers lock."""
    try:
        _make(path.parent)
        lock = os.open(_lock_of(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with _turn(lock):
            _create(path)
            if not os.fstat(lock).st_size:
                os.write(lock, _MADE)
    except (OSError, sqlite3.Error) as error:
        raise _cannot_open(path, error) from error
    return lock


def _begin_anew(connection: sqlite3.Connection) -> bool:
    """Move what the log has into the file, all of it; False where somebody needs it for longer."""
    end = time.monotonic() + _LOG_SECONDS
    while True:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        if not busy or time.monotonic() >= end:
            return not busy


@contextmanager
def _turn(lock: int) -> Iterator[None]:
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)


def _under_savepoint(connection: sqlite3.Connection, transaction: SqliteTransaction, request: _Request) -> None:
    connection.execute("SAVEPOINT work")
    try:
        request.result = _finish(request.work(transaction))
    except BaseException as error:  # whatever it is, whoever waits must hear of it
        if _is_of_the_file(error):
            raise  # the whole commit is lost
        request.error = error
        connection.execute("ROLLBACK TO work")
    connection.execute("RELEASE work")


def _in_one_view(connection: sqlite3.Connection, transaction: SqliteTransaction, work: Work[T]) -> T:
    connection.execute("BEGIN")
    try:
        return _finish(cast("Coroutine[Any, Any, T]", work(transaction)))
    finally:
        connection.execute("ROLLBACK")


@contextmanager
def _within(connection: sqlite3.Connection, seconds: float | None) -> Iterator[None]:
    """Give up what takes longer; looked at every 10,000 of SQLite's steps, some hundreds of microseconds."""
    if seconds is None:
        yield
        return
    end = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() >= end, 10_000)
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        raise TooWide(f"this goes through more of the index than can be looked at in {seconds:g} s") from error
    finally:
        connection.set_progress_handler(None, 0)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if _is_of_the_file(error):
            raise _unavailable(error) from error
        raise


def _is_of_the_file(error: BaseException) -> bool:
    """Whether the disk is full or failing, or what lies there is garbled; else it is what was asked that is wrong."""
    return isinstance(error, sqlite3.OperationalError) or _is_damage(error)


def _is_damage(error: BaseException) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest says where it was found
    return isinstance(error, sqlite3.DatabaseError) and code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _unavailable(error: sqlite3.DatabaseError) -> Unavailable:
    if not _is_damage(error):
        return Unavailable(f"the index cannot be used right now: {error}")
    log.error("the index is damaged: %s; stop the server, and see what `lading verify` says", error)
    return Unavailable(f"the index is damaged: {error}; whoever runs this registry has to mend it")


def _cannot_open(path: Path, error: BaseException) -> StoreError:
    if not _is_damage(error):
        return StoreError(
            f"cannot open the index {path}: {error}. Lading needs to create and write this file; check the owner "
            "and mode of the directory, that it lies on a local disk, and that the limit of open files (ulimit -n) is no low one"
        )
    return StoreError(
        f"the index {path} is damaged, or no index: {error}. Stop every server on it, move it away together with its "
        "-wal and -shm, and put back the newest backup (lading restore), or make a new one from the store (lading verify "
        "--rebuild); docs/how-to/verify-and-repair.md says what comes back"
    )


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    # what was moved away since it was made is not made anew: beside a log that is still here, an empty file empties that
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
    )
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA cache_size = -8192")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
    connection.execute("PRAGMA wal_autocheckpoint = 8000")  # pages; for one transaction of many, see _shorten
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    return connection


def _make(folder: Path) -> None:
    """Have a folder that survives power loss, whoever made it; what SQLite names in it, SQLite syncs."""
    above = folder.parent
    if not above.exists():
        _make(above)
    folder.mkdir(exist_ok=True)
    try:
        descriptor = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return  # a folder that the administrator made, in one that is none of ours
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create(path: Path) -> None:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        _refuse_newer(connection, path)
        if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise StoreError(f"the index {path} lies where SQLite cannot keep its log (a network file system?)")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == VERSION:
            return
        if version:
            connection.close()
            migrate(path, steps(version))
            return
        connection.execute("BEGIN IMMEDIATE")
        for statement in _definitions():
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    finally:
        connection.close()


def _refuse_newer(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise StoreError(
            f"the index {path} was written by a newer Lading (schema {version}, this one knows {VERSION}); "
            "start that version, or give this one another store"
        )


def was_made(path: Path) -> bool:
    """Whether there was an index once: what writers lock says so, and stays behind when the index is lost."""
    try:
        return _lock_of(path).stat().st_size > 0
    except OSError:
        return False


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def state(path: Path) -> int:
    """The version of the tables in a file; 0 where there are none."""
    if not path.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise _cannot_open(path, error) from error


def migrate(path: Path, chosen: Sequence[Step]) -> None:
    """Run migrations, all in one transaction; for whoever has the turn to write."""
    from sqlalchemy import create_engine, event  # noqa: PLC0415 - few ever need it
    from sqlalchemy.pool import NullPool  # noqa: PLC0415

    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def manual(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # the driver would commit before each change of a table

    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        run(connection, chosen)
        connection.exec_driver_sql(f"PRAGMA user_version = {chosen[-1].version}")
        connection.exec_driver_sql("COMMIT")


def _definitions() -> Iterator[str]:
    for table in tables.sorted_tables:
        yield str(CreateTable(table).compile(dialect=_DIALECT))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            yield str(CreateIndex(index).compile(dialect=_DIALECT))
