"""``lading import-harbor``: how people log in there, without the secrets that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_import_harbor import bring, report
from tests.support.accounts import ADMIN, PASSWORD, WithAccounts
from tests.support.directory import GROUPS, PEOPLE, SEARCHER, SEARCHERS_WORD, WORD, Slapd
from tests.support.http import Client
from tests.support.scripted import Answer, Asked, Scripted


def settings(mode: str, **more: Any) -> dict[str, Any]:
    """Harbor's answer to GET /configurations, which has every setting but the passwords."""
    usual = {
        "ldap_url": "",
        "ldap_search_dn": "",
        "ldap_base_dn": "",
        "ldap_filter": "",
        "ldap_uid": "cn",
        "ldap_scope": 2,
        "ldap_timeout": 5,
        "ldap_verify_cert": True,
        "ldap_group_base_dn": "",
        "ldap_group_search_filter": "",
        "ldap_group_attribute_name": "",
        "ldap_group_search_scope": 2,
        "ldap_group_admin_dn": "",
        "ldap_group_membership_attribute": "memberof",
        "ldap_group_attach_parallel": False,
        "oidc_endpoint": "",
        "oidc_client_id": "",
        "oidc_scope": "",
        "oidc_logout": False,
        "oidc_extra_redirect_parms": "{}",
    }
    values = {**usual, "auth_mode": mode, **more}
    return {name: {"value": value, "editable": True} for name, value in values.items()}


def harbor(configurations: dict[str, Any]) -> Scripted:
    answers: dict[str, Any] = {
        "/users/current": {"user_id": 1, "username": "admin", "sysadmin_flag": True},
        "/configurations": configurations,
        "/users": [
            {"user_id": 1, "username": "admin", "email": ""},
            {"user_id": 3, "username": "alice", "email": "alice@example.org", "realname": "Alice Example"},
            {"user_id": 4, "username": "left", "email": "left@example.org"},
        ],
        "/projects": [{"project_id": 7, "name": "proj", "owner_name": "admin", "metadata": {"public": "false"}}],
        "/projects/7/members": [
            {"id": 1, "entity_name": name, "entity_type": "u", "role_id": 2} for name in ("alice", "left")
        ],
    }

    def answer(asked: Asked) -> Answer:
        found = answers.get(asked.path.removeprefix("/api/v2.0"), [])
        if isinstance(found, list) and asked.query.get("page", ["1"]) != ["1"]:
            found = []
        return Answer(200, json.dumps(found).encode(), {"content-type": "application/json"})

    return Scripted(answer)


def of_directory(slapd: Slapd, **more: Any) -> dict[str, Any]:
    return settings(
        "ldap_auth",
        ldap_url=slapd.url.removeprefix("ldap://"),
        ldap_search_dn=SEARCHER,
        ldap_base_dn=PEOPLE,
        ldap_filter="objectClass=inetOrgPerson",
        ldap_uid="uid",
        ldap_group_base_dn=GROUPS,
        ldap_group_admin_dn=f"cn=admins,{GROUPS}",
        **more,
    )


def configured(client: Client) -> dict[str, Any]:
    shown = client.get("/api/v2.0/configurations").json()
    return {name: one["value"] for name, one in shown.items()}


def test_a_directory_comes_into_force_with_its_secret_and_its_people_find_themselves(
    tmp_path: Path, slapd: Slapd
) -> None:
    word = WORD.format(name="alice")
    secrets = tmp_path / "secrets"
    with WithAccounts(tmp_path / "here") as here, Client(here, auth=(ADMIN, PASSWORD)) as admin:
        with harbor(of_directory(slapd)) as far:
            dry = report(here, far.url, "--dry-run")
            assert configured(admin)["ldap_url"] == ""
            done = report(here, far.url, "--secrets", secrets)
            before = configured(admin)
            again = report(here, far.url, "--secrets", secrets)
        assert dry["made"] == {**done["made"], "members": 2}
        assert done["made"] == {"login settings": 1, "members": 2, "projects": 1, "users": 2}
        assert again["made"] == {}
        for each in (dry, done, again):
            (told,) = [line for line in each["told"] if line.startswith("login by LDAP")]
            assert "not in force" in told
            assert '{"auth_mode": "ldap_auth", "ldap_search_password": "…"}' in told
        assert (before["auth_mode"], before["ldap_url"], before["ldap_uid"]) == ("db_auth", slapd.url, "uid")
        assert configured(admin) == before
        # everybody who could log in still can, and nobody else
        assert here.ask(ADMIN, PASSWORD).status_code == 200
        assert here.ask("alice", word).status_code == 401

        said = {"auth_mode": "ldap_auth", "ldap_search_password": SEARCHERS_WORD}
        assert admin.put("/api/v2.0/configurations", json=said).status_code == 200
        assert here.ask("alice", "wrong").status_code == 401
        wanted = "repository:proj/app:pull,push"
        assert here.ask("alice", word, wanted).json()["scope"] == wanted, "as the developer that she was there"
        assert here.ask("left", WORD.format(name="left")).status_code == 401
        with harbor(of_directory(slapd)) as far:
            last = report(here, far.url, "--secrets", secrets)
        assert last["made"] == {}
        assert not [line for line in last["told"] if line.startswith("login by LDAP")], "nothing is left to be done"


def test_who_is_asked_already_stays(tmp_path: Path, slapd: Slapd) -> None:
    """By the configuration file, or by what was set here before."""
    with harbor(of_directory(slapd)) as far:
        with WithAccounts(tmp_path / "by-file", {"ldap": slapd.settings(basedn=f"ou=Nobody,{PEOPLE}")}) as here:
            done = report(here, far.url, "--secrets", tmp_path / "secrets")
            assert "login settings" not in done["made"]
            assert any("accounts.ldap in the configuration file says" in line for line in done["told"])
        with WithAccounts(tmp_path / "by-api") as here, Client(here, auth=(ADMIN, PASSWORD)) as admin:
            mine = {"ldap_url": "ldap://127.0.0.1:9", "ldap_base_dn": "dc=mine"}
            assert admin.put("/api/v2.0/configurations", json=mine).status_code == 200
            before = configured(admin)
            done = report(here, far.url, "--secrets", tmp_path / "secrets")
            assert configured(admin) == before
            assert any(line.startswith("login by LDAP: is set otherwise here") for line in done["told"])


ANONYMOUS = settings("ldap_auth", ldap_url="ldaps://ldap.example.org", ldap_base_dn="dc=example,dc=org", ldap_uid="uid")
PROVIDER = settings(
    "oidc_auth",
    oidc_name="SSO",
    oidc_endpoint="https://sso.example.com/realms/staff",
    oidc_client_id="harbor",
    oidc_scope="openid,profile,email",
    oidc_groups_claim="groups",
    oidc_verify_cert=False,
)


@pytest.mark.parametrize(
    ("there", "mode", "told"),
    [
        (ANONYMOUS, "ldap_auth", "login by LDAP: is in force"),
        (PROVIDER, "db_auth", "oidc_verify_cert is false"),
        (settings("ldap_auth", ldap_url="ldap://host/path"), "db_auth", "ldap_url must be ldap://host"),
        (settings("uaa_auth"), "db_auth", "login by uaa_auth: there is no such way here"),
    ],
    ids=["without-a-secret", "provider", "nonsense", "no-such-way"],
)
def test_what_is_set_and_what_is_in_force(tmp_path: Path, there: dict[str, Any], mode: str, told: str) -> None:
    with WithAccounts(tmp_path / "here") as here, Client(here, auth=(ADMIN, PASSWORD)) as admin, harbor(there) as far:
        text = bring(here, far.url, "--secrets", tmp_path / "secrets")
        now = configured(admin)
        assert told in text
        assert now["auth_mode"] == mode
        assert here.ask(ADMIN, PASSWORD).status_code == 200
        if there is PROVIDER:
            assert now["oidc_endpoint"] == "https://sso.example.com/realms/staff"
            assert '{"auth_mode": "oidc_auth", "oidc_client_secret": "…"}' in text
            assert "/c/oidc/callback" in text
