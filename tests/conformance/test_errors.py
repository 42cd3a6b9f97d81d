"""Distribution spec, "Error Codes": the form of errors, and which code says what.

Every answer in this folder passes :func:`tests.conformance.content.check_answer`, which holds each error to the form.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conformance.content import Checked, codes, image_document, manifest_of, refused, unknown
from tests.support.access import write_htpasswd
from tests.support.images import DOCKER_MANIFEST, INDEX, MANIFEST
from tests.support.lading import Lading

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
ENDPOINTS = {
    "/v2/": {"GET", "HEAD"},
    "/v2/_catalog": {"GET", "HEAD"},
    "/v2/{name}/manifests/latest": {"GET", "HEAD", "PUT", "DELETE"},
    "/v2/{name}/blobs/{digest}": {"GET", "HEAD", "DELETE"},
    "/v2/{name}/blobs/uploads/": {"POST"},
    "/v2/{name}/blobs/uploads/11111111-2222-3333-4444-555555555555": {"GET", "HEAD", "PATCH", "PUT", "DELETE"},
    "/v2/{name}/tags/list": {"GET", "HEAD"},
    "/v2/{name}/referrers/{digest}": {"GET", "HEAD"},
}


@pytest.mark.parametrize("path", list(ENDPOINTS))
@pytest.mark.parametrize("method", [*METHODS, "TRACE", "PROPFIND"])
def test_a_method_an_endpoint_does_not_have_is_405(client: Checked, name: str, path: str, method: str) -> None:
    """API, by RFC 9110, 15.5.6: a method that is not allowed gets 405 and Allow with those that are."""
    answer = client.request(method, path.format(name=name, digest=unknown()))
    allowed = ENDPOINTS[path]
    if method in allowed:
        assert answer.status_code != 405
    else:
        assert answer.status_code == 405
        assert method == "HEAD" or codes(answer) == {"UNSUPPORTED"}
        assert {one.strip() for one in answer.headers["allow"].split(",")} == allowed


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/",
        "/v2",
        "/v2x",
        "/v3/",
        "/v2/{}/nothing",
        "/v2/{}",
        "/v2/{}/manifests/",
        "/v2/{}/tags/",
        "/favicon.ico",
    ],
)
def test_a_path_that_is_no_endpoint(client: Checked, name: str, path: str) -> None:
    """Error Codes: what is no endpoint is 404 in the same form (``/`` and ``/v2`` are answered for people)."""
    answer = client.get(path.format(name))
    if path not in ("/", "/v2"):
        assert answer.status_code == 404
        assert codes(answer)


def test_errors_of_head_have_no_body(client: Checked, name: str) -> None:
    """API, by RFC 9110, 9.3.2: HEAD is answered as GET would be, without the body."""
    for path in (f"/v2/{name}/manifests/none", f"/v2/{name}/blobs/{unknown()}", f"/v2/{name}/blobs/sha256:bad"):
        head, get = client.head(path), client.get(path)
        assert head.status_code == get.status_code
        assert head.content == b""
        assert head.headers["content-length"] == str(len(get.content))


@pytest.mark.parametrize(
    ("raw", "media_type"),
    [
        (b"", MANIFEST),
        (b"not json", MANIFEST),
        (b"{", MANIFEST),
        (b"[]", MANIFEST),
        (b"null", MANIFEST),
        (b'"text"', INDEX),
        (b"{}", MANIFEST),
        (b"{}", INDEX),
        (b'{"schemaVersion": 1}', MANIFEST),
        (b'{"schemaVersion": "2", "config": {}, "layers": []}', MANIFEST),
        (b'{"schemaVersion": 2, "layers": []}', MANIFEST),
        (b'{"schemaVersion": 2, "config": [], "layers": []}', MANIFEST),
        (b'{"schemaVersion": 2, "manifests": {}}', INDEX),
        (b'{"schemaVersion": 2, "manifests": [], "layers": []}', INDEX),
        (b'{"schemaVersion": 2, "manifests": []}', "application/vnd.unheard.of+json"),
        (b'{"schemaVersion": 2, "manifests": []}', "text/plain"),
        (b"\xff\xfe{}", MANIFEST),
        (b'{"schemaVersion": 2, "manifests": [], "annotations": {"a": "\xff"}}', INDEX),
        (b'{"schemaVersion": 2, "manifests": []} trailing', INDEX),
        (b'{"schemaVersion": 1, "name": "x", "fsLayers": []}', "application/vnd.docker.distribution.manifest.v1+json"),
        (b'{"schemaVersion": 1, "fsLayers": []}', "application/vnd.docker.distribution.manifest.v1+prettyjws"),
    ],
)
def test_manifest_invalid(client: Checked, name: str, raw: bytes, media_type: str) -> None:
    """Error Codes: MANIFEST_INVALID for what is no manifest, or none this registry stores."""
    answer = client.put(f"/v2/{name}/manifests/t", content=raw, headers={"content-type": media_type})
    refused(answer, 400, "MANIFEST_INVALID")
    assert client.fetch(name, "t").status_code == 404


@pytest.mark.parametrize(
    "change",
    [
        {"size": -1},
        {"size": "2"},
        {"size": 1 << 70},
        {"size": 1.5},
        {"size": None},
        {"digest": "sha256:abc"},
        {"digest": ""},
        {"digest": 5},
        {"digest": "md5:" + "a" * 32},
        {"mediaType": ""},
        {"mediaType": None},
        {"mediaType": 7},
        {"urls": "http://example.com"},
        {"annotations": {"a": 1}},
        {"platform": "linux"},
    ],
    ids=str,
)
def test_manifest_invalid_for_a_descriptor_that_is_none(client: Checked, name: str, change: dict[str, Any]) -> None:
    """Error Codes: MANIFEST_INVALID for descriptors without a proper type, digest and size."""
    client.blob(name, b"{}")
    good = {"mediaType": "application/x", "digest": "sha256:" + "a" * 64, "size": 2}
    bad = {key: value for key, value in {**good, **change}.items() if value is not None}
    pushed = manifest_of(image_document(good, [bad]))
    refused(client.put_manifest(name, pushed), 400, "MANIFEST_INVALID")


@pytest.mark.parametrize("opening", ['{"a":', "["], ids=["objects", "lists"])
@pytest.mark.parametrize("depth", [33, 1000, 200_000])
def test_manifest_invalid_for_json_nested_too_deep(client: Checked, name: str, opening: str, depth: int) -> None:
    """Error Codes: MANIFEST_INVALID for JSON that is nested deeper than any manifest is."""
    closing = "}" if opening.startswith("{") else "]"
    raw = f'{{"schemaVersion": 2, "manifests": [], "x": {opening * depth}1{closing * depth}}}'.encode()
    answer = client.put(f"/v2/{name}/manifests/t", content=raw, headers={"content-type": INDEX})
    refused(answer, 400, "MANIFEST_INVALID")


def test_manifest_blob_unknown_names_what_is_missing(client: Checked, name: str) -> None:
    """Error Codes: the detail of MANIFEST_BLOB_UNKNOWN lists the digests."""
    missing = {"mediaType": "application/x", "digest": unknown(), "size": 2}
    answer = client.put_manifest(name, manifest_of(image_document(missing, [], DOCKER_MANIFEST)))
    refused(answer, 400, "MANIFEST_BLOB_UNKNOWN")
    assert unknown() in json.dumps(answer.json()["errors"][0]["detail"])


def test_unauthorized_comes_with_a_challenge(tmp_path: Path) -> None:
    """Error Codes: UNAUTHORIZED is 401 with WWW-Authenticate, for a wrong password as for none."""
    path = write_htpasswd(tmp_path / "htpasswd", {"alice": "wonderland"})
    settings = {"auth": {"htpasswd": {"realm": "A realm", "path": str(path)}}}
    with Lading(tmp_path / "server", settings) as server, Checked(server) as client:
        for credentials in (None, ("alice", "wrong"), ("bob", "wonderland"), ("", ""), ("alice", "x" * 5000)):
            for method, where in (("GET", "/v2/"), ("PUT", "/v2/a/manifests/t"), ("GET", "/v2/_catalog")):
                request = client.build_request(method, where)
                if credentials:
                    next(httpx2.BasicAuth(*credentials).auth_flow(request))
                answer = client.send(request)
                refused(answer, 401, "UNAUTHORIZED")
                assert answer.headers["www-authenticate"] == 'Basic realm="A realm"'
        for header in ("Basic", "Basic !!!", "Basic YWxpY2U=", "Bearer abc", "Digest x", "Basic " + "A" * 4000, "\xff"):
            refused(client.get("/v2/", headers=[(b"authorization", header.encode("latin-1"))]), 401, "UNAUTHORIZED")
        assert client.get("/v2/", auth=("alice", "wonderland")).status_code == 200
        assert "wonderland" not in server.output


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/v2/manifests/latest", 400, "invalid repository name ''"),
        ("/v2/tags/list", 400, "invalid repository name ''"),
        ("/v2/a%2Fb/manifests/latest", 400, "not as %2F"),
        ("/v2x/a/manifests/latest", 404, "there is nothing at"),
        ("/v2", 200, "{}"),
    ],
)
def test_what_is_wrong_with_a_path_is_said(client: Checked, path: str, status: int, said: str) -> None:
    """Error Codes: the message says what it is about: a name that is missing, one that is escaped, or no endpoint."""
    answer = client.get(path)
    assert answer.status_code == status
    assert said in answer.text
