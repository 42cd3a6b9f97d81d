"""Docker Hub's API, as its reference documents it, played by a scripted server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lading import errors
from lading.remotes.adapters.dockerhub import DockerHub
from lading.remotes.credentials import Credential, Keyring
from lading.remotes.http import HttpRegistry
from lading.remotes.session import Session
from tests.support.scripted import Answer, Asked, Scripted, json_answer
from tests.unit.remotes.far import HURRIED

pytestmark = pytest.mark.anyio


class Hub:
    """Two pages of repositories, and one tag that may be deleted by alice."""

    def __init__(self) -> None:
        self.url = ""
        self.tags = {"/v2/repositories/alice/app/tags/v1/"}
        self.second = "/v2/repositories/alice/?page=2&page_size=100"

    def __call__(self, asked: Asked) -> Answer:
        if asked.path == "/v2/auth/token":
            given = json.loads(asked.read())
            if given != {"identifier": "alice", "secret": "pat"}:
                return json_answer({"detail": "Incorrect authentication credentials"}, 401)
            return json_answer({"access_token": "jwt"})
        if asked.method == "DELETE":
            if asked.headers.get("authorization") != "Bearer jwt":
                return json_answer({"message": "unauthorized"}, 401)
            if asked.path not in self.tags:
                return json_answer({"message": "object not found"}, 404)
            self.tags.remove(asked.path)
            return Answer(204)
        if asked.path != "/v2/repositories/alice/":
            return json_answer({"message": "object not found"}, 404)
        names = ["third"] if asked.query.get("page") == ["2"] else ["first", "second"]
        following = None if names == ["third"] else self.url + self.second
        return json_answer({"count": 3, "next": following, "results": [{"name": name} for name in names]})


async def ask(hub: Hub, what: Any, credential: Credential | None = None) -> Any:
    with Scripted(hub) as far_side:
        hub.url = far_side.url
        keyring = Keyring({"HOME": "/nonexistent"}, {"docker.io": credential or Credential()})
        async with Session("docker.io", keyring, HURRIED) as session:
            # nothing in these tests goes to Docker's registry itself
            session.transport._base = "https://registry-1.docker.io"
            return await what(DockerHub(HttpRegistry(session), far_side.url)), far_side


async def listed(hub: DockerHub) -> list[str]:
    return [name async for name in hub.repositories("alice")]


@pytest.mark.parametrize("credential", [Credential(), Credential("alice", "pat")], ids=["anonymous", "alice"])
async def test_repositories_of_a_namespace(credential: Credential) -> None:
    names, far_side = await ask(Hub(), listed, credential)
    assert names == ["alice/first", "alice/second", "alice/third"]
    sent = {one.headers.get("authorization") for one in far_side.asked if one.method == "GET"}
    assert sent == ({"Bearer jwt"} if credential else {None})


async def test_a_tag_is_deleted() -> None:
    hub = Hub()
    await ask(hub, lambda one: one.delete_tag("alice/app", "v1"), Credential("alice", "pat"))
    assert not hub.tags
    with pytest.raises(errors.ManifestUnknown):
        await ask(hub, lambda one: one.delete_tag("alice/app", "v1"), Credential("alice", "pat"))


@pytest.mark.parametrize("credential", [Credential(), Credential("alice", "wrong"), Credential(identity_token="t")])
async def test_a_tag_is_not_deleted_without_a_login_that_is_taken(credential: Credential) -> None:
    hub = Hub()
    with pytest.raises(errors.Unauthenticated, match="lading login") as found:
        await ask(hub, lambda one: one.delete_tag("alice/app", "v1"), credential)
    assert "wrong" not in found.value.message
    assert hub.tags


async def test_a_next_page_elsewhere_is_not_followed_with_the_token() -> None:
    hub = Hub()
    with Scripted(lambda asked: Answer()) as elsewhere:
        hub.second = "@" + elsewhere.host
        with pytest.raises(errors.RemoteError):
            await ask(hub, listed, Credential("alice", "pat"))
        assert elsewhere.asked == []


async def test_a_namespace_must_be_named_and_be_there() -> None:
    with pytest.raises(errors.Invalid, match="name a namespace"):
        await ask(Hub(), lambda one: anext(one.repositories()))
    with pytest.raises(errors.RepositoryUnknown):
        await ask(Hub(), lambda one: anext(one.repositories("nobody")))
