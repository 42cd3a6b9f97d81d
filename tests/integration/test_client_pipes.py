"""Archives on standard input and output, by the program itself with pipes of its own."""

from __future__ import annotations

import gzip
import io
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import images
from tests.support.client import User
from tests.support.lading import PROGRAM, Lading
from tests.support.patience import eventually


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lading]:
    with Lading(tmp_path_factory.mktemp("registry")) as server:
        yield server


def environment(user: User) -> dict[str, str]:
    return {**os.environ, **user.environment}


def lading(user: User, *words: str | Path, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [PROGRAM, *words], input=given, capture_output=True, env=environment(user), timeout=60, check=False
    )


def left(user: User) -> list[Path]:
    """What is in the way of nobody: what a command keeps for itself while it runs."""
    return list((user.home / "data" / "lading").glob("scratch-*"))


def test_from_docker_save_and_to_docker_load(user: User, registry: Lading, tmp_path: Path) -> None:
    image = images.image("piped", (3000, 300_000), docker=True)
    saved = images.write_docker_archive(tmp_path / "saved.tar", image, ["local/app:1"])
    name = f"{registry.host}/piped"
    for tag, given in {"plain": saved.read_bytes(), "packed": gzip.compress(saved.read_bytes())}.items():
        assert lading(user, "push", "--quiet", "-", f"{name}:{tag}", given=given).stdout == f"{name}:{tag}\n".encode()
    with saved.open("rb") as file:  # a file is read where it is
        command = [str(PROGRAM), "push", "--quiet", "-", f"{name}:file"]
        assert subprocess.run(command, stdin=file, env=environment(user), timeout=60, check=False).returncode == 0
    pulled = lading(user, "pull", f"{name}:plain", "--output", "-")
    assert b"Downloaded newer image" in pulled.stderr
    with tarfile.open(fileobj=io.BytesIO(pulled.stdout)) as tar:
        assert "manifest.json" in tar.getnames()
    copied = lading(user, "copy", "archive:-:local/app:1", "archive:-", given=saved.read_bytes())
    with tarfile.open(fileobj=io.BytesIO(copied.stdout)) as tar:
        assert f"blobs/sha256/{image.config.digest[7:]}" in tar.getnames()
    inspected = lading(user, "inspect", "--config", "archive:-", given=pulled.stdout)
    assert inspected.stdout == image.config.data
    assert not left(user)


def test_what_is_no_archive(user: User, registry: Lading) -> None:
    said = lading(user, "push", "-", f"{registry.host}/x", given=b"no archive")
    assert (said.returncode, said.stderr) == (1, b"lading: standard input is no tar archive: truncated header\n")
    assert lading(user, "pull", "--output", "-", f"{registry.host}/nothing").stdout == b""
    for ending in (".tar.gz", ".tgz", ".tar.zst"):
        assert "is written as .tar" in user("pull", "x", "--output", f"x{ending}", status=1)
    with Path("/dev/full").open("wb") as full:
        user("push", images.write_layout(user.home / "in", {"x": images.image("x")}), f"{registry.host}/x")
        command = [str(PROGRAM), "pull", "--quiet", "--output", "-", f"{registry.host}/x"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=environment(user), check=False)
    assert (done.returncode, done.stderr) == (1, b"lading: output: No space left on device\n")
    assert not left(user)


def test_a_pipe_in_which_nothing_comes_is_given_up_when_told(user: User, registry: Lading) -> None:
    command = [str(PROGRAM), "push", "-", f"{registry.host}/x"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(user)) as process:
        eventually(lambda: [one for folder in left(user) for one in folder.iterdir()])
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
        assert process.stderr
        assert process.stderr.read() == b""
    assert not left(user)
