"""Distribution spec, "Pull": manifests, blobs, and checking whether content exists."""

from __future__ import annotations

import pytest

from tests.conformance.content import ALGORITHMS, Checked, codes, digest_of, refused, unknown
from tests.support.images import DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST

LAYER = b"a layer of twenty-six bytes"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("by_tag", [True, False], ids=["tag", "digest"])
def test_pulling_manifests_get_must_provide_the_manifest(
    client: Checked, name: str, algorithm: str, by_tag: bool
) -> None:
    """Pulling manifests: GET answers 200 with the manifest and its digest in Docker-Content-Digest."""
    pushed = client.image(name, "pull", algorithm=algorithm)
    if by_tag:
        assert client.put_manifest(name, pushed, params={"tag": "latest"}).status_code == 201
    answer = client.fetch(name, "latest" if by_tag else pushed.digest)
    assert answer.status_code == 200
    assert answer.content == pushed.data
    assert answer.headers["docker-content-digest"] == pushed.digest
    assert int(answer.headers["content-length"]) == len(pushed.data)


@pytest.mark.parametrize("media_type", [MANIFEST, DOCKER_MANIFEST, INDEX, DOCKER_LIST])
def test_pulling_manifests_content_type_should_be_what_was_pushed(client: Checked, name: str, media_type: str) -> None:
    """Pulling manifests: Content-Type is that of the push, for every kind of manifest."""
    docker = "docker" in media_type
    pushed = client.image(name, "typed", docker=docker)
    if media_type in (INDEX, DOCKER_LIST):
        pushed = client.index(name, [pushed], docker=docker)
    assert client.fetch(name, pushed.digest).headers["content-type"] == media_type


def test_pulling_manifests_content_type_should_have_no_parameters(client: Checked, name: str) -> None:
    """Pulling manifests: no parameters in Content-Type, even where the push had some."""
    pushed = client.image(name, "parameters")
    again = client.put_manifest(name, pushed, "p", **{"content-type": f"{MANIFEST}; charset=utf-8"})
    assert again.status_code == 201
    assert client.fetch(name, "p").headers["content-type"] == MANIFEST


@pytest.mark.parametrize("accept", ["", "*/*", MANIFEST, DOCKER_MANIFEST, "text/html", f"{INDEX};q=0.5, */*;q=0.1"])
def test_pulling_manifests_content_type_is_told_whatever_is_accepted(client: Checked, name: str, accept: str) -> None:
    """Pulling manifests: Accept is a hint; the manifest comes as it is, and Content-Type says what it is."""
    pushed = client.image(name, "accept")
    answer = client.get(f"/v2/{name}/manifests/{pushed.digest}", headers={"accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, MANIFEST)
    assert answer.content == pushed.data


@pytest.mark.parametrize(
    "good", ["a", "0", "a/b/c/d", "a.b", "a_b", "a__b", "a-b", "a---b", "library/x.y_z__w-v--u/1", "n" * 255]
)
def test_pulling_manifests_name_must_match_the_grammar_taken(client: Checked, good: str) -> None:
    """Pulling manifests: every name in the grammar is taken (up to 255 characters)."""
    pushed = client.image(good, "grammar", "t")
    assert client.fetch(good, "t").content == pushed.data


@pytest.mark.parametrize(
    "bad", ["A", "a/B", "-a", "a-", "a.", ".a", "a..b", "a___b", "a._b", "a//b", "a b", "ä", "a/-b", "a+b", "n" * 256]
)
def test_pulling_manifests_name_must_match_the_grammar_refused(client: Checked, bad: str) -> None:
    """Pulling manifests: a name outside the grammar is refused wherever it stands."""
    for method, path in (
        ("GET", f"/v2/{bad}/manifests/latest"),
        ("PUT", f"/v2/{bad}/manifests/latest"),
        ("GET", f"/v2/{bad}/blobs/{unknown()}"),
        ("POST", f"/v2/{bad}/blobs/uploads/"),
        ("GET", f"/v2/{bad}/tags/list"),
        ("GET", f"/v2/{bad}/referrers/{unknown()}"),
    ):
        refused(client.request(method, path), 400, "NAME_INVALID")


@pytest.mark.parametrize("tag", ["a", "0", "_", "A.b-c_d", "t" * 128, "_._", "v1..0", "1-"])
def test_pulling_manifests_tag_must_match_the_grammar_taken(client: Checked, name: str, tag: str) -> None:
    """Pulling manifests: tags of up to 128 characters in the grammar are taken."""
    pushed = client.image(name, "tags", tag)
    assert client.fetch(name, tag).content == pushed.data


@pytest.mark.parametrize("tag", ["t" * 129, ".a", "-a", "a b", "a+b", "ä", "a%2Fb", "a@b", "a,b", "*"])
def test_pulling_manifests_tag_must_match_the_grammar_refused(client: Checked, name: str, tag: str) -> None:
    """Pulling manifests: a reference is a tag or a digest, and nothing else."""
    pushed = client.image(name, "tags")
    for answer in (
        client.fetch(name, tag),
        client.put_manifest(name, pushed, tag),
        client.delete(f"/v2/{name}/manifests/{tag}"),
    ):
        refused(answer, 400, "TAG_INVALID")


@pytest.mark.parametrize("reference", ["nothere", unknown(), unknown(algorithm="sha512")])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_pulling_manifests_must_be_404_when_not_found(client: Checked, name: str, reference: str, method: str) -> None:
    """Pulling manifests: 404 for a manifest that is not in the repository, be the repository there or not."""
    client.image(name, "here", "latest")
    for where in (name, f"{name}/unheard-of"):
        answer = client.request(method, f"/v2/{where}/manifests/{reference}")
        assert answer.status_code == 404
        if method == "GET":
            assert codes(answer) <= {"MANIFEST_UNKNOWN", "NAME_UNKNOWN"}


def test_pulling_manifests_must_be_404_in_another_repository(client: Checked, name: str, other: str) -> None:
    """Pulling manifests: a manifest belongs to the repository it was pushed to."""
    pushed = client.image(name, "mine")
    client.image(other, "theirs")
    assert client.fetch(other, pushed.digest).status_code == 404


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("data", [LAYER, b"", bytes(range(256)) * 8192], ids=["small", "empty", "big"])
def test_pulling_blobs_get_must_provide_the_blob(client: Checked, name: str, algorithm: str, data: bytes) -> None:
    """Pulling blobs: GET answers 200 with the bytes; Docker-Content-Digest matches the body."""
    digest = client.blob(name, data, algorithm)
    answer = client.get(f"/v2/{name}/blobs/{digest}")
    assert answer.status_code == 200
    assert answer.content == data
    assert answer.headers["docker-content-digest"] == digest == digest_of(answer.content, algorithm)
    assert int(answer.headers["content-length"]) == len(data)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_pulling_blobs_must_be_404_when_not_found(client: Checked, name: str, method: str, algorithm: str) -> None:
    """Pulling blobs: 404 for a blob that is not in the repository, though it be in another one."""
    client.blob(name, LAYER)
    elsewhere = client.blob(f"{name}/elsewhere", b"not to be seen here", algorithm)
    for digest in (unknown(algorithm=algorithm), elsewhere):
        for where in (name, f"{name}/unheard-of"):
            answer = client.request(method, f"/v2/{where}/blobs/{digest}")
            assert answer.status_code == 404
            if method == "GET":
                assert codes(answer) <= {"BLOB_UNKNOWN", "NAME_UNKNOWN"}


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-9", 0, 9),
        ("bytes=5-", 5, 26),
        ("bytes=-4", 23, 26),
        ("bytes=26-26", 26, 26),
        ("bytes=20-9999", 20, 26),
        ("bytes=-9999", 0, 26),
        ("Bytes=1-2", 1, 2),
    ],
)
def test_pulling_blobs_range_should_be_supported(
    client: Checked, name: str, wanted: str, first: int, last: int
) -> None:
    """Pulling blobs: Range as in RFC 9110, 14.2: 206, the part, and Content-Range."""
    digest = client.blob(name, LAYER)
    answer = client.get(f"/v2/{name}/blobs/{digest}", headers={"range": wanted})
    assert answer.status_code == 206
    assert answer.content == LAYER[first : last + 1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(LAYER)}"
    assert int(answer.headers["content-length"]) == last - first + 1


@pytest.mark.parametrize("wanted", ["bytes=27-", "bytes=100-200", "bytes=9-5", "bytes=-0"])
def test_pulling_blobs_range_should_be_416_outside(client: Checked, name: str, wanted: str) -> None:
    """Pulling blobs: a range that lies outside gets 416 with the size in Content-Range (RFC 9110, 15.5.17)."""
    digest = client.blob(name, LAYER)
    answer = client.get(f"/v2/{name}/blobs/{digest}", headers={"range": wanted})
    refused(answer, 416, "RANGE_INVALID")
    assert answer.headers["content-range"] == f"bytes */{len(LAYER)}"


@pytest.mark.parametrize("wanted", ["lines=1-2", "bytes=0-1,5-6", "nonsense", ""])
def test_pulling_blobs_range_should_be_ignored_where_it_does_not_apply(client: Checked, name: str, wanted: str) -> None:
    """Pulling blobs: an unknown unit is ignored, and so may several ranges be (RFC 9110, 14.2)."""
    digest = client.blob(name, LAYER)
    answer = client.get(f"/v2/{name}/blobs/{digest}", headers={"range": wanted})
    assert (answer.status_code, answer.content) == (200, LAYER)


def test_pulling_blobs_range_should_be_ignored_for_head(client: Checked, name: str) -> None:
    """Pulling blobs: ranges are for GET alone (RFC 9110, 14.2)."""
    digest = client.blob(name, LAYER)
    answer = client.head(f"/v2/{name}/blobs/{digest}", headers={"range": "bytes=0-1"})
    assert (answer.status_code, int(answer.headers["content-length"])) == (200, len(LAYER))
    assert answer.headers["accept-ranges"] == "bytes"


def test_pulling_blobs_if_range_should_be_honoured(client: Checked, name: str) -> None:
    """Pulling blobs: If-Range with the blob's tag gives the part, with another everything (RFC 9110, 13.1.5)."""
    digest = client.blob(name, LAYER)
    url = f"/v2/{name}/blobs/{digest}"
    etag = client.head(url).headers["etag"]
    part = client.get(url, headers={"range": "bytes=3-", "if-range": etag})
    whole = client.get(url, headers={"range": "bytes=3-", "if-range": '"another"'})
    assert (part.status_code, part.content) == (206, LAYER[3:])
    assert (whole.status_code, whole.content) == (200, LAYER)


@pytest.mark.parametrize("kind", ["manifests", "blobs"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_checking_head_must_tell_digest_and_size(client: Checked, name: str, kind: str, algorithm: str) -> None:
    """Checking if content exists: HEAD answers 200, with the digest and the size, and without a body."""
    manifest = client.image(name, "head", algorithm=algorithm)
    digest, size = manifest.digest, len(manifest.data)
    if kind == "blobs":
        digest, size = client.blob(name, LAYER, algorithm), len(LAYER)
    answer = client.head(f"/v2/{name}/{kind}/{digest}")
    assert answer.status_code == 200
    assert answer.headers["docker-content-digest"] == digest
    assert int(answer.headers["content-length"]) == size
    assert answer.content == b""


def test_checking_head_of_a_tag_must_tell_the_digest(client: Checked, name: str) -> None:
    """Checking if content exists: the same by tag, with the media type."""
    pushed = client.image(name, "head", "v1")
    answer = client.head(f"/v2/{name}/manifests/v1")
    assert answer.headers["docker-content-digest"] == pushed.digest
    assert answer.headers["content-type"] == MANIFEST


def test_determining_support_must_be_200(client: Checked) -> None:
    """Determining Support: GET /v2/ answers 200."""
    assert client.get("/v2/").status_code == 200
    assert client.head("/v2/").status_code == 200
