"""Runs the real command with a fault in it: the N-th time it is about to change what is stored, it is killed.

A *step* is a call that a crash could fall before: a rename, a sync, a deletion, a directory made, bytes written, or a
statement that begins or ends a commit of the index. Steps count while the order's ``counter`` file exists, over all
threads and processes; each is written to that file as a line, so that a test knows how many there are to try. The
fault kills the whole group of processes, as a power cut would. ``at`` = 0 only counts. With ``only`` no step of another
name counts, and there are two more: ``body``, a part of a request's body arrived, and ``answer``, one is about to be
sent.

The launcher imports the program once and forks for each order, a line of JSON on its standard input:
``{"start": [arguments], "log": path, "counter": path, "at": N, "only": name}`` answers the process id,
``{"wait": process id}`` the exit status.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lading
from lading.cli.main import main as command

_COUNTED = ("rename", "fsync", "fdatasync", "unlink", "rmdir", "mkdir", "pwritev", "pwrite", "ftruncate")


class Fault:
    """Counts steps and ends the process at the one it was told."""

    def __init__(self, counter: Path, at: int, only: str) -> None:
        self._counter = counter
        self._at = at
        self.only = only
        self._lock = threading.Lock()
        self._path = os.fspath(counter)
        self._open, self._write, self._close = os.open, os.write, os.close

    def step(self, what: str) -> None:
        if self.only and what != self.only:
            return
        with self._lock:
            try:
                descriptor = self._open(self._path, os.O_RDWR | os.O_APPEND)
            except FileNotFoundError:
                return
            self._write(descriptor, f"{what}\n".encode())
            number = os.pread(descriptor, 1 << 20, 0).count(b"\n")
            self._close(descriptor)
            if number == self._at:
                os.killpg(0, signal.SIGKILL)

    def before(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **more: Any) -> Any:
            self.step(name)
            return call(*arguments, **more)

        return counted


def install(fault: Fault) -> None:
    """Put the fault before every step."""
    for name in _COUNTED:
        setattr(os, name, fault.before(name, getattr(os, name)))

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            if sql in ("BEGIN IMMEDIATE", "COMMIT"):
                fault.step(sql)
            found = super().execute(sql, *arguments)
            if sql == "COMMIT":
                fault.step("committed")
            return found

    connect = sqlite3.connect

    def counted(*arguments: Any, **more: Any) -> sqlite3.Connection:
        return connect(*arguments, **{"factory": Connection, **more})

    sqlite3.connect = counted  # type: ignore[assignment]


def install_requests(fault: Fault) -> None:
    """Put the fault before what comes from clients, and what goes to them."""
    from lading.api.exchange import Exchange

    receive, write = Exchange.receive, Exchange._write

    async def received(self: Exchange) -> dict[str, Any]:
        fault.step("body")
        return await receive(self)

    def written(self: Exchange, body: bytes, *, last: bool) -> None:
        fault.step("answer")
        write(self, body, last=last)

    Exchange.receive = received  # type: ignore[method-assign]
    Exchange._write = written  # type: ignore[method-assign]


def obey(order: dict[str, Any]) -> None:
    """In a process of its own: become the command."""
    os.setsid()
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for given, standard in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(given, standard)
    fault = Fault(Path(order["counter"]), order["at"], order.get("only", ""))
    install(fault)
    if fault.only:
        install_requests(fault)
    command(order["start"])


def main() -> None:
    # what a command imports when it is called, each of them would import anew
    for module in pkgutil.walk_packages(lading.__path__, "lading."):
        importlib.import_module(module.name)
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            print(os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1]), flush=True)
            continue
        child = os.fork()
        if child == 0:
            try:
                obey(order)
            except SystemExit as end:
                os._exit(int(end.code or 0))
            finally:
                os._exit(1)
        print(child, flush=True)


if __name__ == "__main__":
    main()
