"""A docker engine and a containerd of the tests' own: own data, own sockets, nothing shared with the machine's.

They need root, as dockerd mounts layers. Containers run without a network of their own (no bridge, no iptables).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.support.packages import program
from tests.support.process import Process, run, socket_at

_CONTAINERD = """\
version = 2
root = "{home}/root"
state = "{home}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{home}/containerd.sock"
[ttrpc]
  address = "{home}/containerd.sock.ttrpc"
"""


class _Home:
    """A short-named directory (a socket's path has 107 bytes) that is unmounted and removed in the end."""

    def __init__(self, name: str) -> None:
        if os.geteuid() != 0:
            pytest.fail(f"{name} mounts file systems, so these tests need root; run them with sudo", pytrace=False)
        self.path = Path(tempfile.mkdtemp(prefix=f"lading-{name}-"))

    def remove(self) -> None:
        """Unmount what is left below, deepest first, and delete everything."""
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for mount in sorted(mounts, reverse=True):
            if Path(mount).is_relative_to(self.path):
                run(["umount", "--lazy", mount])
        shutil.rmtree(self.path)


class Containerd:
    """containerd on its own root, state and socket."""

    def __init__(self) -> None:
        self.home = _Home("containerd")
        self.socket = self.home.path / "containerd.sock"
        settings = self.home.path / "config.toml"
        settings.write_text(_CONTAINERD.format(home=self.home.path))
        self.process = Process(
            [program("containerd"), "--config", settings],
            log=self.home.path / "containerd.log",
            ready=socket_at(self.socket),
            timeout=40,
        )

    def ctr(self, *words: str | Path, timeout: float = 60, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``ctr`` in a namespace apart from the docker engine's."""
        argv = [program("ctr"), "--address", self.socket, "--namespace", "e2e", *words]
        return run(argv, timeout=timeout, check=check)

    def __enter__(self) -> Self:
        self.process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.stop()
        self.home.remove()


class Engine:
    """dockerd on its own data, over *containerd*; :meth:`docker` runs the client.

    *within* is what dockerd is started by (``nsenter …``), *environment* is added to its own.
    """

    def __init__(
        self, containerd: Containerd, *, within: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> None:
        self.home = _Home("dockerd")
        home = self.home.path
        self.host = f"unix://{home}/docker.sock"
        self.process = Process(
            [
                *within,
                program("dockerd"),
                f"--containerd={containerd.socket}",
                f"--data-root={home}/data",
                f"--exec-root={home}/exec",
                f"--pidfile={home}/docker.pid",
                f"--host={self.host}",
                f"--config-file={self._settings(home)}",
                "--bridge=none",
                "--iptables=false",
                "--ip6tables=false",
            ],
            log=home / "dockerd.log",
            ready=self._answers,
            environment=environment,
            timeout=60,
        )

    @staticmethod
    def _settings(home: Path) -> Path:
        """The machine's /etc/docker/daemon.json must not reach the engine of the tests."""
        (home / "daemon.json").write_text(json.dumps({"max-concurrent-uploads": 5}))
        return home / "daemon.json"

    @contextmanager
    def settings(self, more: Mapping[str, Any]) -> Iterator[None]:
        """The daemon with these settings besides, of those it takes up while it runs."""
        path = self.home.path / "daemon.json"
        before = path.read_text()
        path.write_text(json.dumps({**json.loads(before), **more}))
        self._take_up()
        try:
            yield
        finally:
            path.write_text(before)
            self._take_up()

    def _take_up(self) -> None:
        count = self._reloads()
        self.process.signal(signal.SIGHUP)
        deadline = time.monotonic() + 60
        while self._reloads() == count:
            assert time.monotonic() < deadline, self.process.tail()
            time.sleep(0.05)

    def _reloads(self) -> int:
        return self.process.output.count("Reloaded configuration")

    def _answers(self) -> bool:
        return self.docker("version", check=False, timeout=20).returncode == 0

    def docker(
        self,
        *words: str | Path,
        client: str | Path = "",
        environment: Mapping[str, str] | None = None,
        timeout: float = 60,
        check: bool = True,
        stdin: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run the docker client (*client*: another one's path) against this engine, with a configuration of its own."""
        own = {"DOCKER_HOST": self.host, "DOCKER_CONFIG": str(self.home.path / "client"), "DOCKER_BUILDKIT": "0"}
        argv = [client or debian_docker(), *words]
        return run(argv, environment={**own, **(environment or {})}, timeout=timeout, check=check, stdin=stdin)

    def image_id(self, name: str) -> str:
        """The identity of a local image: the digest of its configuration."""
        return self.docker("image", "inspect", "--format", "{{.Id}}", name).stdout.strip()

    def forget(self, *names: str) -> None:
        """Remove local images, so that a pull has to fetch them."""
        self.docker("image", "rm", "--force", *names)

    def __enter__(self) -> Self:
        self.process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.stop()
        self.home.remove()


def debian_docker() -> str:
    """Debian's docker client where it is installed, else the one found first."""
    packaged = Path("/usr/bin/docker")
    return str(packaged) if packaged.exists() else program("docker")


def docker_clients() -> list[str]:
    """Every docker client installed, since some commands (``docker manifest``) speak to the registry themselves."""
    places = ("/usr/bin/docker", "/usr/local/bin/docker")
    return [place for place in places if Path(place).exists()] or ["docker"]
