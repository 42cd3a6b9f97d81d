"""An upstream that does some things and not others: what is wrong with one of its images is no other's trouble."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.integration.test_mirror import BIG, IMAGE, OTHER, Far, mirror, pull
from tests.support.access import certificates
from tests.support.http import Client
from tests.support.lading import Lading
from tests.support.patience import eventually
from tests.support.scripted import Answer, Asked, Scripted, json_answer


def test_an_image_that_it_fails_at_keeps_no_other_from_coming(tmp_path: Path) -> None:
    answer = Far(good=IMAGE, later=OTHER)
    answer.fail = lambda asked: Answer(500) if "/bad/" in asked.path or "/referrers/" in asked.path else None
    with Scripted(answer) as far, mirror(tmp_path, far.url) as near, Client(near) as client:
        refused = client.manifest("a/bad", "1")
        assert refused.status_code == 503
        asked = len(far.asked)
        assert client.manifest("a/bad", "1").status_code == 503
        assert len(far.asked) == asked, "it is left alone with that for a while"
        pull(client, "a/b", IMAGE, "good")
        assert client.get(f"/v2/a/b/referrers/{IMAGE.digest}").status_code == 200
        pull(client, "a/b", OTHER, "later")


def test_a_layer_that_breaks_keeps_no_other_from_coming(tmp_path: Path) -> None:
    answer, layer = Far(big=BIG, one=IMAGE), BIG.layers[0]

    def break_off(asked: Asked) -> Answer | None:
        broken = asked.method == "GET" and asked.path.endswith(layer.digest)
        return Answer(200, layer.data, cut=1_000_000) if broken else None

    answer.fail = break_off
    with Scripted(answer) as far, mirror(tmp_path, far.url) as near, Client(near) as client:
        assert client.manifest("a/b", "big").status_code == 200
        with pytest.raises(httpx2.RemoteProtocolError):
            client.get(f"/v2/a/b/blobs/{layer.digest}")
        pull(client, "a/b", IMAGE, "one")


def test_that_there_is_no_such_blob_says_nothing_of_manifests(tmp_path: Path) -> None:
    """containerd asks for a digest alone among blobs first."""
    answer = Far(one=IMAGE)
    with Scripted(answer) as far, mirror(tmp_path, far.url) as near, Client(near) as client:
        assert client.get(f"/v2/a/b/blobs/{IMAGE.digest}").json()["errors"][0]["code"] == "BLOB_UNKNOWN"
        assert client.manifest("a/b", IMAGE.digest).content == IMAGE.manifest.data
        layer = IMAGE.layers[0]
        assert client.manifest("a/b", layer.digest).json()["errors"][0]["code"] == "MANIFEST_UNKNOWN"
        assert client.get(f"/v2/a/b/blobs/{layer.digest}").content == layer.data


def test_tags_are_listed_once_for_all_who_ask_and_as_they_were_while_it_is_away(tmp_path: Path) -> None:
    """A list of what happens to be here would have a client believe that an old tag is the newest."""
    answer, slow = Far(one=IMAGE), threading.Event()
    listed = [f"v{number:03}" for number in range(250)]

    def tags(asked: Asked) -> Answer | None:
        if not asked.path.endswith("/tags/list"):
            return None
        if len(far.paths("GET")) == 1:
            slow.wait(60)
        return json_answer({"name": "a/b", "tags": listed})

    answer.fail = tags
    with (
        Scripted(answer) as far,
        mirror(tmp_path, far.url, revalidate="1s") as near,
        Client(near) as client,
        ThreadPoolExecutor(5) as crowd,
    ):
        asking = [crowd.submit(client.get, "/v2/a/b/tags/list?n=100") for _ in range(5)]
        eventually(lambda: far.paths("GET"), "the first who asks")
        slow.set()
        for one in asking:
            assert one.result().json()["tags"] == listed[:100]
        assert client.tags("a/b") == listed
        assert len(far.paths("GET")) <= 2, "one for the crowd, and one more if a second went by"
        assert "warning" not in asking[0].result().headers
        pull(client, "a/b", IMAGE, "one")
        answer.fail = lambda asked: Answer(503)

        def away() -> httpx2.Response | None:
            answer = client.get("/v2/a/b/tags/list")
            return answer if "warning" in answer.headers else None

        assert eventually(away, "a list that is old").json()["tags"] == listed
        near.restart()
        here = client.get("/v2/a/b/tags/list")
        assert (here.json()["tags"], here.headers["warning"]) == (["one"], '110 - "Response is Stale"')
        unsigned = client.get(f"/v2/a/b/referrers/{IMAGE.digest}")
        assert (unsigned.json()["manifests"], unsigned.headers["warning"]) == ([], '110 - "Response is Stale"')


def test_a_certificate_that_is_not_trusted_is_told_by_what_a_mirror_can_do(tmp_path: Path) -> None:
    made = certificates(tmp_path / "ca")
    tls = {"http": {"tls": {"certificate": str(made.certificate), "key": str(made.key)}}}
    with Lading(tmp_path / "far", tls, ca=made.ca) as far:
        with Client(far) as pusher:
            pusher.push("a/b", IMAGE, "1")
        with mirror(tmp_path / "near", far.url) as near, Client(near) as client:
            for _ in range(2):
                refused = client.manifest("a/b", "1")
                assert refused.status_code == 502
                assert "SSL_CERT_FILE" in refused.text
                assert "--insecure" not in refused.text, "it has no command line"
        trusting = {"SSL_CERT_FILE": str(made.ca)}
        settings = {"proxy": {"remoteurl": far.url}}
        with Lading(tmp_path / "near", settings, environment=trusting) as near, Client(near) as client:
            pull(client, "a/b", IMAGE, "1")
