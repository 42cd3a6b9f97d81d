"""Several mirrors beside local repositories: whose name is whose, what is kept apart, and who may."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import text

from lading.stores.metadata.transaction import Statement, Transaction
from tests.integration.test_mirror import BIG, IMAGE, OTHER, Far, pull
from tests.support import images
from tests.support.accounts import ADMIN, PASSWORD, WithAccounts
from tests.support.http import Client
from tests.support.lading import Lading
from tests.support.patience import eventually
from tests.support.scripted import Answer, Asked, Scripted

_LONG_AGO = Statement(text("UPDATE mirrored SET used_at = 0"))
_DUE = Statement(text("UPDATE schedules SET next_at = 0 WHERE name = 'tend-proxies'"))
SECRET = images.image("a secret", (30_000,))


class Farther(Far):
    """Holds images of one repository each, and knows what its repositories are called."""

    def __init__(self, **repositories: images.Image) -> None:
        super().__init__()
        self.named = {f"library/{name}": image for name, image in repositories.items()}

    def __call__(self, asked: Asked) -> Answer:
        name = asked.path.removeprefix("/v2/").rsplit("/", 2)[0]
        if asked.path.endswith("/tags/list") and name in self.named:
            return Answer(200, b'{"name": "x", "tags": ["1", "2", "3"]}')
        if asked.path != "/v2/" and name not in self.named:
            return Answer(404)
        if asked.path != "/v2/":
            self.tags = {"1": self.named[name]}
        return super().__call__(asked)


class Place(NamedTuple):
    """Two upstreams that have one name in common."""

    hub: Scripted
    other: Scripted


@pytest.fixture
def far() -> Iterator[Place]:
    with Scripted(Farther(app=IMAGE, web=OTHER)) as hub, Scripted(Farther(app=OTHER)) as other:
        yield Place(hub, other)


def mirrors(far: Place, **more: Any) -> dict[str, Any]:
    hub = {"prefix": "docker.io/", "remoteurl": far.hub.url, "namespaces": ["docker.io"], "hosts": ["hub.test"]}
    return {"mirrors": [{**hub, **more}, {"prefix": "team/other", "remoteurl": far.other.url}]}


def test_the_whole_cache_is_used_whichever_way_it_came_in(far: Place, tmp_path: Path) -> None:
    with Lading(tmp_path, mirrors(far)) as near, Client(near) as client, Client(near) as daemon:
        daemon.headers["host"] = "hub.test:5000"
        pull(client, "docker.io/library/app", IMAGE, "1")
        asked = len(far.hub.asked)
        containerd = client.get("/v2/library/app/manifests/1?ns=docker.io")
        assert containerd.content == IMAGE.manifest.data
        assert client.get(f"/v2/library/app/blobs/{IMAGE.layers[0].digest}?ns=docker.io").status_code == 200
        pull(daemon, "library/app", IMAGE, "1")
        assert len(far.hub.asked) == asked
        assert client.get("/v2/library/web/manifests/1?ns=docker.io").content == OTHER.manifest.data
        asked = len(far.hub.asked)
        pull(daemon, "library/web", OTHER, OTHER.digest)
        pull(client, "docker.io/library/web", OTHER, "1")
        new = [one.path for one in far.hub.asked[asked:]]
        assert sorted(new) == sorted(f"/v2/library/web/blobs/{blob.digest}" for blob in OTHER.blobs)
        pull(client, "team/other/library/app", OTHER, "1")

        page = client.get("/v2/library/app/tags/list?n=2&ns=docker.io")
        assert page.json() == {"name": "library/app", "tags": ["1", "2"]}
        assert client.get(page.links["next"]["url"]).json() == {"name": "library/app", "tags": ["3"]}
        page = daemon.get("/v2/library/app/tags/list?n=2")
        assert daemon.get(page.links["next"]["url"]).json()["tags"] == ["3"]


def test_a_name_of_a_registry_that_is_not_mirrored_is_not_ours(far: Place, tmp_path: Path) -> None:
    with Lading(tmp_path, mirrors(far)) as near, Client(near) as client:
        client.push("library/app", SECRET, "1")
        stranger = client.get("/v2/library/app/manifests/1?ns=quay.io")
        assert stranger.status_code == 404
        assert "quay.io" in stranger.json()["errors"][0]["message"]
        # who was told the path here says besides whose name it is
        pull_by_path = (
            "docker.io/library/app/manifests/1?ns=docker.io",
            f"team/other/library/app/manifests/1?ns={far.other.host}",
        )
        assert [client.get(f"/v2/{path}").status_code for path in pull_by_path] == [200, 200]
        assert client.get("/v2/team/other/library/app/manifests/1?ns=quay.io").status_code == 404
        for ns in ("", f"?ns={near.host}"):
            assert client.get(f"/v2/library/app/manifests/1{ns}").content == SECRET.manifest.data


def test_local_repositories_live_beside_and_nothing_is_pushed_into_a_mirror(far: Place, tmp_path: Path) -> None:
    with Lading(tmp_path, mirrors(far)) as near, Client(near) as client:
        client.push("team/app", SECRET, "1")
        client.push("docker.iox/app", SECRET, "1")
        pull(client, "team/app", SECRET, "1")
        pull(client, "docker.io/library/app", IMAGE, "1")
        for name in ("docker.io/library/app", "docker.io/new", "team/other/x"):
            mount = {"mount": SECRET.layers[0].digest, "from": "team/app"}
            refused = [
                client.post(f"/v2/{name}/blobs/uploads/"),
                client.post(f"/v2/{name}/blobs/uploads/", params=mount),
                client.put(f"/v2/{name}/manifests/1", content=SECRET.manifest.data),
            ]
            for answer in refused:
                assert answer.status_code == 405
                assert "mirror" in answer.json()["errors"][0]["message"]
                assert answer.json()["errors"][0]["code"] == "UNSUPPORTED"
        assert client.post("/v2/library/app/blobs/uploads/?ns=docker.io").status_code == 405
        assert client.delete(f"/v2/team/app/manifests/{SECRET.digest}").status_code == 202
        assert client.manifest("team/app", "1").status_code == 404
        # what is cached may be thrown away, and is fetched again
        assert client.delete(f"/v2/docker.io/library/app/manifests/{IMAGE.digest}").status_code == 202
        pull(client, "docker.io/library/app", IMAGE, "1")
        assert set(client.get("/v2/_catalog").json()["repositories"]) == {"docker.io/library/app", "docker.iox/app"}


def test_an_upstream_cannot_bring_out_what_other_repositories_hold(far: Place, tmp_path: Path) -> None:
    """A manifest may name any digest; that of a layer which is here, but not from there, shows nothing."""
    secret = SECRET.layers[0]
    thief = images.image_manifest(IMAGE.config, [secret, IMAGE.layers[0], OTHER.layers[0]])
    taken = images.Image({}, IMAGE.config, (), (), thief)
    answer = far.other.answer
    assert isinstance(answer, Farther)
    answer.named["library/thief"] = taken
    with Lading(tmp_path, mirrors(far)) as near, Client(near) as client:
        client.push("team/private", SECRET, "1")
        pull(client, "docker.io/library/app", IMAGE, "1")
        assert client.manifest("team/other/library/thief", "1").content == thief.data
        for layer in (secret, IMAGE.layers[0]):
            path = f"/v2/team/other/library/thief/blobs/{layer.digest}"
            assert client.get(path).status_code == 404
            assert path.replace("team/other/", "") in far.other.paths("GET"), "the upstream was asked for its own"
        # what came from the same upstream is there for all its repositories
        pull(client, "team/other/library/app", OTHER, "1")
        path = f"/v2/team/other/library/thief/blobs/{OTHER.layers[0].digest}"
        assert client.get(path).content == OTHER.layers[0].data
        assert path.replace("team/other/", "") not in far.other.paths("GET")


def test_what_is_not_allowed_is_not_handed_out_even_if_it_is_here(far: Place, tmp_path: Path) -> None:
    with Lading(tmp_path, mirrors(far)) as near, Client(near) as client:
        pull(client, "docker.io/library/app", IMAGE, "1")
        near.configure(mirrors(far, allow=["library/*"], deny=["*/app"]))
        near.restart()
        asked = len(far.hub.asked)
        for path in (
            "docker.io/library/app/manifests/1",
            f"docker.io/library/app/manifests/{IMAGE.digest}",
            f"docker.io/library/app/blobs/{IMAGE.layers[0].digest}",
            "docker.io/library/app/tags/list",
            "library/app/manifests/1?ns=docker.io",
            "docker.io/elsewhere/web/manifests/1",
        ):
            refused = client.get(f"/v2/{path}")
            assert refused.status_code == 403, path
            assert refused.json()["errors"][0]["code"] == "DENIED"
        assert len(far.hub.asked) == asked
        pull(client, "docker.io/library/web", OTHER, "1")
        pull(client, "team/other/library/app", OTHER, "1")


def test_with_accounts_a_mirror_is_part_of_a_project(far: Place, tmp_path: Path) -> None:
    settings = mirrors(far, public=True)
    with WithAccounts(tmp_path, configuration=settings) as near, Client(near) as nobody:
        near.user("alice", "bob")
        near.member("team", "alice", "guest")
        # docker.io was to be public, team is not
        nobody.headers["host"] = "hub.test"
        assert nobody.get("/v2/").status_code == 200, "dockerd is not asked for the login it has for Docker Hub"
        pull(nobody, "library/app", IMAGE, "1")
        del nobody.headers["host"]
        assert nobody.get("/v2/").status_code == 401
        pull(nobody, "docker.io/library/app", IMAGE, "1")
        assert nobody.get("/v2/library/app/manifests/1?ns=docker.io").status_code == 200
        assert nobody.get("/v2/team/other/library/app/manifests/1").status_code == 401
        scope = "repository:team/other/library/app:pull"
        with near.bearer("bob", scope) as bob:
            assert bob.manifest("team/other/library/app", "1").status_code == 401
        assert not far.other.asked
        with near.bearer("alice", scope) as alice:
            pull(alice, "team/other/library/app", OTHER, "1")
        with Client(near, auth=(ADMIN, PASSWORD)) as admin:
            assert admin.post("/v2/docker.io/library/app/blobs/uploads/").status_code == 405
            listed = admin.get("/api/v2.0/projects/team/repositories").json()
            assert [one["name"] for one in listed] == ["team/other/library/app"]
            public = {one["name"]: one["metadata"]["public"] for one in admin.get("/api/v2.0/projects").json()}
            assert (public["docker.io"], public["team"]) == ("true", "false")


class Full:
    """An administrator of a Lading whose mirrors keep what they bring in projects with a quota."""

    def __init__(self, near: WithAccounts, api: Client) -> None:
        self._near = near
        self._api = api

    def limit(self, project: str, size: int) -> None:
        number = self._api.get(f"/projects/{project}").json()["project_id"]
        assert self._api.put(f"/quotas/{number}", json={"hard": {"storage": size}}).status_code == 200

    def used(self, project: str) -> int:
        return int(self._api.get(f"/projects/{project}/summary").json()["quota"]["used"]["storage"])

    def make_room(self) -> None:
        async def age(tx: Transaction) -> None:
            await tx.execute(_LONG_AGO)
            await tx.execute(_DUE)

        self._near.work(age)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[Full, WithAccounts, Place]]:
    with Scripted(Farther(app=IMAGE, big=BIG)) as hub, Scripted(Farther(app=OTHER, big=BIG)) as other:
        place = Place(hub, other)
        with (
            WithAccounts(tmp_path, configuration=mirrors(place, public=True)) as near,
            Client(near.url + "/api/v2.0", auth=(ADMIN, PASSWORD)) as api,
        ):
            yield Full(near, api), near, place


def test_a_full_quota_refuses_no_pull_and_makes_room(full: tuple[Full, WithAccounts, Place]) -> None:
    admin, near, far = full
    admin.limit("docker.io", 1_000_000)
    with Client(near) as client:
        pull(client, "docker.io/library/app", IMAGE, "1")
        pull(client, "docker.io/library/big", BIG, "1")
        asked = len(far.hub.asked)
        pull(client, "docker.io/library/big", BIG, BIG.digest)
        assert len(far.hub.asked) == asked, "what came over the quota is kept like all else"
        assert admin.used("docker.io") > 6_000_000
        admin.make_room()
        eventually(lambda: admin.used("docker.io") <= 1_000_000, "there is room again")
        pull(client, "docker.io/library/big", BIG, "1")


def test_what_a_mirror_keeps_takes_no_room_from_pushes(full: tuple[Full, WithAccounts, Place]) -> None:
    """A mirror below a part of a project: what it keeps goes for what people push there, and not the other way round."""
    admin, near, _ = full
    mine, more = images.image("mine", (600_000,)), images.image("more", (600_000,))
    admin.limit("team", 1_000_000)
    with near.bearer(ADMIN, *(f"repository:team/{name}:pull,push" for name in ("app", "other/library/big"))) as client:
        pull(client, "team/other/library/big", BIG, "1")
        client.push("team/app", mine, "1")
        refused = client.post(
            f"/v2/team/app/blobs/uploads/?digest={more.layers[0].digest}", content=more.layers[0].data
        )
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (403, "DENIED")
        # what is here of the mirror's counts for pushes, once it is pushed
        mount = {"mount": BIG.layers[0].digest, "from": "team/other/library/big"}
        assert client.post("/v2/team/app/blobs/uploads/", params=mount).status_code == 201
        client.push_blob("team/app", BIG.config)
        media_type = {"content-type": BIG.manifest.media_type}
        refused = client.put("/v2/team/app/manifests/big", content=BIG.manifest.data, headers=media_type)
        assert (refused.status_code, refused.json()["errors"][0]["code"]) == (403, "DENIED")
        pull(client, "team/other/library/big", BIG, BIG.digest)
        admin.make_room()
        eventually(lambda: admin.used("team") <= 1_000_000, "there is room again")
        pull(client, "team/app", mine, "1")
