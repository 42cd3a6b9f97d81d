"""deploy/nginx in front of two replicas over PostgreSQL and one store: nobody who pushes or pulls sees one go away."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import images
from tests.support.http import Client
from tests.support.lading import Lading
from tests.support.packages import program
from tests.support.patience import PATIENCE, eventually
from tests.support.ports import free_port
from tests.support.postgres import Postgres
from tests.support.process import Process, listening, run

DEPLOY = Path(__file__).parents[2] / "deploy"
_AROUND = """\
daemon off;
{user}
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 512; }}
http {{
  access_log {directory}/access.log;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  include {directory}/conf.d/*.conf;
}}
"""


class Front:
    """Two replicas, ``url`` in front of them, and one file each whose being there makes a replica unwell."""

    def __init__(self, directory: Path, database: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.down = [directory / "down-0", directory / "down-1"]
        storage = {"filesystem": {"rootdirectory": str(directory / "storage")}}
        self.replicas = [
            Lading(
                directory / f"replica-{number}",
                {
                    "database": {"url": database},
                    "storage": storage,
                    "health": {"file": [{"file": str(down), "interval": "50ms"}]},
                },
            )
            for number, down in enumerate(self.down)
        ]
        self.nginx = self._nginx(directory / "nginx")

    def _nginx(self, directory: Path) -> Process:
        shipped = directory / "conf.d"
        shipped.mkdir(parents=True)
        server = (DEPLOY / "nginx/lading.conf").read_text()
        (shipped / "lading.conf").write_text(server.replace("listen 80;", f"listen 127.0.0.1:{self.port};"))
        upstream = (DEPLOY / "nginx/upstream.conf").read_text()
        for line, replica in zip(("server 127.0.0.1:5000", "# server 127.0.0.1:5001"), self.replicas, strict=True):
            assert f"    {line} " in upstream
            upstream = upstream.replace(line, f"server {replica.host}")
        (shipped / "upstream.conf").write_text(upstream)
        user = "user root;" if os.geteuid() == 0 else ""
        (directory / "nginx.conf").write_text(_AROUND.format(directory=directory, user=user))
        words: list[str | Path] = [program("nginx"), "-p", directory, "-c", directory / "nginx.conf"]
        run([*words, "-t"])
        return Process(words, log=directory / "nginx.log", ready=listening(self.port))


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Front]:
    made = Front(tmp_path_factory.mktemp("nginx"), postgres.fresh())
    with made.replicas[0], made.replicas[1], made.nginx:
        yield made


class Load:
    """Somebody who pulls and pushes without a pause, beginning again where a client would."""

    def __init__(self, front: Front, repository: str) -> None:
        self.answers: Counter[str] = Counter()
        self._front = front
        self._repository = repository
        self._over = threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._pull, self._push)]

    def _pull(self) -> None:
        with Client(self._front.url) as client:
            while not self._over.is_set():
                self.answers[f"pull {client.manifest(self._repository, '1').status_code}"] += 1

    def _push(self) -> None:
        number = 0
        while not self._over.is_set():
            with Client(self._front.url) as client:
                number += 1
                client.push(f"{self._repository}/pushed", images.image(f"{self._repository} {number}"), f"v{number}")
                self.answers["push 201"] += 1

    def __enter__(self) -> Counter[str]:
        for thread in self._threads:
            thread.start()
        return self.answers

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)


def test_an_upload_goes_through_both_and_tells_the_address_clients_use(front: Front) -> None:
    blob = os.urandom(6_000_000)
    before = [len(replica.access_log()) for replica in front.replicas]
    with Client(front.url) as client:
        answer = client.post("/v2/through/blobs/uploads/", headers={"x-forwarded-host": "evil.example"})
        parts = [blob[start : start + 500_000] for start in range(0, len(blob), 500_000)]
        for part in parts:
            assert answer.status_code == 202, answer.text
            assert answer.headers["location"].startswith(front.url + "/v2/through/")
            answer = client.patch(answer.headers["location"], content=part)
        digest = images.digest_of(blob)
        done = client.put(answer.headers["location"] + f"&digest={digest}")
        assert done.status_code == 201, done.text
        assert done.headers["location"].startswith(front.url)
        assert client.get(f"/v2/through/blobs/{digest}").content == blob
        assert client.get(f"/v2/through/blobs/{digest}", headers={"range": "bytes=5-9"}).content == blob[5:10]
        assert client.get("/elsewhere").status_code == 404
    for replica, number in zip(front.replicas, before, strict=True):
        methods = {line.method for line in replica.access_log()[number:] if "/through/" in line.path}
        assert "PATCH" in methods, "each replica takes a part"


def test_a_body_is_passed_on_while_it_arrives(front: Front) -> None:
    """Otherwise nginx would write every layer to its own disk first."""
    waiting = threading.Event()
    digest = images.digest_of(b"a" * 4_000_000 + b"b" * 10)

    def body() -> Iterator[bytes]:
        yield b"a" * 4_000_000
        assert waiting.wait(PATIENCE), "nothing reached the store"
        yield b"b" * 10

    uploads = front.replicas[0].root.parent / "storage/docker/registry/v2/repositories/streamed/_uploads"

    def watch() -> None:
        eventually(lambda: any(file.stat().st_size for file in uploads.glob("*")), "bytes in an upload")
        waiting.set()

    watching = threading.Thread(target=watch)
    watching.start()
    with Client(front.url) as client:
        client.push_blob("streamed", body(), digest)
    watching.join()


def test_a_replica_that_is_unwell_is_not_asked(front: Front) -> None:
    with Client(front.url) as client, Client(front.replicas[0]) as direct:
        client.push("unwell", images.image("unwell"), "1")
        front.down[0].touch()
        try:
            while direct.get("/v2/").status_code != 503:
                pass
            assert Counter(client.manifest("unwell", "1").status_code for _ in range(40)) == {200: 40}
        finally:
            front.down[0].unlink()
        while direct.get("/v2/").status_code != 200:
            pass


def test_a_rolling_restart_under_load_loses_nothing(front: Front) -> None:
    with Client(front.url) as client:
        client.push("rolling", images.image("rolling"), "1")
        with Load(front, "rolling") as answers:
            for replica in front.replicas:
                replica.restart()
                time.sleep(1.2)  # longer than nginx holds a failure against a replica (fail_timeout)
        assert set(answers) == {"pull 200", "push 201"}
        assert len(client.tags("rolling/pushed")) == answers["push 201"]


def test_a_replica_that_finishes_an_upload_takes_nothing_new(front: Front) -> None:
    """Otherwise a new connection would wait for as long as the slowest upload takes."""
    leaving = front.replicas[0]
    blob = os.urandom(2_000_000)

    def slowly() -> Iterator[bytes]:
        yield blob[:1_000_000]
        leaving.signal(signal.SIGTERM)
        eventually(lambda: not listening(leaving.port)(), "it lets nobody else in")
        with Client(front.url) as client:
            assert Counter(client.get("/v2/").status_code for _ in range(20)) == {200: 20}
        yield blob[1_000_000:]

    with Client(leaving) as client:
        client.push_blob("leaving", slowly(), images.digest_of(blob))
    assert leaving.wait() == 0
    leaving.start()


def test_a_request_that_meets_the_end_is_answered(front: Front) -> None:
    """On a connection kept open, the last answer says that it is the last; the connection is not cut under a request."""
    leaving = front.replicas[0]
    with socket.create_connection(("127.0.0.1", leaving.port), timeout=PATIENCE) as connection:
        for number in range(100_000):
            if number == 20:
                leaving.signal(signal.SIGTERM)
            connection.sendall(b"GET /v2/ HTTP/1.1\r\nHost: here\r\n\r\n")
            answer = connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200"), f"request {number} was answered with {answer!r}"
            if b"connection: close" in answer.lower():
                break
        assert connection.recv(1) == b""
    assert leaving.wait() == 0
    leaving.start()


def test_pulls_go_on_when_a_replica_is_killed(front: Front) -> None:
    with Client(front.url) as client:
        client.push("killed", images.image("killed"), "1")
        front.replicas[1].kill9()
        try:
            assert Counter(client.manifest("killed", "1").status_code for _ in range(60)) == {200: 60}
            client.push("killed", images.image("killed again"), "2")
        finally:
            front.replicas[1].start()
        assert client.tags("killed") == ["1", "2"]
