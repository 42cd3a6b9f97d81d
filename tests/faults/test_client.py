"""The client when it is killed, interrupted, out of room, or on a bad line: nothing half-written stays, and it goes on."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lading.oci.digest import Digest
from lading.oci.manifest import Descriptor
from lading.remotes.credentials import Keyring
from lading.remotes.http import HttpRegistry
from lading.remotes.session import Session
from lading.remotes.transport import Policy
from tests.faults.test_disk import filled, small_disk
from tests.support import images
from tests.support.access import certificates
from tests.support.client import User
from tests.support.cutting import DOWN, UP, Cutting
from tests.support.http import Client
from tests.support.lading import PROGRAM, Lading
from tests.support.patience import eventually
from tests.support.process import Process
from tests.support.scripted import Answer, Asked, Scripted
from tests.unit.remotes.far import of

__all__ = ["small_disk"]

IMAGE = images.image("faults", (6 << 20,))


class Holding:
    """A registry that holds the large layer back in the middle until it is told to go on."""

    def __init__(self) -> None:
        self.blobs = {one.digest: one.data for one in IMAGE.blobs}
        self.go_on = threading.Event()
        self.held = threading.Event()

    def __call__(self, asked: Asked) -> Answer:
        kind, _, reference = asked.path.rpartition("/")
        if kind.endswith("/manifests"):
            headers = {"content-type": images.MANIFEST, "docker-content-digest": IMAGE.digest}
            return Answer(200, IMAGE.manifest.data, headers)
        data = self.blobs.get(reference, b"")
        if len(data) < 1 << 20 or self.go_on.is_set():
            start = int(asked.headers.get("range", "bytes=0-")[6:-1])
            headers = {"content-range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
            return Answer(206 if start else 200, data[start:], headers)
        self.held.set()
        return Answer(200, data, cut=3 << 20, hold=self.go_on)


@pytest.fixture
def far_side() -> Iterator[tuple[Scripted, Holding]]:
    holding = Holding()
    with Scripted(holding) as server:
        yield server, holding
        holding.go_on.set()


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path / "home")


def unfinished(store: Path) -> dict[Path, int]:
    """Files that are being written, and how many bytes each has; a client may finish any of them while we look."""
    found = {}
    for one in store.rglob(".partial-*"):
        with contextlib.suppress(FileNotFoundError):
            if one.is_file():
                found[one] = one.stat().st_size
    return found


def pulling(user: User, name: str, tmp_path: Path, *words: str) -> Process:
    return Process([PROGRAM, "pull", name, *words], log=tmp_path / "pull.log", environment=dict(user.environment))


@pytest.fixture
def heeded() -> Iterator[None]:
    """Children ignore the signals that we were told to ignore, as by nohup or a shell's ``&``: not here."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number in [one for one, how in before.items() if how is signal.SIG_IGN]:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, how in before.items():
        signal.signal(number, how)


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("words", [(), ("-o", "x.tar"), ("-o", "folder")], ids=["store", "tar", "folder"])
def test_an_interrupted_pull_leaves_nothing(
    user: User, far_side: tuple[Scripted, Holding], tmp_path: Path, words: tuple[str, ...], number: signal.Signals
) -> None:
    server, holding = far_side
    there = [str(tmp_path / one) if one[0] != "-" else one for one in words]
    pull = pulling(user, f"{server.host}/x", tmp_path, *there).start()
    where = user.store if not words else tmp_path
    assert holding.held.wait(20)
    eventually(lambda: any(size > 1 << 20 for size in unfinished(where).values()))
    pull.signal(number)
    assert pull.wait() == 128 + number
    pull.stop()
    assert "Traceback" not in pull.output
    assert unfinished(where) == {}
    assert not (tmp_path / "x.tar").exists()
    assert user("images", "-q") == ""


def test_what_a_killed_pull_left_is_swept_and_the_next_one_goes_well(
    user: User, far_side: tuple[Scripted, Holding], tmp_path: Path
) -> None:
    server, holding = far_side
    pull = pulling(user, f"{server.host}/x", tmp_path).start()
    assert holding.held.wait(20)
    eventually(lambda: len(unfinished(user.store)) > 0)
    user("copy", f"oci:{images.write_layout(tmp_path / 'other', {'x': images.image('other')})}", "local:other")
    user("rmi", "other")
    assert unfinished(user.store), "what is being written is not swept"
    pull.kill9()
    assert unfinished(user.store)
    holding.go_on.set()
    user("pull", f"{server.host}/x")
    user("rmi", f"{server.host}/x")
    assert [one for one in (user.store / "blobs").rglob("*") if one.is_file()] == []


def test_two_pulls_of_the_same_at_the_same_time(user: User, tmp_path: Path) -> None:
    with Lading(tmp_path / "registry") as registry:
        with Client(registry) as client:
            for number in range(2):
                client.push("x", images.image(number, (1 << 20, 2 << 20)), str(number))
        pulls = [
            subprocess.Popen(
                [PROGRAM, "pull", "-q", f"{registry.host}/x:{number % 2}"],
                env={**user.environment, "PATH": "/usr/bin:/bin"},
            )
            for number in range(4)
        ]
        assert [one.wait(60) for one in pulls] == [0] * 4
    assert len(user("images", "--format", "{{.Tag}}").split()) == 2
    assert unfinished(user.store) == {}


@pytest.mark.parametrize("output", ["store", "folder", "image.tar"])
def test_a_full_disk(far_side: tuple[Scripted, Holding], small_disk: Path, output: str) -> None:
    server, holding = far_side
    holding.go_on.set()
    user = User(small_disk / "home")
    words = [] if output == "store" else ["-o", str(small_disk / output)]
    with filled(small_disk, 2 << 20):
        said = user("pull", f"{server.host}/x", *words, status=1)
        assert "the disk is full; nothing unfinished was kept" in said
        assert unfinished(small_disk) == {}
        assert not (small_disk / "image.tar").exists()
    user("pull", f"{server.host}/x", *words)
    if output == "store":
        assert user("images", "-q")


class Garbling(Cutting):
    """A line that changes a byte where the other cuts."""

    def _carry(self, source: socket.socket, target: socket.socket, way: str) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(16 << 10):
                if self._is_cut(way, len(data)):
                    data = data[:-1] + bytes([data[-1] ^ 1])
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lading]:
    made = certificates(tmp_path_factory.mktemp("tls"))
    settings = {"http": {"tls": {"certificate": str(made.certificate), "key": str(made.key)}}}
    with Lading(tmp_path_factory.mktemp("registry"), settings, ca=made.ca) as server:
        yield server


@pytest.mark.anyio
@pytest.mark.parametrize("line", [Cutting, Garbling], ids=["cut", "garbled"])
async def test_tls_on_a_bad_line_at_every_tenth(secure: Lading, line: type[Cutting]) -> None:
    """An upload and a download of a layer go on, whatever becomes of the line below TLS."""
    data = random.Random(line.__name__).randbytes(3_000_000)
    blob = Descriptor(media_type=images.LAYER, digest=Digest.of(data), size=len(data))
    tenths = [len(data) * tenth // 10 for tenth in range(1, 11)]
    assert secure.ca
    policy = Policy(attempts=5, backoff=0.01, silence=30, scheme="https", ca=secure.ca.read_text())
    with line(secure.port) as bad:
        async with Session(f"127.0.0.1:{bad.port}", Keyring({"HOME": "/nonexistent"}), policy) as session:
            client = HttpRegistry(session)
            bad.cut_at(UP, tenths)
            await client.put_blob("x", blob, of(data))
            assert bad.cuts >= 9
            bad.cut_at(DOWN, tenths)
            async with client.blob("x", blob) as chunks:
                assert b"".join([chunk async for chunk in chunks]) == data
        assert bad.cuts >= 18
