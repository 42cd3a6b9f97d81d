"""What buildx and docker/build-push-action send: BuildKit's requests, its index with attestations, its two forms of a cache.

No BuildKit is to be had from a package that CI installs. ``recordings/buildx.jsonl`` has what a buildx of August 2026 and its
BuildKit sent for two builds, request by request. Forms that they have by other options, and older ones, are made here
after BuildKit's sources: tokens by POST as ``buildkit-client``; ``HEAD`` before everything; a blob as one POST and one PUT;
children by digest, then the tag.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.accounts import ADMIN, PASSWORD, WithAccounts
from tests.support.http import Client
from tests.support.images import Blob, Image, Index, encode
from tests.support.lading import PROGRAM
from tests.support.process import run

CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
IN_TOTO = "application/vnd.in-toto+json"
PROVENANCE = "https://slsa.dev/provenance/v0.2"
NAME = "team/app"
RECORDING = Path(__file__).parent / "recordings" / "buildx.jsonl"
"""Two builds for amd64 and arm64, with provenance, two tags and ``cache-to: type=registry,mode=max``; then one file changed.

A line a request: ``token`` is the number of the token that it bears and ``gives`` of one that it is answered with,
``begins`` an upload's place, which later paths begin with.
"""


class Buildkit:
    """A build's requests to one repository, with a robot's secret."""

    def __init__(self, registry: WithAccounts, user: str, secret: str) -> None:
        self._client = Client(registry, headers={"user-agent": "buildkit/v0.17"})
        self._login = {"username": user, "password": secret}
        self._tokens: dict[str, str] = {}

    def close(self) -> None:
        self._client.close()

    def ask(self, method: str, path: str, actions: str = "pull", **more: Any) -> Any:
        """A request, signed after the first 401; the scope is the challenge's and its own."""
        scope = f"repository:{NAME}:{actions}"
        headers = {**more.pop("headers", {}), **self._signed(scope)}
        answer = self._client.request(method, path, headers=headers, **more)
        if answer.status_code != 401:
            return answer
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        form = {
            "grant_type": "password",
            "service": "lading",
            "client_id": "buildkit-client",
            "scope": scope,
            **self._login,
        }
        token = self._client.post("/service/token", data=form)
        assert token.status_code == 200, token.text
        self._tokens[scope] = token.json()["access_token"]
        return self._client.request(method, path, headers={**headers, **self._signed(scope)}, **more)

    def blob(self, blob: Blob) -> None:
        if self.ask("HEAD", f"/v2/{NAME}/blobs/{blob.digest}").status_code == 200:
            return
        begun = self.ask("POST", f"/v2/{NAME}/blobs/uploads/", "pull,push")
        assert begun.status_code == 202
        place = begun.headers["location"]
        url = f"{place}{'&' if '?' in place else '?'}digest={blob.digest}"
        done = self.ask(
            "PUT", url, "pull,push", content=blob.data, headers={"content-type": "application/octet-stream"}
        )
        assert done.status_code == 201, done.text

    def manifest(self, manifest: Blob, tag: str = "") -> None:
        """By digest, or under a tag; a manifest that is there under it is not sent again."""
        path = f"/v2/{NAME}/manifests/{tag or manifest.digest}"
        there = self.ask("HEAD", path, headers={"accept": f"{manifest.media_type}, */*"})
        if there.headers.get("docker-content-digest") == manifest.digest:
            return
        assert there.status_code in {200, 404}
        done = self.ask("PUT", path, "pull,push", content=manifest.data, headers={"content-type": manifest.media_type})
        assert done.status_code == 201, done.text

    def cache(self, tag: str) -> list[Blob]:
        """What ``cache-from`` fetches: the manifest, the configuration of the cache, every layer."""
        accept = f"{images.MANIFEST}, {images.INDEX}, {images.DOCKER_MANIFEST}, {images.DOCKER_LIST}, */*"
        found = self.ask("GET", f"/v2/{NAME}/manifests/{tag}", headers={"accept": accept})
        assert found.status_code == 200, found.text
        document = found.json()
        listed = document.get("manifests") or [*document["layers"], document["config"]]
        fetched = []
        for one in listed:
            answer = self.ask("GET", f"/v2/{NAME}/blobs/{one['digest']}")
            assert answer.status_code == 200, f"{one} is gone"
            fetched.append(Blob(one["mediaType"], answer.content))
        return fetched

    def _signed(self, scope: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self._tokens[scope]}"} if scope in self._tokens else {}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WithAccounts]:
    with WithAccounts(tmp_path_factory.mktemp("buildkit"), configuration={"collect": {"enabled": False}}) as made:
        made.project("team")
        yield made


@pytest.fixture(scope="module")
def secret(registry: WithAccounts) -> str:
    return registry.robot("ci", "team", "repository:pull", "repository:push")


@pytest.fixture
def builder(registry: WithAccounts, secret: str) -> Iterator[Buildkit]:
    made = Buildkit(registry, "robot$team+ci", secret)
    yield made
    made.close()


def collect(registry: WithAccounts) -> None:
    """The strictest collection there is: no grace, nothing untagged stays."""
    run([PROGRAM, "collect", "--grace", "0s", "--untagged", "0s", registry.configuration])


def attested(seed: str) -> tuple[Index, list[Image]]:
    """An index of two platforms and, after them, the attestations of each, as ``provenance`` and ``sbom`` make them."""
    plain = images.index(seed)
    attestations: list[Image] = []
    for one in plain.images:
        subject = [{"name": "_", "digest": {"sha256": one.digest.partition(":")[2]}}]
        layers = []
        for predicate in (PROVENANCE, "https://spdx.dev/Document"):
            statement = {"_type": "https://in-toto.io/Statement/v0.1", "predicateType": predicate, "subject": subject}
            layers.append((Blob(IN_TOTO, encode({**statement, "predicate": {}})), predicate))
        diffs = [blob.digest for blob, _ in layers]
        config = Blob(
            images.CONFIG,
            encode(
                {
                    "architecture": "unknown",
                    "os": "unknown",
                    "config": {},
                    "rootfs": {"type": "layers", "diff_ids": diffs},
                }
            ),
        )
        document = {
            "schemaVersion": 2,
            "mediaType": images.MANIFEST,
            "config": config.descriptor(),
            "layers": [blob.descriptor(annotations={"in-toto.io/predicate-type": kind}) for blob, kind in layers],
        }
        unknown = {"os": "unknown", "architecture": "unknown"}
        blobs = tuple(blob for blob, _ in layers)
        attestations.append(Image(unknown, config, blobs, (), Blob(images.MANIFEST, encode(document))))
    listed = [one.manifest.descriptor(platform=dict(one.platform)) for one in plain.images]
    for one, attestation in zip(plain.images, attestations, strict=True):
        notes = {"vnd.docker.reference.digest": one.digest, "vnd.docker.reference.type": "attestation-manifest"}
        listed.append(attestation.manifest.descriptor(platform=dict(attestation.platform), annotations=notes))
    whole = Blob(images.INDEX, encode({"schemaVersion": 2, "mediaType": images.INDEX, "manifests": listed}))
    return Index(plain.images, whole), attestations


def cached(seed: str, form: str) -> tuple[Blob, list[Blob]]:
    """A cache: its manifest and its blobs, the configuration last. ``form`` is that of ``image-manifest`` and ``oci-mediatypes``."""
    kind = images.DOCKER_LAYER if form == "docker list" else images.LAYER
    layers = [Blob(kind, f"{seed} {number}".encode() * 100) for number in range(3)]
    config = Blob(
        CACHE_CONFIG, encode({"layers": [{"blob": one.digest, "parent": -1} for one in layers], "records": []})
    )
    blobs = [*layers, config]
    if form == "image":
        kind = images.MANIFEST
        parts: dict[str, Any] = {"config": config.descriptor(), "layers": [one.descriptor() for one in layers]}
    else:
        kind = images.DOCKER_LIST if form == "docker list" else images.INDEX
        parts = {"manifests": [one.descriptor() for one in blobs]}
    return Blob(kind, encode({"schemaVersion": 2, "mediaType": kind, **parts})), blobs


def test_an_index_with_attestations(registry: WithAccounts, builder: Buildkit, tmp_path: Path) -> None:
    index, attestations = attested("attested")
    for one in (*index.images, *attestations):
        for blob in one.blobs:
            builder.blob(blob)
        builder.manifest(one.manifest)
    builder.manifest(index.manifest, "v1")
    builder.manifest(index.manifest, "latest")
    collect(registry)
    for one in (*index.images, *attestations):
        answer = builder.ask("GET", f"/v2/{NAME}/manifests/{one.digest}", headers={"accept": images.MANIFEST})
        assert answer.content == one.manifest.data
        for blob in one.blobs:
            assert builder.ask("GET", f"/v2/{NAME}/blobs/{blob.digest}").content == blob.data
    # one platform of it: never the unknown one
    secret = registry.robot("reader", "team", "repository:pull")
    home = {"HOME": str(tmp_path), "LADING_IMAGES": str(tmp_path / "images")}
    run(
        [PROGRAM, "login", "-u", "robot@team+reader", "--password-stdin", registry.host], environment=home, stdin=secret
    )
    image = f"{registry.host}/{NAME}:v1"
    shown = run([PROGRAM, "manifest", "--platform", "linux/amd64", image], environment=home).stdout
    assert index.images[0].config.digest in shown
    # and all of it, elsewhere
    run([PROGRAM, "copy", "-q", image, f"oci:{tmp_path / 'whole'}:v1"], environment=home)
    stored = {path.name for path in (tmp_path / "whole" / "blobs" / "sha256").iterdir()}
    assert {
        one.digest.partition(":")[2] for one in (index.manifest, *(each.manifest for each in attestations))
    } <= stored


@pytest.mark.parametrize("form", ["image", "oci index", "docker list"])
def test_a_cache_is_exported_imported_and_renewed(form: str, registry: WithAccounts, builder: Buildkit) -> None:
    """``type=registry`` in each form: an index of blobs keeps them, and a cache that was replaced goes."""
    tag = f"buildcache-{form.replace(' ', '-')}"
    first, blobs = cached(f"first {form}", form)
    for blob in blobs:
        builder.blob(blob)
    builder.manifest(first, tag)
    collect(registry)
    assert {blob.digest for blob in builder.cache(tag)} == {blob.digest for blob in blobs}
    again, others = cached(f"second {form}", form)
    for blob in others:
        builder.blob(blob)
    builder.manifest(again, tag)
    collect(registry)
    assert {blob.digest for blob in builder.cache(tag)} == {blob.digest for blob in others}
    for blob in blobs:
        assert builder.ask("HEAD", f"/v2/{NAME}/blobs/{blob.digest}").status_code == 404


class Replay:
    """Sends what was recorded, with this registry's own tokens and places of uploads."""

    def __init__(self, registry: WithAccounts, project: str, user: str, secret: str) -> None:
        self._client = Client(registry)
        self._project = project
        self._login = {"username": user, "password": secret}
        self._tokens: dict[int, str] = {}
        self._places: dict[str, str] = {}

    def close(self) -> None:
        self._client.close()

    def ask(self, asked: dict[str, Any]) -> None:
        path = asked["path"].replace("/v2/team/", f"/v2/{self._project}/")
        for name, place in self._places.items():
            path = path.replace(name, place)
        headers = dict(asked["headers"])
        if "token" in asked:
            headers["authorization"] = f"Bearer {self._tokens[asked['token']]}"
        content: dict[str, Any] = {"content": base64.b64decode(asked.get("body", ""))}
        if "form" in asked:
            scope = asked["form"]["scope"].replace("team/", f"{self._project}/")
            content = {"data": {**asked["form"], **self._login, "scope": scope}}
        answer = self._client.request(asked["method"], path, headers=headers, **content)
        assert answer.status_code == asked["status"], (asked["method"], path, answer.text)
        if "gives" in asked:
            self._tokens[asked["gives"]] = answer.json()["access_token"]
        if "begins" in asked:
            self._places[asked["begins"]] = answer.headers["location"]


def needs(client: Client, repository: str, reference: str) -> set[str]:
    """The digests of everything that a tag leads to, each fetched."""
    found: set[str] = set()
    answer = client.get(
        f"/v2/{repository}/manifests/{reference}", headers={"accept": f"{images.INDEX}, {images.MANIFEST}"}
    )
    assert answer.status_code == 200, answer.text
    document = answer.json()
    for child in document.get("manifests", []):
        found |= {child["digest"], *needs(client, repository, child["digest"])}
    for blob in [*document.get("layers", []), *([document["config"]] if "config" in document else [])]:
        assert client.get(f"/v2/{repository}/blobs/{blob['digest']}").status_code == 200, blob
        found.add(blob["digest"])
    return found


def test_two_builds_as_recorded(registry: WithAccounts) -> None:
    registry.project("replayed")
    secret = registry.robot("ci", "replayed", "repository:pull", "repository:push")
    replay = Replay(registry, "replayed", "robot$replayed+ci", secret)
    requests = [json.loads(line) for line in RECORDING.read_text().splitlines()]
    admin = Client(registry, auth=(ADMIN, PASSWORD))
    kept = {}
    for build in (1, 2):
        for asked in requests:
            if asked["build"] == build:
                replay.ask(asked)
        collect(registry)  # what the cache and the tags need stays, attestations too
        kept[build] = needs(admin, "replayed/app", "latest")
        assert kept[build] == needs(admin, "replayed/app", str(build))
        needs(admin, "replayed/app", "cache")
    assert admin.get("/v2/replayed/app/tags/list").json()["tags"] == ["1", "2", "cache", "latest"]
    assert kept[1] == needs(admin, "replayed/app", "1")
    assert kept[1] & kept[2], "they share a layer"
    # beside each platform's manifest, one that attests it
    index = admin.get("/v2/replayed/app/manifests/2", headers={"accept": images.INDEX}).json()
    attests = [one for one in index["manifests"] if one["platform"]["architecture"] == "unknown"]
    assert len(attests) * 2 == len(index["manifests"]) == 4
    for one in attests:
        subject = one["annotations"]["vnd.docker.reference.digest"]
        assert subject in {other["digest"] for other in index["manifests"]}
    admin.close()
    replay.close()
