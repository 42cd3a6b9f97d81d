"""A full disk and clients that go away: the answers, and that everything works again afterwards."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.integration.test_mirror import Far
from tests.integration.workers import children, works_on
from tests.support.http import Client
from tests.support.images import digest_of, image, noise
from tests.support.lading import Lading
from tests.support.patience import PATIENCE, eventually
from tests.support.scripted import Scripted

DATA = b"".join(noise("disk", 8 << 20))
DIGEST = digest_of(DATA)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB; only root can make one."""
    if os.geteuid() != 0:
        pytest.fail(
            "filling a disk needs a file system of its own, which only root can mount: run the tests as root", False
        )
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "lading-test", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@contextlib.contextmanager
def filled(place: Path, spare: int = 0) -> Iterator[None]:
    """No room there, but ``spare`` bytes."""
    ballast = place / "ballast"
    room = os.statvfs(place)
    with ballast.open("wb") as file:
        with contextlib.suppress(OSError):
            file.write(bytes(max(0, room.f_bavail * room.f_frsize - spare)))
            file.flush()
    try:
        yield
    finally:
        ballast.unlink()


def is_full(answer: httpx2.Response) -> None:
    assert answer.status_code == 503, answer.text
    [error] = answer.json()["errors"]
    assert error["code"] == "UNAVAILABLE"
    assert error["message"]
    assert int(answer.headers["retry-after"]) > 0


def begin(client: Client) -> str:
    begun = client.post("/v2/a/blobs/uploads/")
    assert begun.status_code == 202, begun.text
    return begun.headers["location"]


def to(location: str) -> httpx2.URL:
    return httpx2.URL(location).copy_merge_params({"digest": DIGEST})


def uploads(registry: Lading) -> list[Path]:
    return list((registry.storage / "docker/registry/v2/repositories").rglob("_uploads/*"))


def test_a_full_disk(small_disk: Path) -> None:
    made, late = image("before"), image("late")
    with (
        Lading(small_disk / "one", environment={"REGISTRY_HTTP_DRAINTIMEOUT": "1s"}) as registry,
        Client(registry) as client,
    ):
        client.push("a", made, "latest")
        location = begin(client)
        with filled(small_disk, 3 << 20):
            is_full(client.patch(location, content=DATA))
            whole = client.post("/v2/a/blobs/uploads/", params={"digest": DIGEST}, content=DATA)
            is_full(whole)
            assert len(uploads(registry)) == 1, "a whole push leaves nothing; an upload keeps what arrived"
        with filled(small_disk):
            assert client.manifest("a", "latest").content == made.manifest.data
            assert client.get(f"/v2/a/blobs/{made.layers[0].digest}").content == made.layers[0].data
            is_full(client.post("/v2/a/blobs/uploads/", params={"digest": DIGEST}, content=DATA))
            headers = {"content-type": late.manifest.media_type}
            refused = client.put("/v2/a/manifests/late", content=late.manifest.data, headers=headers)
            assert refused.status_code in (400, 503), "its layers are not there"
        status = client.get(location)
        assert status.status_code == 204
        arrived = int(status.headers["range"].partition("-")[2]) + 1
        assert 1 < arrived < len(DATA)
        done = client.put(to(status.headers["location"]), content=DATA[arrived:])
        assert done.status_code == 201, "it goes on from where it stood"
        assert client.get(f"/v2/a/blobs/{DIGEST}").content == DATA
        client.push("a", late, "late")
        assert uploads(registry) == []
        assert "Traceback" not in registry.output


def test_the_index_without_room(small_disk: Path, tmp_path: Path) -> None:
    """Blobs have room, the index has none: a push is refused as one, and pulls go on."""
    made, late = image("before"), image("late")
    index = small_disk / "index.sqlite"
    settings = {"database": {"url": f"sqlite:///{index}"}}
    with Lading(tmp_path / "one", settings) as registry, Client(registry) as client:
        client.push("a", made, "latest")
        with filled(small_disk):
            answers = []
            for number in range(50):
                answers.append(
                    client.post(
                        "/v2/a/blobs/uploads/", params={"digest": digest_of(b"%d" % number)}, content=b"%d" % number
                    )
                )
                if answers[-1].status_code != 201:
                    break
            is_full(answers[-1])
            assert client.manifest("a", "latest").content == made.manifest.data
        for number in range(len(answers) - 1):
            assert client.get(f"/v2/a/blobs/{digest_of(b'%d' % number)}").content == b"%d" % number
        client.push("a", late, "late")
        assert client.manifest("a", "late").content == late.manifest.data


class Sender:
    """A request of which only a part is ever sent."""

    def __init__(self, registry: Lading, method: str, url: httpx2.URL, body: bytes, *, chunked: bool = False) -> None:
        self.socket = socket.create_connection(("127.0.0.1", registry.port), timeout=PATIENCE)
        length = "transfer-encoding: chunked" if chunked else f"content-length: {len(DATA)}"
        head = f"{method} {url.raw_path.decode()} HTTP/1.1\r\nhost: {registry.host}\r\n{length}\r\n\r\n"
        sent = b"%x\r\n%b\r\n" % (len(body), body) if chunked else body
        self.socket.sendall(head.encode() + sent)

    def reset(self) -> None:
        """Go away as a machine that lost its power does when it comes back."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()


@pytest.mark.parametrize("how", ["close", "reset", "shutdown"])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_client_that_goes_away_in_the_middle(tmp_path: Path, method: str, chunked: bool, how: str) -> None:
    with Lading(tmp_path) as registry, Client(registry) as client:
        location = begin(client)
        location = client.patch(location, content=DATA[:1000]).headers["location"]
        url = to(location) if method == "PUT" else httpx2.URL(location)
        sender = Sender(registry, method, url, DATA[1000:3_000_000], chunked=chunked)
        eventually(lambda: works_on(registry.pid, location), "the request is being answered")
        if how == "shutdown":
            sender.socket.shutdown(socket.SHUT_WR)
            assert sender.socket.makefile("rb").readline().startswith(b"HTTP/1.1 400 "), "it still hears what was wrong"
            sender.socket.close()
        else:
            sender.reset() if how == "reset" else sender.socket.close()
        status = client.get(location)
        assert status.status_code == 204, "the lock is let go when the client is gone"
        arrived = int(status.headers["range"].partition("-")[2]) + 1
        assert 1000 <= arrived <= 3_000_000
        if how != "reset":
            assert arrived == 3_000_000, "what arrived stays"
        assert client.get(f"/v2/a/blobs/{DIGEST}").status_code == 404
        assert client.put(to(status.headers["location"]), content=DATA[arrived:]).status_code == 201
        assert client.get(f"/v2/a/blobs/{DIGEST}").content == DATA
        assert "Traceback" not in registry.output


def test_the_lock_of_an_upload_goes_with_its_client(tmp_path: Path) -> None:
    with Lading(tmp_path) as registry, Client(registry) as client:
        location = begin(client)
        sender = Sender(registry, "PATCH", httpx2.URL(location), DATA[:100_000])
        eventually(lambda: works_on(registry.pid, location), "the request is being answered")
        assert client.patch(location, content=b"x").status_code == 409, "one at a time"
        sender.reset()
        status = client.get(location)
        assert status.status_code == 204
        assert client.delete(status.headers["location"]).status_code == 204
        assert uploads(registry) == []


def test_a_client_that_does_not_wait_for_its_download(tmp_path: Path) -> None:
    with Lading(tmp_path) as registry, Client(registry) as client:
        client.push_blob("a", DATA)
        [worker] = children(registry.pid)
        before = len(list(Path(f"/proc/{worker}/fd").iterdir()))
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", registry.port), timeout=PATIENCE) as reader:
                reader.sendall(f"GET /v2/a/blobs/{DIGEST} HTTP/1.1\r\nhost: {registry.host}\r\n\r\n".encode())
                assert reader.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert client.get(f"/v2/a/blobs/{DIGEST}").content == DATA
        eventually(lambda: len(list(Path(f"/proc/{worker}/fd").iterdir())) <= before, what="every file is closed")
        assert "Traceback" not in registry.output


def test_a_mirror_on_a_full_disk_says_so_and_goes_on_where_it_stopped(small_disk: Path) -> None:
    cached = image("mirrored", (6_000_000,))
    layer = cached.layers[0]
    path = f"/v2/a/blobs/{layer.digest}"
    with (
        Scripted(Far(one=cached)) as far,
        Lading(small_disk, {"proxy": {"remoteurl": far.url}}, workers=1) as server,
        Client(server) as client,
    ):
        assert client.manifest("a", "one").status_code == 200
        with filled(small_disk, spare=3 << 20):
            with contextlib.suppress(httpx2.HTTPError):
                is_full(client.get(path))
            is_full(client.get(path))
            assert not list(server.storage.glob("docker/registry/v2/repositories/a/_uploads/*"))
        answers: list[httpx2.Response] = []

        def there() -> bool:
            answers.append(client.get(path))
            return answers[-1].status_code == 200

        eventually(there)
        assert answers[-1].content == layer.data
