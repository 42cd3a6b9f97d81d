"""ECR: its API by moto, its images by Lading, which wants the password that the API gives; and the public one by a script."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import bcrypt
import boto3  # type: ignore[import-untyped]
import pytest

from lading import errors
from lading.control.replication.endpoints import Endpoint, check
from lading.control.replication.far import Far
from lading.control.replication.filters import Filter
from lading.remotes.adapters import ecr, vendors
from lading.remotes.adapters.base import Adapter
from lading.remotes.copy import Copy, Side
from lading.remotes.credentials import Keyring
from lading.remotes.http import HttpRegistry
from lading.remotes.layout import Layout
from lading.remotes.session import Session
from lading.remotes.transport import Policy
from tests.support import images
from tests.support.lading import PROGRAM, Lading
from tests.support.objects import Moto
from tests.support.process import run
from tests.support.scripted import Answer, Asked, json_answer
from tests.support.world import World

pytestmark = pytest.mark.anyio

REGION = "eu-central-1"
HOST = f"123456789012.dkr.ecr.{REGION}.amazonaws.com"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
NOWHERE = {"HOME": "/nonexistent"}
POLICY = Policy(attempts=2, backoff=0.01)


class Ecr:
    """moto and Lading as one: what is pushed to one is known to the other, and a repository must be made first."""

    def __init__(self, moto: Moto, lading: Lading) -> None:
        self.api = boto3.client(
            "ecr", region_name=REGION, endpoint_url=moto.url, aws_access_key_id="x", aws_secret_access_key="x"
        )
        self._lading = lading

    def __call__(self, asked: Asked) -> Answer:
        words = asked.path.removeprefix("/v2/").split("/")
        if (
            asked.method == "POST"
            and words[-3:] == ["blobs", "uploads", ""]
            and "/".join(words[:-3]) not in self.names()
        ):
            return json_answer(
                {"errors": [{"code": "NAME_UNKNOWN", "message": f"The repository does not exist in {HOST}"}]}, 404
            )
        if asked.method == "DELETE":
            return Answer(405)
        body = asked.read()
        answer = self._forward(asked, body)
        if asked.method == "PUT" and words[-2] == "manifests" and answer.status == 201:
            self.api.put_image(
                repositoryName="/".join(words[:-2]), imageManifest=body.decode(), imageTag=words[-1],
                imageManifestMediaType=asked.headers["content-type"],
                imageDigest=answer.headers["Docker-Content-Digest"],
            )  # fmt: skip
        return answer

    def names(self) -> list[str]:
        return [one["repositoryName"] for one in self.api.describe_repositories()["repositories"]]

    def tags(self, name: str) -> set[str]:
        return {one["imageTag"] for one in self.api.list_images(repositoryName=name)["imageIds"] if "imageTag" in one}

    def _forward(self, asked: Asked, body: bytes) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self._lading.port, timeout=30)
        try:
            query = urlencode(asked.query, doseq=True)
            kept = ("authorization", "content-type", "accept", "range", "content-range")
            headers = {name: asked.headers[name] for name in kept if name in asked.headers}
            connection.request(asked.method, f"{asked.path}?{query}" if query else asked.path, body, headers)
            answer = connection.getresponse()
            back = ("location", "www-authenticate", "docker-content-digest", "content-type", "range", "link")
            told = {name: value for name, value in answer.getheaders() if name.lower() in back}
            data = answer.read()
            length = {"content-length": answer.headers["content-length"]} if asked.method == "HEAD" else {}
            return Answer(answer.status, data, {**told, **length})
        finally:
            connection.close()


@pytest.fixture(scope="module")
def amazon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ecr]:
    folder = tmp_path_factory.mktemp("ecr")
    file = folder / "htpasswd"
    # what moto gives to everybody
    file.write_bytes(b"AWS:" + bcrypt.hashpw(b"123456789012-auth-token", bcrypt.gensalt(4)) + b"\n")
    variables = {
        "REGISTRY_AUTH": "htpasswd",
        "REGISTRY_AUTH_HTPASSWD_REALM": "ecr",
        "REGISTRY_AUTH_HTPASSWD_PATH": str(file),
        "REGISTRY_HTTP_HOST": f"https://{HOST}",
    }
    with Moto(folder) as moto, Lading(folder / "lading", environment=variables) as lading:
        yield Ecr(moto, lading)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., World]]:
    opened: list[World] = []

    def lead(hosts: dict[str, Callable[[Asked], Answer]], **variables: str) -> World:
        opened.append(World(hosts, tmp_path).__enter__())
        for name, value in {**opened[-1].environment, **KEYS, **variables}.items():
            monkeypatch.setenv(name, value)
        return opened[-1]

    yield lead
    for each in opened:
        each.__exit__(None, None, None)


@asynccontextmanager
async def client(host: str) -> AsyncIterator[Adapter]:
    async with Session(host, Keyring({**NOWHERE, **KEYS}, ambient=vendors.ambient), POLICY) as session:
        yield await vendors.adapter(HttpRegistry(session))


async def test_an_image_goes_to_ecr_and_away(amazon: Ecr, world: Callable[..., World], tmp_path: Path) -> None:
    world({HOST: amazon}, AWS_ENDPOINT_URL_ECR=amazon.api.meta.endpoint_url)
    image = images.image(7, layers=[1000])
    images.write_layout(tmp_path / "layout", {"v1": image})
    async with client(HOST) as adapter:
        copy = Copy(Side(Layout(tmp_path / "layout")), Side(adapter.registry, "team/app"))
        with pytest.raises(errors.Missing, match="does not exist"):
            await copy.image("v1", ["v1"])
        assert await adapter.prepare("team/app")
        assert not await adapter.prepare("team/app"), "once is enough"
        copy = Copy(Side(Layout(tmp_path / "layout")), Side(adapter.registry, "team/app"))
        await copy.image("v1", ["v1", "latest"])
        assert await adapter.registry.resolve("team/app", "v1")
        assert [name async for name in adapter.repositories("team")] == ["team/app"]
        assert [one["name"] for one in await adapter.search("app", 5)] == ["team/app"]
        await adapter.delete_tag("team/app", "v1")
        assert amazon.tags("team/app") == {"latest"}
        with pytest.raises(errors.ManifestUnknown):
            await adapter.delete_tag("team/app", "v1")
        await adapter.delete_manifest("team/app", image.digest)
        assert amazon.tags("team/app") == set()
        with pytest.raises(errors.RepositoryUnknown):
            await adapter.delete_tag("team/other", "v1")


async def test_replication_to_an_endpoint_of_that_type(
    amazon: Ecr, world: Callable[..., World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The access key of the endpoint is enough: it makes the login, the repositories and the list of them."""
    world({HOST: amazon}, AWS_ENDPOINT_URL_ECR=amazon.api.meta.endpoint_url)
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    images.write_layout(tmp_path / "layout", {"v1": images.image(9, layers=[1000])})
    key, secret = KEYS.values()
    given = Endpoint(1, "amazon", "", "aws-ecr", f"https://{HOST}", False, key, "", "", 0, 0)
    check(given, secret)
    async with Far(given, secret, ["127.0.0.0/8"], POLICY) as far:
        await far.check()
        await far.prepare("far/app")
        await Copy(Side(Layout(tmp_path / "layout")), Side(far.client, "far/app")).image("v1", ["v1"])
        conditions = [Filter("name", "far/**")]
        assert [name async for name in far.repositories(conditions)] == ["far/app"]
        assert [held.tag for held in await far.held("far/app")] == ["v1"]
        await far.delete_tag("far/app", "v1")
        assert amazon.tags("far/app") == set()
    async with Far(replace(given, username=""), "", ["127.0.0.0/8"], POLICY) as far:
        with pytest.raises(errors.CredentialsError, match="there is none here"):
            await far.check()


@pytest.mark.parametrize("kind", ["aws-ecr", "azure-acr", "google-gcr", "github-ghcr", "docker-hub"])
def test_an_endpoint_of_a_vendor_is_at_the_vendor(kind: str) -> None:
    with pytest.raises(errors.Invalid, match=f"is no registry of the type {kind}; its url reads like https://"):
        check(Endpoint(1, "x", "", kind, "https://example.org", False, "", "", "", 0, 0), "")


def test_a_user_is_told_to_make_the_repository(amazon: Ecr, world: Callable[..., World], tmp_path: Path) -> None:
    world({HOST: amazon}, AWS_ENDPOINT_URL_ECR=amazon.api.meta.endpoint_url, HOME=str(tmp_path))
    images.write_layout(tmp_path / "layout", {"v1": images.image(8, layers=[1000])})
    words = ["copy", "--quiet", f"oci:{tmp_path / 'layout'}:v1", f"{HOST}/by/hand:v1"]
    refused = run([PROGRAM, *words], check=False)
    assert refused.returncode == 3
    assert "wants the repository made before a push: --create does it" in refused.stderr
    run([PROGRAM, *words, "--create"])
    assert amazon.tags("by/hand") == {"v1"}
    assert run([PROGRAM, "repos", f"{HOST}/by"]).stdout == "by/hand\n"
    run([PROGRAM, "delete", f"{HOST}/by/hand:v1"])
    assert amazon.tags("by/hand") == set()


async def test_a_token_is_made_anew_before_it_ends(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve hours, as AWS says when it gives one."""
    now = 1_800_000_000.0
    made: list[str] = []

    def api(asked: Asked) -> Answer:
        assert asked.headers["x-amz-target"] == "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
        assert asked.headers["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={KEYS['AWS_ACCESS_KEY_ID']}/")
        made.append(f"token-{len(made)}")
        return json_answer({"authorizationData": [token(made[-1], now + 12 * 3600)]})

    world({f"api.ecr.{REGION}.amazonaws.com": api})
    keyring = Keyring({**NOWHERE, **KEYS}, ambient=vendors.ambient)
    monkeypatch.setattr("lading.remotes.credentials.time.time", lambda: now)
    for passed, wanted in (
        (0, "token-0"),
        (11.5 * 3600, "token-0"),
        (11.95 * 3600, "token-1"),
        (12.1 * 3600, "token-1"),
    ):
        monkeypatch.setattr("lading.remotes.credentials.time.time", lambda passed=passed: 1_800_000_000.0 + passed)
        now = 1_800_000_000.0 + passed
        found = await keyring.find(HOST, "team/app")
        assert (found.username, found.password) == ("AWS", wanted)
        assert await keyring.find(HOST, "team/other") == found


class Public:
    """ECR Public: its API in one region for all the world, and a token service that takes what that gives."""

    def __init__(self) -> None:
        self.deleted: list[Any] = []

    @property
    def hosts(self) -> dict[str, Callable[[Asked], Answer]]:
        return {ecr.PUBLIC: self.registry, "api.ecr-public.us-east-1.amazonaws.com": self.api}

    def registry(self, asked: Asked) -> Answer:
        if asked.path == "/token/":
            signed = asked.headers.get("authorization", "")
            return json_answer({"token": "AWS" if signed else "nobody"})
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        if not token:
            challenge = 'Bearer realm="https://public.ecr.aws/token/",service="public.ecr.aws",scope="aws"'
            return json_answer(
                {"errors": [{"code": "DENIED", "message": "Not Authorized"}]}, 401, **{"www-authenticate": challenge}
            )
        return json_answer({"name": "x", "tags": [token]})

    def api(self, asked: Asked) -> Answer:
        verb = asked.headers["x-amz-target"].removeprefix("SpencerFrontendService.")
        given = json.loads(asked.read())
        if verb == "GetAuthorizationToken":
            return json_answer({"authorizationData": token("x", 4_000_000_000)})
        if verb == "DescribeRepositories":
            one = {"repositoryName": "app", "repositoryUri": "public.ecr.aws/a1b2c3d4/app"}
            if given.get("repositoryNames", ["app"]) != ["app"]:
                return json_answer({"__type": "RepositoryNotFoundException", "message": "not there"}, 400)
            return json_answer({"repositories": [one]})
        if verb == "CreateRepository":
            return json_answer({"__type": "AccessDeniedException", "message": "not yours"}, 400)
        assert verb == "BatchDeleteImage"
        self.deleted.append(given)
        return json_answer({"imageIds": given["imageIds"], "failures": []})


async def test_the_public_registry(world: Callable[..., World]) -> None:
    public = Public()
    world(public.hosts)
    async with client(ecr.PUBLIC) as adapter:
        assert [tag async for tag in adapter.registry.tags("docker/library/alpine")] == ["AWS"]
        assert [name async for name in adapter.repositories("a1b2c3d4")] == ["a1b2c3d4/app"]
        await adapter.delete_tag("a1b2c3d4/app", "v1")
        assert public.deleted == [{"repositoryName": "app", "imageIds": [{"imageTag": "v1"}]}]
        assert not await adapter.prepare("a1b2c3d4/app")
        with pytest.raises(errors.Denied, match="not yours"):
            await adapter.prepare("a1b2c3d4/other")
    async with Session(ecr.PUBLIC, Keyring(NOWHERE, ambient=vendors.ambient), POLICY) as session:
        tags = HttpRegistry(session).tags("docker/library/alpine")
        assert [tag async for tag in tags] == ["nobody"], "nothing is looked for where nothing is named"


async def test_a_key_that_aws_does_not_know(world: Callable[..., World]) -> None:
    refused = {
        "__type": "UnrecognizedClientException",
        "message": "The security token included in the request is invalid.",
    }
    public = Public()
    hosts = {**public.hosts, f"api.ecr.{REGION}.amazonaws.com": lambda asked: json_answer(refused, 400)}
    hosts["api.ecr-public.us-east-1.amazonaws.com"] = hosts[f"api.ecr.{REGION}.amazonaws.com"]
    world(hosts)
    with pytest.raises(errors.CredentialsError, match="security token"):
        await vendors.ambient(HOST, {**NOWHERE, **KEYS})
    async with client(ecr.PUBLIC) as adapter:  # there for everybody, whatever key lies about
        assert [tag async for tag in adapter.registry.tags("docker/library/alpine")] == ["nobody"]


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        (HOST, "ecr"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "ecr"),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "ecr"),
        ("123456789012.dkr-ecr.eu-west-1.on.aws", "ecr"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com.example.net", ""),
        ("12345.dkr.ecr.eu-west-1.amazonaws.com", ""),
    ],
)
def test_only_amazons_hosts_are_given_its_tokens(host: str, kind: str) -> None:
    assert vendors.vendor(host) == kind


def token(password: str, until: float) -> dict[str, Any]:
    """An entry of the answer to GetAuthorizationToken."""
    return {"authorizationToken": base64.b64encode(f"AWS:{password}".encode()).decode(), "expiresAt": until}
