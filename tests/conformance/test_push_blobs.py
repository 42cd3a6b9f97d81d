"""Distribution spec, "Pushing blobs": POST then PUT, single POST, cancelling."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from tests.conformance.content import ALGORITHMS, OCTETS, Checked, digest_of, refused, unknown
from tests.support.lading import Lading
from tests.support.objects import client as store_client

DATA = b"a blob that is pushed in one piece"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
BAD_DIGESTS = [
    "sha256:abc",
    "sha256:" + "A" * 64,
    "sha256:" + "g" * 64,
    "sha256" + "a" * 64,
    "md5:d41d8cd98f00b204e9800998ecf8427e",
    "blake3:" + "a" * 64,
    "sha512:" + "a" * 64,
    "nonsense",
    ":",
]

SETTINGS = ("bucket", "region", "regionendpoint", "accesskey", "secretkey")


def test_post_then_put_post_must_answer_202_with_a_session(client: Checked, name: str) -> None:
    """POST then PUT: 202 with a Location that holds a UUID, another for each session."""
    seen = set()
    for _ in range(3):
        begun = client.start(name)
        assert begun.status_code == 202
        found = UUID.search(begun.headers["location"])
        assert found
        seen.add(found[0])
        assert begun.headers["docker-upload-uuid"] == found[0]
        assert begun.headers["range"] == "0-0"
        assert begun.headers["content-length"] == "0"
    assert len(seen) == 3


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("data", [DATA, b"", bytes(5 << 20)], ids=["small", "empty", "big"])
def test_post_then_put_must_answer_201_with_a_pullable_location(
    client: Checked, name: str, algorithm: str, data: bytes
) -> None:
    """POST then PUT: 201 with a Location from which the blob can be pulled."""
    digest = digest_of(data, algorithm)
    done = client.finish(client.session(name), digest, data)
    assert done.status_code == 201
    assert done.headers["docker-content-digest"] == digest
    assert urlsplit(done.headers["location"]).path == f"/v2/{name}/blobs/{digest}"
    assert client.get(done.headers["location"]).content == data


def test_post_then_put_may_send_the_body_chunked(client: Checked, name: str) -> None:
    """POST then PUT: a body whose length is not told beforehand is taken too."""
    pieces = [bytes([number]) * 70_000 for number in range(20)]
    digest = client.push_blob(name, iter(pieces), digest_of(b"".join(pieces)))
    assert client.get(f"/v2/{name}/blobs/{digest}").content == b"".join(pieces)


def test_post_then_put_twice_is_once(client: Checked, name: str) -> None:
    """POST then PUT: a blob that is there already can be pushed again."""
    assert client.blob(name, DATA) == client.blob(name, DATA)
    assert client.get(f"/v2/{name}/blobs/{digest_of(DATA)}").content == DATA


@pytest.mark.parametrize("path", ["/v2/{}/blobs/uploads/", "/v2/{}/blobs/uploads"])
def test_post_then_put_the_last_slash_is_optional(client: Checked, name: str, path: str) -> None:
    """POST then PUT: registries take the path with and without its last slash."""
    assert client.post(path.format(name)).status_code == 202


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("data", [DATA, b"", bytes(3 << 20)], ids=["small", "empty", "big"])
def test_single_post_must_answer_201_with_a_pullable_location(
    client: Checked, name: str, algorithm: str, data: bytes
) -> None:
    """Single POST: 201 with a Location from which the blob can be pulled."""
    digest = digest_of(data, algorithm)
    done = client.post(f"/v2/{name}/blobs/uploads/", params={"digest": digest}, content=data, headers=OCTETS)
    assert done.status_code == 201
    assert client.get(done.headers["location"]).content == data


@pytest.mark.parametrize("bad", BAD_DIGESTS)
def test_pushing_blobs_an_invalid_digest_should_be_400(client: Checked, name: str, bad: str) -> None:
    """Pushing blobs: a digest that is invalid, or of an unsupported algorithm, gets 400, however it is sent."""
    refused(client.finish(client.session(name), bad, DATA), 400, "DIGEST_INVALID")
    refused(client.post(f"/v2/{name}/blobs/uploads/", params={"digest": bad}, content=DATA), 400, "DIGEST_INVALID")
    refused(client.start(name, mount=bad), 400, "DIGEST_INVALID")
    refused(client.get(f"/v2/{name}/blobs/{bad}"), 400, "DIGEST_INVALID")


@pytest.mark.parametrize("bad", ["md5", "sha1", "SHA256", "blake3", "x y"])
def test_pushing_blobs_an_unsupported_algorithm_should_be_400(client: Checked, name: str, bad: str) -> None:
    """Pushing blobs: an algorithm nothing can be pushed by is refused before the bytes are sent."""
    refused(client.start(name, **{"digest-algorithm": bad}), 400, "DIGEST_INVALID")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_pushing_blobs_the_digest_must_match(client: Checked, name: str, algorithm: str) -> None:
    """Single POST, POST then PUT: bytes of another digest are refused, and nothing of them is kept."""
    wrong = unknown(name, algorithm)
    refused(client.finish(client.session(name), wrong, DATA), 400, "DIGEST_INVALID")
    refused(client.post(f"/v2/{name}/blobs/uploads/", params={"digest": wrong}, content=DATA), 400, "DIGEST_INVALID")
    assert client.head(f"/v2/{name}/blobs/{wrong}").status_code == 404
    assert client.head(f"/v2/{name}/blobs/{digest_of(DATA, algorithm)}").status_code == 404


def test_closing_must_name_the_digest(client: Checked, name: str) -> None:
    """Pushing a blob in chunks: the closing PUT has the digest of the whole blob as an argument."""
    refused(client.put(client.session(name), content=DATA), 400, "DIGEST_INVALID")


def test_a_session_belongs_to_its_repository(client: Checked, name: str, other: str) -> None:
    """POST then PUT: the session in a location is of the repository it was begun in."""
    location = client.session(name)
    moved = location.replace(f"/v2/{name}/blobs", f"/v2/{other}/blobs")
    assert client.finish(moved, digest_of(DATA), DATA).status_code in (400, 404)
    assert client.finish(location, digest_of(DATA), DATA).status_code == 201


def test_a_blob_is_seen_where_it_was_pushed_alone(client: Checked, name: str, other: str) -> None:
    """Definitions: a repository is a scope for its content."""
    digest = client.blob(name, DATA + name.encode())
    client.blob(other, b"something else")
    assert client.head(f"/v2/{other}/blobs/{digest}").status_code == 404


def test_cancelling_should_answer_204(client: Checked, name: str) -> None:
    """Cancel a blob upload: DELETE answers 204 and the session is gone, whatever had arrived."""
    for data in (b"", DATA):
        location = client.session(name)
        if data:
            location = client.chunk(location, data).headers["location"]
        assert client.delete(location).status_code == 204
        refused(client.get(location), 404, "BLOB_UPLOAD_UNKNOWN")
        refused(client.chunk(location, DATA), 404, "BLOB_UPLOAD_UNKNOWN")
        refused(client.finish(location, unknown(name), DATA), 404, "BLOB_UPLOAD_UNKNOWN")
        refused(client.delete(location), 404, "BLOB_UPLOAD_UNKNOWN")


def test_cancelling_takes_the_bytes_away(client: Checked, name: str, registry: Lading) -> None:
    """Cancel a blob upload: it releases what the server held."""
    location = client.chunk(client.session(name), DATA).headers["location"]
    assert held(registry, name)
    client.delete(location)
    assert not held(registry, name)


def held(registry: Lading, name: str) -> list[str]:
    """What the server's store holds of uploads to a repository."""
    if registry.environment.get("REGISTRY_STORAGE") != "s3":
        uploads = registry.storage / "docker" / "registry" / "v2" / "repositories" / name / "_uploads"
        return [path.name for path in uploads.iterdir()]
    given = {key: registry.environment[f"REGISTRY_STORAGE_S3_{key.upper()}"] for key in SETTINGS}
    found = store_client(given).list_objects_v2(Bucket=given["bucket"], Prefix=f"lading/uploads/{name}/")
    return [each["Key"] for each in found.get("Contents", ())]
