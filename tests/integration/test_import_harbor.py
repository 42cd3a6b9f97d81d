"""``lading import-harbor``: from another Lading, whose API is Harbor's, and from answers as Harbor's own."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from lading.control.projects import Projects
from lading.control.replication.endpoints import Endpoints
from tests.support.accounts import ADMIN, PASSWORD, WithAccounts
from tests.support.client import User
from tests.support.http import Client
from tests.support.issuer import Issuer
from tests.support.scripted import Answer, Asked, Scripted


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WithAccounts]:
    with WithAccounts(tmp_path_factory.mktemp("target")) as server:
        yield server


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WithAccounts]:
    """One that has nothing yet, for what two tests bring."""
    with WithAccounts(tmp_path_factory.mktemp("empty")) as server:
        yield server


def bring(target: WithAccounts, url: str, *words: str | Path, password: str = PASSWORD, status: int = 0) -> str:
    somebody = User(target.root / "home")
    words = ("--password-stdin", "--config", target.configuration, *words)
    return somebody("import-harbor", url, *words, stdin=f"{password}\n", status=status)


def handed_out(secrets: Path) -> dict[str, str]:
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in secrets.read_text().splitlines()}


def report(target: WithAccounts, url: str, *words: str | Path) -> dict[str, Any]:
    return json.loads(bring(target, url, "--json", *words))


def test_from_a_registry_that_runs(target: WithAccounts, tmp_path: Path) -> None:
    with WithAccounts(tmp_path / "source") as source, Client(source, auth=(ADMIN, PASSWORD)) as there:
        source.user("alice", "bob")
        source.project("team", public=True, owner="alice", most_bytes=5 << 20)
        source.member("team", "bob", "developer")
        source.robot("ci", "team", "repository:pull", "repository:push")
        source.robot("everywhere", "*", "repository:pull")
        project = there.get("/api/v2.0/projects/team").json()["project_id"]
        for scope in ({"scope": "g"}, {"scope": "p", "project_id": project}):
            made = there.post("/api/v2.0/labels", json={"name": "tested", "color": "#00FF00", **scope})
            assert made.status_code == 201, made.text
        assert there.put("/api/v2.0/projects/team", json={"metadata": {"prevent_vul": "true"}}).status_code == 200
        for path, said in SAID.items():
            assert there.put(f"/api/v2.0{path}", json=said).status_code == 200

        secrets = tmp_path / "secrets"
        dry = report(target, source.url, "--dry-run")
        more = {"allowlists": 2, "schedules": 2, "settings": 3}
        assert dry["made"] == {"labels": 2, "members": 2, "projects": 1, "robots": 2, "users": 2, **more}
        with Client(target, auth=(ADMIN, PASSWORD)) as here:
            assert here.get("/api/v2.0/projects/team").status_code == 404
        done = report(target, source.url, "--secrets", secrets)
        assert done["made"] == {"labels": 2, "members": 1, "projects": 1, "robots": 2, "users": 2, **more}
        assert any("prevent_vul" in line for line in done["told"])
        assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
        kept = handed_out(secrets)
        assert set(kept) == {"robot$team+ci", "robot$everywhere"}

        again = report(target, source.url, "--secrets", secrets)
        assert again["made"] == {}
        assert again["kept"]["robots"] == 2
        assert len(secrets.read_text().splitlines()) == 2

        with Client(target, auth=(ADMIN, PASSWORD)) as here:
            for path in ("/projects/team/members", "/labels?scope=g"):
                one, other = (client.get(f"/api/v2.0{path}").json() for client in (there, here))
                fields = ("entity_name", "entity_type", "role_name", "name", "color")
                assert sorted([e.get(f) for f in fields] for e in one) == sorted(
                    [e.get(f) for f in fields] for e in other
                )
            assert here.get("/api/v2.0/projects/team").json()["metadata"]["public"] == "true"
            for path in SAID:
                one, other = (shown(client.get(f"/api/v2.0{path}").json()) for client in (there, here))
                assert one == other
            quotas = here.get("/api/v2.0/quotas").json()
            assert {q["ref"]["name"]: q["hard"]["storage"] for q in quotas}["team"] == 5 << 20
        wanted = "repository:team/app:pull,push"
        assert target.ask("robot$team+ci", kept["robot$team+ci"], wanted).json()["scope"] == wanted
        assert target.ask("alice", PASSWORD).status_code == 401, "users come disabled"


SAID = {
    "/system/CVEAllowlist": {
        "items": [{"cve_id": "CVE-2024-3094"}, {"cve_id": "CVE-2021-44228"}],
        "expires_at": 4_000_000_000,
    },
    "/projects/team": {
        "metadata": {"reuse_sys_cve_allowlist": "false"},
        "cve_allowlist": {"items": [{"cve_id": "CVE-2020-1"}]},
    },
    "/configurations": {
        "banner_message": "closed on Sunday",
        "robot_token_duration": 7,
        "project_creation_restriction": "adminonly",
    },
    "/system/gc/schedule": {"schedule": {"type": "Weekly", "cron": ""}, "parameters": {"workers": 1}},
    "/system/purgeaudit/schedule": {
        "schedule": {"type": "Custom", "cron": "0 30 2 * * *"},
        "parameters": {"audit_retention_hour": 24, "dry_run": False, "include_event_types": "pull_artifact"},
    },
}


def shown(content: dict[str, Any]) -> dict[str, Any]:
    """What an answer says, without ids and times."""
    of_it = {name: shown(value) if isinstance(value, dict) else value for name, value in content.items()}
    return {name: value for name, value in of_it.items() if not name.endswith(("_time", "id", "_count"))}


def test_who_may_not_read_it_all(target: WithAccounts) -> None:
    target.user("plain")
    assert "administrator" in bring(target, target.url, "--username", "plain", status=4)
    assert "know" in bring(target, target.url, password="wrong", status=4)
    bring(target, f"{target.url}/path", status=2)


def harbor(request: Asked) -> Answer:
    """Answers of the shape Harbor 2.12 gives, for what Lading has not or would not say."""
    path = request.path.removeprefix("/api/v2.0")
    query = {name: values[0] for name, values in request.query.items()}
    found = ANSWERS.get(path)
    if path == "/robots":
        found = ROBOTS if query.get("q") == "Level=project,ProjectID=7" else []
    if path == "/labels":
        found = [{"id": 1, "name": "bad", "color": "#12", "scope": "g"}] if query["scope"] == "g" else []
    if isinstance(found, list) and query.get("page", "1") != "1":
        found = []
    if path in NEVER_SET:
        return Answer(200, b"")
    if found is None:
        return Answer(404, b'{"errors":[{"code":"NOT_FOUND","message":"not found"}]}')
    return Answer(200, json.dumps(found).encode(), {"content-type": "application/json"})


PULL = {"resource": "repository", "action": "pull"}
ROBOTS = [
    {
        "id": number,
        "name": f"bot_proj+{name}",
        "level": "project",
        "duration": -1,
        "expires_at": ends,
        "editable": True,
        "disable": name == "off",
        "permissions": [{"kind": "project", "namespace": "proj", "access": access}],
    }
    for number, (name, ends, access) in enumerate(
        [
            ("good", -1, [PULL, {"resource": "repository", "action": "fly"}]),
            ("off", int(time.time()) + 90_000, [PULL]),
            ("late", 1_600_000_000, [PULL]),
            ("empty", -1, [{"resource": "moon", "action": "read"}]),
        ]
    )
]
ANSWERS: dict[str, Any] = {
    "/users/current": {"user_id": 1, "username": "admin", "sysadmin_flag": True},
    "/configurations": {
        "auth_mode": {"value": "ldap_auth", "editable": False},
        "robot_name_prefix": {"value": "bot_", "editable": True},
        "self_registration": {"value": True, "editable": True},
        "robot_token_duration": {"value": -7, "editable": True},
        "audit_log_forward_endpoint": {"value": "syslog.example.com:514", "editable": True},
    },
    "/users": [
        {"user_id": 3, "username": "carol", "email": "carol@example.com", "sysadmin_flag": True},
        {"user_id": 4, "username": "carol2", "email": "CAROL@example.com", "sysadmin_flag": False},
        {"user_id": 5, "username": "evil\u001b[2J", "email": ""},
    ],
    "/usergroups": [{"id": 9, "group_name": "devs", "group_type": 1, "ldap_group_dn": "cn=devs,dc=example,dc=com"}],
    "/quotas": [
        {"id": 1, "ref": {"id": 7, "name": "proj", "owner_name": "carol"}, "hard": {"storage": -1}, "used": {}}
    ],
    "/projects": [
        {
            "project_id": 7,
            "name": "proj",
            "owner_name": "carol",
            "metadata": {
                "public": "false",
                "retention_id": "3",
                "severity": "high",
                "novel": "x",
                "reuse_sys_cve_allowlist": "false",
            },
            "cve_allowlist": {"items": [{"cve_id": "CVE-2020-1"}]},
        },
        {"project_id": 8, "name": "hub", "registry_id": 2, "metadata": {"public": "true", "proxy_speed_kb": "100"}},
        {"project_id": 9, "name": "far-hub", "registry_id": 4, "metadata": {"public": "true"}},
        {"project_id": 10, "name": "NOT A NAME", "metadata": {}},
    ],
    "/projects/7/members": [
        {"id": 1, "entity_name": "carol", "entity_type": "u", "entity_id": 3, "role_id": 1},
        {"id": 2, "entity_name": "devs", "entity_type": "g", "entity_id": 9, "role_id": 2},
        {"id": 3, "entity_name": "carol2", "entity_type": "u", "entity_id": 4, "role_id": 2},
        {"id": 4, "entity_name": "ghost", "entity_type": "u", "entity_id": 99, "role_id": 2},
    ],
    "/projects/10/members": [],
    "/projects/7/immutabletagrules": [{"id": 5, "action": "immutable", "disabled": False}],
    "/projects/7/webhook/policies": [{"id": 6, "name": "hook"}],
    "/registries": [
        {
            "id": number,
            "name": name,
            "description": "",
            "type": kind,
            "url": url,
            "token_service_url": "",
            "credential": {"type": "basic", "access_key": user, "access_secret": "*****"} if user else {},
            "insecure": number == 3,
            "status": "healthy",
            "creation_time": "2024-01-02T03:04:05.000Z",
            "update_time": "2024-01-02T03:04:05.000Z",
        }
        for number, name, kind, url, user in (
            (2, "hub", "docker-hub", "https://hub.docker.com", "bot"),
            (3, "site-b", "harbor", "https://b.example.com/", ""),
            (4, "cloud", "ali-acr", "https://registry.cn-hangzhou.aliyuncs.com", "key"),
            (5, "deep", "docker-registry", "https://r.example.com/path", ""),
        )
    ],
    "/replication/policies": [
        {
            "id": 1,
            "name": "nightly",
            "description": "images of theirs",
            "src_registry": {"id": 2, "name": "hub", "type": "docker-hub"},
            "dest_registry": {"id": 0, "name": "Local", "type": "harbor"},
            "dest_namespace": "mirror/of",
            "dest_namespace_replace_count": 1,
            "trigger": {"type": "scheduled", "trigger_settings": {"cron": "0 30 2 * * *"}},
            "filters": [
                {"type": "name", "value": "library/{nginx,redis}"},
                {"type": "tag", "value": "*-rc*", "decoration": "excludes"},
                {"type": "resource", "value": "image"},
            ],
            "replicate_deletion": False,
            "override": True,
            "enabled": True,
            "speed": 512,
            "copy_by_chunk": False,
            "single_active_replication": True,
        },
        {
            "id": 2,
            "name": "as-pushed",
            "src_registry": {"id": 0, "name": "Local", "type": "harbor"},
            "dest_registry": {"id": 3, "name": "site-b", "type": "harbor"},
            "dest_namespace": "",
            "dest_namespace_replace_count": -1,
            "trigger": {"type": "event_based", "trigger_settings": {"cron": ""}},
            "filters": [],
            "replicate_deletion": True,
            "override": False,
            "enabled": False,
            "speed": -1,
        },
        {"id": 3, "name": "to-the-cloud", "dest_registry": {"id": 4}, "trigger": {"type": "manual"}, "enabled": True},
        {
            "id": 4,
            "name": "charts",
            "dest_registry": {"id": 3},
            "trigger": {"type": "manual"},
            "filters": [{"type": "resource", "value": "chart"}],
        },
    ],
    "/system/gc/schedule": {
        "id": 1,
        "job_kind": "0 0 0 * * *",
        "job_parameters": '{"delete_untagged":true,"redis_url_reg":"redis://:word-of-redis@redis:6379","workers":2}',
        "job_status": "",
        "deleted": False,
        "schedule": {"type": "Custom", "cron": "0 0 0 * * *", "next_scheduled_time": "2026-01-02T00:00:00.000Z"},
    },
    "/system/purgeaudit/schedule": {
        "id": 2,
        "job_parameters": '{"audit_retention_hour":168,"dry_run":false,"include_event_types":"pull_artifact,logout_user"}',
        "schedule": {"type": "Daily", "cron": "0 0 0 * * *"},
    },
}
NEVER_SET = ("/system/CVEAllowlist",)
"""Harbor has nothing to say of it, in no bytes."""


def test_what_does_not_come_is_told_by_name(empty: WithAccounts, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    with Scripted(harbor) as far:
        done = report(empty, far.url, "--secrets", secrets)
        text = bring(empty, far.url, "--dry-run")
    assert done["made"] == {
        "users": 1,
        "groups": 1,
        "projects": 2,
        "members": 1,
        "robots": 2,
        "allowlists": 1,
        "registry endpoints": 2,
        "replication policies": 2,
        "schedules": 2,
    }
    proxy = empty.work(lambda tx: Projects(tx).named("hub"))
    endpoint = empty.work(lambda tx: Endpoints(tx).named("hub"))
    assert proxy is not None
    assert endpoint is not None
    assert (proxy.registry, empty.work(lambda tx: Projects(tx).metadata(proxy.id))) == (
        endpoint.id,
        {"proxy_speed_kb": "100"},
    )
    left = "\n".join(done["left"])
    for told in (
        "login by LDAP",
        "user evil\\x1b[2J",
        "label bad",
        "project far-hub: it is a proxy",
        "project NOT A NAME",
        "member ghost of proj",
        "setting novel of proj",
        "tag retention of proj",
        "immutable-tag rule proj: 5",
        "webhook policy proj: hook",
        "permission repository:fly of bot_proj+good",
        "robot bot_proj+late: it has expired",
        "robot bot_proj+empty: nothing is left",
        "registry endpoint cloud: there is no type 'ali-acr' here; docker-registry may do",
        "registry endpoint deep: url is scheme, host and port alone",
        "replication policy to-the-cloud: its registry endpoint cloud did not come",
        "replication policy charts: the value of a resource filter is image or artifact",
        "event logout_user of the purge of the audit log: there is none",
        "setting self_registration: it is true there and false here, by accounts.selfregistration",
        "setting audit_log_forward_endpoint: it is syslog.example.com:514 there; accounts.audit.syslog",
        "setting robot_token_duration: robot_token_duration is a number of days",
    ):
        assert told in left, left
        assert told in text or told.startswith("event"), "a schedule that is set is not looked at again"
    assert "user carol2: is carol here" in "\n".join(done["told"])
    assert "replication policy nightly: comes disabled" in "\n".join(done["told"])
    assert "as-pushed" not in "\n".join(done["told"]), "it was disabled there, too"
    assert "carol: is an administrator in Harbor" in "\n".join(done["told"])
    assert "\x1b" not in text
    kept = handed_out(secrets)
    assert empty.ask("robot$proj+good", kept["robot$proj+good"]).status_code == 200
    assert empty.ask("robot$proj+off", kept["robot$proj+off"]).status_code == 401
    with Client(empty, auth=(ADMIN, PASSWORD)) as here:
        members = here.get("/api/v2.0/projects/proj/members").json()
        assert {(m["entity_name"], m["entity_type"], m["role_id"]) for m in members} == {
            ("carol", "u", 1),
            ("devs", "g", 2),
        }
        group = here.get("/api/v2.0/usergroups", params={"ldap_group_dn": "cn=devs,dc=example,dc=com"}).json()
        assert group[0]["group_name"] == "devs"


def test_replication_comes_and_moves_nothing(empty: WithAccounts, tmp_path: Path) -> None:
    with Scripted(harbor) as far, Client(empty, auth=(ADMIN, PASSWORD)) as here:
        first = report(empty, far.url, "--secrets", tmp_path / "secrets")

        def there() -> list[Any]:
            found = [here.get(f"/api/v2.0{path}").json() for path in ("/registries", "/replication/policies")]
            return [sorted(each, key=lambda one: one["name"]) for each in found]

        (hub, site), (pushed, nightly) = came = there()
        again = report(empty, far.url, "--secrets", tmp_path / "secrets")
        assert again["made"] == {}
        assert again["kept"]["replication policies"] == 2
        assert there() == came
        told = "\n".join(first["told"] + again["told"])
        assert (
            f'registry endpoint hub: its secret does not come; PUT /api/v2.0/registries/{hub["id"]} {{"access_secret"'
            in told
        )
        assert "site-b" not in told, "it has none"
        assert here.get("/api/v2.0/replication/executions").json() == []
        planned = {one["vendor_type"]: one["cron"] for one in here.get("/api/v2.0/schedules").json()}
        assert "REPLICATION" not in planned
        gc = here.get("/api/v2.0/system/gc/schedule")
        assert "word-of-redis" not in gc.text
    assert (hub["type"], hub["url"], hub["status"], hub["credential"]["access_key"]) == (
        "docker-hub",
        "https://hub.docker.com",
        "unhealthy",
        "bot",
    )
    assert (site["type"], site["url"], site["insecure"]) == ("harbor", "https://b.example.com", True)
    for one, given in ((nightly, 0), (pushed, 1)):
        wanted = dict(ANSWERS["/replication/policies"][given], enabled=False)
        for name in ("description", "dest_namespace", "dest_namespace_replace_count", "override", "speed", "enabled"):
            assert one[name] == wanted.get(name, ""), name
        assert one["trigger"]["type"] == wanted["trigger"]["type"]
        assert one["replicate_deletion"] == wanted["replicate_deletion"]
        assert one["single_active_replication"] == wanted.get("single_active_replication", False)
        assert [{k: v for k, v in each.items() if v} for each in one["filters"]] == wanted["filters"]
    assert nightly["trigger"]["trigger_settings"]["cron"] == "0 30 2 * * *"
    assert (nightly["src_registry"]["id"], nightly["dest_registry"]["id"]) == (hub["id"], 0)
    assert (pushed["src_registry"]["id"], pushed["dest_registry"]["id"]) == (0, site["id"])


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"user_id": ', b"null"])
def test_where_there_is_no_harbor(target: WithAccounts, body: bytes) -> None:
    with Scripted(lambda request: Answer(200, body)) as far:
        told = bring(target, far.url, "--dry-run", status=3 if body in (b"[]", b"null") else 1)
    assert "Traceback" not in told


def test_a_harbor_that_breaks_off_is_gone_on_with(target: WithAccounts, tmp_path: Path) -> None:
    """The first run ends in the middle of the projects; the second brings what is missing, and nothing twice."""
    names = [f"many{number}" for number in range(4)]
    broken = [True]

    def answer(request: Asked) -> Answer:
        path = request.path.removeprefix("/api/v2.0")
        if broken[0] and path == "/projects/102/members":
            return Answer(400, b"")
        if path == "/projects":
            found = [{"project_id": 100 + at, "name": name, "metadata": {}} for at, name in enumerate(names)]
            return Answer(200, json.dumps(found).encode())
        if path == "/users/current":
            return Answer(200, json.dumps(ANSWERS[path]).encode())
        return Answer(200, b"[]") if path != "/configurations" else Answer(404)

    with Scripted(answer) as far:
        bring(target, far.url, status=1)
        broken[0] = False
        done = report(target, far.url, "--secrets", tmp_path / "secrets")
    assert done["made"]["projects"] == 2
    assert done["kept"]["projects"] == 2


def test_users_of_an_identity_provider_find_themselves_at_their_first_login(tmp_path: Path) -> None:
    """By what the provider calls them, whatever it calls them to people now; their roles are there already."""
    with Issuer() as issuer, WithAccounts(tmp_path / "here", issuer.configuration(autoonboard=True)) as server:
        users = [
            {"user_id": 1, "username": "admin", "email": "", "sysadmin_flag": True},
            {"user_id": 3, "username": "ada-of-old", "email": "ada@example.org"},
            {"user_id": 4, "username": "of-harbor", "email": ""},
        ]
        answers = {
            **ANSWERS,
            "/configurations": {"auth_mode": {"value": "oidc_auth"}},
            "/users": users,
            "/users/3": {**users[1], "oidc_user_meta": {"id": 1, "user_id": 3, "subiss": f"s-1{issuer.url}"}},
            "/users/4": users[2],
            "/projects/7/members": [{"id": 1, "entity_name": "ada-of-old", "entity_type": "u", "role_id": 2}],
        }

        def harbor_of_oidc(request: Asked) -> Answer:
            found = answers.get(request.path.removeprefix("/api/v2.0"), [])
            if isinstance(found, list) and request.query.get("page", ["1"]) != ["1"]:
                found = []
            return Answer(200, json.dumps(found).encode(), {"content-type": "application/json"})

        with Scripted(harbor_of_oidc) as far:
            for made in (2, 0):
                done = report(server, far.url, "--secrets", tmp_path / "secrets")
                assert done["made"].get("users", 0) == made
        issuer.person = {"sub": "s-1", "preferred_username": "ada-by-now", "email": "ada@example.org"}
        with Client(server) as browser:
            begun = browser.get("/c/oidc/login", params={"redirect_url": "/"})
            back = httpx2.get(begun.headers["location"], trust_env=False).headers["location"]
            assert browser.get(back).status_code == 302
            told = browser.get("/api/v2.0/users/current").json()
            assert told["username"] == "ada-of-old"
            assert browser.get("/api/v2.0/projects/proj").status_code == 200
        secret = told["oidc_user_meta"]["secret"]
        assert server.ask("ada-of-old", secret).status_code == 200
