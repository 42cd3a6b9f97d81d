"""Servers that are only ever ended by a kill, started fast: see ``launcher.py``."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.support.http import Client
from tests.support.patience import eventually
from tests.support.ports import free_port
from tests.support.process import listening

AT_ONCE = ["--grace", "0s", "--untagged", "0s"]


class Launcher:
    """Starts the command in processes that are killed at a step; ``under`` another program, such as a tracer."""

    def __init__(self, under: Sequence[str | Path] = ()) -> None:
        self._popen = subprocess.Popen(
            [*under, sys.executable, "-m", "tests.faults.launcher"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            text=True,
        )

    def ask(self, order: dict[str, Any]) -> int:
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.write(json.dumps(order) + "\n")
        self._popen.stdin.flush()
        return int(self._popen.stdout.readline())

    def close(self) -> None:
        self._popen.communicate(timeout=10)


class Server:
    """A registry under ``root`` that is only ever ended by a kill."""

    def __init__(
        self, launcher: Launcher, root: Path, *, workers: int = 1, collect: str = "{enabled: false}", more: str = ""
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.launcher = launcher
        self.storage = root / "storage"
        self.log = root / "server.log"
        self.counter = root / "steps"
        self.port = free_port()
        self.configuration = root / "config.yml"
        self.configuration.write_text(
            f"version: 0.1\nlog: {{accesslog: {{disabled: true}}}}\nhttp: {{addr: 127.0.0.1:{self.port}}}\ncollect: {collect}\nserver: {{workers: {workers}}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.storage}}}, delete: {{enabled: true}}}}\n"
            f"{more}"
        )

    def _order(self, at: int, *words: str, only: str = "") -> int:
        order = {"start": words, "log": str(self.log), "counter": str(self.counter), "at": at, "only": only}
        return self.launcher.ask(order)

    @contextlib.contextmanager
    def serving(self, at: int = 0, only: str = "") -> Iterator[Client]:
        """A client of it, until it is killed at the end if not at the step ``at``, counted once :meth:`arm` is called."""
        pid = self._order(at, "serve", str(self.configuration), only=only)
        try:
            eventually(listening(self.port), f"serving\n{self.said}")
            with Client(f"http://127.0.0.1:{self.port}") as client:
                yield client
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            self.launcher.ask({"wait": pid})
            # the workers may take a moment longer to die, and hold the port till then
            eventually(lambda: not listening(self.port)(), what="the port free again")
            self.counter.unlink(missing_ok=True)

    def run(self, *words: str | Path, at: int = 0) -> int:
        """Run a command; its exit status. What it says is in the log."""
        return self.launcher.ask({"wait": self._order(at, *map(str, words))})

    def collect(self, at: int = 0) -> int:
        """Run ``lading collect``; its exit status."""
        return self.run("collect", *AT_ONCE, self.configuration, at=at)

    def verify(self) -> int:
        """Run ``lading verify``; its exit status."""
        return self.run("verify", "--config", self.configuration)

    @property
    def said(self) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 3000))
            return file.read().decode(errors="replace")

    def arm(self) -> None:
        self.counter.touch()

    @property
    def steps(self) -> list[str]:
        return self.counter.read_text().splitlines()
