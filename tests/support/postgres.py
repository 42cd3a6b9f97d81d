"""Debian's PostgreSQL, as a process of its own: empty databases in no time, standbys, and PgBouncer in front."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import psycopg

from lading.stores.metadata.definition import definitions
from lading.stores.metadata.schema import tables as metadata_tables
from tests.support.packages import program
from tests.support.ports import free_port
from tests.support.process import Process, run

USER = "lading"
TEMPLATE = "lading_template"

_QUICK = {"fsync": "off", "full_page_writes": "off"}
"""What tests that pull no plug can do without."""


def binary(name: str) -> str:
    """A program of PostgreSQL's server, which Debian keeps out of the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else program(name)


def unprivileged(*words: str | Path) -> list[str | Path]:
    """A command as a user that PostgreSQL runs as: anyone but root."""
    if os.geteuid() != 0:
        return list(words)
    return [program("setpriv"), f"--reuid={owner()}", f"--regid={owner()}", "--clear-groups", *words]


def owner() -> str:
    return "postgres" if any(user.pw_name == "postgres" for user in pwd.getpwall()) else "nobody"


class Postgres(Process):
    """``with Postgres() as server:`` on a free port of 127.0.0.1, everybody trusted, in a folder of its own.

    *settings* go upon the command line; without *quick* commits are synced. With *primary* it is a standby that
    follows that server.
    """

    def __init__(
        self, settings: Mapping[str, str] | None = None, *, quick: bool = True, primary: Postgres | None = None
    ) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="lading-pg-"))
        self.data = self.root / "data"
        self.port = free_port()
        self._numbers = itertools.count(1)
        self._primary = primary
        self._shared: str | None = None
        given = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.root),
            "max_connections": "200",
            "log_checkpoints": "off",
            "deadlock_timeout": "100ms",
            **(_QUICK if quick else {}),
            **(settings or {}),
        }
        options = [f"-c{name}={value}" for name, value in given.items()]
        super().__init__(
            unprivileged(binary("postgres"), "-D", self.data, *options),
            log=self.root / "server.log",
            ready=self._answers,
            timeout=60,
        )

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def start(self) -> Self:
        if not self.data.exists():
            self._make()
        return super().start()

    def stop(self, grace: float = 15) -> int:
        """End it in good order, without waiting for its clients to go."""
        if self.alive:
            self.signal(signal.SIGINT)
            self.wait(grace)
        return self.kill9()

    def __exit__(self, *error: object) -> None:
        super().__exit__(None, None, None)
        shutil.rmtree(self.root, ignore_errors=True)

    def empty(self) -> str:
        """The URL of a new database without any table."""
        return self._new("template0")

    def fresh(self) -> str:
        """The URL of a new database with an empty index."""
        if not self._has(TEMPLATE):
            self.ask(f"CREATE DATABASE {TEMPLATE}")
            with psycopg.connect(self.url(TEMPLATE)) as connection:
                for statement in definitions():
                    connection.execute(statement.encode())
        return self._new(TEMPLATE)

    def emptied(self) -> str:
        """The URL of one and the same database with an empty index: quicker to have than a fresh one."""
        if self._shared is None:
            self._shared = self.fresh()
        tables = ", ".join(sorted(metadata_tables.tables))
        self.ask(f"TRUNCATE {tables} RESTART IDENTITY CASCADE", self._shared.rpartition("/")[2])
        return self._shared

    def ask(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """The rows that a statement answers, if it answers any."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def promote(self) -> None:
        """Make a standby the primary."""
        self.ask("SELECT pg_promote()")

    def _new(self, template: str) -> str:
        name = f"d{next(self._numbers)}"
        self.ask(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def _has(self, database: str) -> bool:
        return bool(self.ask(f"SELECT 1 FROM pg_database WHERE datname = '{database}'"))

    def _make(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.root, owner())
        if self._primary is not None:
            source = f"host=127.0.0.1 port={self._primary.port} user={USER} application_name=standby"
            argv: Sequence[str | Path] = (
                binary("pg_basebackup"), "-D", self.data, "-d", source, "-R", "-X", "stream", "-c", "fast", "--no-sync",
            )  # fmt: skip
        else:
            argv = (
                binary("initdb"), "-D", self.data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8",
                "--no-sync",
            )  # fmt: skip
        run(unprivileged(*argv), directory=self.root)

    def _answers(self) -> bool:
        try:
            self.ask("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


class PgBouncer(Process):
    """PgBouncer in transaction mode in front of a server, with few connections to it."""

    def __init__(self, server: Postgres, *, connections: int = 3) -> None:
        self.port = free_port()
        self.root = Path(tempfile.mkdtemp(prefix="lading-bouncer-"))
        settings = self.root / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n* = host=127.0.0.1 port={server.port} user={USER}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = any\npool_mode = transaction\ndefault_pool_size = {connections}\nmax_client_conn = 200\n"
        )
        if os.geteuid() == 0:
            shutil.chown(self.root, owner())
            shutil.chown(settings, owner())
        super().__init__(
            unprivileged(program("pgbouncer"), settings),
            log=self.root / "log",
            ready=self._answers,
            directory=self.root,
        )

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def __exit__(self, *error: object) -> None:
        super().__exit__(None, None, None)
        shutil.rmtree(self.root, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def wait_until_streaming(primary: Postgres, seconds: float = 20) -> None:
    """Wait until the standby follows, and its answer is waited for where the primary is told to."""
    deadline = time.monotonic() + seconds
    while not primary.ask("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"):
        assert time.monotonic() < deadline, primary.tail()
        time.sleep(0.05)
