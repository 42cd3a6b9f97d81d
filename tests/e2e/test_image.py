"""The container image: built from deploy/container/Dockerfile on this machine's own Debian, then run as people run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

import httpx2
import pytest

from tests.e2e.engine import Engine
from tests.e2e.rootfs import write_rootfs
from tests.support import images
from tests.support.http import Client
from tests.support.ports import free_port
from tests.support.postgres import Postgres
from tests.support.process import run

ROOT = Path(__file__).parents[2]
NAME = "lading-of-the-tests"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """The URL of a directory on loopback, as a page of links, which pip reads."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def download_wheels(directory: Path) -> None:
    """What the lock names, for the Python of the base image; from pip's cache where ``make setup`` ran here."""
    version = run(["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).stdout.strip()
    for lock in ("build", "runtime"):
        where: list[str | Path] = ["--dest", directory, "--requirement", ROOT / "requirements" / f"{lock}.txt"]
        options = ["--quiet", "--require-hashes", "--only-binary=:all:", f"--python-version={version}"]
        run([sys.executable, "-m", "pip", "download", *options, *where], timeout=180)


@pytest.fixture(scope="module")
def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of the built image."""
    directory = tmp_path_factory.mktemp("image")
    base = write_rootfs(directory / "base.tar", ["python3", "python3-venv", "dash", "coreutils"])
    engine.docker("import", base, "base-of-the-tests", timeout=120)
    wheels = directory / "wheels"
    download_wheels(wheels)
    with served(wheels) as url:
        given = {"BASE": "base-of-the-tests", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": url, "VERSION": "9.8.7"}
        arguments = [f"--build-arg={name}={value}" for name, value in given.items()]
        file = f"--file={ROOT / 'deploy/container/Dockerfile'}"
        engine.docker("build", "--network=host", f"--tag={NAME}", file, *arguments, ROOT, timeout=360)
    base.unlink()
    return NAME


class Container:
    """A container on the host's network, with all that a careful operator takes away."""

    def __init__(self, engine: Engine, *options: str) -> None:
        self.engine = engine
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        hard = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=host")
        watched = ("--health-interval=1s", "--health-retries=30", f"--env=REGISTRY_HTTP_ADDR={self.host}")
        started = engine.docker("run", "--detach", *hard, *watched, *options, NAME)
        self.id = started.stdout.strip()

    def __enter__(self) -> Self:
        deadline = time.monotonic() + 90
        while (state := self.inspect("{{.State.Status}} {{.State.Health.Status}}")) != "running healthy":
            assert time.monotonic() < deadline, f"{state}\n{self.logs()}"
            time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.docker("rm", "--force", "--volumes", self.id)

    def inspect(self, form: str) -> str:
        return self.engine.docker("inspect", "--format", form, self.id).stdout.strip()

    def logs(self) -> str:
        said = self.engine.docker("logs", self.id)
        return said.stdout + said.stderr


def test_what_the_image_says_of_itself(engine: Engine, image: str) -> None:
    config = json.loads(engine.docker("inspect", "--format", "{{json .Config}}", image).stdout)
    assert config["User"] == "65532:65532"
    assert list(config["Volumes"]) == ["/var/lib/registry"]
    assert list(config["ExposedPorts"]) == ["5000/tcp"]
    assert config["Labels"]["org.opencontainers.image.version"] == "9.8.7"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert not [name for name in config["Env"] if name.startswith("PIP_")], "the build's index stays with the build"
    listens = engine.docker("run", "--rm", "--network=none", image, "check-config").stdout
    assert "http://*:5000" in listens
    assert "/var/lib/registry" in listens
    installed = "import importlib.metadata as m; print(*(d.metadata['Name'] for d in m.distributions()))"
    names = engine.docker("run", "--rm", "--network=none", image, "/opt/lading/bin/python", "-c", installed).stdout
    assert "lading" in names.split()
    assert not {"pip", "hatchling", "pytest"} & set(names.split())


def test_push_and_pull_then_stop_while_an_upload_runs(engine: Engine, image: str, tmp_path: Path) -> None:
    with Container(engine) as container:
        worked = engine.docker("exec", container.id, "/opt/lading/bin/python", "-c", "import os; print(os.getuid())")
        assert worked.stdout.strip() == "65532"
        assert engine.docker("exec", container.id, "touch", "/somewhere", check=False).returncode != 0

        tagged = f"{container.host}/team/app:1"
        made = images.image("container", (5000, 80_000), docker=True)
        engine.docker("load", "--input", images.write_docker_archive(tmp_path / "load.tar", made, [tagged]))
        engine.docker("push", tagged)
        engine.forget(tagged)
        engine.docker("pull", tagged)
        assert engine.image_id(tagged) == made.config.digest
        engine.forget(tagged)

        stopping: list[threading.Thread] = []
        blob = os.urandom(3_000_000)

        def slowly() -> Iterator[bytes]:
            yield blob[:1_000_000]
            ask = partial(engine.docker, "stop", "--time=40", container.id, timeout=120)
            stopping.append(threading.Thread(target=ask))
            stopping[0].start()
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:  # until nobody new is let in: then it was told to stop
                try:
                    httpx2.get(f"http://{container.host}/v2/", trust_env=False)
                except httpx2.ConnectError:
                    break
                except httpx2.TransportError:  # it was let in as the door closed
                    continue
                time.sleep(0.05)
            else:
                pytest.fail("docker stop did not reach it")
            yield blob[1_000_000:]

        with Client(f"http://{container.host}") as client:
            client.push_blob("team/app", slowly(), images.digest_of(blob))
        stopping[0].join(120)
        assert container.inspect("{{.State.ExitCode}}") == "0"

        engine.docker("start", container.id)
        with container, Client(f"http://{container.host}") as client:
            assert client.get(f"/v2/team/app/blobs/{images.digest_of(blob)}").content == blob
            assert client.tags("team/app") == ["1"]


def test_it_is_started_as_registry_2_is(engine: Engine, image: str, tmp_path: Path, postgres: Postgres) -> None:
    """A configuration file where registry:2's lay, a bound directory for the volume, any user of group 0; PostgreSQL."""
    volume = tmp_path / "volume"
    volume.mkdir()
    os.chown(volume, 123456, 0)
    os.chmod(tmp_path, 0o755)  # noqa: PTH101 - beside chown
    configuration = tmp_path / "config.yml"
    configuration.write_text(
        "version: 0.1\nlog: {level: debug}\nstorage: {filesystem: {rootdirectory: /var/lib/registry}}\n"
    )
    mounts = (f"--volume={volume}:/var/lib/registry", f"--volume={configuration}:/etc/docker/registry/config.yml:ro")
    database = f"--env=REGISTRY_DATABASE_URL={postgres.fresh()}"
    migrated = engine.docker("run", "--rm", "--read-only", "--network=host", database, image, "migrate", "--check")
    assert "nothing to do" in migrated.stdout
    with Container(engine, "--user=123456:0", database, *mounts) as container:
        with Client(f"http://{container.host}") as client:
            client.push("app", images.image("as registry:2"), "1")
        assert "configured by /etc/docker/registry/config.yml" in container.logs()
    assert {path.stat().st_uid for path in volume.rglob("*")} == {123456}


def test_what_cannot_work_is_said(engine: Engine, image: str, tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o755)  # noqa: PTH101
    words = ("run", "--rm", "--network=none", f"--volume={tmp_path}:/var/lib/registry", image)
    refused: subprocess.CompletedProcess[str] = engine.docker(*words, check=False)
    assert refused.returncode == 1
    assert "/var/lib/registry" in refused.stderr
    assert "Traceback" not in refused.stderr
    named = engine.docker("run", "--rm", "--network=none", image, "/nowhere/config.yml", check=False)
    assert named.returncode == 1
    assert "there is no configuration file /nowhere/config.yml" in named.stderr
