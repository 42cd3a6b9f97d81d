"""A store that is full, or may not be written to: 503 in the right form, pulls go on, and it mends by itself."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.kept import NAME, Kept, keep
from tests.integration.wire import ask
from tests.support.http import Client
from tests.support.images import INDEX, digest_of
from tests.support.lading import Lading
from tests.support.packages import program
from tests.support.patience import eventually

MEGABYTE = 1 << 20
SIZE = 6 * MEGABYTE

pytestmark = pytest.mark.faults


class Small(Lading):
    """A server whose storage is a file system of :data:`SIZE` bytes in memory, seen by it alone."""

    def __init__(self, root: Path, index: Path | None) -> None:
        super().__init__(root, {"database": {"url": f"sqlite:///{index}"}} if index else {})
        self.storage.mkdir()
        enter = [program("unshare"), "--mount", *([] if os.getuid() == 0 else ["--user", "--map-root-user"])]
        mount = f'mount -t tmpfs -o size={SIZE} tmpfs "$0" && exec "$@"'
        self.argv = [*enter, "sh", "-c", mount, str(self.storage), *self.argv]

    @property
    def inside(self) -> Path:
        """The storage as the server sees it."""
        return Path(f"/proc/{self.pid}/root{self.storage}")


class Strict(Lading):
    """A server that file permissions hold for, though root runs the tests."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, {"database": {"url": f"sqlite:///{root}/index.sqlite"}})
        if os.getuid() == 0:
            self.argv = [program("setpriv"), "--bounding-set=-dac_override,-dac_read_search", "--", *self.argv]


def refused(server: Lading, method: str, target: str, body: bytes) -> None:
    """The answer is 503 in the right form, with how long to wait."""
    answer = ask(server, method, target, {"Content-Type": INDEX}, body)
    assert (answer.status, answer.code) == (503, "UNAVAILABLE"), answer
    assert int(answer.headers["retry-after"]) > 0


def fill(path: Path) -> None:
    """Write until there is no room left."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for _ in range(SIZE):
            file.write(bytes(4096))
    assert os.statvfs(path).f_bavail == 0


def manifest(size: int) -> bytes:
    return b'{"schemaVersion": 2, "manifests": [], "annotations": {"a": "' + b"x" * size + b'"}}'


@pytest.fixture(params=["index-elsewhere", "index-inside"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    index = tmp_path / "index.sqlite" if request.param == "index-elsewhere" else None
    with Small(tmp_path / "server", index) as server:
        yield keep(server)


def test_a_store_that_is_full(small: Kept) -> None:
    """Blobs in one piece and in chunks, and manifests, get 503; what there is is served; there is room again later."""
    server = small.server
    assert isinstance(server, Small)
    filler = server.inside / "filler"
    with Client(server) as client:
        location = client.post(f"/v2/{NAME}/blobs/uploads/").headers["location"].removeprefix(server.url)
        fill(filler)
        data = os.urandom(MEGABYTE)
        refused(server, "POST", f"/v2/{NAME}/blobs/uploads/?digest={digest_of(data)}", data)
        refused(server, "PATCH", location, data)
        refused(server, "PUT", f"/v2/{NAME}/manifests/t", manifest(MEGABYTE))
        small.check()
        assert client.head(f"/v2/{NAME}/blobs/{digest_of(data)}").status_code == 404
        assert client.tags(NAME) == ["safe"]
        filler.unlink()
        assert client.push_blob(NAME, data) == digest_of(data)
        assert client.get(f"/v2/{NAME}/blobs/{digest_of(data)}").content == data
        done = client.put(f"/v2/{NAME}/manifests/t", content=manifest(1000), headers={"content-type": INDEX})
        assert done.status_code == 201, done.text
    small.check()


class Full(Lading):
    """A server that begins with a store which has no room left, seen by it alone; the index lies elsewhere."""

    def __init__(self, root: Path) -> None:
        health = {"storagedriver": {"enabled": True, "interval": "20ms"}}
        super().__init__(root, {"database": {"url": f"sqlite:///{root}/index.sqlite"}, "health": health})

    def fill(self) -> None:
        enter = [program("unshare"), "--mount", *([] if os.getuid() == 0 else ["--user", "--map-root-user"])]
        before = self.storage.rename(self.root / "before")
        self.storage.mkdir()
        mount = f'mount -t tmpfs -o size={SIZE} tmpfs "$0" && cp -a "$1"/. "$0" && shift; cat /dev/zero >"$0/filler"; exec "$@"'
        self.argv = [*enter, "sh", "-c", mount, str(self.storage), str(before), *self.argv]


def test_a_store_that_is_full_when_it_starts(tmp_path: Path) -> None:
    """It starts, pulls are served, also with a look at the store, and such looks leave nothing behind."""
    with Full(tmp_path / "server") as server:
        kept = keep(server)
    server.fill()
    with server:
        inside = Path(f"/proc/{server.pid}/root{server.storage}")
        folder = inside / "lading"
        before = folder.stat().st_mtime_ns
        eventually(lambda: folder.stat().st_mtime_ns > before, "a look at the store")
        refused(server, "POST", f"/v2/{NAME}/blobs/uploads/?digest={digest_of(b'x' * MEGABYTE)}", b"x" * MEGABYTE)
        kept.check()
        assert "is full" in server.output
        eventually(lambda: not list(folder.glob(".probe-*")), "nothing left behind")


def test_a_blob_larger_than_the_store(small: Kept) -> None:
    """It is refused on its way in, and its bytes are let go of."""
    server = small.server
    assert isinstance(server, Small)
    data = os.urandom(SIZE * 2)
    refused(server, "POST", f"/v2/{NAME}/blobs/uploads/?digest={digest_of(data)}", data)
    small.check()
    with Client(server) as client:
        assert client.push_blob(NAME, data[: MEGABYTE * 2]) == digest_of(data[: MEGABYTE * 2])


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Kept]:
    with Strict(tmp_path / "server") as server:
        kept = keep(server)
        yield kept
        for path in (server.storage / "docker").rglob("*"):
            if path.is_dir():
                path.chmod(0o755)


def locked(server: Lading, choose: Callable[[Path], bool]) -> list[Path]:
    """Take the right to write from every chosen folder."""
    v2 = server.storage / "docker" / "registry" / "v2"
    folders = [path for path in v2.rglob("*") if path.is_dir() and choose(path)]
    for folder in folders:
        folder.chmod(0o555)
    return folders


def test_a_store_that_may_not_be_written(strict: Kept) -> None:
    server = strict.server
    assert isinstance(server, Lading)
    folders = locked(server, lambda path: True)
    data = b"not to be written"
    refused(server, "POST", f"/v2/{NAME}/blobs/uploads/", b"")
    refused(server, "POST", f"/v2/{NAME}/blobs/uploads/?digest={digest_of(data)}", data)
    refused(server, "PUT", f"/v2/{NAME}/manifests/t", manifest(10))
    strict.check()
    for folder in folders:
        folder.chmod(0o755)
    with Client(server) as client:
        assert client.push_blob(NAME, data) == digest_of(data)


def test_a_store_whose_blobs_may_not_be_written(strict: Kept) -> None:
    """The upload comes in, and cannot be put in place: 503, and it may be finished later."""
    server = strict.server
    assert isinstance(server, Lading)
    folders = locked(server, lambda path: "blobs" in path.parts)
    data = b"comes in, and has to wait"
    with Client(server) as client:
        location = client.post(f"/v2/{NAME}/blobs/uploads/").headers["location"].removeprefix(server.url)
        sent = client.patch(location, content=data)
        location = sent.headers["location"].removeprefix(server.url)
        refused(server, "PUT", f"{location}&digest={digest_of(data)}", b"")
        assert client.head(f"/v2/{NAME}/blobs/{digest_of(data)}").status_code == 404
        for folder in folders:
            folder.chmod(0o755)
        assert client.put(f"{location}&digest={digest_of(data)}").status_code == 201
        assert client.get(f"/v2/{NAME}/blobs/{digest_of(data)}").content == data
    strict.check()


def test_a_blob_that_may_not_be_read(strict: Kept) -> None:
    """What cannot be read is unavailable, not gone."""
    server = strict.server
    blob = strict.image.layers[0]
    encoded = blob.digest.partition(":")[2]
    path = server.storage / "docker" / "registry" / "v2" / "blobs" / "sha256" / encoded[:2] / encoded / "data"
    path.chmod(0)
    answer = ask(server, "GET", f"/v2/{NAME}/blobs/{blob.digest}")
    assert (answer.status, answer.code) == (503, "UNAVAILABLE"), answer
    path.chmod(0o644)
    strict.check()


def test_a_blob_whose_file_is_gone(strict: Kept) -> None:
    """Somebody deleted the bytes behind the registry's back: 404 for that blob, everything else goes on."""
    server = strict.server
    blob = strict.image.layers[0]
    encoded = blob.digest.partition(":")[2]
    folder = server.storage / "docker" / "registry" / "v2" / "blobs" / "sha256" / encoded[:2] / encoded
    shutil.move(folder, folder.with_name("elsewhere"))
    answer = ask(server, "GET", f"/v2/{NAME}/blobs/{blob.digest}")
    assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN"), answer
    with Client(server) as client:
        assert client.push_blob(NAME, blob.data) == blob.digest
        assert client.get(f"/v2/{NAME}/blobs/{blob.digest}").content == blob.data
