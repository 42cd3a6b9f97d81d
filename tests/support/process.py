"""Programs the tests start: in a group of their own, waited for, stopped with everything they started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

Ready = Callable[[], bool]


class NotReadyError(AssertionError):
    """A program ended early or did not answer in time; the message ends with its log."""


def listening(port: int, host: str = "127.0.0.1") -> Ready:
    """Ready once a TCP connection to *port* is accepted."""

    def probe() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
            return True
        return False

    return probe


def socket_at(path: Path) -> Ready:
    """Ready once a connection to the unix socket *path* is accepted."""

    def probe() -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            client.connect(str(path))
            return True
        return False

    return probe


class Process:
    """A program with its log file, e.g. ``with Process(argv, log=tmp_path / "nginx.log", ready=listening(port)):``.

    *environment* is added to this process's own; a value of None removes a variable. *timeout* is in seconds.
    """

    running: ClassVar[list[Process]] = []

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path,
        ready: Ready | None = None,
        environment: Mapping[str, str | None] | None = None,
        directory: Path | None = None,
        timeout: float = 20,
    ) -> None:
        self.argv = [str(word) for word in argv]
        self.log = log
        self.ready = ready
        self.environment = dict(environment or {})
        self.directory = directory
        self.timeout = timeout
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._popen is not None, f"{self.argv[0]} was not started"
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def output(self) -> str:
        """All it has written to stdout and stderr so far, of every start."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def start(self) -> Self:
        """Start it and wait until it is ready."""
        merged = {**os.environ, **self.environment}
        environment = {name: value for name, value in merged.items() if value is not None}
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.directory,
                start_new_session=True,
            )
        Process.running.append(self)
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def _wait(self) -> None:
        deadline = time.monotonic() + self.timeout
        while self.ready is not None and not (self.alive and self.ready()):
            if not self.alive:
                raise NotReadyError(
                    f"{self.argv[0]} ended with status {self.wait()} before it was ready\n{self.tail()}"
                )
            if time.monotonic() > deadline:
                raise NotReadyError(f"{self.argv[0]} was not ready after {self.timeout} s\n{self.tail()}")
            time.sleep(0.03)

    def wait(self, timeout: float = 20) -> int:
        """Its exit status, once it ends by itself (negative: the signal that ended it)."""
        assert self._popen is not None, f"{self.argv[0]} was not started"
        return self._popen.wait(timeout)

    def signal(self, number: int) -> None:
        """Send a signal to the program alone, not to its group."""
        os.kill(self.pid, number)

    def stop(self, grace: float = 15) -> int:
        """Ask it to end (TERM), insist after *grace* seconds (KILL to its whole group); its exit status."""
        if self.alive:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(grace)
        return self.kill9()

    def kill9(self) -> int:
        """Kill it and its whole group at once, as a power cut would; its exit status."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        status = self.wait()
        if self in Process.running:
            Process.running.remove(self)
        return status

    def tail(self, characters: int = 4000) -> str:
        """The end of its log, with a heading."""
        return f"log of {' '.join(self.argv)}:\n{self.output[-characters:]}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._popen is not None:
            self.stop()


def run(
    argv: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    timeout: float = 60,
    check: bool = True,
    stdin: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end within *timeout* seconds; unless *check* is off, a failure shows all it said."""
    words = [str(word) for word in argv]
    with subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
        cwd=directory,
        start_new_session=True,
        text=True,
    ) as child:
        try:
            out, err = child.communicate(stdin, timeout)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            raise
    if check and child.returncode:
        raise AssertionError(f"{' '.join(words)}\nended with status {child.returncode}\n{out}\n{err}".rstrip())
    return subprocess.CompletedProcess(words, child.returncode, out, err)
