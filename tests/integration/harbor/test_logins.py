"""How people log in, set by the API alone: a directory and a provider, in force in every worker from the next login on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from lading.access.users import Users
from lading.control.logins import SECRETS
from lading.jobs.queue import JobQueue
from lading.stores.metadata.transaction import Transaction
from tests.integration.harbor.conftest import API, made
from tests.integration.harbor.test_clients import EVERYTHING
from tests.integration.harbor.test_oidc import current, log_in, person, to_the_provider
from tests.support.accounts import ADMIN, PASSWORD, WithAccounts
from tests.support.directory import GROUPS, PEOPLE, SEARCHER, SEARCHERS_WORD, WORD, Slapd
from tests.support.http import Client
from tests.support.issuer import CLIENT, SECRET, Issuer
from tests.support.patience import eventually

OFF = {"auth_mode": "db_auth"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WithAccounts]:
    settings = {"identitynetworks": ["127.0.0.0/8"], "lockout": {"attempts": 0}}
    with WithAccounts(tmp_path_factory.mktemp("logins"), settings, workers=2) as running:
        yield running


@pytest.fixture
def admin(server: WithAccounts) -> Iterator[Client]:
    """Who sets it; afterwards nothing is set."""
    with Client(server.url + API, auth=(ADMIN, PASSWORD)) as client:
        yield client
        shown = {name: "" for name, one in client.get("/configurations").json().items() if _is_a_way(name, one)}
        cleared = client.put("/configurations", json={**OFF, **shown, **dict.fromkeys(SECRETS, "")})
        assert cleared.status_code == 200, cleared.text


def _is_a_way(name: str, one: dict[str, Any]) -> bool:
    return name.startswith(("ldap_", "oidc_")) and isinstance(one["value"], str)


def directory(slapd: Slapd, **more: Any) -> dict[str, Any]:
    """What Terraform's provider sends for a directory: what it was told, upon all that it knows."""
    told = {
        "auth_mode": "ldap_auth",
        "ldap_url": slapd.url,
        "ldap_search_dn": SEARCHER,
        "ldap_search_password": SEARCHERS_WORD,
        "ldap_base_dn": PEOPLE,
        "ldap_filter": "objectClass=inetOrgPerson",
        "ldap_uid": "uid",
        "ldap_scope": 2,
        "ldap_group_base_dn": GROUPS,
        "ldap_group_search_filter": "(objectClass=groupOfNames)",
        "ldap_group_admin_dn": f"cn=admins,{GROUPS}",
        "ldap_group_search_scope": 2,
    }
    return {**EVERYTHING, **told, **more}


def provider(issuer: Issuer, **more: Any) -> dict[str, Any]:
    told = {
        "auth_mode": "oidc_auth",
        "oidc_name": "Our SSO",
        "oidc_endpoint": issuer.url,
        "oidc_client_id": CLIENT,
        "oidc_client_secret": SECRET,
        "oidc_scope": "openid,profile,email,offline_access",
        "oidc_groups_claim": "groups",
        "oidc_auto_onboard": True,
        "oidc_verify_cert": True,
    }
    return {**EVERYTHING, **told, **more}


def statuses(server: WithAccounts, name: str, password: str) -> set[int]:
    """What a login is answered with, on connections enough to reach every worker."""
    with ThreadPoolExecutor(8) as threads:
        return {one.status_code for one in threads.map(lambda _: server.ask(name, password), range(16))}


def test_a_directory_from_the_first_call_to_the_last(server: WithAccounts, admin: Client, slapd: Slapd) -> None:
    alice, carol = (WORD.format(name=name) for name in ("alice", "carol"))
    assert statuses(server, "alice", alice) == {401}
    assert admin.get("/ldap/users/search").status_code == 412
    assert admin.put("/configurations", json=directory(slapd)).status_code == 200
    assert statuses(server, "carol", carol) == {200}, "in every worker, at once"

    told = admin.get("/configurations")
    shown = told.json()
    assert shown["auth_mode"] == {"value": "ldap_auth", "editable": True}
    for name, value in directory(slapd).items():
        if name.startswith("ldap_") and name not in SECRETS:
            assert shown[name] == {"value": value, "editable": True}
    assert not SECRETS.keys() & shown.keys()
    assert SEARCHERS_WORD not in told.text
    assert admin.get("/systeminfo").json()["auth_mode"] == "ldap_auth"
    assert admin.put("/configurations", json=directory(slapd)).status_code == 200, (
        "what is planned again changes nothing"
    )

    # what Terraform makes next
    group = {"group_name": "staff", "group_type": 1, "ldap_group_dn": f"cn=staff,{GROUPS}"}
    made(admin.post("/usergroups", json=group))
    project = made(admin.post("/projects", json={"project_name": "planned"}))
    member = {
        "role_id": 2,
        "member_group": {"group_type": 1, "ldap_group_dn": group["ldap_group_dn"]},
        "member_user": {},
    }
    made(admin.post(f"/projects/{project}/members", json=member))
    with Client(server.url + API, auth=("alice", alice)) as client:
        assert client.get("/projects/planned").status_code == 200
    with Client(server.url + API, auth=("carol", carol)) as client:
        assert client.get("/users/current").json()["sysadmin_flag"], "by the group of administrators"

    assert admin.post("/ldap/ping", json={}).json() == {"success": True, "message": ""}
    assert [one["username"] for one in admin.get("/ldap/users/search?username=bo").json()] == ["bob"]
    assert admin.post("/ldap/users/import", json={"ldap_uid_list": ["bob"]}).status_code == 200

    # another filter, while it runs
    assert admin.put("/configurations", json={"ldap_filter": "(!(uid=alice))"}).status_code == 200
    assert statuses(server, "alice", alice) == {401}
    assert statuses(server, "carol", carol) == {200}
    assert admin.put("/configurations", json=OFF).status_code == 200
    assert statuses(server, "carol", carol) == {401}
    assert admin.get("/systeminfo").json()["auth_mode"] == "db_auth"
    assert admin.post("/ldap/ping", json={}).json()["success"], "it is still set, and can be tried"


def test_no_secret_is_told_or_stored_as_it_is(server: WithAccounts, admin: Client, slapd: Slapd) -> None:
    assert admin.put("/configurations", json=directory(slapd)).status_code == 200
    assert admin.put("/configurations", json={"ldap_search_password": "another-word-for-it"}).status_code == 200
    log = admin.get("/auditlog-exts", params={"q": "resource_type=configuration", "page_size": 100})
    told = [one["operation_description"] for one in log.json()]
    assert any("ldap_search_password; another" in one for one in told)
    assert any(f"ldap_url; {slapd.url}" in one for one in told)
    stored = b"".join(path.read_bytes() for path in (server.storage / "lading").iterdir() if "index" in path.name)
    assert slapd.url.encode() in stored
    for secret in (SEARCHERS_WORD, "another-word-for-it"):
        assert secret not in log.text
        assert secret.encode() not in stored
        assert secret not in server.output


def test_whoever_is_gone_is_found_by_the_job(server: WithAccounts, admin: Client, slapd: Slapd) -> None:
    assert admin.put("/configurations", json=directory(slapd)).status_code == 200
    slapd.add("leaver")
    try:
        assert server.ask("leaver", WORD.format(name="leaver")).status_code == 200
    finally:
        slapd.remove("leaver")
    without: Any = None  # what is enqueued is enqueued by the transaction alone

    async def compare(tx: Transaction) -> None:
        await JobQueue(without, "test").enqueue(tx, "sync-directory")

    async def is_out(tx: Transaction) -> bool:
        user = await Users(tx).named("leaver")
        return user is not None and user.disabled

    server.work(compare)
    eventually(lambda: server.work(is_out), "the job has compared")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"ldap_url": ""}, "ldap_url is required"),
        ({"ldap_base_dn": ""}, "ldap_base_dn is required"),
        ({"ldap_search_password": ""}, "ldap_search_dn without a password"),
        ({"ldap_url": "http://127.0.0.1"}, "ldap://host"),
        ({"ldap_url": "ldap://169.254.169.254"}, "metadata"),
        ({"ldap_url": "ldap://[fe80::1]"}, "link-local"),
        ({"ldap_url": "ldap://no-such-host.invalid"}, "no host"),
        ({"ldap_filter": "(uid=*"}, "ldap_filter must be a filter"),
        ({"ldap_uid": "uid)(x=*"}, "no name of an attribute"),
        ({"ldap_scope": 7}, "ldap_scope must be base, one or sub"),
        ({"ldap_scope": "sub"}, "ldap_scope is a whole number"),
        ({"ldap_timeout": 3600}, "ldap_timeout must be from 1s to 60s"),
        ({"ldap_verify_cert": "yes"}, "ldap_verify_cert is true or false"),
        ({"ldap_search_password": 7}, "ldap_search_password is a text"),
        ({"ldap_base_dn": "x" * 1025}, "1024"),
        ({"ldap_group_admin_dn": "cn=admins,dc=elsewhere"}, "ldap_group_base_dn"),
        ({"auth_mode": "uaa_auth"}, "auth_mode is db_auth"),
        ({"auth_mode": "oidc_auth"}, "oidc_verify_cert"),
        ({"auth_mode": "oidc_auth", "oidc_verify_cert": True}, "oidc_endpoint is required"),
        ({"oidc_endpoint": "ftp://x"}, "https://"),
        ({"oidc_endpoint": "http://10.0.0.1"}, "identitynetworks"),
        ({"oidc_group_filter": "("}, "regular expression"),
        ({"oidc_scope": "profile", "oidc_verify_cert": True, "auth_mode": "oidc_auth"}, "oidc_"),
    ],
    ids=str,
)
def test_what_cannot_be(server: WithAccounts, admin: Client, slapd: Slapd, changed: dict[str, Any], words: str) -> None:
    """All or nothing: what was right beside it is not taken either."""
    before = admin.get("/configurations").json()
    refused = admin.put("/configurations", json={**directory(slapd), **changed, "banner_message": "hello"})
    assert refused.status_code == 400, refused.text
    assert words in refused.json()["errors"][0]["message"]
    assert admin.get("/configurations").json() == before
    assert server.ask("alice", WORD.format(name="alice")).status_code == 401


def test_a_secret_goes_to_the_place_it_was_given_for(admin: Client, slapd: Slapd, server: WithAccounts) -> None:
    assert admin.put("/configurations", json=directory(slapd)).status_code == 200
    for changed in ({"ldap_url": slapd.tls_url}, {"ldap_search_dn": f"cn=other,{PEOPLE}"}):
        refused = admin.put("/configurations", json=changed)
        assert refused.status_code == 400
        assert "ldap_search_password is missing" in refused.json()["errors"][0]["message"]
    moved = {"ldap_url": slapd.tls_url, "ldap_search_password": SEARCHERS_WORD, "ldap_verify_cert": True}
    assert admin.put("/configurations", json=moved).status_code == 200
    answer = admin.post("/ldap/ping", json={}).json()
    assert not answer["success"]
    assert "certificate" in answer["message"]
    assert server.ask("alice", WORD.format(name="alice")).status_code == 503
    group = {"group_name": "unseen", "group_type": 1, "ldap_group_dn": f"cn=leads,{GROUPS}"}
    refused = admin.post("/usergroups", json=group)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (503, "UNAVAILABLE"), "nothing is made unseen"


def test_a_provider_and_another_one(server: WithAccounts, admin: Client) -> None:
    with Issuer() as first, Issuer() as second, Client(server) as browser, Client(server) as late:
        assert browser.get("/c/oidc/login").status_code == 404
        assert admin.put("/configurations", json=provider(first)).status_code == 200
        info = admin.get("/systeminfo").json()
        assert (info["auth_mode"], info["oidc_provider_name"]) == ("oidc_auth", "Our SSO")
        shown = admin.get("/configurations").json()
        assert shown["oidc_endpoint"] == {"value": first.url, "editable": True}
        assert "oidc_client_secret" not in shown
        person(first, "ada")
        assert log_in(browser).status_code == 302
        secret = current(browser)["oidc_user_meta"]["secret"]
        assert statuses(server, "ada", secret) == {200}

        under_way = to_the_provider(late)
        assert admin.put("/configurations", json=provider(second)).status_code == 200
        asked = len(second.asked)
        refused = late.get(under_way)
        assert refused.status_code == 401
        assert "another provider" in refused.text
        assert statuses(server, "ada", secret) == {401}, "the provider that knew her is asked no more"
        assert browser.get(f"{API}/users/current").status_code == 401
        assert len(second.asked) == asked, "neither a code nor a refresh token of the first goes to the second"

        assert admin.put("/configurations", json=OFF).status_code == 200
        assert browser.get("/c/oidc/login").status_code == 404
        assert admin.put("/configurations", json={"auth_mode": "oidc_auth"}).status_code == 200, "as it was set"
        assert httpx2.get(f"{server.url}/c/oidc/login", trust_env=False).status_code == 302


def test_those_who_are_no_administrators_set_nothing(server: WithAccounts, admin: Client, slapd: Slapd) -> None:
    server.user("someone")
    with Client(server.url + API, auth=("someone", PASSWORD)) as client:
        assert client.put("/configurations", json=directory(slapd)).status_code == 403
    assert admin.get("/systeminfo").json()["auth_mode"] == "db_auth"
