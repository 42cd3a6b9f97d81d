"""Replication between real registries: two of ours with accounts, and registry:2 with htpasswd."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from lading.jobs.schedule import Schedules
from lading.stores.metadata.transaction import Statement
from tests.support.access import certificates, write_htpasswd
from tests.support.accounts import ADMIN, PASSWORD
from tests.support.http import Client
from tests.support.images import artifact, image, index
from tests.support.patience import eventually
from tests.support.peer import Peer
from tests.support.replication import Replicating, made

_DUE = Statement(text("UPDATE schedules SET next_at = 0 WHERE name = :called"))


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicating]:
    with Replicating(tmp_path_factory.mktemp("here")) as server:
        yield server


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicating]:
    with Replicating(tmp_path_factory.mktemp("there")) as server:
        yield server


@pytest.fixture(scope="module")
def far(here: Replicating, there: Replicating) -> int:
    """The endpoint of the other one."""
    return here.endpoint("there", there.url)


# ---- endpoints


def test_an_endpoint_is_tried_before_it_is_kept_and_never_shows_its_secret(
    here: Replicating, there: Replicating, far: int
) -> None:
    found = here.operator.get(f"/registries/{far}").json()
    assert (found["status"], found["type"], found["url"]) == ("healthy", "harbor", there.url)
    assert found["credential"] == {"type": "basic", "access_key": ADMIN, "access_secret": "*****"}
    everything = here.operator.get("/registries").text + here.operator.get(f"/registries/{far}").text + here.output
    assert PASSWORD not in everything
    wrong = {"access_key": ADMIN, "access_secret": "wrong"}
    refused = here.operator.post(
        "/registries", json={"name": "w", "url": there.url, "type": "harbor", "credential": wrong}
    )
    assert refused.status_code == 400
    assert "does not take this login" in refused.text
    assert here.operator.post("/registries/ping", json={"id": far}).status_code == 200
    wrong_now = here.operator.post("/registries/ping", json={"id": far, "access_secret": "wrong"})
    assert (wrong_now.status_code, "does not take this login" in wrong_now.text) == (400, True)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"url": "http://127.0.0.1:1"}, "cannot reach"),
        ({"url": "https://10.0.0.1"}, "replication.networks"),
        ({"url": "http://169.254.169.254"}, "replication.networks"),
        ({"url": "http://[::ffff:10.0.0.1]"}, "replication.networks"),
        ({"url": "ftp://example.org"}, "is the address of a registry"),
        ({"url": "http://user:secret@example.org"}, "a login goes into credential"),
        ({"url": "http://example.org/harbor"}, "a login goes into credential"),
        ({"type": "huawei-SWR"}, "the type is one of"),
        ({"type": "aws-ecr", "url": "https://example.org"}, "its url reads like https://123456789012.dkr.ecr"),
        ({"name": ""}, "a name has 1 to"),
        ({"ca_certificate": "nonsense"}, "certificates in PEM"),
        ({"credential": {"type": "oauth", "access_key": "a", "access_secret": "b"}}, "is basic"),
        ({"insecure": "perhaps"}, "the body is not what"),
    ],
)
def test_what_is_no_endpoint_is_refused_with_the_reason(here: Replicating, given: dict[str, object], why: str) -> None:
    body = {"name": "never", "url": "http://127.0.0.1:1", "type": "docker-registry", **given}
    answer = here.operator.post("/registries", json=body)
    assert answer.status_code == 400
    assert why in answer.text


def test_a_secret_does_not_follow_to_another_address(here: Replicating, there: Replicating) -> None:
    mine = here.endpoint("follows", there.url)
    moved = here.operator.put(f"/registries/{mine}", json={"url": "http://127.0.0.1:1"})
    assert (moved.status_code, "not taken along" in moved.text) == (400, True)
    tried = here.operator.post("/registries/ping", json={"id": mine, "url": "http://127.0.0.1:1"})
    assert (tried.status_code, "not taken along" in tried.text) == (400, True)
    assert here.operator.put(f"/registries/{mine}", json={"description": "d", "name": "follows2"}).status_code == 200
    found = here.operator.get(f"/registries/{mine}").json()
    assert (found["name"], found["description"], found["status"]) == ("follows2", "d", "healthy")
    assert here.operator.delete(f"/registries/{mine}").status_code == 200
    assert here.operator.get(f"/registries/{mine}").status_code == 404


def test_an_endpoint_that_is_used_stays(here: Replicating, far: int) -> None:
    policy = here.policy("uses it", to=far)
    refused = here.operator.delete(f"/registries/{far}")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (412, "PRECONDITION")
    assert here.operator.delete(f"/replication/policies/{policy}").status_code == 200


# ---- push-based


def test_what_the_policy_takes_is_brought_with_its_signatures_and_nothing_twice(
    here: Replicating, there: Replicating, far: int
) -> None:
    both = index("push")
    here.push("team/app", both, "v1", "v2")
    here.push("team/app", image("push/dev"), "dev")
    here.push(
        "team/app",
        artifact("push", {"mediaType": both.manifest.media_type, "digest": both.digest, "size": both.manifest.size}),
    )
    here.push("other/app", image("push/other"), "v1")
    policy = here.policy(
        "push",
        to=far,
        filters=[
            {"type": "name", "value": "team/**"},
            {"type": "tag", "value": "dev*", "decoration": "excludes"},
        ],
        dest_namespace="mirror",
        dest_namespace_replace_count=1,
    )
    first = here.replicate(policy)
    assert (first["status"], first["total"], first["succeed"]) == ("Succeed", 1, 1), here.told(first["id"])
    assert [there.digest("mirror/app", tag) for tag in ("v1", "v2", "dev")] == [both.digest, both.digest, ""]
    assert len(there.referrers("mirror/app", both.digest)) == 1
    assert there.digest("other/app", "v1") == ""
    (task,) = here.tasks(first["id"])
    assert (task["status"], task["src_resource"], task["dst_resource"]) == ("Succeed", "team/app", "mirror/app")

    again = here.replicate(policy)
    assert again["status"] == "Succeed"
    assert "2 tags are there already" in here.told(again["id"])
    assert "was brought" not in here.told(again["id"])

    # a signature that comes later goes along, too
    here.push(
        "team/app",
        artifact("late", {"mediaType": both.manifest.media_type, "digest": both.digest, "size": both.manifest.size}),
    )
    here.replicate(policy)
    assert len(there.referrers("mirror/app", both.digest)) == 2


def test_another_image_under_the_same_tag_stays_unless_the_policy_overrides(
    here: Replicating, there: Replicating, far: int
) -> None:
    ours, theirs = image("ours"), image("theirs")
    here.push("conflict/app", ours, "v1")
    there.push("conflict/app", theirs, "v1")
    names = [{"type": "name", "value": "conflict/app"}]
    kept = here.replicate(here.policy("keeps", to=far, filters=names))
    assert kept["status"] == "Succeed"
    assert "does not override" in here.told(kept["id"])
    assert there.digest("conflict/app", "v1") == theirs.digest
    here.replicate(here.policy("overrides", to=far, filters=names, override=True))
    assert there.digest("conflict/app", "v1") == ours.digest


def test_what_is_in_another_repository_there_is_mounted(here: Replicating, there: Replicating, far: int) -> None:
    shared = image("mounted", [200_000])
    here.push("mounts/one", shared, "v1")
    here.replicate(here.policy("mounts one", to=far, filters=[{"type": "name", "value": "mounts/one"}]))
    here.push("mounts/two", shared, "v1")
    second = here.replicate(here.policy("mounts two", to=far, filters=[{"type": "name", "value": "mounts/*"}]))
    assert "1 mounted" in here.told(second["id"]), here.told(second["id"])


def test_a_tag_that_is_refused_keeps_no_other_from_coming(here: Replicating, there: Replicating, far: int) -> None:
    large, small = image("refused/large", [3_000_000, 400_000, 300_000, 200_000]), image("refused/small")
    here.push("refused/app", large, "a", "b")
    here.push("refused/app", small, "c")
    made(there.operator.post("/projects", json={"project_name": "refused", "storage_limit": 100_000}))
    done = here.replicate(here.policy("refused", to=far, filters=[{"type": "name", "value": "refused/**"}]))
    told = here.told(done["id"])
    assert done["status"] == "Failed"
    assert there.digest("refused/app", "c") == small.digest
    assert (there.digest("refused/app", "a"), there.digest("refused/app", "b")) == ("", "")
    assert "quota" in told
    assert "2 of 3 tags were not brought: a, b" in told


def test_labels_and_kinds_are_filters(here: Replicating, there: Replicating, far: int) -> None:
    here.push("kinds/app", image("kinds"), "image")
    here.push("kinds/app", artifact("kinds"), "artifact")
    label = made(here.operator.post("/labels", json={"name": "release", "scope": "g"}))
    path = "/projects/kinds/repositories/app/artifacts/image/labels"
    assert here.operator.post(path, json={"id": label}).status_code == 200
    names = {"type": "name", "value": "kinds/**"}
    here.replicate(here.policy("artifacts", to=far, filters=[names, {"type": "resource", "value": "artifact"}]))
    assert [bool(there.digest("kinds/app", tag)) for tag in ("image", "artifact")] == [False, True]
    labelled = {"type": "label", "value": ["release"], "decoration": "matches"}
    here.replicate(here.policy("labelled", to=far, filters=[names, labelled], dest_namespace="labelled"))
    assert [bool(there.digest("labelled/app", tag)) for tag in ("image", "artifact")] == [True, False]


def test_many_repositories_that_are_there_already_cost_a_few_requests(
    here: Replicating, there: Replicating, far: int
) -> None:
    content = image("many")
    for number in range(12):
        here.push(f"many/r{number}", content, "v1", "v2")
    subject = {"mediaType": content.manifest.media_type, "digest": content.digest, "size": content.manifest.size}
    here.push("many/r0", artifact("many", subject))
    policy = here.policy("many", to=far, filters=[{"type": "name", "value": "many/**"}])
    assert here.replicate(policy)["succeed"] == 12
    before = len(there.access_log())
    again = here.replicate(policy)
    assert again["succeed"] == 12
    asked = there.access_log()[before:]
    assert len(asked) < 12, asked
    assert "was brought" not in here.told(again["id"])
    listed = here.operator.get("/projects/many/artifacts", params={"page_size": 5, "sort": "id"})
    assert listed.headers["x-total-count"] == "12"
    assert {one["repository_name"] for one in listed.json()} < {f"many/r{number}" for number in range(12)}
    assert {tag["name"] for tag in listed.json()[0]["tags"]} == {"v1", "v2"}

    back = here.policy("many back", origin=far, filters=[{"type": "name", "value": "many/**"}])
    before = len(there.access_log())
    assert here.replicate(back)["succeed"] == 12
    assert len(there.access_log()) - before < 12 + 3  # r0 alone is asked for what refers to it


# ---- pull-based


def test_images_are_brought_from_there(here: Replicating, there: Replicating, far: int) -> None:
    wanted = image("pull", [300_000])
    there.push("source/app/one", wanted, "v1")
    there.push("source/app/two", image("pull/two"), "v1", "v2", "v3", "v4")
    there.push("elsewhere/app", image("pull/else"), "v1")
    policy = here.policy("pull", origin=far, filters=[{"type": "name", "value": "source/**"}], dest_namespace="from")
    done = here.replicate(policy)
    assert (done["status"], done["total"]) == ("Succeed", 2), here.told(done["id"])
    assert here.digest("from/one", "v1") == wanted.digest
    assert here.digest("from/two", "v4")
    assert not here.operator.get("/projects/from/repositories/app").is_success
    assert "4 tags are there already" in here.told(here.replicate(policy)["id"])


# ---- events


def test_a_push_and_a_deletion_are_followed(here: Replicating, there: Replicating, far: int) -> None:
    policy = here.policy(
        "follows",
        to=far,
        filters=[{"type": "name", "value": "events/**"}, {"type": "tag", "value": "v*"}],
        trigger={"type": "event_based"},
        replicate_deletion=True,
        override=True,
    )
    pushed, later = image("event"), image("event/later")
    here.push("events/app", pushed, "v1", "v2", "other")
    eventually(lambda: there.digest("events/app", "v2"), "v2")
    eventually(lambda: there.digest("events/app", "v1"), "v1")
    here.push("events/app", later, "v1")
    eventually(lambda: there.digest("events/app", "v1") == later.digest, "v1 moved")
    subject = {"mediaType": pushed.manifest.media_type, "digest": pushed.digest, "size": pushed.manifest.size}
    signature = here.push("events/app", artifact("signature", subject))
    eventually(lambda: there.digest("events/app", signature), "the signature")
    here.untag("events/app", "v2")
    eventually(lambda: not there.digest("events/app", "v2"), "v2 gone")
    assert there.digest("events/app", "v1") == later.digest
    assert there.digest("events/app", "other") == ""
    found = here.operator.get("/replication/executions", params={"policy_id": policy, "trigger": "event_based"}).json()
    assert found
    assert {here.ended(one["id"])["status"] for one in found} == {"Succeed"}


def test_a_deletion_takes_away_only_what_a_policy_brings(here: Replicating, there: Replicating, far: int) -> None:
    """Of an image that is gone nobody knows the labels; and something of another kind may be there under its tag."""
    names = [{"type": "name", "value": "keeps/app"}]
    common: dict[str, Any] = {"to": far, "trigger": {"type": "event_based"}, "replicate_deletion": True}
    labelled = here.policy("deletes labelled", **common, filters=[*names, {"type": "label", "value": ["brought"]}])
    artifacts = here.policy("deletes artifacts", **common, filters=[*names, {"type": "resource", "value": "artifact"}])
    for registry in (here, there):
        registry.push("keeps/app", image("keeps"), "v1")
        registry.push("keeps/app", artifact("keeps"), "sbom")
    here.untag("keeps/app", "v1")
    here.untag("keeps/app", "sbom")
    eventually(lambda: not there.digest("keeps/app", "sbom"), "the artifact gone")
    executions = "/replication/executions"
    for policy in (labelled, artifacts):
        for one in here.operator.get(executions, params={"policy_id": policy}).json():
            here.ended(one["id"])
    assert there.digest("keeps/app", "v1") == image("keeps").digest


def test_the_clock_begins_a_policy(here: Replicating, there: Replicating, far: int) -> None:
    scheduled = {"type": "scheduled", "trigger_settings": {"cron": "0 * * * * *"}}
    policy = here.policy("clock", to=far, filters=[{"type": "name", "value": "none/**"}], trigger=scheduled)
    name = f"replication-{policy}"
    here.work(lambda tx: tx.execute(_DUE, called=name))
    found = eventually(
        lambda: here.operator.get("/replication/executions", params={"policy_id": policy}).json(), "an execution"
    )
    assert found[0]["trigger"] == "scheduled"
    assert here.ended(found[0]["id"])["status"] == "Succeed"
    assert here.operator.delete(f"/replication/policies/{policy}").status_code == 200
    assert name not in {one.name for one in here.work(lambda tx: Schedules(tx).all())}


# ---- executions


def test_an_execution_is_stopped_and_the_next_one_begins_behind_it(
    here: Replicating, there: Replicating, far: int
) -> None:
    here.push("slow/app", image("slow", [900_000]), "v1")
    policy = here.policy("slow", to=far, filters=[{"type": "name", "value": "slow/**"}], speed=1)
    first = made(here.operator.post("/replication/executions", json={"policy_id": policy}))
    eventually(
        lambda: here.execution(first)["in_progress"] == 1 and here.tasks(first)[0]["status"] == "InProgress", "begun"
    )
    second = made(here.operator.post("/replication/executions", json={"policy_id": policy}))
    assert here.operator.delete(f"/replication/policies/{policy}").status_code == 412
    eventually(lambda: "copy slow/app to slow/app" in here.told(first), "what it does, while it does it")
    eventually(lambda: "bytes moved so far; on their way: " in here.told(first), "how far it is with a large layer")
    assert here.operator.put(f"/replication/executions/{first}").status_code == 200
    eventually(lambda: "broken off" in here.told(first), "how far it came")
    assert (here.execution(first)["status"], here.execution(first)["stopped"]) == ("Stopped", 1)
    eventually(lambda: here.tasks(second) and here.tasks(second)[0]["status"] == "InProgress", "the second began")
    assert there.digest("slow/app", "v1") == ""
    assert here.operator.put(f"/replication/executions/{second}").status_code == 200
    assert here.operator.delete(f"/replication/policies/{policy}").status_code == 200


def test_some_that_last_keep_no_other_from_being_done(here: Replicating, there: Replicating, far: int) -> None:
    lasting = []
    for number in range(5):  # more than a process has slots
        name = f"lasting{number}"
        here.push(f"{name}/app", image(name, [900_000]), "v1")
        policy = here.policy(name, to=far, filters=[{"type": "name", "value": f"{name}/**"}], speed=1)
        lasting.append(made(here.operator.post("/replication/executions", json={"policy_id": policy})))
    digest = here.push("quick/app", image("quick", [90]), "v1")
    quick = here.policy("quick", to=far, filters=[{"type": "name", "value": "quick/**"}])
    assert here.replicate(quick)["status"] == "Succeed"
    assert there.digest("quick/app", "v1") == digest
    for one in lasting:
        assert here.execution(one)["status"] == "InProgress"
        assert here.operator.put(f"/replication/executions/{one}").status_code == 200


def test_what_fails_says_why(here: Replicating, there: Replicating) -> None:
    there.user("reader")
    mine = here.endpoint("reader", there.url, credential={"access_key": "reader", "access_secret": PASSWORD})
    there.push("private/app", image("private"), "v0")
    here.push("private/app", image("private/ours"), "v1")
    failed = here.replicate(here.policy("may not", to=mine, filters=[{"type": "name", "value": "private/app"}]))
    assert (failed["status"], failed["failed"]) == ("Failed", 1)
    assert "their logs say why" in failed["status_text"]
    assert there.host in here.told(failed["id"])


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"dest_registry": {"id": 0}}, "one of src_registry and dest_registry"),
        ({"dest_registry": {"id": 99_999}}, "there is no registry"),
        ({"name": " "}, "a name has"),
        ({"trigger": {"type": "sometimes"}}, "type of the trigger"),
        ({"trigger": {"type": "scheduled", "trigger_settings": {"cron": "* * * * *"}}}, "six fields"),
        ({"trigger": {"type": "scheduled", "trigger_settings": {"cron": "0 99 * * * *"}}}, "is no timing"),
        ({"filters": [{"type": "name", "value": "a{b"}]}, "braces do not fit"),
        ({"filters": [{"type": "name", "value": "a[b"}]}, "a [ has no end"),
        ({"filters": [{"type": "name", "value": "{a,b}" * 8}]}, "more than 100 patterns"),
        ({"filters": [{"type": "colour", "value": "red"}]}, "filter's type"),
        ({"filters": [{"type": "name", "value": "a"}, {"type": "name", "value": "b"}]}, "one filter at most"),
        ({"filters": [{"type": "label", "value": "release"}]}, "list of up to"),
        ({"dest_namespace": "Capital"}, "is no namespace"),
        ({"dest_namespace_replace_count": 99}, "replace_count"),
        ({"speed": "fast"}, "the body is not what"),
    ],
)
def test_what_is_no_policy_is_refused_with_the_reason(
    here: Replicating, far: int, given: dict[str, object], why: str
) -> None:
    answer = here.operator.post("/replication/policies", json={"name": "p", "dest_registry": {"id": far}, **given})
    assert answer.status_code in (400, 404)
    assert why in answer.text


# ---- registry:2


@pytest.mark.peer
def test_where_nothing_may_be_deleted_a_tag_stays_what_it_was(here: Replicating, tmp_path: Path) -> None:
    ours = image("kept there", [2000])
    with Peer(tmp_path / "peer", {"storage": {"delete": {"enabled": False}}}) as peer, Client(peer) as client:
        mine = here.endpoint("deletes nothing", peer.url, type="docker-registry", credential=None)
        here.push("kept/app", ours, "v1", "v2")
        policy = here.policy(
            "kept there",
            to=mine,
            filters=[{"type": "name", "value": "kept/**"}],
            trigger={"type": "event_based"},
            replicate_deletion=True,
        )
        assert here.replicate(policy)["status"] == "Succeed"
        here.untag("kept/app", "v2")
        begun = {"policy_id": str(policy), "trigger": "event_based"}
        follow = eventually(lambda: here.operator.get("/replication/executions", params=begun).json(), "the deletion")
        assert here.ended(follow[0]["id"])["status"] == "Failed"
        assert "cannot take kept/app:v2 away alone" in here.told(follow[0]["id"])
        assert client.manifest("kept/app", "v2").headers["docker-content-digest"] == ours.digest


@pytest.mark.peer
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_registry_2_with_a_password_is_served_both_ways(here: Replicating, tmp_path: Path, *, tls: bool) -> None:
    passwords = write_htpasswd(tmp_path / "htpasswd", {"someone": "a-password"})
    settings: dict[str, object] = {"auth": {"htpasswd": {"realm": "r", "path": str(passwords)}}}
    made_here = certificates(tmp_path / "ca") if tls else None
    if made_here is not None:
        settings["http"] = {"tls": {"certificate": str(made_here.certificate), "key": str(made_here.key)}}
    with Peer(tmp_path / "peer", settings, ca=made_here.ca if made_here else None) as peer:
        name = "https" if tls else "http"
        login = {"credential": {"access_key": "someone", "access_secret": "a-password"}, "type": "docker-registry"}
        if made_here is not None:
            untrusted = here.operator.post("/registries", json={"name": "u", "url": peer.url, **login})
            assert (untrusted.status_code, "is not trusted" in untrusted.text) == (400, True)
            assert "into ca_certificate" in untrusted.text
            here.endpoint("insecure", peer.url, insecure=True, **login)
            login["ca_certificate"] = made_here.ca.read_text()
        mine = here.endpoint(f"peer {name}", peer.url, **login)
        ours = image(f"peer/{name}", [200_000])
        subject = {"mediaType": ours.manifest.media_type, "digest": ours.digest, "size": ours.manifest.size}
        project = f"peer-{name}"
        here.push(f"{project}/app", ours, "v1", "v2")
        signature = here.push(f"{project}/app", artifact(f"peer/{name}", subject))
        policy = here.policy(
            f"to {name}",
            to=mine,
            filters=[{"type": "name", "value": f"{project}/**"}],
            trigger={"type": "event_based"},
            replicate_deletion=True,
        )
        done = here.replicate(policy)
        assert done["status"] == "Succeed", here.told(done["id"])
        with Client(peer, auth=("someone", "a-password")) as client:
            assert client.manifest(f"{project}/app", "v1").headers["docker-content-digest"] == ours.digest
            # registry:2 has no referrers API: they are listed under the fallback tag
            listed = client.manifest(f"{project}/app", ours.digest.replace(":", "-")).json()["manifests"]
            assert [one["digest"] for one in listed] == [signature]
            here.untag(f"{project}/app", "v2")
            follow = eventually(
                lambda: here.operator.get(
                    "/replication/executions", params={"policy_id": policy, "trigger": "event_based"}
                ).json(),
                "the deletion",
            )
            gone = here.ended(follow[0]["id"])
            assert gone["status"] == "Succeed", here.told(gone["id"])
            assert set(client.tags(f"{project}/app")) == {"v1", ours.digest.replace(":", "-")}
            assert client.manifest(f"{project}/app", "v1").headers["docker-content-digest"] == ours.digest

            client.push(f"up-{name}/app", ours, "v1")
            back = here.policy(
                f"from {name}",
                origin=mine,
                filters=[{"type": "name", "value": f"{{up-http,up-https,{project}}}/*"}],
                dest_namespace=f"back-{name}",
                dest_namespace_replace_count=0,
            )
            done = here.replicate(back)
            assert done["status"] == "Succeed", here.told(done["id"])
            assert here.digest(f"back-{name}/up-{name}/app", "v1") == ours.digest
            assert here.digest(f"back-{name}/{project}/app", signature) == signature


def test_one_of_ours_with_accounts_over_tls(here: Replicating, tmp_path: Path) -> None:
    pem = certificates(tmp_path / "ca")
    tls = {"http": {"tls": {"certificate": str(pem.certificate), "key": str(pem.key)}}}
    with Replicating(tmp_path / "tls", tls, ca=pem.ca) as other:
        mine = here.endpoint("over tls", other.url, ca_certificate=pem.ca.read_text())
        content = image("tls", [200_000])
        here.push("tls/app", content, "v1")
        done = here.replicate(here.policy("over tls", to=mine, filters=[{"type": "name", "value": "tls/app"}]))
        assert done["status"] == "Succeed", here.told(done["id"])
        assert other.digest("tls/app", "v1") == content.digest
        other.push("tls/theirs", content, "v1")
        done = here.replicate(here.policy("by tls", origin=mine, filters=[{"type": "name", "value": "tls/theirs"}]))
        assert done["status"] == "Succeed", here.told(done["id"])
        assert here.digest("tls/theirs", "v1") == content.digest
