"""The directory behind Harbor's API: try it, look into it, make users of its people, make its groups members."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.harbor.conftest import ADMIN, API, PASSWORD, add_project, made
from tests.support.directory import BASE, GROUPS, PEOPLE, SEARCHER, SEARCHERS_WORD, WORD, Slapd
from tests.support.http import Client
from tests.support.lading import Lading


@pytest.fixture(scope="module")
def registry(slapd: Slapd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lading]:
    section = {"adminpassword": PASSWORD, "ldap": slapd.settings(filter="(objectClass=inetOrgPerson)")}
    with Lading(tmp_path_factory.mktemp("harbor-ldap"), {"accounts": section}) as server:
        yield server


def test_the_configured_directory_answers(admin: Client) -> None:
    assert admin.post("/ldap/ping", json={}).json() == {"success": True, "message": ""}
    told = admin.get("/configurations")
    settings = told.json()
    assert settings["auth_mode"] == {"value": "ldap_auth", "editable": False}
    assert settings["ldap_base_dn"]["value"] == PEOPLE
    assert settings["ldap_scope"]["value"] == 2
    assert SEARCHERS_WORD not in told.text
    assert admin.put("/configurations", json={"ldap_uid": "uid"}).status_code == 200
    assert admin.put("/configurations", json={"ldap_search_password": SEARCHERS_WORD}).status_code == 200
    for changed in (
        {"ldap_uid": "cn"},
        {"auth_mode": "db_auth"},
        {"ldap_search_password": "x"},
        {"oidc_endpoint": "x"},
    ):
        refused = admin.put("/configurations", json=changed)
        assert refused.status_code == 412, changed
        assert "accounts.ldap" in refused.text, "where it can be changed"
        assert "configuration file" in refused.json()["errors"][0]["message"]
    assert admin.get("/systeminfo").json()["auth_mode"] == "ldap_auth"


def test_another_directory_can_be_tried(admin: Client, slapd: Slapd) -> None:
    good: dict[str, Any] = {
        "ldap_url": slapd.url,
        "ldap_search_dn": f"cn=root,{BASE}",
        "ldap_search_password": "root-word-for-ldap",
        "ldap_base_dn": BASE,
    }
    assert admin.post("/ldap/ping", json=good).json()["success"]
    for changed, message in (
        ({"ldap_search_password": "wrong"}, "does not accept"),
        ({"ldap_base_dn": "dc=none"}, "dc=none"),
        ({"ldap_url": slapd.tls_url}, "certificate"),
        ({"ldap_url": "ldap://127.0.0.1:1"}, "nobody answers"),
        # a web server's words are not told
        ({"ldap_url": admin.base_url.copy_with(scheme="ldap", path="/").__str__()}, ""),
    ):
        outcome = admin.post("/ldap/ping", json=good | changed).json()
        assert not outcome["success"]
        assert message in outcome["message"]
        assert "HTTP" not in outcome["message"]


@pytest.mark.parametrize(
    "given",
    [
        {"ldap_url": "ldap://169.254.169.254"},
        {"ldap_url": "ldap://[::ffff:169.254.169.254]:80"},
        {"ldap_url": "ldap://0.0.0.0"},
        {"ldap_url": "ldap://[fe80::1]"},
        {"ldap_url": "http://127.0.0.1"},
        {"ldap_url": "ldapi://%2Fvar%2Frun%2Fldapi"},
        {"ldap_url": "ldap://no-such-host.invalid"},
        # the stored password goes to the configured directory alone
        {"ldap_url": "ldap://127.0.0.1:1", "ldap_search_dn": SEARCHER},
        {"ldap_url": "ldap://127.0.0.1:1", "ldap_scope": 7},
    ],
    ids=str,
)
def test_what_is_not_tried(admin: Client, given: dict[str, Any]) -> None:
    assert admin.post("/ldap/ping", json=given).status_code == 400


def test_looking_into_it(admin: Client) -> None:
    (alice,) = admin.get("/ldap/users/search", params={"username": "lic"}).json()
    assert alice == {"username": "alice", "realname": "Alice Example", "email": "alice@example.org"}
    for term in ("*", "a)(uid=*", "\\2a"):
        assert admin.get("/ldap/users/search", params={"username": term}).json() == []
    (staff,) = admin.get("/ldap/groups/search", params={"groupname": "taf"}).json()
    assert staff == {"id": 0, "group_name": "staff", "group_type": 1, "ldap_group_dn": f"cn=staff,{GROUPS}"}
    assert len(admin.get("/ldap/groups/search", params={"groupname": "g"}).json()) == 200
    by_dn = admin.get("/ldap/groups/search", params={"groupdn": f"cn=staff,{GROUPS}"}).json()
    assert by_dn == [staff]
    for dn in (f"cn=none,{GROUPS}", f"uid=alice,{PEOPLE}", "nonsense", f"cn=*,{GROUPS}"):
        assert admin.get("/ldap/groups/search", params={"groupdn": dn}).status_code == 404
    assert admin.get("/ldap/groups/search").status_code == 400


def test_import_and_members(registry: Lading, admin: Client) -> None:
    add_project(admin, "fleet")
    assert admin.post("/ldap/users/import", json={"ldap_uid_list": ["alice", "BOB", "alice"]}).status_code == 200
    assert {"alice", "bob"} <= {user["username"] for user in admin.get("/users").json()}
    answer = admin.post("/ldap/users/import", json={"ldap_uid_list": ["carol", "nobody", "*", ADMIN]})
    assert answer.status_code == 404
    told = answer.json()["errors"][0]["message"]
    assert all(f"{name}: " in told for name in ("nobody", "*", ADMIN))
    assert "carol:" not in told
    assert "carol" in {user["username"] for user in admin.get("/users").json()}
    for names in ([], ["x"] * 3 + [f"n{number}" for number in range(200)], [""] * 2):
        assert admin.post("/ldap/users/import", json={"ldap_uid_list": names}).status_code in (400, 404)
    for dn, told in (
        (f"cn=none,{GROUPS}", "has no group"),
        (f"uid=alice,{PEOPLE}", "has no group"),
        ("no,dn=", "has no group"),
        (f"cn={'x' * 512},{GROUPS}", "512"),
    ):
        group = {"group_type": 1, "group_name": "ghosts", "ldap_group_dn": dn}
        refused = admin.post("/usergroups", json=group)
        assert refused.status_code == 400
        assert told in refused.text
        assert admin.post("/projects/fleet/members", json={"role_id": 3, "member_group": group}).status_code in (
            400,
            404,
        )
    assert not admin.get("/usergroups", params={"groupname": "ghosts"}).json()
    number = made(admin.post("/usergroups", json={"group_type": 1, "ldap_group_dn": f"cn=developers,{GROUPS}"}))
    assert admin.get(f"/usergroups/{number}").json()["group_name"] == "developers", "as the directory calls it"
    group = {"group_type": 1, "group_name": "leads", "ldap_group_dn": f"cn=leads,{GROUPS}"}
    made(admin.post("/projects/fleet/members", json={"role_id": 3, "member_group": group}))
    with Client(registry.url + API, auth=("alice", WORD.format(name="alice"))) as alice:
        assert alice.get("/projects/fleet").status_code == 200
        assert not alice.get("/users/current").json()["sysadmin_flag"]
        for method, path in (("POST", "/ldap/ping"), ("GET", "/ldap/users/search"), ("GET", "/ldap/groups/search")):
            assert alice.request(method, path, json={}).status_code == 403
    with Client(registry.url + API, auth=("bob", WORD.format(name="bob"))) as bob:
        assert bob.get("/projects/fleet").status_code == 403
