"""Collection beside a server that serves: the command, what it says, and pushes that go on meanwhile."""

from __future__ import annotations

import hashlib
import random
import re
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2
import pytest

from lading.jobs.leases import COLLECTION
from tests.support.http import Client
from tests.support.images import Image, image, index
from tests.support.lading import PROGRAM, Lading
from tests.support.patience import eventually
from tests.support.process import run

SETTINGS = {"collect": {"enabled": False}}


def collect(registry: Lading, *options: str) -> subprocess.CompletedProcess[str]:
    return run([PROGRAM, "collect", *options, registry.configuration], environment={"COLUMNS": "200"})


def test_the_dry_run_says_what_the_run_does_and_why(tmp_path: Path) -> None:
    kept, gone = index("kept"), image("gone")
    with Lading(tmp_path, SETTINGS) as registry, Client(registry) as client:
        client.push("kept", kept, "latest")
        client.push("gone", gone, "latest")
        alone = client.push_blob("gone", b"alone")
        assert client.delete("/v2/gone/manifests/latest").status_code == 202

        nothing = collect(registry, "--dry-run").stdout
        assert "0 manifests and 0 blobs would go, 0.0 MB; nothing was changed" in nothing

        said = collect(registry, "--dry-run", "--grace", "0s", "--untagged", "0s").stdout
        lines = set(re.findall(r"^would delete (manifest|blob) (\S+?)(?: in (\S+))?: (.+)$", said, re.MULTILINE))
        assert {(kind, digest) for kind, digest, _, _ in lines} == {
            ("manifest", gone.digest), ("blob", gone.digest), ("blob", alone),
            *(("blob", blob.digest) for blob in gone.blobs),
        }  # fmt: skip
        reasons = {digest: reason for _, digest, _, reason in lines}
        assert "unreferenced since 0 minutes ago" in reasons[alone]
        assert "only manifests that go refer to it" in reasons[gone.layers[0].digest]
        assert {where for kind, _, where, _ in lines if kind == "manifest"} == {"gone"}
        assert "1 manifests and 4 blobs would go" in said
        assert client.manifest("gone", gone.digest).status_code == 200
        assert client.head(f"/v2/gone/blobs/{alone}").status_code == 200

        kept_them = collect(registry, "--grace", "0s", "--untagged", "keep").stdout
        assert f"deleted blob {alone}" in kept_them
        done = collect(registry, "--grace", "0s", "--untagged", "0s").stdout
        assert "1 manifests and 3 blobs deleted" in done
        assert client.manifest("gone", gone.digest).status_code == 404
        assert client.head(f"/v2/gone/blobs/{alone}").status_code == 404
        for manifest in (kept.manifest, *(one.manifest for one in kept.images)):
            assert client.manifest("kept", manifest.digest).content == manifest.data
        client.push("gone", gone, "again")
        assert client.get(f"/v2/gone/blobs/{gone.layers[0].digest}").content == gone.layers[0].data


def test_it_works_on_a_stopped_server_too(tmp_path: Path) -> None:
    with Lading(tmp_path, SETTINGS) as registry, Client(registry) as client:
        client.push_blob("a", b"alone")
    assert "1 blobs deleted" in collect(registry, "--grace", "0s").stdout


@pytest.mark.parametrize("given", [("--grace", "soon"), ("--grace", "-1s"), ("--untagged", "never")])
def test_a_wrong_duration_is_told_in_words(tmp_path: Path, given: tuple[str, str]) -> None:
    registry = Lading(tmp_path, SETTINGS)
    done = run([PROGRAM, "collect", *given, registry.configuration], check=False)
    assert done.returncode == 1
    assert f"collect.{given[0][2:]}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_nobody_ever_served_is_told_in_words(tmp_path: Path) -> None:
    registry = Lading(tmp_path, SETTINGS)
    done = run([PROGRAM, "collect", registry.configuration], check=False)
    assert done.returncode == 1
    assert "there is no index at" in done.stderr
    assert not registry.storage.exists(), "to ask makes nothing"


class Pusher(threading.Thread):
    """Pushes, deletes and pushes again images that share layers with everybody else's, and keeps a book of them."""

    def __init__(self, registry: Lading, number: int, until: float) -> None:
        super().__init__()
        self.registry = registry
        self.repository = f"r{number}"
        self.chance = random.Random(number)
        self.until = until
        self.tags: dict[str, Image] = {}
        self.problems: list[str] = []
        self.pushed = self.again = 0

    def run(self) -> None:
        with Client(self.registry) as client:
            while time.monotonic() < self.until:
                try:
                    self._step(client)
                except (AssertionError, httpx2.HTTPError) as error:
                    self.problems.append(f"{self.repository}: {error!r}")

    def _step(self, client: Client) -> None:
        made, tag = image(f"shared {self.chance.randrange(6)}", (500, 900)), f"t{self.chance.randrange(3)}"
        if self.tags.get(tag) and self.chance.random() < 0.4:
            assert client.delete(f"/v2/{self.repository}/manifests/{tag}").status_code == 202
            del self.tags[tag]
            return
        for _ in range(20):
            if self._try(client, made, tag):
                self.tags[tag] = made
                self.pushed += 1
                return
            self.again += 1
        self.problems.append(f"{self.repository}: pushed 20 times in vain")

    def _try(self, client: Client, made: Image, tag: str) -> bool:
        """As docker does it: ask, mount or push what is not there, then the manifest; False if to be tried again."""
        for blob in made.blobs:
            if client.head(f"/v2/{self.repository}/blobs/{blob.digest}").status_code == 200:
                continue
            begun = client.post(f"/v2/{self.repository}/blobs/uploads/", params={"mount": blob.digest})
            if begun.status_code == 201:
                continue
            assert begun.status_code == 202, begun.text
            target = httpx2.URL(begun.headers["location"]).copy_merge_params({"digest": blob.digest})
            done = client.put(target, content=blob.data)
            assert done.status_code in (201, 503), done.text
            if done.status_code == 503:
                return False
        put = client.put(
            f"/v2/{self.repository}/manifests/{tag}",
            content=made.manifest.data,
            headers={"content-type": made.manifest.media_type},
        )
        # with a grace this short a blob may go between the question and the manifest: the client is told so
        assert put.status_code in (201, 400, 503), put.text
        return put.status_code == 201


@pytest.mark.slow
@pytest.mark.parametrize("grace", ["1s", "0s"])
def test_pushes_go_on_while_it_collects(tmp_path: Path, grace: str) -> None:
    """No push that was answered 201 loses a blob, and nothing of the registry's book is wrong afterwards."""
    settings = {"collect": {"interval": "1s", "grace": grace, "untagged": grace}, "log": {"level": "info"}}
    with Lading(tmp_path, settings, workers=2) as registry:
        with Client(registry) as client:
            client.push_blob(
                "nobody", b"that nothing will ever name, so that there is something to collect for certain"
            )
        pushers = [Pusher(registry, number, time.monotonic() + 10) for number in range(3)]
        for one in pushers:
            one.start()
        for one in pushers:
            one.join()
        assert sum((one.problems for one in pushers), []) == []  # noqa: RUF017 - three lists
        assert sum(one.pushed for one in pushers) > 5
        eventually(lambda: re.search(r"[1-9]\d* blobs deleted", registry.output), "a collection")
        with Client(registry) as client:
            for one in pushers:
                if one.tags:
                    assert client.tags(one.repository) == sorted(one.tags)
                for tag, made in one.tags.items():
                    assert client.manifest(one.repository, tag).content == made.manifest.data
                    for blob in made.blobs:
                        found = client.get(f"/v2/{one.repository}/blobs/{blob.digest}")
                        assert hashlib.sha256(found.content).hexdigest() == blob.digest.partition(":")[2]
        assert "Traceback" not in registry.output


def test_only_one_at_a_time_whoever_began_it(tmp_path: Path) -> None:
    """The command and the server's own job wait for whoever holds the lease, and each other."""
    with Lading(tmp_path, SETTINGS) as registry:
        index = next(tmp_path.rglob("index.sqlite"))
        with held(index):
            begun = subprocess.Popen(
                [PROGRAM, "collect", registry.configuration], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            with begun:
                assert begun.stderr is not None
                assert "waiting for its end" in begun.stderr.readline()
                assert begun.poll() is None
                job = int(re.findall(r"\d+", jobs(registry, "run", "collect"))[0])
                eventually(lambda: "waits for one that was begun from the shell" in jobs(registry, "show", str(job)))
                release(index)
                out, errors = begun.communicate(timeout=60)
            assert (begun.returncode, errors) == (0, "")
            assert "0 manifests and 0 blobs deleted" in out
            eventually(lambda: "done" in jobs(registry, "show", str(job)))


def jobs(registry: Lading, *words: str) -> str:
    return run([PROGRAM, "jobs", *words, "--config", registry.configuration]).stdout


@contextmanager
def held(index: Path) -> Iterator[None]:
    """The lease is had by somebody else."""
    with closing(sqlite3.connect(index, timeout=60)) as rows, rows:
        rows.execute("INSERT INTO leases (name, holder, expires_at) VALUES (?, 'another', ?)", (COLLECTION, 1 << 60))
    try:
        yield
    finally:
        release(index)


def release(index: Path) -> None:
    with closing(sqlite3.connect(index, timeout=60)) as rows, rows:
        rows.execute("DELETE FROM leases WHERE name = ? AND holder = 'another'", (COLLECTION,))
