"""What Harbor's clients send: Terraform's provider, harbor-cli, and the adapter by which a Harbor replicates.

Recorded from these programs (see docs/how-to/harbor-clients.md for the versions) and written down as requests, since no
package registry has them ready to run.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.integration.harbor.conftest import ADMIN, API, PASSWORD, As, add_project, add_user, made
from tests.support.http import Client
from tests.support.images import image
from tests.support.lading import Lading
from tests.support.patience import eventually

EVERYTHING = {
    "auth_mode": "db_auth",
    "oidc_verify_cert": False,
    "oidc_auto_onboard": False,
    "oidc_logout": False,
    "self_registration": False,
    "scan_all_policy": {"parameter": {}},
    "ldap_scope": 0,
    "ldap_group_search_scope": 0,
    "ldap_verify_cert": False,
}
"""How Terraform's provider sets how people log in, whatever the mode: all it knows, for the most part empty."""


# ---- Terraform's provider


@pytest.fixture(scope="module")
def project(admin: Client) -> str:
    """A project by its id, as the provider keeps it, with nothing of a header to say that it is one."""
    body = {
        "project_name": "terraformed",
        "cve_allowlist": {},
        "storage_limit": 5 << 30,
        "metadata": {
            "auto_scan": "false",
            "enable_content_trust": "false",
            "enable_content_trust_cosign": "false",
            "auto_sbom_generation": "false",
            "prevent_vul": "false",
            "proxy_cache_local_on_not_found": "false",
            "proxy_speed_kb": "-1",
            "public": "false",
            "reuse_sys_cve_allowlist": "true",
            "severity": "low",
        },
    }
    return f"/projects/{made(admin.post('/projects', json=body))}"


def test_a_project_that_terraform_made_is_as_it_was_planned(admin: Client, project: str) -> None:
    told = admin.get(project).json()
    assert told["name"] == "terraformed"
    assert (told["metadata"]["public"], told["metadata"]["severity"]) == ("false", "low")
    assert (
        admin.get("/quotas", params={"reference_id": project.rpartition("/")[2]}).json()[0]["hard"]["storage"]
        == 5 << 30
    )


def test_an_allowlist_is_as_it_was_planned(admin: Client, logged_in: As, project: str) -> None:
    """A project shows the registry's where it has that, and its own otherwise."""
    number = int(project.rpartition("/")[2])
    system = {"items": [{"cve_id": "CVE-2024-3094"}], "expires_at": 2_000_000_000}
    assert admin.put("/system/CVEAllowlist", json=system).status_code == 200
    told = admin.get("/system/CVEAllowlist").json()
    assert (told["items"], told["expires_at"], told["project_id"]) == (system["items"], system["expires_at"], 0)
    assert admin.get(project).json()["cve_allowlist"]["items"] == system["items"]
    own = {"items": [{"cve_id": "CVE-2021-44228"}, {"cve_id": "GHSA-jfh8-c2jp-5v3q"}]}
    change = {"metadata": {"reuse_sys_cve_allowlist": "false"}, "cve_allowlist": own}
    assert admin.put(project, json=change).status_code == 200
    told = admin.get(project).json()["cve_allowlist"]
    assert (told["items"], told["project_id"], "expires_at" in told) == (own["items"], number, False)
    assert admin.get("/projects?name=terraformed").json()[0]["cve_allowlist"] == told
    assert "cve_allowlist" not in admin.get(f"{project}/metadatas").json(), "it is none of the metadata"
    assert admin.put(project, json={"metadata": {"severity": "low"}}).status_code == 200
    assert admin.get(project).json()["cve_allowlist"] == told, "what is not sent stays"
    refused: list[list[dict[str, str]]] = [[{"cve_id": "a"}] * 2, [{}]]
    refused += [[{"cve_id": one}] for one in ("", "a b", "x" * 129)]
    for wrong in refused:
        assert admin.put(project, json={"cve_allowlist": {"items": wrong}}).status_code == 400
        assert admin.put("/system/CVEAllowlist", json={"items": wrong}).status_code == 400
    assert admin.put(project, json={"cve_allowlist": {}}).status_code == 200
    assert admin.get(project).json()["cve_allowlist"]["items"] == []
    assert logged_in("").get("/system/CVEAllowlist").status_code == 401


def test_members_come_with_the_other_kind_empty(admin: Client, project: str) -> None:
    add_user(admin, "planned")
    made(admin.post("/usergroups", json={"group_name": "planners", "group_type": 3}))
    user = {"role_id": 2, "member_group": {}, "member_user": {"username": "planned"}}
    group = {"role_id": 3, "member_group": {"group_type": 3, "group_name": "planners"}, "member_user": {}}
    numbers = [made(admin.post(f"{project}/members", json=body)) for body in (user, group)]
    kinds = [admin.get(f"{project}/members/{number}").json()["entity_type"] for number in numbers]
    assert kinds == ["u", "g"]
    for body in (
        {"role_id": 2, "member_group": {}, "member_user": {}},
        {**user, "member_group": {"group_name": "planners"}},
    ):
        assert admin.post(f"{project}/members", json=body).status_code == 400


def test_a_label_without_a_colour_has_a_word_for_one(admin: Client) -> None:
    number = made(admin.post("/labels", json={"name": "plain", "color": "false", "scope": "g"}))
    assert admin.get(f"/labels/{number}").json()["color"] == "false"


def test_all_settings_at_once(admin: Client) -> None:
    """What is as it is already is taken, and what Harbor has besides where nothing is asked for."""
    assert admin.put("/configurations", json=EVERYTHING).status_code == 200
    present = {name: one["value"] for name, one in admin.get("/configurations").json().items()}
    system = {
        "banner_message": '{"closable":false,"message":"hello","type":"info","fromDate":"","toDate":""}',
        "notification_enable": True,
        "project_creation_restriction": "everyone",
        "quota_per_project_enable": True,
        "read_only": False,
        "robot_name_prefix": "robot$",
        "robot_token_duration": 15,
        "scanner_skip_update_pulltime": False,
        "session_timeout": present["session_timeout"],
        "skip_audit_log_database": False,
        "storage_per_project": -1,
        "token_expiration": present["token_expiration"],
    }
    assert admin.put("/configurations", json=system).status_code == 200
    told = admin.get("/configurations").json()
    assert told["robot_token_duration"]["value"] == 15
    for asked, words in (
        ({"audit_log_forward_endpoint": "tcp://x"}, "does not have"),
        ({"oidc_logout": True}, "does not have"),
        ({"token_expiration": 7}, "configuration file"),
    ):
        refused = admin.put("/configurations", json=EVERYTHING | asked)
        assert refused.status_code == 412, asked
        assert words in refused.json()["errors"][0]["message"]
    assert admin.put("/configurations", json=EVERYTHING | {"no_such_setting": ""}).status_code == 400


def test_a_session_that_is_refused_is_told_how_to_ask_again(registry: Lading) -> None:
    """The provider has the cookie alone, and takes the token and its cookie from the refusal."""
    with Client(registry) as browser:
        browser.post("/c/login", data={"principal": ADMIN, "password": PASSWORD})
        sid = browser.cookies["sid"]
    body = {"project_name": "by-session-id"}
    with Client(registry.url + API) as program:
        refused = program.post("/projects", json=body, headers={"cookie": f"sid={sid}"})
        assert refused.status_code == 403
        (kept,) = (one for one in refused.headers.get_list("set-cookie") if one.startswith("_gorilla_csrf="))
        program.cookies.clear()
        twice = [("cookie", f"sid={sid}"), ("cookie", kept.partition(";")[0])]
        token = ("x-harbor-csrf-token", refused.headers["x-harbor-csrf-token"])
        assert program.post("/projects", json=body, headers=[*twice, token]).status_code == 201
        elsewhere = [*twice, token, ("origin", "https://evil.example")]
        assert program.delete("/projects/by-session-id", headers=elsewhere).status_code == 403


def test_another_registry_as_terraform_keeps_it(registry: Lading, admin: Client) -> None:
    """Go reads a flag as one, and nothing else; and the registry is asked for by its name in the URL."""
    body = {
        "name": "there",
        "type": "docker-registry",
        "url": registry.url,
        "insecure": True,
        "credential": {"type": "basic", "access_key": ADMIN, "access_secret": PASSWORD},
    }
    number = made(admin.post("/registries", json=body))
    for told in (admin.get(f"/registries/{number}").json(), *admin.get("/registries?name=there").json()):
        assert (told["name"], told["insecure"] is True, told["url"]) == ("there", True, registry.url)
    change = {"name": "there2", "url": registry.url, "insecure": False, "description": "d"}
    assert admin.put(f"/registries/{number}", json=change).status_code == 200
    assert admin.get(f"/registries/{number}").json()["insecure"] is False
    assert admin.delete(f"/registries/{number}").status_code == 200


def test_the_audit_log_is_purged_as_it_was_planned(admin: Client) -> None:
    parameters = {"audit_retention_hour": 48, "include_event_types": "create_artifact,pull_artifact,other"}
    body = {"schedule": {"type": "Custom", "cron": "0 15 4 * * *"}, "parameters": parameters}
    assert admin.post("/system/purgeaudit/schedule", json=body).status_code == 201
    planned = admin.get("/system/purgeaudit/schedule").json()
    assert (planned["schedule"]["type"], planned["schedule"]["cron"]) == ("Custom", "0 15 4 * * *")
    assert json.loads(planned["job_parameters"]) == parameters
    listed = admin.get("/schedules")
    (one,) = (each for each in listed.json() if each["vendor_type"] == "PURGE_AUDIT_LOG")
    assert (one["cron"], listed.headers["x-total-count"]) == ("0 15 4 * * *", str(len(listed.json())))
    assert admin.get("/schedules/all/paused").json() == {"paused": False}
    assert admin.get("/schedules/GARBAGE_COLLECTION/paused").status_code == 400
    for wrong in (
        {},
        {**parameters, "include_event_types": "everything"},
        {**parameters, "audit_retention_hour": "2d"},
    ):
        assert admin.put("/system/purgeaudit/schedule", json={**body, "parameters": wrong}).status_code == 400

    now = {"schedule": {"type": "Manual"}, "parameters": {**parameters, "audit_retention_hour": 0, "dry_run": True}}
    number = made(admin.post("/system/purgeaudit/schedule", json=now))
    run = eventually(lambda: over(admin.get(f"/system/purgeaudit/{number}").json()), "the purge has run")
    assert (run["job_name"], run["job_kind"], run["job_status"]) == ("PURGE_AUDIT_LOG", "MANUAL", "Success")
    assert json.loads(run["job_parameters"])["found"] > 0
    assert "would go" in admin.get(f"/system/purgeaudit/{number}/log").text
    assert number in {each["id"] for each in admin.get("/system/purgeaudit").json()}
    assert admin.get(f"/system/gc/{number}").status_code == 404, "it is a run of something else"
    assert admin.put(f"/system/purgeaudit/{number}").status_code == 200
    off = {"schedule": {"type": "None"}}
    assert admin.put("/system/purgeaudit/schedule", json=off).status_code == 200
    assert admin.get("/system/purgeaudit/schedule").json() == {}
    assert not [each for each in admin.get("/schedules").json() if each["vendor_type"] == "PURGE_AUDIT_LOG"]


def over(run: dict[str, Any]) -> dict[str, Any] | None:
    """A run that has ended."""
    return run if run["job_status"] not in ("Pending", "Running") else None


# ---- harbor-cli


def test_all_of_a_list(admin: Client) -> None:
    for number in range(12):
        add_user(admin, f"many{number}")
    everybody = admin.get("/users", params={"page": "0", "page_size": "0"})
    assert int(everybody.headers["x-total-count"]) == len(everybody.json()) > 10
    assert admin.get("/quotas", params={"page": "1", "page_size": "0"}).status_code == 200


def test_how_much_room_there_is(admin: Client, logged_in: As) -> None:
    (disk,) = admin.get("/systeminfo/volumes").json()["storage"]
    assert 0 < disk["free"] <= disk["total"]
    assert logged_in("").get("/systeminfo/volumes").status_code == 401


# ---- the adapter of Harbor's own replication


def test_a_harbor_replicates_from_here_and_to_here(registry: Lading, admin: Client) -> None:
    content = image("replicated")
    project = add_project(admin, "far")
    with Client(registry, auth=(ADMIN, PASSWORD)) as client:
        digest = client.push("far/deep/er", content, "v1")
        assert client.get("/api/version").json()["version"] == "v2.0"
        assert client.get("/v2/").headers["content-type"] == "application/json"
    assert admin.get("/projects", params={"name": "far"}).json()[0]["project_id"] == project
    assert admin.get("/projects?name=").status_code == 200
    assert [one["name"] for one in admin.get("/projects/far/repositories").json()] == ["far/deep/er"]
    flags = "page_size=100&with_label=true&with_accessory=true"
    (told,) = admin.get(f"/projects/far/repositories/deep%252Fer/artifacts?{flags}").json()
    assert (told["type"], told["digest"], [tag["name"] for tag in told["tags"]]) == ("IMAGE", digest, ["v1"])
    blob = content.blobs[0].digest
    query = f"q=blob_digest={blob}&page_size=1&page_number=1"
    assert [one["name"] for one in admin.get(f"/repositories?{query}").json()] == ["far/deep/er"]
    assert admin.get("/projects?q=name%3D%7B%27near%27%7D&with_detail=false").json() == []
    made(admin.post("/projects", json={"project_name": "near", "metadata": {"public": "true"}}))
    assert [one["name"] for one in admin.get("/projects?q=name%3D%7B%27near%27%7D").json()] == ["near"]
    with token(registry, "repository:far/deep/er:pull", "repository:near/copied:pull,push") as client:
        for each in content.blobs:
            mount = {"mount": each.digest, "from": "far/deep/er"}
            assert client.post("/v2/near/copied/blobs/uploads/", params=mount).status_code == 201
        client.push_manifest("near/copied", content.manifest, "v9")
    assert admin.delete("/projects/near/repositories/copied/artifacts/v9/tags/v9").status_code == 200
    with token(registry, "repository:near/copied:*") as client:
        assert client.delete(f"/v2/near/copied/manifests/{digest}").status_code == 202


def token(registry: Lading, *scopes: str) -> Client:
    """Asked for as the challenge says, with the scopes one by one."""
    with Client(registry) as nobody:
        told = dict(part.split("=", 1) for part in nobody.get("/v2/").headers["www-authenticate"][7:].split(","))
    realm, service = (told[name].strip('"') for name in ("realm", "service"))
    assert not parse_qs(urlsplit(realm).query)
    with Client(registry, auth=(ADMIN, PASSWORD)) as client:
        answer = client.get(realm, params={"service": service, "scope": list(scopes)}).json()
    return Client(registry, headers={"authorization": f"Bearer {answer['token']}"})
