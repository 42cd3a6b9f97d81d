"""The server with its blobs in an object store: other processes go on, clients are redirected, a store that is away."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from lading.oci.digest import Digest
from tests.support import images
from tests.support.faulty import Fault, Faulty
from tests.support.http import Client
from tests.support.lading import PROGRAM, Lading
from tests.support.objects import BUCKET, Moto
from tests.support.objects import client as store_client
from tests.support.patience import eventually
from tests.support.peer import Peer
from tests.support.process import run

DATA = random.Random("integration").randbytes(23_000_000)
DIGEST = Digest.of(DATA)


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with Moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


def configured(moto: Moto, root: Path, **more: Any) -> dict[str, Any]:
    """Settings of a server on a place of its own in the bucket, and its index in ``root``."""
    s3 = {**moto.settings, "rootdirectory": f"/{root.name}", **more.pop("s3", {})}
    index = {"url": f"sqlite:///{root}/index.sqlite"}
    return {"storage": {"filesystem": None, "s3": s3, **more}, "database": index, "health": HEALTH}


HEALTH = {"storagedriver": {"enabled": False}}


def keys(moto: Moto, root: Path) -> set[str]:
    found = store_client(moto.settings).list_objects_v2(Bucket=BUCKET, Prefix=f"{root.name}/")
    return {each["Key"].removeprefix(f"{root.name}/") for each in found.get("Contents", ())}


def second_part(moto: Moto, path: str) -> bool:
    """Whether the second part of an upload has reached the store."""
    uuid = path.rpartition("/")[2]
    return any(uuid in line and "partNumber=2" in line for line in moto.output.splitlines())


def path_of(digest: str) -> str:
    return f"docker/registry/v2/blobs/sha256/{digest[7:9]}/{digest[7:]}/data"


@pytest.mark.parametrize("index", ["sqlite", "postgresql"])
def test_pulls_are_redirected_and_everything_is_collected(
    request: pytest.FixtureRequest, moto: Moto, tmp_path: Path, index: str
) -> None:
    image = images.image("redirected", (3000, 12_000_000))
    settings = configured(moto, tmp_path)
    if index == "postgresql":
        settings["database"] = {"url": request.getfixturevalue("postgres").fresh()}
    with Lading(tmp_path / "server", settings, workers=2) as server, Client(server) as client:
        client.push("a/b", image, "t")
        wanted = {path_of(digest) for digest in (image.digest, *(blob.digest for blob in image.blobs))}
        assert keys(moto, tmp_path) == wanted
        for blob in image.blobs:
            answer = client.get(f"/v2/a/b/blobs/{blob.digest}")
            assert (answer.status_code, answer.headers["docker-content-digest"]) == (307, blob.digest)
            assert httpx2.get(answer.headers["location"], trust_env=False).content == blob.data
            part = httpx2.get(answer.headers["location"], headers={"range": "bytes=5-9"}, trust_env=False)
            assert (part.status_code, part.content) == (206, blob.data[5:10])
            head = client.head(f"/v2/a/b/blobs/{blob.digest}")
            assert (head.status_code, int(head.headers["content-length"])) == (200, blob.size)
        assert client.get(f"/v2/a/b/blobs/{DIGEST}").status_code == 404
        assert client.delete(f"/v2/a/b/manifests/{image.digest}").status_code == 202
        server.run("collect", server.configuration, "--grace", "0s", "--untagged", "0s")
        assert keys(moto, tmp_path) == set()
        assert "Traceback" not in server.output
        assert "X-Amz-Signature" not in server.output


def test_blobs_are_handed_out_where_redirects_are_off(moto: Moto, tmp_path: Path) -> None:
    with Faulty(moto.url) as proxy:
        settings = configured(moto, tmp_path, s3={"regionendpoint": proxy.url}, redirect={"disable": True})
        with Lading(tmp_path / "server", settings) as server, Client(server) as client:
            client.push_blob("a/b", images.Blob("", DATA))
            proxy.script = lambda call: Fault("truncate", 9_000_000) if call.method == "GET" else None
            assert client.get(f"/v2/a/b/blobs/{DIGEST}").content == DATA
            part = client.get(f"/v2/a/b/blobs/{DIGEST}", headers={"range": "bytes=1000-20000000"})
            assert (part.status_code, part.content) == (206, DATA[1000:20_000_001])
            proxy.script = lambda call: Fault("status", 503)
            away = client.get(f"/v2/a/b/blobs/{DIGEST}")
            assert (away.status_code, "retry-after" in away.headers) == (503, True)
            refused = client.post("/v2/a/b/blobs/uploads/")
            assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
            assert client.head(f"/v2/a/b/blobs/{DIGEST}").status_code == 200
            proxy.script = lambda call: None
            assert client.get(f"/v2/a/b/blobs/{DIGEST}").content == DATA
            assert "Traceback" not in server.output


def test_killed_in_the_middle_of_an_upload_another_process_goes_on(moto: Moto, tmp_path: Path) -> None:
    settings = configured(moto, tmp_path)
    with Lading(tmp_path / "one", settings) as one, Lading(tmp_path / "two", settings) as two:
        with Client(one) as client:
            begun = client.post("/v2/a/b/blobs/uploads/")
            first = client.patch(begun.headers["location"], content=DATA[:11_000_000])
            assert first.status_code == 202
        at = urlsplit(first.headers["location"])
        with socket.create_connection(("127.0.0.1", one.port)) as connection:
            head = f"PATCH {at.path}?{at.query} HTTP/1.1\r\nHost: x\r\nContent-Length: 12000000\r\n\r\n"
            connection.sendall(head.encode() + DATA[11_000_000:22_000_000])
            eventually(lambda: second_part(moto, at.path), "a part of the second chunk")
            one.kill9()
        with Client(two) as client:
            where = f"{two.url}{at.path}"
            status = client.get(f"{where}?{at.query}")
            assert status.status_code == 204
            size = int(status.headers["range"].partition("-")[2]) + 1
            assert 11_000_000 <= size <= 22_000_000
            # a client that lost its ticket goes on as well
            more = client.patch(where, content=DATA[size:], headers={"content-range": f"{size}-{len(DATA) - 1}"})
            assert more.status_code == 202, more.text
            target = httpx2.URL(more.headers["location"]).copy_merge_params({"digest": DIGEST})
            assert client.put(target).status_code == 201
            answer = client.get(f"/v2/a/b/blobs/{DIGEST}")
            assert httpx2.get(answer.headers["location"], trust_env=False).content == DATA
        assert keys(moto, tmp_path) == {path_of(DIGEST)}
        assert store_client(moto.settings).list_multipart_uploads(Bucket=BUCKET).get("Uploads", []) == []


def test_objects_are_made_as_configured(moto: Moto, tmp_path: Path) -> None:
    s3 = {"encrypt": True, "storageclass": "STANDARD_IA", "multipartcopythresholdsize": 5 << 20}
    settings = configured(moto, tmp_path, s3={**s3, "multipartcopychunksize": 5 << 20})
    with Lading(tmp_path / "server", settings) as server, Client(server) as client:
        begun = client.post("/v2/a/b/blobs/uploads/")
        sent = client.patch(begun.headers["location"], content=DATA)
        target = httpx2.URL(sent.headers["location"]).copy_merge_params({"digest": DIGEST})
        assert client.put(target).status_code == 201
        small = images.Blob("", b"small")
        client.push_blob("a/b", small)
    store = store_client(moto.settings)
    for digest, size in ((DIGEST, len(DATA)), (small.digest, 5)):
        found = store.head_object(Bucket=BUCKET, Key=f"{tmp_path.name}/{path_of(digest)}")
        assert (found["ContentLength"], found["ServerSideEncryption"]) == (size, "AES256")
        assert (found["StorageClass"], found["ContentType"]) == ("STANDARD_IA", "application/octet-stream")


@pytest.mark.peer
def test_a_bucket_of_a_registry_2_is_taken_over_in_place(moto: Moto, tmp_path: Path) -> None:
    image, other = images.image("adopted", (3000, 400_000)), images.image("other", (500,))
    settings = configured(moto, tmp_path)
    unset = {"AWS_CA_BUNDLE": None}  # which its client cannot combine with its own transport
    with Peer(tmp_path / "peer", {"storage": settings["storage"]}, environment=unset) as peer, Client(peer) as client:
        client.push("a/b", image, "t")
        client.push("a/b", image, "u")
        client.push("c", other, "latest")
    before = keys(moto, tmp_path)
    with Lading(tmp_path / "server", settings, workers=2) as server, Client(server) as client:
        assert "2 repositories, 2 manifests, 3 tags" in server.output
        assert client.tags("a/b") == ["t", "u"]
        for name, tag, each in (("a/b", "t", image), ("a/b", "u", image), ("c", "latest", other)):
            assert client.manifest(name, tag).content == each.manifest.data
            for blob in each.blobs:
                answer = client.get(f"/v2/{name}/blobs/{blob.digest}")
                assert httpx2.get(answer.headers["location"], trust_env=False).content == blob.data
        assert keys(moto, tmp_path) == before
        assert client.delete(f"/v2/c/manifests/{other.digest}").status_code == 202
        server.restart()
        assert client.get("/v2/c/manifests/latest").status_code == 404, "what was deleted does not come back"


@pytest.mark.parametrize(
    ("s3", "words"),
    [
        ({"bucket": "nowhere"}, ("nowhere", "no such bucket")),
        ({"regionendpoint": "http://127.0.0.1:1"}, ("s3://", "cannot be reached")),
    ],
)
def test_a_store_that_cannot_be_used_is_told_at_the_start(
    moto: Moto, tmp_path: Path, s3: dict[str, str], words: tuple[str, ...]
) -> None:
    server = Lading(tmp_path / "server", configured(moto, tmp_path, s3=s3))
    done = run([PROGRAM, "serve", server.configuration], check=False, timeout=60)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_a_bucket_whose_index_is_gone(moto: Moto, tmp_path: Path) -> None:
    """It is not served as if nothing had been pushed; nor is a command named that cannot help."""
    with Lading(tmp_path / "server", configured(moto, tmp_path)) as server, Client(server) as client:
        client.push("a", images.image("gone"), "1")
    (tmp_path / "index.sqlite").unlink()
    said = run([PROGRAM, "serve", server.configuration], check=False)
    assert said.returncode == 1
    assert f"there is no index at {tmp_path}/index.sqlite, but s3://" in said.stderr
    assert "lading " not in said.stderr.removeprefix("lading: ")


def test_a_missing_library_is_named(moto: Moto, tmp_path: Path) -> None:
    server = Lading(tmp_path / "server", configured(moto, tmp_path))
    without = "import sys; sys.modules['aiobotocore'] = None; from lading.cli.main import main; main()"
    argv = [sys.executable, "-c", without, "serve", str(server.configuration)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "pip install 'lading[s3]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bucket_is_verified_and_mended(moto: Moto, tmp_path: Path) -> None:
    """Both ways: bytes that are gone or other than they were, and objects that the index does not know."""
    made, other, alone = images.image("made"), images.image("other"), Digest.of(b"alone")
    store = store_client(moto.settings)

    def key(digest: str) -> str:
        return f"{tmp_path.name}/{path_of(digest)}"

    with Lading(tmp_path, configured(moto, tmp_path)) as registry, Client(registry) as client:
        client.push("a", made, "1")
        client.push("b", other, "1")

        def verify(*options: str) -> tuple[int, dict[str, Any]]:
            command: list[str | Path] = [
                PROGRAM,
                "verify",
                "--config",
                registry.configuration,
                "--report",
                "-",
                *options,
            ]
            done = run(command, check=False)
            return done.returncode, json.loads(done.stdout)

        status, report = verify("--rate", "50MiB")
        assert (status, report["findings"], report["blobs"], report["files"]) == (0, [], 6, 6)
        assert report["root"].startswith(f"s3://{BUCKET}/{tmp_path.name}")
        layer = made.layers[0]
        store.put_object(Bucket=BUCKET, Key=key(layer.digest), Body=b"!" * layer.size)
        store.delete_object(Bucket=BUCKET, Key=key(other.digest))
        store.put_object(Bucket=BUCKET, Key=key(alone), Body=b"alone")
        linked = Digest.of(b"linked")
        store.put_object(Bucket=BUCKET, Key=key(linked), Body=b"linked")
        link = f"{tmp_path.name}/docker/registry/v2/repositories/old/_layers/sha256/{linked[7:]}/link"
        store.put_object(Bucket=BUCKET, Key=link, Body=linked.encode())
        wrong = {
            ("damaged", layer.digest), ("no-data", other.digest), ("orphan", alone), ("not-adopted", linked),
        }  # fmt: skip
        status, report = verify()
        assert status == 7
        assert {(each["kind"], each["what"]) for each in report["findings"]} == wrong
        status, report = verify("--repair")
        assert status == 7, "the layer is lost"
        mended = {each["kind"]: each["mended"] for each in report["findings"]}
        assert (mended["no-data"], mended["orphan"]) == ("written again from the index", "handed to the collector")
        assert (mended["damaged"], mended["not-adopted"]) == ("", "")
        assert client.head(f"/v2/a/blobs/{layer.digest}").status_code == 404
        client.push("a", made, "1")
        status, report = verify()
        assert (status, [each["kind"] for each in report["findings"]]) == (0, ["not-adopted"])
        refused = run([PROGRAM, "verify", "--rebuild", "--config", registry.configuration], check=False)
        assert refused.returncode != 0
        assert "is not made anew from s3://" in refused.stderr
