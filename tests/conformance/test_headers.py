"""Docker registry API v2 and registry:2: headers on every answer, locations, ETags, and ``ns=`` from proxies' clients."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conformance.conftest import Serve
from tests.conformance.content import Checked, digest_of, unknown
from tests.support.lading import Lading
from tests.support.process import listening

DATA = b"a blob behind some header"


def test_api_version_is_on_every_answer(client: Checked, name: str) -> None:
    """Legacy Docker support HTTP headers: Docker-Distribution-API-Version, also on errors and outside of /v2/."""
    for path in ("/v2/", "/", "/nothing", f"/v2/{name}/manifests/none", "/v2/_catalog"):
        assert client.get(path).headers["docker-distribution-api-version"] == "registry/2.0"


def test_requests_have_an_id(client: Checked) -> None:
    """Each answer has an id that the log has too; a sane one from a proxy in front is kept."""
    assert client.get("/v2/").headers["x-request-id"] != client.get("/v2/").headers["x-request-id"]
    assert (
        client.get("/v2/", headers={"x-request-id": "from-the-proxy.1"}).headers["x-request-id"] == "from-the-proxy.1"
    )
    for bad in ("x" * 300, "a b", "<script>"):
        assert client.get("/v2/", headers={"x-request-id": bad}).headers["x-request-id"] != bad


def test_locations_are_absolute(client: Checked, name: str) -> None:
    """API, Location: scheme and host as the client used them, or as the proxy in front says."""
    begun = urlsplit(client.session(name))
    assert (begun.scheme, begun.netloc) == ("http", client.base_url.netloc.decode())
    behind = {"x-forwarded-proto": "https", "x-forwarded-host": "registry.example.org"}
    for headers, expected in (
        (behind, "https://registry.example.org"),
        ({"x-forwarded-proto": "https, http", "host": "r.example.org:5000"}, "https://r.example.org:5000"),
    ):
        location = client.post(f"/v2/{name}/blobs/uploads/", headers=headers).headers["location"]
        assert location.startswith(f"{expected}/v2/{name}/blobs/uploads/")


def test_locations_may_be_relative(serve: Serve, name: str) -> None:
    """http.relativeurls: Location without scheme and host, for the whole push."""
    client = serve(http={"relativeurls": True})
    location = client.session(name)
    assert location.startswith(f"/v2/{name}/blobs/uploads/")
    location = client.chunk(location, DATA).headers["location"]
    assert location.startswith("/v2/")
    done = client.finish(location, digest_of(DATA))
    assert done.headers["location"] == f"/v2/{name}/blobs/{digest_of(DATA)}"
    assert client.get(done.headers["location"]).content == DATA


def test_locations_may_have_a_host_of_their_own(serve: Serve, name: str) -> None:
    """http.host: Location begins with it, whatever the client or a proxy said."""
    client = serve(http={"host": "https://registry.example.org:8443"})
    begun = client.post(f"/v2/{name}/blobs/uploads/", headers={"x-forwarded-host": "evil.example"})
    assert begun.headers["location"].startswith(f"https://registry.example.org:8443/v2/{name}/blobs/uploads/")


class Prefixed(Lading):
    """A registry below a path, which therefore does not answer at ``/v2/``."""

    def _answers(self) -> bool:
        return listening(self.port)()


@pytest.fixture
def below(tmp_path: Path) -> Iterator[Checked]:
    """A registry below ``/registry/``."""
    with Prefixed(tmp_path, {"http": {"prefix": "/registry/"}}) as server, Checked(server) as client:
        yield client


def test_a_prefix_goes_before_every_path(below: Checked, name: str) -> None:
    """http.prefix: everything is below it, in paths, locations and links, and nothing beside it."""
    client = below
    assert client.get("/registry/v2/").status_code == 200
    beside = client.get("/v2/")
    assert beside.status_code == 404
    assert "the registry API is under /registry/v2/" in beside.text
    location = client.post(f"/registry/v2/{name}/blobs/uploads/").headers["location"]
    assert urlsplit(location).path.startswith(f"/registry/v2/{name}/blobs/uploads/")
    done = client.finish(location, digest_of(DATA), DATA)
    assert urlsplit(done.headers["location"]).path == f"/registry/v2/{name}/blobs/{digest_of(DATA)}"
    assert client.get(done.headers["location"]).content == DATA
    index = b'{"schemaVersion": 2, "manifests": []}'
    headers = {"content-type": "application/vnd.oci.image.index.v1+json"}
    for tag in ("a", "b"):
        assert client.put(f"/registry/v2/{name}/manifests/{tag}", content=index, headers=headers).status_code == 201
    link = client.get(f"/registry/v2/{name}/tags/list", params={"n": 1}).headers["link"]
    assert link == f'</registry/v2/{name}/tags/list?last=a&n=1>; rel="next"'


def test_headers_of_the_operator_are_added(serve: Serve, name: str) -> None:
    """http.headers: on every answer, errors included; X-Content-Type-Options once."""
    client = serve(http={"headers": {"X-Content-Type-Options": ["nosniff"], "X-Own": ["one", "two"]}})
    for path in ("/v2/", f"/v2/{name}/manifests/none"):
        answer = client.get(path)
        assert answer.headers.get_list("x-own") == ["one", "two"]
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]


@pytest.mark.parametrize("kind", ["manifests", "blobs"])
def test_etag_and_if_none_match(client: Checked, name: str, kind: str) -> None:
    """API, by RFC 9110, 13.1.2: an ETag made of the digest; who has it already gets 304 without a body."""
    digest = client.blob(name, DATA) if kind == "blobs" else client.image(name, "etag").digest
    url = f"/v2/{name}/{kind}/{digest}"
    etag = client.head(url).headers["etag"]
    assert etag == f'"{digest}"'
    for given in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        for method in ("GET", "HEAD"):
            answer = client.request(method, url, headers={"if-none-match": given})
            assert (answer.status_code, answer.content) == (304, b"")
            assert answer.headers["etag"] == etag
    assert client.get(url, headers={"if-none-match": f'"{unknown()}"'}).status_code == 200
    missing = url.replace(digest, unknown())
    assert client.get(missing, headers={"if-none-match": "*"}).status_code == 404


def test_etag_of_a_tag_changes_with_it(client: Checked, name: str) -> None:
    """API: by tag, 304 as long as the tag has not moved."""
    client.image(name, "first", "t")
    url, given = f"/v2/{name}/manifests/t", {"if-none-match": client.head(f"/v2/{name}/manifests/t").headers["etag"]}
    assert client.get(url, headers=given).status_code == 304
    client.image(name, "second", "t")
    assert client.get(url, headers=given).status_code == 200


def test_blobs_may_be_cached_for_ever(client: Checked, name: str) -> None:
    """API: what is addressed by its digest never changes."""
    digest = client.blob(name, DATA)
    found = re.search(r"max-age=(\d+)", client.head(f"/v2/{name}/blobs/{digest}").headers["cache-control"])
    assert found
    assert int(found[1]) >= 31_536_000


@pytest.mark.parametrize("ns", ["docker.io", "registry.example.org:5000", "", "a/b", "ä", "'\"<>"])
def test_proxying_ns_is_tolerated_everywhere(client: Checked, name: str, ns: str) -> None:
    """Registry Proxying: a registry may ignore ``ns``; no request fails for it."""
    pushed = client.image(name, "ns", "latest")
    digest = client.blob(name, DATA)
    for path in (
        "/v2/",
        "/v2/_catalog",
        f"/v2/{name}/manifests/latest",
        f"/v2/{name}/manifests/{pushed.digest}",
        f"/v2/{name}/blobs/{digest}",
        f"/v2/{name}/tags/list",
        f"/v2/{name}/referrers/{pushed.digest}",
    ):
        answer = client.get(path, params={"ns": ns})
        assert answer.status_code == 200
        assert answer.content == client.get(path).content
        assert "oci-namespace" not in answer.headers
    location = client.session(name, ns=ns)
    assert client.finish(f"{location}&ns=docker.io", digest_of(DATA), DATA).status_code == 201
    assert client.put_manifest(name, pushed, "t2", params={"ns": ns}).status_code == 201
    assert client.delete(f"/v2/{name}/manifests/t2", params={"ns": ns}).status_code == 202
