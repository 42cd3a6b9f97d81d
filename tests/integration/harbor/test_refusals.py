"""Bad input, and attempts to get at more than one may."""

from __future__ import annotations

import pytest

from lading.access.permissions import FIRST_CUSTOM
from tests.integration.harbor.conftest import ADMIN, API, PASSWORD, As, add_project, add_user, made
from tests.support.http import Client
from tests.support.lading import Lading


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/projects?page_size=101", None, 400),
        ("GET", "/projects?page=-1", None, 400),
        ("GET", "/projects?page=99999999&page_size=100", None, 400),
        ("GET", "/projects?q=name", None, 400),
        ("GET", "/projects?q=password=~a", None, 400),
        ("GET", "/users?sort=password", None, 400),
        ("GET", "/users?q=username=%00", None, 400),
        ("GET", "/users?q=" + "a" * 9000, None, 400),
        ("GET", "/robots?q=Level=project", None, 400),
        ("GET", "/robots?q=Level=project,ProjectID=" + "9" * 30, None, 404),
        ("GET", "/projects/" + "9" * 30, None, 404),
        ("GET", "/projects/%ff%fe", None, 404),
        ("GET", "/projects/library%00", None, 400),
        ("GET", "/projects/library/repositories/..%252F..%252Fetc", None, 404),
        ("GET", "/users/" + "9" * 30, None, 400),
        ("GET", "/labels?scope=x", None, 400),
        ("POST", "/system/gc/schedule", b'{"schedule": {"type": "Custom", "cron": "0 0 30 2 *"}}', 400),
        ("POST", "/system/gc/schedule", b'{"schedule": {"type": "Manual"}, "parameters": {"dry_run": true}}', 400),
        ("GET", "/system/gc/999999", None, 404),
        ("POST", "/projects", b"", 400),
        ("POST", "/projects", b"[]", 400),
        ("POST", "/projects", b"[" * 100_000, 400),
        ("POST", "/projects", b'{"project_name": "a\\u0000b"}', 400),
        ("POST", "/projects", b'{"project_name": "' + b"a" * 300_000 + b'"}', 413),
        ("POST", "/projects", b'{"project_name": "UPPER"}', 400),
        ("POST", "/projects", b'{"project_name": "a", "storage_limit": 1e99}', 400),
        ("POST", "/projects", b'{"project_name": "a", "metadata": {"public": "perhaps"}}', 400),
        ("POST", "/projects", b'{"project_name": "a", "registry_id": 7}', 400),
        ("POST", "/projects", b'{"project_name": "\xff"}', 400),
        ("POST", "/users", b'{"username": "weak", "password": "weak"}', 400),
        ("POST", "/users", b'{"username": "a,b", "password": "Harbor-Test-1"}', 400),
        ("POST", "/usergroups", b'{"group_name": "x", "group_type": 9}', 400),
        ("POST", "/labels", b'{"name": "x", "scope": "g", "color": "no color"}', 400),
        ("PUT", "/quotas/1", b'{"hard": {"storage": -7}}', 400),
        ("PUT", "/quotas/1", b'{"hard": {"storage": 99999999999999999999}}', 400),
        ("PUT", "/configurations", b'{"robot_token_duration": "soon"}', 400),
        ("PUT", "/configurations", b'{"no_such_setting": 1}', 400),
        ("PUT", "/configurations", b'{"read_only": true}', 412),
        ("POST", "/projects/library/metadatas", b'{"a": "1", "b": "2"}', 400),
        ("POST", "/projects/library/metadatas", b'{"public": "true"}', 409),
        ("POST", "/projects/library/members", b'{"role_id": 1}', 400),
        ("POST", "/projects/library/members", b'{"role_id": 77, "member_user": {"user_id": 1}}', 400),
        ("PATCH", "/projects", None, 405),
        ("GET", "/projects/library/no-such", None, 404),
        ("GET", "/scanners", None, 501),
        ("POST", "/retentions", b"{}", 501),
        ("POST", "/replication/policies", b"{}", 400),
        ("POST", "/replication/executions", b'{"policy_id": 999999}', 404),
        ("PUT", "/replication/executions/999999", None, 404),
        ("GET", "/replication/executions/999999/tasks/1/log", None, 404),
        ("POST", "/registries/ping", b'{"id": 999999}', 404),
        ("GET", "/registries/x", None, 400),
    ],
)
def test_bad_input(admin: Client, method: str, path: str, body: bytes | None, status: int) -> None:
    answer = admin.request(method, path, content=body)
    assert answer.status_code == status, answer.text
    (error,) = answer.json()["errors"]
    assert set(error) == {"code", "message"}
    assert error["message"]


def test_credentials(registry: Lading, admin: Client, logged_in: As) -> None:
    for client in (logged_in(ADMIN, "wrong"), logged_in("no-such", PASSWORD), logged_in("robot$no-such", "x")):
        answer = client.get("/users/current")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic ")
        assert client.get("/projects").status_code == 401, "wrong credentials are nobody's either"
        assert client.get("/ping").status_code == 200
    assert logged_in("").get("/users/current").status_code == 401
    with Client(registry.url + API, headers={"authorization": "Bearer lading_pat_x"}) as bearer:
        assert bearer.get("/projects").status_code == 401
    assert admin.get("/users/current").status_code == 200


def test_a_user_who_is_locked_out_has_no_rights_any_more(registry: Lading, admin: Client, logged_in: As) -> None:
    add_user(admin, "leaver")
    client = logged_in("leaver", PASSWORD)
    assert client.get("/users/current").status_code == 200
    registry.run("admin", "user", "disable", "leaver", "--config", registry.configuration)
    assert client.get("/users/current").status_code == 401
    assert client.get("/statistics").status_code == 401


def test_personal_tokens(registry: Lading, admin: Client, logged_in: As) -> None:
    add_user(admin, "token-owner")
    words = ("admin", "token", "create", "token-owner", "--config", registry.configuration)
    whole = registry.run(*words, "whole").stdout.strip()
    limited = registry.run(*words, "limited", "--limit", "repository:library/*:pull").stdout.strip()
    assert logged_in("token-owner", whole).get("/users/current").json()["username"] == "token-owner"
    with Client(registry.url + API, headers={"authorization": f"Bearer {whole}"}) as bearer:
        assert bearer.get("/users/current").json()["username"] == "token-owner"
    narrow = logged_in("token-owner", limited)
    assert narrow.get("/users/current").status_code == 200
    for method, path in (("GET", "/projects"), ("POST", "/projects"), ("GET", "/audit-logs"), ("GET", "/search")):
        assert narrow.request(method, path, json={"project_name": "x"}).status_code == 403
    password = {"old_password": PASSWORD, "new_password": "Another-Word-1"}
    number = admin.get("/users?username=token-owner").json()[0]["user_id"]
    assert narrow.put(f"/users/{number}/password", json=password).status_code == 403


def test_nobody_learns_the_secret_of_a_robot_that_may_more(admin: Client, logged_in: As) -> None:
    add_project(admin, "ladder")
    access = [{"resource": "robot", "action": action} for action in ("create", "read", "update", "delete", "list")]
    told = admin.post("/robots", json=robot("keeper", "ladder", access)).json()
    keeper = logged_in(told["name"], told["secret"])
    pusher = made(admin.post("/robots", json=robot("pusher", "ladder", [{"resource": "repository", "action": "push"}])))
    weak = made(keeper.post("/robots", json=robot("weak", "ladder", access[:1])))
    assert keeper.patch(f"/robots/{weak}", json={}).json()["secret"]
    assert keeper.patch(f"/robots/{pusher}", json={}).status_code == 403
    assert keeper.patch(f"/robots/{pusher}", json={"secret": "Chosen-Secret-1"}).status_code == 403
    raised = robot("weak", "ladder", [{"resource": "repository", "action": "push"}])
    assert keeper.put(f"/robots/{weak}", json=raised).status_code == 403
    assert keeper.post("/robots", json={**raised, "name": "more"}).status_code == 403
    system = {**robot("sys", "*", access), "level": "system"}
    assert keeper.post("/robots", json=system).status_code == 403
    other = robot("weak", "library", access[:1])
    assert keeper.put(f"/robots/{weak}", json=other).status_code in (400, 403)


def test_nobody_gives_a_role_that_may_more(registry: Lading, admin: Client, logged_in: As) -> None:
    add_project(admin, "roles")
    registry.run("admin", "role", "create", "inviter", "member:create,read,list", "--config", registry.configuration)
    user = add_user(admin, "inviter")
    made(admin.post("/projects/roles/members", json={"role_id": FIRST_CUSTOM, "member_user": {"user_id": user}}))
    inviter = logged_in("inviter", PASSWORD)
    friend = add_user(admin, "friend")
    body = {"member_user": {"user_id": friend}}
    assert inviter.post("/projects/roles/members", json={**body, "role_id": 1}).status_code == 403
    assert inviter.post("/projects/roles/members", json={**body, "role_id": 5}).status_code == 403
    assert inviter.post("/projects/roles/members", json={**body, "role_id": FIRST_CUSTOM}).status_code == 201


def robot(name: str, project: str, access: list[dict[str, str]]) -> dict:
    place = {"kind": "project", "namespace": project, "access": access}
    return {"name": name, "level": "project", "duration": -1, "permissions": [place]}
