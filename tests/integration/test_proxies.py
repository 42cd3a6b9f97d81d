"""Proxy projects, made over Harbor's API: what is pulled through them, by whom, and what cannot be done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from lading.stores.metadata.transaction import Statement
from tests.integration.test_mirror import BIG, IMAGE, OTHER, Far, fill, pull
from tests.support import images
from tests.support.access import write_htpasswd
from tests.support.accounts import ADMIN, PASSWORD
from tests.support.http import Client
from tests.support.patience import eventually
from tests.support.peer import Peer
from tests.support.replication import Replicating, made
from tests.support.scripted import Answer, Asked, Scripted

LOGIN = {"username": "alice", "password": "wonder land?"}
_LONG_AGO = Statement(text("UPDATE mirrored SET used_at = 0"))
_DUE = Statement(text("UPDATE schedules SET next_at = 0 WHERE name = 'tend-proxies'"))


@pytest.fixture(scope="module")
def near(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicating]:
    with Replicating(tmp_path_factory.mktemp("near"), {"proxy": {"revalidate": "1ms"}}, workers=2) as server:
        server.user("bob", "eve")
        yield server


def proxy(near: Replicating, name: str, url: str, **given: object) -> int:
    """Make a proxy project of what is at *url*; the endpoint's id."""
    endpoint = near.endpoint(name, url, type="docker-registry", credential=None)
    made(near.operator.post("/projects", json={"project_name": name, "registry_id": endpoint, **given}))
    return endpoint


@pytest.mark.peer
def test_what_a_registry_with_a_login_holds_is_there_for_the_members_of_a_project(
    near: Replicating, tmp_path: Path
) -> None:
    index = images.index("proxied", layers=(5000, 200_000))
    path = write_htpasswd(tmp_path / "htpasswd", {"alice": LOGIN["password"]})
    with Peer(tmp_path / "far", {"auth": {"htpasswd": {"realm": "r", "path": str(path)}}}) as far:
        fill(far, LOGIN, index)
        login = {"type": "basic", "access_key": "alice", "access_secret": LOGIN["password"]}
        endpoint = near.endpoint("far", far.url, type="docker-registry", credential=login)
        made(near.operator.post("/projects", json={"project_name": "hub", "registry_id": endpoint}))
        near.member("hub", "bob", "guest")
        assert near.operator.get("/projects/hub").json()["registry_id"] == endpoint
        with near.bearer("bob", "repository:hub/a/b:pull") as bob:
            assert bob.manifest("hub/a/b", "1").content == index.manifest.data
            for one in index.images:
                pull(bob, "hub/a/b", one, one.digest)
            assert bob.manifest("hub/a/b", "none").status_code == 404
            assert bob.tags("hub/a/b") == ["1"]
            with near.bearer("eve", "repository:hub/a/b:pull") as eve, Client(near) as nobody:
                assert (eve.manifest("hub/a/b", "1").status_code, nobody.manifest("hub/a/b", "1").status_code) == (
                    401,
                    401,
                )
            far.stop()
            assert bob.manifest("hub/a/b", "1").headers["warning"].startswith("110")
            pull(bob, "hub/a/b", index.images[0], index.images[0].digest)
    listed = near.operator.get("/projects/hub/repositories/a%252Fb/artifacts").json()
    assert index.digest in {one["digest"] for one in listed}
    assert near.operator.delete(f"/registries/{endpoint}").status_code == 412
    assert LOGIN["password"] not in near.output


def test_nothing_is_pushed_into_one(near: Replicating) -> None:
    near.push("team/app", OTHER, "1")
    with Scripted(Far(one=IMAGE)) as far:
        proxy(near, "pushed", far.url)
        with near.bearer(
            ADMIN, "repository:pushed/a:pull,push", "repository:pushed/new:pull,push", "repository:team/app:pull"
        ) as admin:
            pull(admin, "pushed/a", IMAGE, "one")
            mount = {"mount": OTHER.layers[0].digest, "from": "team/app"}
            for refused in (
                admin.post("/v2/pushed/a/blobs/uploads/"),
                admin.post("/v2/pushed/a/blobs/uploads/", params=mount),
                admin.post("/v2/pushed/new/blobs/uploads/"),
                admin.put(
                    "/v2/pushed/a/manifests/2",
                    content=IMAGE.manifest.data,
                    headers={"content-type": IMAGE.manifest.media_type},
                ),
            ):
                assert refused.status_code == 405, refused.text
                assert "proxy" in refused.json()["errors"][0]["message"]
        policy = near.policy("into it", to=near.endpoint("self", near.url), dest_namespace="pushed")
        done = near.replicate(policy)
        assert done["status"] == "Failed"
        assert "is a proxy" in near.told(done["id"])
        tagged = near.operator.post(
            f"/projects/pushed/repositories/a/artifacts/{IMAGE.digest}/tags", json={"name": "mine"}
        )
        assert tagged.status_code == 405, tagged.text


def test_who_may_make_one_and_of_what(near: Replicating) -> None:
    with Scripted(Far()) as far, Client(near.url + "/api/v2.0", auth=("bob", PASSWORD)) as bob:
        endpoint = near.endpoint("of nothing", far.url, type="docker-registry", credential=None)
        refused = bob.post("/projects", json={"project_name": "made", "registry_id": endpoint})
        assert (refused.status_code, "administrators" in refused.text) == (403, True)
        unknown = near.operator.post("/projects", json={"project_name": "made", "registry_id": endpoint + 7})
        assert (unknown.status_code, "no registry" in unknown.text) == (400, True)


def test_a_tag_that_is_gone_there_goes_unless_it_is_to_stay(near: Replicating) -> None:
    answer = Far(one=IMAGE)
    with Scripted(answer) as far, Client(near) as client:
        proxy(near, "goes", far.url, metadata={"public": "true"})
        proxy(near, "stays", far.url, metadata={"public": "true", "proxy_cache_local_on_not_found": "true"})
        for project in ("goes", "stays"):
            pull(client, f"{project}/a", IMAGE, "one")
        del answer.tags["one"]
        assert client.manifest("goes/a", "one").status_code == 404
        pull(client, "stays/a", IMAGE, "one")
        assert client.manifest("stays/a", "never").status_code == 404
        assert (
            near.operator.put(
                "/projects/stays/metadatas/proxy_cache_local_on_not_found",
                json={"proxy_cache_local_on_not_found": "false"},
            ).status_code
            == 200
        )
        eventually(lambda: client.manifest("stays/a", "one").status_code == 404, "the setting is heard of")


def test_another_login_or_another_project_of_that_name_is_heard_of(near: Replicating) -> None:
    answer = Far(one=IMAGE)
    answer.fail = lambda asked: (
        None if "authorization" in asked.headers else Answer(401, b"", {"www-authenticate": 'Basic realm="r"'})
    )
    with Scripted(answer) as far, Client(near) as client:
        endpoint = proxy(near, "moved", far.url, metadata={"public": "true"})
        assert client.manifest("moved/a", "one").status_code == 403
        assert (
            near.operator.put(f"/registries/{endpoint}", json={"access_key": "a", "access_secret": "b"}).status_code
            == 200
        )
        eventually(lambda: client.manifest("moved/a", "one").status_code == 200, "the login is heard of")
        assert near.operator.delete("/projects/moved/repositories/a").status_code == 200
        assert near.operator.delete("/projects/moved").status_code == 200
        made(near.operator.post("/projects", json={"project_name": "moved", "metadata": {"public": "true"}}))
        answer.tags.clear()
        near.push("moved/a", OTHER, "one")
        eventually(lambda: client.manifest("moved/a", "one").status_code == 200, "the other project is heard of")
        pull(client, "moved/a", OTHER, "one")


def test_a_full_quota_makes_room_and_refuses_nothing(near: Replicating) -> None:
    with Scripted(Far(one=IMAGE, big=BIG)) as far, Client(near) as client:
        proxy(near, "full", far.url, metadata={"public": "true"}, storage_limit=1_000_000)
        pull(client, "full/a", IMAGE, "one")
        pull(client, "full/a", BIG, "big")

        def used() -> int:
            return int(near.operator.get("/projects/full/summary").json()["quota"]["used"]["storage"])

        assert used() > 6_000_000

        async def age(tx: object) -> None:
            await tx.execute(_LONG_AGO)  # type: ignore[attr-defined]
            await tx.execute(_DUE)  # type: ignore[attr-defined]

        near.work(age)
        eventually(lambda: used() <= 1_000_000, "there is room again")
        pull(client, "full/a", BIG, "big")


def test_what_is_kept_is_replicated_by_no_policy_and_nothing_is_fetched_for_one(near: Replicating) -> None:
    many = images.index("kept", layers=(5000, 20_000))
    first = many.images[0]

    def upstream(asked: Asked) -> Answer | None:
        """An index, and whatever is asked for of its images."""
        contents = {many.digest: many.manifest} | {
            blob.digest: blob for one in many.images for blob in (*one.blobs, one.manifest)
        }
        wanted = asked.path.rpartition("/")[2]
        if asked.path == "/v2/":
            return None
        found = contents.get(many.digest if wanted == "one" else wanted)
        if found is None:
            return Answer(404)
        kind = found.media_type if "/manifests/" in asked.path else "application/octet-stream"
        return Answer(200, found.data, {"content-type": kind, "docker-content-digest": found.digest})

    answer = Far()
    answer.fail = upstream
    with Scripted(answer) as far, Client(near) as client:
        proxy(near, "cached", far.url, metadata={"public": "true"})
        back = near.endpoint("back", near.url)
        filters = [{"type": "name", "value": "{cached,mine}/**"}]
        common: dict[str, Any] = {
            "to": back,
            "dest_namespace": "copies",
            "dest_namespace_replace_count": 0,
            "filters": filters,
        }
        eager = near.policy("eager", **common, trigger={"type": "event_based"})
        near.push("mine/app", OTHER, "1")
        eventually(lambda: near.digest("copies/mine/app", "1"), "a push is replicated")
        assert client.manifest("cached/app", "one").status_code == 200
        pull(client, "cached/app", first, first.digest)
        before = len(far.asked)
        done = near.replicate(near.policy("all of it", **common))
        assert (done["status"], [one["src_resource"] for one in near.tasks(done["id"])]) == ("Succeed", ["mine/app"])
        assert "1 repositories were left out" in done["status_text"]
        begun = near.operator.get("/replication/executions", params={"policy_id": eager}).json()
        assert len(begun) == 1, "what comes by a mirror begins nothing"
        assert near.digest("copies/cached/app", "one") == ""
        # nor does whoever brings all that a Harbor has
        brings = {**common, "to": 0, "origin": back, "dest_namespace": "brought"}
        done = near.replicate(near.policy("all from there", **brings))
        assert (done["status"], [one["src_resource"] for one in near.tasks(done["id"])]) == ("Succeed", ["mine/app"])
        assert len(far.asked) == before


def test_it_is_fetched_no_faster_than_may_be(near: Replicating) -> None:
    with Scripted(Far(one=images.image("slow", (600_000,)))) as far, Client(near) as client:
        proxy(near, "slow", far.url, metadata={"public": "true", "proxy_speed_kb": "200"})
        began = time.monotonic()
        pull(client, "slow/a", images.image("slow", (600_000,)), "one")
        assert time.monotonic() - began >= 2.0
