"""The servers measured: how each is configured, started and stopped, and what it costs while it runs."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from bench.wire import answers

_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_THEIRS = ("REGISTRY_", "LADING_", "AWS_", "PYTHON")
"""Variables that would configure a server besides its file, or have it compile itself anew at each start."""
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"

# Both registries are given the very same file.
_REGISTRY_CONFIGURATION = """\
version: 0.1
log:
  level: error
  accesslog:
    disabled: true
storage:
{storage}
  cache:
    blobdescriptor: inmemory
  delete:
    enabled: true
http:
  addr: 127.0.0.1:{port}
  secret: a-secret-for-the-benchmark-alone
{more}"""
_FILES = """\
  filesystem:
    rootdirectory: {root}"""

_NGINX_CONFIGURATION = """\
daemon off;
{user}
worker_processes auto;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  default_type application/vnd.oci.image.manifest.v1+json;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{ listen 127.0.0.1:{port} reuseport{tls}; root {root}; }}
}}
"""


class BenchmarkError(Exception):
    """The benchmark cannot go on; the message says why and what to do."""


def program(name: str, package: str) -> str:
    """The path of a program, or an error that names the Debian package it comes in."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise BenchmarkError(f"{name} is not installed; on Debian: apt-get install --no-install-recommends {package}")
    return found


@dataclass(frozen=True)
class Memory:
    """Bytes of one process: the most it had resident since it began, and what is its own now.

    The first counts what it shares: code, and the parts of files it has mapped.
    """

    peak: int
    own: int


@dataclass
class Server(ABC):
    """A server over the files in ``root``; what it writes besides goes to ``directory``.

    ``storage`` (YAML, set in by two) stands for those files, ``more`` is YAML of other sections: for registries alone.
    ``certificate`` and its key: it speaks TLS.
    """

    name: str
    root: Path
    directory: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    storage: str = ""
    more: str = ""
    certificate: tuple[Path, Path] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """Write the configuration and return the command that serves it."""

    def beside(
        self,
        root: Path,
        directory: Path,
        *,
        storage: str = "",
        more: str = "",
        certificate: tuple[Path, Path] | None = None,
    ) -> Self:
        """The same server, not running, over other files, with another store or index, or with TLS."""
        return replace(
            self,
            root=root,
            directory=directory,
            port=0,
            process=None,
            storage=storage,
            more=more,
            certificate=certificate,
        )

    def start(self) -> None:
        """Start, and return when it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = _free_port()
        # A session of its own: Ctrl-C reaches the benchmark alone, which then stops its servers in order.
        with (self.directory / "output.log").open("wb") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={
                    **{name: value for name, value in os.environ.items() if not name.startswith(_THEIRS)},
                    "OTEL_TRACES_EXPORTER": "none",  # distribution v3 would look for somebody to tell of each request
                },
            )
        deadline = time.monotonic() + _START_SECONDS
        while not answers(self.port, tls=self.certificate is not None):
            if self.process.poll() is not None or time.monotonic() > deadline:
                output = (self.directory / "output.log").read_text(errors="replace")[-2000:]
                raise BenchmarkError(f"{self.name} did not start: {shlex.join(self.command())}\n{output}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Ask it to end, and make it when it does not; safe to call twice."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def cpu_seconds(self) -> float:
        """User and system time used so far by every process of the server."""
        return cpu_seconds(self.processes())

    def memory(self) -> list[Memory]:
        """What each process holds."""
        return [memory for process in self.processes() if (memory := _memory(process))]

    def processes(self) -> list[int]:
        """The process ids of the server: the one started first, then its descendants."""
        if self.process is None:
            raise BenchmarkError(f"{self.name} is not running")
        return family(self.process.pid)


@dataclass
class Registry(Server):
    """registry:2, as Debian packages it; or, by the ``binary`` given, another version of it (distribution v3)."""

    binary: str = ""

    def command(self) -> list[str]:
        return [self.binary or program("docker-registry", "docker-registry"), "serve", str(_configuration(self))]


@dataclass
class Lading(Server):
    """Lading, by the command given (``… serve``), to which the configuration file is added."""

    words: tuple[str, ...] = ()

    def command(self) -> list[str]:
        return [*self.words, str(_configuration(self))]


@dataclass
class Nginx(Server):
    """nginx serving files: what this machine can do when nothing has to be decided."""

    def command(self) -> list[str]:
        configuration = self.directory / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        tls = " ssl; ssl_certificate {}; ssl_certificate_key {}".format(*self.certificate) if self.certificate else ""
        configuration.write_text(
            _NGINX_CONFIGURATION.format(user=user, directory=self.directory, root=self.root, port=self.port, tls=tls)
        )
        return [program("nginx", "nginx-light"), "-p", str(self.directory), "-c", str(configuration)]


def family(first: int) -> list[int]:
    """A process id, then those of its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                parents.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found = [first]
    for process in found:
        found.extend(parents.get(process, ()))
    return found


def cpu_seconds(processes: Iterable[int]) -> float:
    """User and system time used so far by processes, and by children of theirs that have ended."""
    ticks = 0
    for process in processes:
        with suppress(FileNotFoundError, ProcessLookupError):
            ticks += sum(int(value) for value in _stat(process)[11:15])  # utime, stime, and the children's
    return ticks / _CLOCK_TICKS


def proportional(process: int) -> int:
    """Bytes a process holds, those it shares counted by its part of them; 0 when it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _configuration(server: Server) -> Path:
    path = server.directory / "config.yml"
    storage = server.storage or _FILES.format(root=server.root)
    tls = "  tls:\n    certificate: {}\n    key: {}\n".format(*server.certificate) if server.certificate else ""
    path.write_text(_REGISTRY_CONFIGURATION.format(storage=storage, port=server.port, more=tls + server.more))
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stat(process: int) -> list[str]:
    """The fields of ``/proc/<pid>/stat`` from the third (state) on; the second may hold blanks."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _memory(process: int) -> Memory | None:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    kilobytes = {line.split()[0]: int(line.split()[1]) for line in lines if line.startswith(("VmHWM:", "RssAnon:"))}
    return Memory(kilobytes["VmHWM:"] * 1024, kilobytes["RssAnon:"] * 1024) if len(kilobytes) == 2 else None
