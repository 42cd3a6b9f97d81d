"""``kill -9`` between any two steps of a push and of a collection.

For every step there is: the server is killed just before it, started again, and then

* everything that was answered 201 is served byte for byte, by every name it was given;
* nothing half-done is visible: whatever the registry shows is whole;
* the same push can be made again and succeeds;
* a collection afterwards leaves exactly what is referenced, in the index and on the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from tests.faults.server import Launcher, Server
from tests.support.counts import Count
from tests.support.http import Client
from tests.support.images import Image, image

KEPT, PUSHED = image("kept", (3000,)), image("pushed", (5000,))


@dataclass
class Told:
    """What clients were told is stored."""

    blobs: set[str] = field(default_factory=set)
    manifests: dict[str, Image] = field(default_factory=dict)


def push(client: Client, made: Image, tag: str, told: Told) -> None:
    """Push one image in the ways there are, noting every 201 on the way."""
    first, *rest = made.blobs
    told.blobs.add(client.push_blob("a", first))
    for blob in rest:
        begun = client.post("/v2/a/blobs/uploads/")
        half = blob.size // 2
        sent = client.patch(begun.headers["location"], content=blob.data[:half])
        assert sent.status_code == 202, sent.text
        target = httpx2.URL(sent.headers["location"]).copy_merge_params({"digest": blob.digest})
        assert client.put(target, content=blob.data[half:]).status_code == 201
        told.blobs.add(blob.digest)
    client.push_manifest("a", made.manifest, tag)
    told.manifests[tag] = made


def check(client: Client, told: Told) -> None:
    for digest in told.blobs:
        answer = client.get(f"/v2/a/blobs/{digest}")
        assert answer.status_code == 200, f"{digest} was answered 201"
        assert "sha256:" + hashlib.sha256(answer.content).hexdigest() == digest
    for tag, made in told.manifests.items():
        for reference in (tag, made.digest):
            assert client.manifest("a", reference).content == made.manifest.data
    for made in (KEPT, PUSHED):
        for blob in made.blobs:
            answer = client.get(f"/v2/a/blobs/{blob.digest}")
            assert (answer.status_code, answer.content if answer.status_code == 200 else b"") in (
                (200, blob.data),
                (404, b""),
            )
            assert client.head(f"/v2/a/blobs/{blob.digest}").status_code == answer.status_code
    for tag in client.tags("a"):
        manifest = client.manifest("a", tag)
        assert manifest.status_code == 200
        for blob in (manifest.json()["config"], *manifest.json()["layers"]):
            assert len(client.get(f"/v2/a/blobs/{blob['digest']}").content) == blob["size"]


def exactly(server: Server, *images: Image) -> None:
    """The disk and the index hold these images and nothing else."""
    wanted = {digest for one in images for digest in (one.digest, *(blob.digest for blob in one.blobs))}
    base = server.storage / "docker/registry/v2"
    files = [path for path in (base / "blobs").rglob("*") if path.is_file()]
    assert {f"sha256:{path.parent.name}" for path in files} == wanted
    # a manifest's bytes that were not yet in place lie hidden beside the blob until it goes
    assert {path.name for path in files if not path.name.startswith(".")} == {"data"}
    with contextlib.closing(sqlite3.connect(server.storage / "lading/index.sqlite")) as index:
        assert {row[0] for row in index.execute("SELECT digest FROM blobs WHERE present")} == wanted
        assert index.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert index.execute("PRAGMA foreign_key_check").fetchall() == []


def told_before() -> Told:
    return Told({blob.digest for blob in KEPT.blobs}, {"kept": KEPT})


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    made = Launcher()
    yield made
    made.close()


@pytest.fixture(scope="module")
def prepared(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one image in it, to be copied."""
    server = Server(launcher, tmp_path_factory.mktemp("prepared"))
    with server.serving() as client:
        push(client, KEPT, "kept", Told())
    return server.storage


@contextlib.contextmanager
def copy(launcher: Launcher, prepared: Path, root: Path) -> Iterator[Server]:
    server = Server(launcher, root)
    shutil.copytree(prepared, server.storage)
    yield server
    shutil.rmtree(root)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_push_killed_at_every_step(tmp_path: Path, launcher: Launcher, prepared: Path, count: Count) -> None:
    with copy(launcher, prepared, tmp_path / "whole") as server, server.serving() as client:
        server.arm()
        push(client, PUSHED, "pushed", Told())
        steps = server.steps
    assert {"rename", "fdatasync", "fsync", "BEGIN IMMEDIATE", "COMMIT", "committed", "pwritev"} <= set(steps)
    for at in range(1, len(steps) + 1):
        told = told_before()
        with copy(launcher, prepared, tmp_path / f"{at}-{steps[at - 1]}") as server:
            with server.serving(at) as client:
                server.arm()
                with contextlib.suppress(httpx2.TransportError):
                    push(client, PUSHED, "pushed", told)
                # how many there are varies with how the threads fall: commits that wait are made together
                assert len(server.steps) == at or at > len(steps) - 15, "killed there"
            with server.serving() as client:
                check(client, told)
                push(client, PUSHED, "pushed", told)
                check(client, told)
            assert server.collect() == 0
            exactly(server, KEPT, PUSHED)
    count(f"kill: a push killed before each of its {len(steps)} steps; 0 promises broken")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_collection_killed_at_every_step(tmp_path: Path, launcher: Launcher, prepared: Path, count: Count) -> None:
    @contextlib.contextmanager
    def collected(root: Path, at: int) -> Iterator[tuple[Server, list[str]]]:
        with copy(launcher, prepared, root) as server:
            with server.serving() as client:
                push(client, PUSHED, "pushed", Told())
                assert client.delete("/v2/a/manifests/pushed").status_code == 202
            server.arm()
            assert server.collect(at) == (-signal.SIGKILL if at else 0)
            steps = server.steps
            server.counter.unlink()
            yield server, steps

    with collected(tmp_path / "whole", 0) as (server, steps):
        exactly(server, KEPT)
    assert {"rmdir", "unlink", "BEGIN IMMEDIATE", "COMMIT", "committed"} <= set(steps)
    for at in range(1, len(steps) + 1):
        with collected(tmp_path / f"{at}-{steps[at - 1]}", at) as (server, _):
            again = at % 2 == 0  # every other time the same image is pushed once more before the next run
            with server.serving() as client:
                check(client, told_before())
                if again:
                    told = told_before()
                    push(client, PUSHED, "pushed", told)
                    check(client, told)
            assert server.collect() == 0
            exactly(server, *((KEPT, PUSHED) if again else (KEPT,)))
    count(f"kill: a collection killed before each of its {len(steps)} steps; 0 promises broken")
