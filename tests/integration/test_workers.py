"""More than one process over one store: ``lading serve --workers N``, and what signals do to it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.integration.workers import children, one_client_per_worker, worker_of, works_on
from tests.support.access import certificates, write_htpasswd
from tests.support.http import Client
from tests.support.images import digest_of, image, noise
from tests.support.lading import Lading
from tests.support.patience import PATIENCE, eventually
from tests.support.process import socket_at

DATA = b"".join(noise("workers", 3_000_000))
DIGEST = digest_of(DATA)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Lading]:
    with Lading(tmp_path, workers=2) as server:
        yield server


def begin(client: Client, repository: str = "a") -> str:
    begun = client.post(f"/v2/{repository}/blobs/uploads/")
    assert begun.status_code == 202
    return begun.headers["location"]


class SlowPut:
    """A PUT of ``DATA`` over a connection of its own, a part at a time."""

    def __init__(self, registry: Lading, client: Client, sent: int) -> None:
        target = httpx2.URL(begin(client)).copy_merge_params({"digest": DIGEST})
        self.sent = 0
        self.socket = socket.create_connection(("127.0.0.1", registry.port), timeout=PATIENCE)
        head = (
            f"PUT {target.raw_path.decode()} HTTP/1.1\r\nhost: {registry.host}\r\ncontent-length: {len(DATA)}\r\n\r\n"
        )
        self.socket.sendall(head.encode())
        self.send(sent)
        eventually(lambda: works_on(registry.pid, target.path), "the request is being answered")

    def send(self, until: int) -> None:
        self.socket.sendall(DATA[self.sent : until])
        self.sent = until

    def answer(self) -> str:
        """The status line."""
        with self.socket:
            return self.socket.makefile("rb").readline().decode().strip()


def test_an_upload_wanders_from_worker_to_worker(registry: Lading) -> None:
    with one_client_per_worker(registry) as (first, second), Client(registry) as third:
        location = begin(first)
        for number, start in enumerate(range(0, len(DATA), 500_000)):
            chunk = DATA[start : start + 500_000]
            client = (second, first)[number % 2]
            headers = {"content-range": f"{start}-{start + len(chunk) - 1}"}
            answer = client.patch(location, content=chunk, headers=headers)
            assert (answer.status_code, answer.headers["range"]) == (202, f"0-{start + len(chunk) - 1}")
            location = answer.headers["location"]
            assert (first, second)[number % 2].get(location).headers["range"] == answer.headers["range"]
        done = third.put(httpx2.URL(location).copy_merge_params({"digest": DIGEST}))
        assert done.status_code == 201
        for client in (first, second, third):
            assert client.get(f"/v2/a/blobs/{DIGEST}").content == DATA


def test_what_one_worker_did_the_other_knows_at_once(registry: Lading) -> None:
    old, new = image("old"), image("new")
    with one_client_per_worker(registry) as (first, second):
        first.push("a", old)
        first.push("a", new)
        assert worker_of(first.get("/v2/")) != worker_of(second.get("/v2/"))
        for _ in range(50):
            for made in (old, new):
                first.push_manifest("a", made.manifest, "latest")
                assert second.manifest("a", "latest").content == made.manifest.data
        assert first.delete("/v2/a/manifests/latest").status_code == 202
        assert second.manifest("a", "latest").status_code == 404
        assert second.tags("a") == []


def test_a_killed_worker_is_replaced_and_nothing_is_lost(registry: Lading) -> None:
    made = image("kept")
    with Client(registry) as client:
        client.push("a", made, "latest")
        location = begin(client)
        location = client.patch(location, content=DATA[:1000]).headers["location"]
    before = children(registry.pid)
    assert len(before) == 2
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    eventually(lambda: len(children(registry.pid) - before) == 2, what="two new workers")
    with one_client_per_worker(registry) as clients:
        for client in clients:
            assert client.manifest("a", "latest").content == made.manifest.data
            for blob in made.blobs:
                assert client.get(f"/v2/a/blobs/{blob.digest}").content == blob.data
        target = httpx2.URL(location).copy_merge_params({"digest": DIGEST})
        assert clients[0].put(target, content=DATA[1000:]).status_code == 201


def test_connections_that_wait_for_a_killed_worker_are_served_by_the_next(registry: Lading) -> None:
    before = children(registry.pid)
    for worker in before:
        os.kill(worker, signal.SIGSTOP)
    waiting = [socket.create_connection(("127.0.0.1", registry.port), timeout=PATIENCE) for _ in range(8)]
    for each in waiting:
        each.sendall(f"GET /v2/ HTTP/1.1\r\nhost: {registry.host}\r\nconnection: close\r\n\r\n".encode())
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    for each in waiting:
        with each:
            assert each.recv(100).startswith(b"HTTP/1.1 200 ")


def test_term_lets_a_running_upload_finish(registry: Lading) -> None:
    with Client(registry) as client:
        upload = SlowPut(registry, client, 1_000_000)
        idle = socket.create_connection(("127.0.0.1", registry.port))
    registry.signal(signal.SIGTERM)
    time.sleep(0.5)
    assert registry.alive
    with pytest.raises(httpx2.HTTPError), Client(registry, timeout=2) as late:
        late.get("/v2/")
    upload.send(len(DATA))
    assert upload.answer() == "HTTP/1.1 201 Created"
    assert registry.wait() == 0
    idle.close()
    registry.start()
    with Client(registry) as client:
        assert client.get(f"/v2/a/blobs/{DIGEST}").content == DATA


def test_term_does_not_wait_longer_than_it_was_told_to(tmp_path: Path) -> None:
    with Lading(tmp_path, {"http": {"draintimeout": "1s"}}, workers=2) as registry:
        with Client(registry) as client:
            upload = SlowPut(registry, client, 1_000_000)
        began = time.monotonic()
        registry.signal(signal.SIGTERM)
        assert registry.wait() == 0
        assert time.monotonic() - began < 25, "thirty seconds, by default"
        assert "Traceback" not in registry.output
        upload.socket.close()


def test_term_while_a_worker_is_being_replaced(registry: Lading) -> None:
    """A worker that ends in its first second is replaced after a pause; TERM may fall into it."""
    [worker, *_] = children(registry.pid)
    os.kill(worker, signal.SIGKILL)
    time.sleep(0.3)
    registry.signal(signal.SIGTERM)
    assert registry.wait() == 0
    assert "Traceback" not in registry.output


def test_a_second_term_ends_it_at_once(registry: Lading) -> None:
    with Client(registry) as client:
        upload = SlowPut(registry, client, 1_000_000)
    registry.signal(signal.SIGTERM)
    time.sleep(0.5)
    assert registry.alive
    registry.signal(signal.SIGTERM)
    registry.wait()
    assert "Traceback" not in registry.output
    upload.socket.close()


def test_two_workers_share_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "registry.sock"
    registry = Lading(tmp_path, {"http": {"net": "unix", "addr": str(path)}}, workers=2)
    registry.ready = socket_at(path)
    with registry:
        eventually(lambda: len(children(registry.pid)) == 2, what="two workers")
        workers = children(registry.pid)
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(path)), base_url="http://registry") as client:
            for _ in range(20):
                assert client.get("/v2/", headers={"connection": "close"}).status_code == 200
        assert children(registry.pid) == workers
        assert "failed" not in registry.output


def test_no_worker_outlives_its_parent(registry: Lading) -> None:
    workers = children(registry.pid)
    os.kill(registry.pid, signal.SIGKILL)
    registry.wait()
    eventually(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), what="workers gone")


def test_hup_renews_the_workers_and_refuses_nobody(registry: Lading) -> None:
    made = image("renew")
    with Client(registry) as client:
        client.push("a", made, "latest")
    failures: list[str] = []
    answered = 0
    stop = threading.Event()

    def ask() -> None:
        nonlocal answered
        while not stop.is_set():
            try:
                with Client(registry) as one:
                    response = one.manifest("a", "latest")
                if response.content != made.manifest.data:
                    failures.append(f"{response.status_code}")
                answered += 1
            except httpx2.HTTPError as error:
                failures.append(repr(error))

    before = children(registry.pid)
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        time.sleep(0.3)
        registry.signal(signal.SIGHUP)
        eventually(lambda: len(children(registry.pid) - before) == 2, what="two new workers")
        told = answered
        eventually(lambda: answered > told + 10 or bool(failures), what="answers of the new workers")
    finally:
        stop.set()
        asking.join()
    assert failures == []
    assert children(registry.pid).isdisjoint(before)


def test_hup_does_not_make_everybody_wait_for_one_slow_upload(tmp_path: Path) -> None:
    with Lading(tmp_path, workers=1) as registry, Client(registry) as client:
        upload = SlowPut(registry, client, 1_000_000)
        registry.signal(signal.SIGHUP)
        time.sleep(0.2)
        with contextlib.closing(Client(registry)) as other:
            assert other.get("/v2/").status_code == 200
        upload.send(len(DATA))
        assert upload.answer() == "HTTP/1.1 201 Created"


def test_hup_with_certificates_that_are_none_keeps_those_in_use(tmp_path: Path) -> None:
    """Also for a worker that takes another's place."""
    made, other = certificates(tmp_path / "pem"), certificates(tmp_path / "other")
    tls = {"certificate": str(made.certificate), "key": str(made.key)}
    with Lading(tmp_path, {"http": {"tls": tls}}, workers=2, ca=made.ca) as registry:
        before = children(registry.pid)
        made.certificate.write_bytes(made.certificate.read_bytes()[:100])
        registry.signal(signal.SIGHUP)
        eventually(lambda: "stays in use" in registry.output, what="a word on the certificates")
        assert str(made.certificate) in registry.output
        assert children(registry.pid) == before
        os.kill(min(before), signal.SIGKILL)
        eventually(lambda: len(children(registry.pid) - before) == 1, what="another worker")
        with one_client_per_worker(registry):
            pass
        made.certificate.write_bytes(other.certificate.read_bytes())
        made.key.write_bytes(other.key.read_bytes())
        registry.signal(signal.SIGHUP)
        eventually(lambda: children(registry.pid).isdisjoint(before), what="two new workers")
        registry.ca = other.ca
        with one_client_per_worker(registry):
            pass


def test_hup_with_accounts_that_are_none_ends_no_worker(tmp_path: Path) -> None:
    """What only a worker finds wrong: one is tried, before those that serve go."""
    path = write_htpasswd(tmp_path / "htpasswd", {"alice": "word"})
    auth = {"htpasswd": {"realm": "r", "path": str(path)}}
    with Lading(tmp_path, {"auth": auth}, workers=2) as registry, Client(registry, auth=("alice", "word")) as client:
        before = children(registry.pid)
        path.write_text("alice\n")
        registry.signal(signal.SIGHUP)
        eventually(lambda: "stays in use" in registry.output, what="a word on the accounts")
        assert str(path) in registry.output
        assert children(registry.pid) == before
        assert client.get("/v2/").status_code == 200
        write_htpasswd(path, {"alice": "word"})
        registry.signal(signal.SIGHUP)
        eventually(lambda: len(children(registry.pid) - before) == 2, what="two new workers")
        eventually(lambda: children(registry.pid).isdisjoint(before), what="the old ones gone")
        with Client(registry, auth=("alice", "word")) as another:
            assert another.get("/v2/").status_code == 200


def test_where_no_worker_can_be_nobody_waits(tmp_path: Path) -> None:
    """One that died while the accounts are none: it is tried again after pauses that grow, and the others have its clients."""
    path = write_htpasswd(tmp_path / "htpasswd", {"alice": "word"})
    auth = {"htpasswd": {"realm": "r", "path": str(path)}}
    with Lading(tmp_path, {"auth": auth}, workers=2) as registry:
        first, second = children(registry.pid)
        path.write_text("alice\n")
        os.kill(first, signal.SIGKILL)
        eventually(lambda: "tried again in 4 s" in registry.output, what="pauses that grow")
        assert "tried again in 2 s" in registry.output
        for _ in range(30):
            with Client(registry, auth=("alice", "word")) as client:
                assert client.get("/v2/").status_code == 200
        os.kill(second, signal.SIGKILL)
        eventually(lambda: children(registry.pid) == set() and registry.output.count("tried again in 2 s") == 2)
        with pytest.raises(httpx2.ConnectError), Client(registry) as client:
            client.get("/v2/")
        write_htpasswd(path, {"alice": "word"})
        registry.signal(signal.SIGHUP)
        eventually(lambda: len(children(registry.pid)) == 2, what="two workers", seconds=3.5)

        def both() -> bool:
            with contextlib.suppress(httpx2.TransportError, AssertionError):
                with one_client_per_worker(registry, auth=("alice", "word")):
                    return True
            return False

        eventually(both, what="answers of both")


def test_hup_without_an_htpasswd_file_makes_none(tmp_path: Path) -> None:
    """As while it is replaced: a new one, with a user nobody knows, would lock everybody out."""
    path = write_htpasswd(tmp_path / "htpasswd", {"alice": "word"})
    auth = {"htpasswd": {"realm": "r", "path": str(path)}}
    with Lading(tmp_path, {"auth": auth}, workers=1) as registry, Client(registry, auth=("alice", "word")) as client:
        before = children(registry.pid)
        path.rename(tmp_path / "aside")
        registry.signal(signal.SIGHUP)
        eventually(lambda: "stays in use" in registry.output, what="a word on the accounts")
        assert not path.exists()
        assert children(registry.pid) == before
        assert client.get("/v2/").status_code == 200


def test_hup_without_the_index_makes_none(tmp_path: Path) -> None:
    """Whoever moved it away can put it back: a new file would be in the way, and would have emptied the log beside it."""
    with Lading(tmp_path, workers=2) as registry, Client(registry) as client:
        client.push("a", image("kept"), "latest")
        before = children(registry.pid)
        index, aside = registry.storage / "lading" / "index.sqlite", tmp_path / "aside"
        log = index.with_name("index.sqlite-wal").stat().st_size
        index.rename(aside)
        registry.signal(signal.SIGHUP)
        eventually(lambda: "stays in use" in registry.output, what="a word on the index")
        assert f"there is no index at {index}" in registry.output
        assert not index.exists()
        assert index.with_name("index.sqlite-wal").stat().st_size >= log > 0
        assert children(registry.pid) == before
        aside.rename(index)
        registry.signal(signal.SIGHUP)
        eventually(lambda: children(registry.pid).isdisjoint(before), what="two new workers")
        with Client(registry) as another:
            assert another.get("/v2/a/manifests/latest").status_code == 200


def test_background_work_is_done_once_among_workers(tmp_path: Path) -> None:
    settings = {"collect": {"interval": "1s", "grace": "0s", "untagged": "0s"}, "log": {"level": "info"}}
    began = time.monotonic()
    with Lading(tmp_path, settings, workers=3) as registry:
        with Client(registry) as client:
            client.push_blob("a", DATA)

        def runs() -> int:
            return len(re.findall(r"collection: \d+ manifests", registry.output))

        eventually(lambda: runs() >= 4, "collections")
        assert runs() <= time.monotonic() - began, "once a second, whichever worker does it"
        blobs = registry.storage / "docker/registry/v2/blobs"
        eventually(lambda: list(blobs.rglob("data")) == [], "the blob is gone")
