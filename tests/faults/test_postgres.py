"""PostgreSQL goes away under load and comes back, or another takes its place: nothing acknowledged is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.support.http import Client
from tests.support.images import Image, image
from tests.support.lading import Lading
from tests.support.patience import eventually
from tests.support.postgres import USER, Postgres, wait_until_streaming

IMAGE = image("kept", (3000,))
NAME = "kept/image"


class Pusher(threading.Thread):
    """Tags one image again and again; ``acknowledged`` are the tags it was told are there."""

    def __init__(self, registry: Lading, content: Image = IMAGE) -> None:
        super().__init__()
        self.acknowledged: list[str] = []
        self.refused: list[httpx2.Response] = []
        self._registry = registry
        self._content = content
        self._over = threading.Event()

    def run(self) -> None:
        manifest = self._content.manifest
        with Client(self._registry) as client:
            number = 0
            while not self._over.is_set():
                number += 1
                answer = client.put(
                    f"/v2/{NAME}/manifests/t{number}",
                    content=manifest.data,
                    headers={"content-type": manifest.media_type},
                )
                if answer.status_code == 201:
                    self.acknowledged.append(f"t{number}")
                else:
                    self.refused.append(answer)
                    time.sleep(0.02)

    def end(self) -> None:
        self._over.set()
        self.join(60)


@contextmanager
def pushing(registry: Lading) -> Iterator[Pusher]:
    pusher = Pusher(registry)
    pusher.start()
    try:
        eventually(lambda: len(pusher.acknowledged) > 5, what="pushes begin")
        yield pusher
    finally:
        pusher.end()


def more(pusher: Pusher) -> None:
    """Pushes succeed again."""
    before = len(pusher.acknowledged)
    eventually(lambda: len(pusher.acknowledged) > before + 5, "pushes go on")


def refused_with_503(answer: httpx2.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["errors"][0]["code"] == "UNAVAILABLE"


def test_a_database_that_is_killed_and_started_again(tmp_path: Path) -> None:
    with Postgres(quick=False) as server:
        settings = {"database": {"url": server.fresh()}}
        with Lading(tmp_path, settings, workers=2) as registry, Client(registry) as client:
            client.push(NAME, IMAGE, "latest")
            pull_everywhere(registry)
            with pushing(registry) as pusher:
                server.kill9()
                eventually(lambda: bool(pusher.refused), what="a push is refused")
                what_can_be_had_without_it(registry)
                server.start()
                more(pusher)
            for answer in pusher.refused:
                refused_with_503(answer)
            fresh = client.manifest(NAME, "latest")
            assert (fresh.status_code, "warning" in fresh.headers) == (200, False)
            assert set(pusher.acknowledged) <= set(client.tags(NAME))
        assert "Traceback" not in registry.output


def pull_everywhere(registry: Lading) -> None:
    """Each worker has been asked for the image once."""
    for _ in range(20):
        with Client(registry) as client:
            assert client.manifest(NAME, "latest").status_code == 200
            assert client.head(f"/v2/{NAME}/blobs/{IMAGE.blobs[0].digest}").status_code == 200


def what_can_be_had_without_it(registry: Lading) -> None:
    with Client(registry) as client:
        assert client.get("/v2/").status_code == 200
        known = client.manifest(NAME, "latest")
        assert (known.status_code, known.content) == (200, IMAGE.manifest.data)
        assert known.headers["warning"].startswith("110 ")
        assert int(known.headers["age"]) < 60
        blob = client.get(f"/v2/{NAME}/blobs/{IMAGE.blobs[0].digest}")
        assert (blob.status_code, blob.content) == (200, IMAGE.blobs[0].data)
        for path in (f"{NAME}/manifests/never-asked-for", "other/manifests/latest", f"{NAME}/tags/list", "_catalog"):
            refused_with_503(client.get(f"/v2/{path}"))
        refused_with_503(client.delete(f"/v2/{NAME}/manifests/latest"))


def test_old_answers_can_be_switched_off(tmp_path: Path) -> None:
    with Postgres() as server:
        settings = {"database": {"url": server.fresh(), "outage": "0s"}}
        with Lading(tmp_path, settings) as registry, Client(registry) as client:
            client.push(NAME, IMAGE, "latest")
            assert client.manifest(NAME, "latest").status_code == 200
            server.stop()
            refused_with_503(client.manifest(NAME, "latest"))


def test_a_standby_takes_the_place_of_the_primary(tmp_path: Path) -> None:
    with Postgres({"synchronous_standby_names": "standby"}, quick=False) as primary:
        primary.ask("ALTER SYSTEM SET wal_keep_size = '64MB'")
        with Postgres(quick=False, primary=primary) as standby:
            wait_until_streaming(primary)
            database = primary.fresh().rpartition("/")[2]
            url = (
                f"postgresql://{USER}@127.0.0.1:{primary.port},127.0.0.1:{standby.port}/{database}"
                "?target_session_attrs=read-write"
            )
            with Lading(tmp_path, {"database": {"url": url}}, workers=2) as registry, Client(registry) as client:
                client.push(NAME, IMAGE, "latest")
                with pushing(registry) as pusher:
                    primary.kill9()
                    eventually(lambda: bool(pusher.refused), what="a push is refused")
                    standby.promote()
                    more(pusher)
                for answer in pusher.refused:
                    refused_with_503(answer)
                assert set(pusher.acknowledged) <= set(client.tags(NAME))
                assert client.manifest(NAME, pusher.acknowledged[-1]).content == IMAGE.manifest.data
            assert "Traceback" not in registry.output
