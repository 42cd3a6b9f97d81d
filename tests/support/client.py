"""``lading`` as its user: a home of its own, so that no login and no image of the machine's reaches a test."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

from lading.cli.main import main
from tests.support.lading import PROGRAM
from tests.support.process import run


class User:
    """``user("pull", name)`` calls the command and gives what it printed; ``status`` is what it must end with.

    That happens in this process, since a process for each command would take most of a test's time; :meth:`run` starts
    the program itself.
    """

    def __init__(self, home: Path, **environment: str) -> None:
        self.home = home
        self.environment = {
            "HOME": str(home),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_RUNTIME_DIR": str(home / "run"),
            "DOCKER_CONFIG": str(home / ".docker"),
            "DOCKER_HOST": "unix:///nonexistent.sock",
            **environment,
        }

    def __call__(self, *words: str | Path, status: int = 0, stdin: str = "") -> str:
        """What was printed; after a failure that was expected, what was complained of."""
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        given = io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8")
        arguments, ended = [str(word) for word in words], 0
        with (
            mock.patch.dict(os.environ, self.environment),
            mock.patch.object(sys, "stdin", given),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                main(arguments)
            except SystemExit as end:
                ended = int(end.code or 0)
        printed, told = (stream.buffer.getvalue().decode() for stream in (out, err))
        assert ended == status, f"lading {' '.join(arguments)}: {ended}\n{printed}{told}"
        return told if status else printed

    def run(self, *words: str | Path, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return run([PROGRAM, *words], environment=self.environment, check=False, stdin=stdin, timeout=timeout)

    @property
    def shell(self) -> dict[str, str]:
        """A shell's environment, in which lading is found."""
        path = f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
        return {**self.environment, "PATH": path, "TERM": "xterm"}

    @property
    def store(self) -> Path:
        return self.home / "data" / "lading" / "images"
