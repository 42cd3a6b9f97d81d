"""``kill -9`` before each step of the commands that copy, bring back, mend and take over: none harms what was there, and done again
each comes to its end.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.server import Launcher, Server
from tests.support.counts import Count
from tests.support.http import Client
from tests.support.images import Image, digest_of, image, index
from tests.support.volume import Volume

KEPT = [image(f"command-{number}", (2000, 3000)) for number in range(3)]
LATER = image("later", (2500,))
ORPHAN = b"bytes that no row knows"


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    made = Launcher()
    yield made
    made.close()


@pytest.fixture(scope="module")
def prepared(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a store of three images, to be copied."""
    server = Server(launcher, tmp_path_factory.mktemp("prepared"))
    with server.serving() as client:
        for number, made in enumerate(KEPT):
            client.push("a", made, f"v{number}")
    return server.storage.parent


def killed_at(
    prepared: Path, launcher: Launcher, root: Path, command: Callable[[Server, int], int], long: bool
) -> Iterator[Server]:
    """A copy of what is prepared, in which the command was killed, for each step of it (or some)."""

    def copied(name: str) -> Server:
        shutil.copytree(prepared, root / name, ignore=shutil.ignore_patterns("server.log", "steps", "config.yml"))
        return Server(launcher, root / name)

    server = copied("whole")
    server.arm()
    assert command(server, 0) in (0, 7), server.said
    steps = server.steps
    assert {"rename", "fsync"} & set(steps)
    shutil.rmtree(server.storage.parent)
    for at in range(1, len(steps) + 1, 1 if long else max(1, len(steps) // 2)):
        server = copied(f"{at}-{steps[at - 1]}")
        server.arm()
        status = command(server, at)
        # how threads fall varies, and with it how many steps there are
        assert status == -signal.SIGKILL or at > len(steps) - 15, server.said
        server.counter.unlink()
        yield server
        shutil.rmtree(server.storage.parent)


def told(long: bool) -> str:
    return "at each step there is" if long else "at some steps"


def files(folder: Path) -> set[str]:
    """The digests whose bytes lie in a store."""
    return {f"sha256:{path.parent.name}" for path in (folder / "docker/registry/v2/blobs").rglob("data")}


def digests(*images: Image) -> set[str]:
    return {digest for one in images for digest in (one.digest, *(blob.digest for blob in one.blobs))}


def served(client: Client, made: Image, repository: str, reference: str) -> None:
    assert client.manifest(repository, reference).content == made.manifest.data
    for blob in made.blobs:
        assert client.get(f"/v2/{repository}/blobs/{blob.digest}").content == blob.data


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_backup(tmp_path: Path, launcher: Launcher, prepared: Path, long: bool, count: Count) -> None:
    """The second one, which also takes the first one away: at every moment one of them is whole."""
    before = tmp_path / "before"
    shutil.copytree(prepared, before)
    server = Server(launcher, before)
    assert server.run("backup", "--config", server.configuration, before / "backup") == 0
    with server.serving() as client:
        client.push("a", LATER, "later")
        client.delete(f"/v2/a/manifests/{KEPT[0].digest}")
    assert server.collect() == 0
    killed = 0

    def command(server: Server, at: int) -> int:
        bundle = server.storage.parent / "backup"
        return server.run("backup", "--config", server.configuration, "--keep", "1", bundle, at=at)

    for server in killed_at(before, launcher, tmp_path, command, long):
        killed += 1
        bundle = server.storage.parent / "backup"
        assert server.run("restore", "--check", bundle) == 0, server.said
        assert command(server, 0) == 0, server.said
        kept = [path for path in (bundle / "blobs").rglob("*") if path.is_file()]
        assert {f"sha256:{path.name}" for path in kept} == digests(*KEPT[1:], LATER), "nothing else is left"
        assert len(list((bundle / "snapshots").iterdir())) == 1
        there = Server(launcher, server.storage.parent / "there")
        assert there.run("restore", "--config", there.configuration, bundle) == 0
        assert there.verify() == 0
        assert files(there.storage) == digests(*KEPT[1:], LATER)
    count(f"kill: {killed} backups killed, {told(long)}; a whole snapshot was there after each")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_restore(tmp_path: Path, launcher: Launcher, prepared: Path, long: bool, count: Count) -> None:
    before = tmp_path / "before"
    server = Server(launcher, before)
    shutil.copytree(prepared / "storage", server.storage)
    assert server.run("backup", "--config", server.configuration, before / "backup") == 0
    shutil.rmtree(server.storage)
    killed = 0

    def command(server: Server, at: int) -> int:
        return server.run("restore", "--config", server.configuration, server.storage.parent / "backup", at=at)

    for server in killed_at(before, launcher, tmp_path, command, long):
        killed += 1
        if not (server.storage / "lading/index.sqlite").exists():
            assert command(server, 0) == 0, server.said
        assert server.verify() == 0, server.said
        with server.serving() as client:
            for number, made in enumerate(KEPT):
                served(client, made, "a", f"v{number}")
    count(f"kill: {killed} restores killed, {told(long)}; done again, everything was there")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_repair(tmp_path: Path, launcher: Launcher, prepared: Path, long: bool, count: Count) -> None:
    before = tmp_path / "before"
    shutil.copytree(prepared, before)
    damage(before / "storage")
    killed = 0

    def command(server: Server, at: int) -> int:
        return server.run("verify", "--repair", "--grace", "0s", "--config", server.configuration, at=at)

    for server in killed_at(before, launcher, tmp_path, command, long):
        killed += 1
        assert command(server, 0) == 7, "a layer is lost, and that is said"
        with server.serving() as client:
            for number, made in enumerate(KEPT[:2]):
                served(client, made, "a", f"v{number}")
            lost = KEPT[2].layers[0]
            assert client.head(f"/v2/a/blobs/{lost.digest}").status_code == 404
            client.push("a", KEPT[2], "v2")
            served(client, KEPT[2], "a", "v2")
        assert server.verify() == 0, server.said
        assert server.collect() == 0
        assert files(server.storage) == digests(*KEPT)
    count(f"kill: {killed} repairs killed, {told(long)}; done again, all was mended that can be")


def damage(storage: Path) -> None:
    """A manifest's bytes are wrong in the store, another's gone from the index; a layer is lost; an orphan and a left-over."""
    blobs = Volume(storage)
    blobs.data(KEPT[0].digest).write_bytes(b"{}")
    with contextlib.closing(sqlite3.connect(storage / "lading/index.sqlite")) as connection, connection:
        connection.execute("UPDATE blobs SET touched_at = touched_at - 600000")  # no push is taken to be under way
        connection.execute(
            "DELETE FROM contents WHERE blob_id = (SELECT id FROM blobs WHERE digest = ?)", (KEPT[1].digest,)
        )
    shutil.rmtree(blobs.data(KEPT[2].layers[0].digest).parent)
    blobs.store(ORPHAN, digest_of(ORPHAN))
    (blobs.data(KEPT[1].digest).parent / ("." + "0" * 32)).write_bytes(b"broken off")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_rebuilt_index(tmp_path: Path, launcher: Launcher, prepared: Path, long: bool, count: Count) -> None:
    """Until it is whole there is none: a server that ran on half of one would let the collector have the other."""
    before = tmp_path / "before"
    shutil.copytree(prepared, before)
    for path in (before / "storage/lading").glob("index.sqlite*"):
        path.unlink()
    killed = 0

    def command(server: Server, at: int) -> int:
        return server.run("verify", "--rebuild", "--config", server.configuration, at=at)

    for server in killed_at(before, launcher, tmp_path, command, long):
        killed += 1
        if not (server.storage / "lading/index.sqlite").exists():
            assert server.verify() == 1, "there is no index"
            assert command(server, 0) == 0, server.said
        assert server.verify() == 0, server.said
        assert server.collect() == 0
        assert files(server.storage) == digests(*KEPT), "the collector takes nothing that came back"
        with server.serving() as client:
            for made in KEPT:
                served(client, made, "recovered", made.digest.partition(":")[2][:12])
    count(f"kill: {killed} rebuilds killed, {told(long)}; done again, everything was there")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_an_index_that_is_completed(
    tmp_path: Path, launcher: Launcher, prepared: Path, long: bool, count: Count
) -> None:
    """An older index gets what it lacks. Whenever that is killed, the collector takes nothing of it."""
    before = tmp_path / "before"
    server = Server(launcher, before)
    with server.serving() as client:
        client.push("a", LATER, "later")
    shutil.copytree(prepared / "storage/docker", server.storage / "docker", dirs_exist_ok=True)
    killed = 0

    def command(server: Server, at: int) -> int:
        return server.run("verify", "--rebuild", "--config", server.configuration, at=at)

    for server in killed_at(before, launcher, tmp_path, command, long):
        killed += 1
        assert server.collect() == 0
        assert command(server, 0) == 0, server.said
        assert files(server.storage) == digests(*KEPT, LATER)
        assert server.verify() == 0, server.said
        with server.serving() as client:
            served(client, LATER, "a", "later")
            for made in KEPT:
                served(client, made, "recovered", made.digest.partition(":")[2][:12])
    count(f"kill: {killed} completions of an index killed, {told(long)}; done again, everything was there")


def forget_leases(storage: Path) -> None:
    """Let the seconds pass in which whoever was killed might still be at work."""
    index = storage / "lading/index.sqlite"
    if index.exists():
        with contextlib.closing(sqlite3.connect(index)) as connection, connection, contextlib.suppress(sqlite3.Error):
            connection.execute("DELETE FROM leases")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_an_adoption(tmp_path: Path, launcher: Launcher, long: bool, count: Count) -> None:
    before = tmp_path / "before"
    volume, multi = Volume(before / "storage"), index("multi")
    for number, made in enumerate(KEPT):
        volume.push(f"g{number}/app", made, "one", "two")
    volume.push("many", multi, "multi")
    killed = 0

    def command(server: Server, at: int) -> int:
        return server.run("adopt", "--config", server.configuration, at=at)

    for server in killed_at(before, launcher, tmp_path, command, long):
        killed += 1
        forget_leases(server.storage)
        with server.serving() as client:  # which goes on with it
            for number, made in enumerate(KEPT):
                assert client.tags(f"g{number}/app") == ["one", "two"]
                served(client, made, f"g{number}/app", "two")
            assert client.manifest("many", "multi").content == multi.manifest.data
            for one in multi.images:
                served(client, one, "many", one.digest)
        assert server.verify() == 0, server.said
    count(f"kill: {killed} adoptions killed, {told(long)}; the next server went on with each")
