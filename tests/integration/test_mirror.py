"""The mirror, beside real registries and scripted ones: what is fetched, how often, and what happens when it cannot be."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from lading.oci import mediatypes
from tests.support import images
from tests.support.access import TokenServer, write_htpasswd
from tests.support.http import Client
from tests.support.lading import Lading
from tests.support.patience import eventually
from tests.support.peer import Peer
from tests.support.postgres import Postgres
from tests.support.scripted import Answer, Asked, Scripted
from tests.support.server import RegistryServer

IMAGE = images.image("mirror", (20_000, 300_000))
OTHER = images.image("mirror, later", (20_000,))
BIG = images.image("mirror, big", (6_000_000,))


def mirror(
    root: Path, upstream: str, *, workers: int = 1, revalidate: str = "1m", login: Mapping[str, str] | None = None
) -> Lading:
    proxy = {"remoteurl": upstream, "revalidate": revalidate, **(login or {})}
    return Lading(root, {"proxy": proxy}, workers=workers)


class Far:
    """Answers as a registry that holds images; ``fail`` may answer in its place, ``asked`` counts."""

    def __init__(self, **tags: images.Image) -> None:
        self.tags = dict(tags)
        self.fail: Any = lambda asked: None

    def __call__(self, asked: Asked) -> Answer:
        if asked.path == "/v2/":
            return Answer()
        return self.fail(asked) or self._found(asked)

    def _found(self, asked: Asked) -> Answer:
        _, kind, reference = asked.path.removeprefix("/v2/").rsplit("/", 2)
        for tag, image in self.tags.items():
            if kind == "manifests" and reference in {tag, image.digest}:
                kinds = {"content-type": image.manifest.media_type, "docker-content-digest": image.digest}
                return Answer(200, image.manifest.data, kinds)
            for blob in image.blobs:
                if kind == "blobs" and reference == blob.digest:
                    start = int(asked.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
                    last = len(blob.data) - 1
                    ranged = {"content-range": f"bytes {start}-{last}/{last + 1}"} if start else {}
                    return Answer(206 if start else 200, blob.data[start:], ranged)
        return Answer(404)


def pull(client: Client, repository: str, image: images.Image, reference: str) -> httpx2.Response:
    answer = client.manifest(repository, reference)
    assert answer.status_code == 200, answer.text
    assert answer.content == image.manifest.data
    for blob in image.blobs:
        got = client.get(f"/v2/{repository}/blobs/{blob.digest}")
        assert got.status_code == 200, got.text
        assert got.content == blob.data
    return answer


@pytest.fixture(params=["registry2", "token"])
def upstream(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[RegistryServer, dict[str, str]]]:
    login = {"username": "alice", "password": "wonder land?"}
    root = tmp_path / "upstream"
    if request.param == "token":
        with TokenServer(tmp_path, {"alice": "wonder land?"}) as tokens:
            with Lading(root, {"auth": tokens.configuration()}) as server:
                yield server, login
        return
    path = write_htpasswd(tmp_path / "htpasswd", {"alice": "wonder land?"})
    with Peer(root, {"auth": {"htpasswd": {"realm": "r", "path": str(path)}}}) as server:
        yield server, login


@pytest.mark.peer
def test_what_a_real_registry_holds_is_pulled_kept_and_served_when_it_is_away(
    upstream: tuple[RegistryServer, dict[str, str]], tmp_path: Path
) -> None:
    server, login = upstream
    index = images.index("mirrored", layers=(5000,))
    fill(server, login, index)
    with mirror(tmp_path / "mirror", server.url, revalidate="1ms", login=login) as near, Client(near) as client:
        assert client.manifest("a/b", "1").content == index.manifest.data
        for one in index.images:
            pull(client, "a/b", one, one.digest)
        assert client.manifest("a/b", "none").status_code == 404
        assert client.tags("a/b") == ["1"]
        server.stop()
        away = client.manifest("a/b", "1")
        assert away.content == index.manifest.data
        assert away.headers["warning"].startswith("110")
        pull(client, "a/b", index.images[0], index.images[0].digest)
        missing = client.manifest("a/b", "other")
        assert missing.status_code == 502
        assert missing.json()["errors"][0]["message"]
        assert login["password"] not in near.output


def test_a_redirect_to_an_inner_address_is_refused_unless_the_registry_is_inside() -> None:
    from lading.errors import BadAnswer
    from lading.remotes.transport import Policy, Transport

    async def judged(host: str, guarded: bool = True) -> bool:
        try:
            await Transport(host, Policy(guarded=guarded)).guard("http://169.254.169.254/latest", "redirects to")
        except BadAnswer:
            return False
        return True

    assert not asyncio.run(judged("192.0.100.1"))
    assert asyncio.run(judged("127.0.0.1:5000"))


def fill(server: RegistryServer, login: dict[str, str], index: images.Index) -> None:
    """Push through the command line's library, which can log in in every way."""
    from lading.oci.manifest import Descriptor, parse
    from lading.remotes.credentials import Credential, Keyring
    from lading.remotes.http import HttpRegistry
    from lading.remotes.session import Session
    from tests.unit.remotes.far import of

    async def push() -> None:
        known = {server.host: Credential(login.get("username", ""), login.get("password", ""))}
        async with Session(server.host, Keyring({"HOME": "/nonexistent"}, known)) as session:
            far = HttpRegistry(session)
            for image in index.images:
                for blob in image.blobs:
                    await far.put_blob("a/b", Descriptor(digest=blob.digest, size=blob.size), of(blob.data))
                manifest = parse(image.manifest.data, image.manifest.media_type)
                await far.put_manifest("a/b", image.digest, manifest)
            await far.put_manifest("a/b", "1", parse(index.manifest.data, index.manifest.media_type))

    asyncio.run(push())


def test_it_takes_no_pushes(tmp_path: Path) -> None:
    with Scripted(Far()) as far, mirror(tmp_path, far.url) as near, Client(near) as client:
        refused = client.post("/v2/a/blobs/uploads/")
        assert refused.status_code == 405
        assert "mirror" in refused.json()["errors"][0]["message"]
        put = client.put("/v2/a/manifests/1", content=IMAGE.manifest.data)
        assert put.status_code == 405
        assert client.delete(f"/v2/a/manifests/{IMAGE.digest}").status_code == 405
        assert not far.paths("PUT") + far.paths("POST") + far.paths("DELETE")


def test_twenty_clients_of_two_workers_cost_one_request_each(tmp_path: Path) -> None:
    gate = threading.Event()
    answer = Far(one=BIG)

    def slow(asked: Asked) -> Answer | None:
        if "/blobs/" in asked.path:
            gate.wait(10)
        return None

    answer.fail = slow
    with Scripted(answer) as far, mirror(tmp_path, far.url, workers=2) as near, ThreadPoolExecutor(20) as pool:

        def one(_: int) -> None:
            with Client(near) as client:
                pull(client, "a", BIG, "one")

        running = [pool.submit(one, number) for number in range(20)]
        gate.set()
        for each in running:
            each.result(60)
        counted = Counter(asked.path for asked in far.asked if asked.method == "GET" and asked.path != "/v2/")
    assert counted == {
        f"/v2/a/manifests/{BIG.digest}": 1,
        **{f"/v2/a/blobs/{blob.digest}": 1 for blob in BIG.blobs},
    }


@pytest.mark.peer
def test_fifty_clients_of_two_replicas_cost_one_request_each(tmp_path: Path, postgres: Postgres) -> None:
    settings = {
        "database": {"url": postgres.fresh()},
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "store")}},
    }
    with Peer(tmp_path / "far") as far, Client(far) as client:
        client.push("a", BIG, "one")
        proxied = {**settings, "proxy": {"remoteurl": far.url}}
        with Lading(tmp_path / "1", proxied) as first, Lading(tmp_path / "2", proxied) as second:
            begin = threading.Barrier(50)

            def one(number: int) -> None:
                with Client((first, second)[number % 2]) as client:
                    begin.wait(60)
                    pull(client, "a", BIG, "one")

            with ThreadPoolExecutor(50) as pool:
                for each in [pool.submit(one, number) for number in range(50)]:
                    each.result(120)
        counted = Counter(asked.path for asked in far.access_log() if asked.method == "GET" and asked.path != "/v2/")
    assert counted == {
        f"/v2/a/manifests/{BIG.digest}": 1,
        **{f"/v2/a/blobs/{blob.digest}": 1 for blob in BIG.blobs},
    }


def test_a_client_of_another_process_reads_what_arrives(tmp_path: Path, postgres: Postgres) -> None:
    """Or who waits for a large layer sees nothing for minutes, and gives up; and goes on when the first one is killed."""
    answer, layer, gone = Far(one=BIG), BIG.layers[0], threading.Event()
    cuts = iter([Answer(200, layer.data, cut=2_500_000, hold=gone)])
    answer.fail = lambda asked: next(cuts, None) if asked.path.endswith(layer.digest) else None
    path = f"/v2/a/blobs/{layer.digest}"
    with Scripted(answer) as far:
        settings = {
            "database": {"url": postgres.fresh()},
            "storage": {"filesystem": {"rootdirectory": str(tmp_path / "store")}},
            "proxy": {"remoteurl": far.url},
        }
        with Lading(tmp_path / "1", settings) as first, Lading(tmp_path / "2", settings) as second:
            with Client(first) as one, Client(second) as two:
                assert one.manifest("a", "one").status_code == 200
                with one.stream("GET", path) as fetching, two.stream("GET", path) as waiting:
                    early, late = fetching.iter_raw(100_000), waiting.iter_raw(100_000)
                    got = b"".join(next(late) for _ in range(10))
                    assert next(early) == layer.data[:100_000]
                    first.kill9()
                    gone.set()
                    got += b"".join(late)
                assert got == layer.data
        first_asked, asked = [each.headers.get("range", "") for each in far.asked if each.path.endswith(layer.digest)]
        at = int(asked.removeprefix("bytes=").removesuffix("-"))  # of what was still on its way, the kill decides
        assert (first_asked, 1_000_000 <= at <= 2_500_000) == ("", True), "what the first one had was fetched again"


def test_a_tag_is_asked_for_again_after_its_time_and_moves(tmp_path: Path) -> None:
    answer = Far(latest=IMAGE)
    with Scripted(answer) as far:
        with mirror(tmp_path / "strict", far.url, revalidate="0s") as near, Client(near) as client:
            pull(client, "a", IMAGE, "latest")
            before = len(far.asked)
            pull(client, "a", IMAGE, "latest")
            assert [asked.method for asked in far.asked[before:]] == ["HEAD"]
            answer.tags["latest"] = OTHER
            pull(client, "a", OTHER, "latest")
            del answer.tags["latest"]
            assert client.manifest("a", "latest").status_code == 404
            before = len(far.asked)
            assert client.manifest("a", "latest").status_code == 404
            assert len(far.asked) == before, "that there is no such tag is remembered"
            pull(client, "a", OTHER, OTHER.digest)


def test_when_the_upstream_will_not_what_is_here_is_served(tmp_path: Path) -> None:
    answer = Far(one=IMAGE, two=OTHER)
    refusals = [
        (Answer(401), 403),
        (Answer(403), 403),
        (Answer(418), 502),
        (Answer(429, b"", {"retry-after": "77"}), 429),
    ]
    daemon = httpx2.BasicAuth("daemon", "of-the-daemon")
    with (
        Scripted(answer) as far,
        mirror(tmp_path, far.url, revalidate="0s") as near,
        Client(near, auth=daemon) as client,
    ):
        pull(client, "a", IMAGE, "one")
        for failure, status in refusals:
            answer.fail = lambda asked, failure=failure: failure if "/manifests/" in asked.path else None
            stale = pull(client, "a", IMAGE, "one")
            assert stale.headers["warning"] == '110 - "Response is Stale"'
            assert int(stale.headers["age"]) >= 0
            refused = client.manifest("a", "two")
            assert refused.status_code == status
            assert refused.json()["errors"][0]["message"]
        asked = len(far.asked)
        limited = client.manifest("a", "three")
        assert limited.status_code == 429
        assert 0 < int(limited.headers["retry-after"]) <= 77
        assert client.get("/v2/b/tags/list").status_code == 429
        assert client.tags("a") == ["one"], "those that are here"
        assert len(far.asked) == asked, "who said to wait is not asked meanwhile"
        assert not [asked for asked in far.asked if "authorization" in asked.headers], "the daemon's login stays here"
        assert "of-the-daemon" not in near.output
        assert daemon._auth_header not in near.output


def test_a_token_server_that_is_another_one_now_is_found(tmp_path: Path) -> None:
    """Also after a word that was not to be believed: a mirror runs for months."""
    answer = Far(one=IMAGE)
    with Scripted(lambda asked: Answer(200, b'{"token": "good"}')) as tokens, Scripted(answer) as far:

        def asks(realm: str) -> None:
            wanted = {"www-authenticate": f'Bearer realm="{realm}",service="far"'}
            answer.fail = lambda asked: (
                None if asked.headers.get("authorization") == "Bearer good" else Answer(401, b"", wanted)
            )

        with mirror(tmp_path, far.url, revalidate="0s") as near, Client(near) as client:
            for realm in ("http://169.254.169.254/token", f"{far.url}/v2/none/tokens/here"):
                asks(realm)
                assert client.manifest("a", "one").status_code in (403, 502)
            asks(f"{tokens.url}/token")
            pull(client, "a", IMAGE, "one")


def test_an_upstream_that_takes_its_time_keeps_nobody_from_what_is_here(tmp_path: Path) -> None:
    answer, later = Far(one=IMAGE), threading.Event()

    def stall(asked: Asked) -> Answer | None:
        later.wait(60)
        return None

    with Scripted(answer) as far, mirror(tmp_path, far.url, revalidate="0s") as near, Client(near) as client:
        pull(client, "a", IMAGE, "one")
        answer.fail = stall
        stale = client.manifest("a", "one")
        later.set()
        assert stale.headers["warning"].startswith("110")
        assert stale.content == IMAGE.manifest.data


def test_a_broken_fill_goes_on_from_its_byte(tmp_path: Path) -> None:
    answer = Far(one=BIG)
    layer = BIG.layers[0]
    gone = threading.Event()

    def break_off(asked: Asked) -> Answer | None:
        if not asked.path.endswith(layer.digest):
            return None
        if "range" in asked.headers:
            return Answer(500)
        return Answer(200, layer.data, cut=2_500_000, hold=gone)

    with Scripted(answer) as far, mirror(tmp_path, far.url) as near, Client(near) as client:
        assert client.manifest("a", "one").status_code == 200
        answer.fail = break_off
        with client.stream("GET", f"/v2/a/blobs/{layer.digest}") as got:
            pieces = got.iter_raw(100_000)
            for _ in range(15):
                next(pieces)
            gone.set()
            with pytest.raises(httpx2.HTTPError):
                list(pieces)
        assert client.get(f"/v2/a/blobs/{layer.digest}").status_code == 503
        answer.fail = lambda asked: None
        before = len(far.asked)
        eventually(lambda: client.get(f"/v2/a/blobs/{layer.digest}").content == layer.data, "it is there after all")
        asked = [each for each in far.asked[before:] if each.path.endswith(layer.digest)]
        (start,) = [int(each.headers["range"].removeprefix("bytes=").rstrip("-")) for each in asked]
        assert 1_000_000 <= start <= 2_500_000


def test_a_part_that_came_is_handed_out_and_one_that_did_not_is_waited_for(tmp_path: Path) -> None:
    answer, layer, gone = Far(one=BIG), BIG.layers[0], threading.Event()
    cuts = iter([Answer(200, layer.data, cut=2_500_000, hold=gone)])
    answer.fail = lambda asked: next(cuts, None) if asked.path.endswith(layer.digest) else None
    path = f"/v2/a/blobs/{layer.digest}"
    with Scripted(answer) as far, mirror(tmp_path, far.url) as near, Client(near) as client:
        assert client.manifest("a", "one").status_code == 200
        early = client.get(path, headers={"range": "bytes=2400000-2400099"})
        assert early.status_code == 206
        assert early.content == layer.data[2_400_000:2_400_100]

        def part(place: int) -> bytes:
            with Client(near) as other:
                return other.get(path, headers={"range": f"bytes={place}-{place + 99}"}).content

        with ThreadPoolExecutor(2) as pool:
            late = [pool.submit(part, place) for place in (4_000_000, len(layer.data) - 100)]
            assert client.get("/v2/").status_code == 200
            assert not any(each.done() for each in late)
            gone.set()
            assert late[0].result(60) == layer.data[4_000_000:4_000_100]
            assert late[1].result(60) == layer.data[-100:]
        assert client.get(path).content == layer.data
        starts = [asked.headers.get("range", "") for asked in far.asked if asked.path.endswith(layer.digest)]
        assert starts == ["", "bytes=2500000-"], "and the break cost no byte twice"


def test_a_client_that_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    layer = BIG.layers[0]
    with Scripted(Far(one=BIG)) as far, mirror(tmp_path, far.url) as near, Client(near) as client:
        assert client.manifest("a", "one").status_code == 200
        with socket.socket() as lazy:
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy.connect(("127.0.0.1", near.port))
            lazy.sendall(f"GET /v2/a/blobs/{layer.digest} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            began = lazy.recv(1000)
            assert client.get(f"/v2/a/blobs/{layer.digest}").content == layer.data
            rest = b"".join(iter(lambda: lazy.recv(1 << 20), b""))
        assert (began + rest).partition(b"\r\n\r\n")[2] == layer.data
        assert far.paths("GET").count(f"/v2/a/blobs/{layer.digest}") == 1


def test_a_client_that_leaves_does_not_end_the_fill(tmp_path: Path) -> None:
    layer = BIG.layers[0]
    with Scripted(Far(one=BIG)) as far, mirror(tmp_path, far.url) as near, Client(near) as client:
        assert client.manifest("a", "one").status_code == 200
        with client.stream("GET", f"/v2/a/blobs/{layer.digest}") as answer:
            next(answer.iter_raw(1000))
        assert client.get(f"/v2/a/blobs/{layer.digest}").content == layer.data
        assert far.paths("GET").count(f"/v2/a/blobs/{layer.digest}") == 1


def test_bytes_that_lie_reach_nobody_whole_and_are_not_kept(tmp_path: Path) -> None:
    lies = {word: images.image(word, (3_000_000,)) for word in ("other", "short", "long", "endless")}
    answer = Far(**lies)
    with Scripted(answer) as far, mirror(tmp_path, far.url) as near, Client(near) as client:
        for lie, image in lies.items():
            layer, data = image.layers[0], image.layers[0].data
            assert client.manifest("a", lie).status_code == 200
            told = {
                "other": Answer(200, data[:-1] + bytes([data[-1] ^ 1])),
                "short": Answer(200, data[:-10]),
                "long": Answer(200, data + b"more"),
                "endless": Answer(200, data, endless=True),
            }[lie]
            answer.fail = lambda asked, told=told, path=layer.digest: told if asked.path.endswith(path) else None
            with contextlib.suppress(httpx2.HTTPError):
                assert client.get(f"/v2/a/blobs/{layer.digest}").status_code >= 500
            stored = near.storage / "docker/registry/v2/blobs/sha256"
            assert not list(stored.glob(f"*/{layer.digest.removeprefix('sha256:')}/data"))
            answer.fail = lambda asked: None
            assert client.get(f"/v2/a/blobs/{layer.digest}").content == data


def test_a_manifest_that_lies_about_a_size_spoils_no_other(tmp_path: Path) -> None:
    layer = IMAGE.layers[0]
    false = images.Blob(layer.media_type, layer.data[:-1])
    document = json.loads(images.image_manifest(IMAGE.config, [false]).data)
    document["layers"][0]["digest"] = layer.digest
    manifest = images.Blob(images.MANIFEST, images.encode(document))
    liar = images.Image({}, IMAGE.config, (), (), manifest)
    with Scripted(Far(one=IMAGE, liar=liar)) as far, mirror(tmp_path, far.url) as near, Client(near) as client:
        assert client.manifest("a", "liar").content == manifest.data
        with contextlib.suppress(httpx2.HTTPError):
            assert client.get(f"/v2/a/blobs/{layer.digest}").status_code == 502
        pull(client, "b", IMAGE, "one")


def test_a_layer_that_is_here_is_not_fetched_again(tmp_path: Path) -> None:
    with Scripted(Far(one=IMAGE)) as far, mirror(tmp_path, far.url) as near, Client(near) as client:
        pull(client, "a", IMAGE, "one")
        before = len(far.asked)
        pull(client, "a", IMAGE, "one")
        assert len(far.asked) == before, "a tag is believed for a minute"
        pull(client, "b", IMAGE, "one")
        assert not [asked.path for asked in far.asked[before:] if "/blobs/" in asked.path]


@pytest.mark.parametrize("kind", ["api", "fallback tag"])
def test_what_refers_to_an_image_is_what_the_upstream_says(tmp_path: Path, kind: str) -> None:
    """A signature that nobody pulled yet is found through a mirror, or a client's policy would refuse the image."""
    subject = {"mediaType": IMAGE.manifest.media_type, "digest": IMAGE.digest, "size": IMAGE.manifest.size}
    signature = images.artifact("a signature", subject)
    far = Lading(tmp_path / "far") if kind == "api" else Peer(tmp_path / "far")
    with far, mirror(tmp_path / "near", far.url, revalidate="1h") as near, Client(near) as client:
        with Client(far) as pusher:
            pusher.push("a", IMAGE, "1")
            pusher.push("a", signature)
            if kind == "fallback tag":
                listed = {"mediaType": signature.manifest.media_type, "digest": signature.digest}
                entry = {**listed, "size": signature.manifest.size, "artifactType": "application/vnd.test.sbom"}
                index = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": [entry]}
                tag = IMAGE.digest.replace(":", "-")
                headers = {"content-type": mediatypes.OCI_INDEX}
                put = pusher.put(f"/v2/a/manifests/{tag}", content=json.dumps(index).encode(), headers=headers)
                assert put.status_code == 201, put.text
        path = f"/v2/a/referrers/{IMAGE.digest}"
        found = client.get(path)
        assert [one["digest"] for one in found.json()["manifests"]] == [signature.digest]
        kept = found.json()["manifests"][0]["artifactType"]
        assert len(client.get(path, params={"artifactType": kept}).json()["manifests"]) == 1
        assert client.get(path, params={"artifactType": "application/x-other"}).json()["manifests"] == []
        pull(client, "a", IMAGE, "1")
        assert client.manifest("a", signature.digest).content == signature.manifest.data
        asked = [one for one in far.access_log() if "referrers" in one.path]
        assert len(asked) == 1, "what was said is believed for a while"
        far.stop()
        near.restart()
        assert [one["digest"] for one in client.get(path).json()["manifests"]] == [signature.digest], "it is here"
        assert client.get(f"/v2/a/referrers/{OTHER.digest}").json()["manifests"] == []
