"""The drill: back up under load, restore elsewhere, serve from there, verify."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from tests.support.counts import Count
from tests.support.http import Client
from tests.support.images import Image, image
from tests.support.lading import Lading
from tests.support.snapshot import Served, snapshot

KEPT = [image(f"kept-{number}", (30_000, 20_000)) for number in range(3)]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Lading]:
    with Lading(tmp_path / "one", workers=2) as made:
        yield made


class Load:
    """Pushes, moves a tag, deletes and collects without grace until told to stop; ``told`` are tags answered 201."""

    def __init__(self, registry: Lading) -> None:
        self.registry = registry
        self.told: dict[str, Image] = {}
        self.rounds = 0
        self.failed: list[BaseException] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(work,)) for work in (self._push, self._churn)]

    def _run(self, work: object) -> None:
        try:
            with Client(self.registry) as client:
                for number in itertools.count():
                    if self._stop.is_set():
                        return
                    work(client, number)  # type: ignore[operator]
                    self.rounds += 1
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.failed.append(error)

    def _push(self, client: Client, number: int) -> None:
        made = image(f"load-{number}", (3000,))
        client.push("load", made, f"t{number}")
        self.told[f"t{number}"] = made

    def _churn(self, client: Client, number: int) -> None:
        """Its blobs are let go of at once, so that every collection has something to take."""
        with contextlib.suppress(AssertionError):  # so short a grace may take what a slow push relies on, and says so
            client.push("churn", image(f"churn-{number}", (50_000,)), "moving")
        if number % 3 == 2:
            client.delete("/v2/churn/manifests/moving")
            self.registry.run("collect", "--grace", "3s", "--untagged", "0s")

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


def whole(registry: Lading) -> None:
    """Whatever the registry shows is there, byte for byte."""
    for path, found in snapshot(registry).items():
        if isinstance(found, Served):
            assert found.status == 200, path
            if "@" not in path and "/blobs/" in path:
                assert path.endswith(found.digest)


def test_back_up_under_load_and_restore(registry: Lading, tmp_path: Path, count: Count) -> None:
    backup, there = tmp_path / "backup", tmp_path / "two"
    with Client(registry) as client:
        for number, made in enumerate(KEPT):
            client.push("kept", made, f"v{number}")
    with Load(registry) as load:
        registry.run("backup", backup)
        before = dict(load.told)
        deadline = load.rounds + 6
        while load.rounds < deadline and not load.failed:
            threading.Event().wait(0.02)
        said = registry.run("backup", backup, "--keep", "1").stdout
    assert load.failed == []
    assert "there already" in said
    assert registry.run("restore", backup, "--check").returncode == 0
    with contextlib.closing(Client(registry)) as client:
        client.delete("/v2/kept/manifests/v0")

    registry.run("restore", backup, "--to", there / "storage")
    registry.stop()
    shutil.rmtree(registry.storage)
    with Lading(there) as restored, Client(restored) as client:
        for number, made in enumerate(KEPT):
            assert client.manifest("kept", f"v{number}").content == made.manifest.data
        for tag, made in before.items():
            assert client.manifest("load", tag).content == made.manifest.data
            for blob in made.blobs:
                assert client.get(f"/v2/load/blobs/{blob.digest}").content == blob.data
        whole(restored)
        said = restored.run("verify").stdout
        assert "Everything can be served as it was pushed" in said
        client.push("kept", image("after"), "after")
    count(f"drill: backed up twice beside {load.rounds} rounds of load; {len(before)} tags told before, all restored")


def test_a_blob_that_is_lost_does_not_stop_a_backup(registry: Lading, tmp_path: Path) -> None:
    [made] = KEPT[:1]
    with Client(registry) as client:
        client.push("kept", made, "v0")
    encoded = made.layers[0].digest.partition(":")[2]
    shutil.rmtree(registry.storage / "docker/registry/v2/blobs/sha256" / encoded[:2] / encoded)
    done = registry.run("backup", tmp_path / "backup", check=False)
    assert done.returncode == 7
    assert f"no-data: {made.layers[0].digest}" in done.stdout
    done = registry.run("restore", tmp_path / "backup", "--to", tmp_path / "two" / "storage", check=False)
    assert done.returncode == 7
    with Lading(tmp_path / "two") as restored, Client(restored) as client:
        assert restored.run("verify", "--repair", check=False).returncode == 7
        client.push("kept", made, "v0")
        assert restored.run("verify").returncode == 0
