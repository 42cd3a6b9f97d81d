"""Logging in by an OpenID Connect provider: the way of a browser, CLI secrets, groups, and attacks on all of it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from sqlalchemy import bindparam, update

from lading.stores.metadata.schema.logins import oidc_identities
from lading.stores.metadata.transaction import Statement, Transaction
from tests.support.accounts import ADMIN, PASSWORD, WithAccounts
from tests.support.http import Client
from tests.support.issuer import CLIENT, SECRET, Issuer, Key
from tests.support.postgres import Postgres

API = "/api/v2.0"
_AGE = Statement(
    update(oidc_identities).values(
        checked_at=oidc_identities.c.checked_at - bindparam("by"),
        verified_at=oidc_identities.c.verified_at - bindparam("by"),
    )
)


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as made:
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[WithAccounts]:
    settings = issuer.configuration(autoonboard=True, admingroup="keepers", groupfilter="^(?!hidden)", recheck="10m")
    settings["lockout"] = {"attempts": 0}
    with WithAccounts(tmp_path_factory.mktemp("oidc"), settings, workers=2) as made:
        yield made


@pytest.fixture(autouse=True)
def honest(issuer: Issuer) -> Iterator[None]:
    yield
    issuer.claims, issuer.document, issuer.userinfo = {}, {}, None


@pytest.fixture
def browser(server: WithAccounts) -> Iterator[Client]:
    with Client(server) as made:
        yield made


def person(issuer: Issuer, who: str, /, *groups: str, **more: Any) -> None:
    """Who is at the provider's keyboard."""
    told = {"sub": f"s-{who}", "preferred_username": who, "email": f"{who}@example.org", "groups": list(groups)}
    issuer.person = {**told, **more}


def to_the_provider(browser: Client, target: str = "/") -> str:
    """Begin a login; the URL that the provider sends the browser back to."""
    begun = browser.get("/c/oidc/login", params={"redirect_url": target})
    assert begun.status_code == 302, begun.text
    sent = httpx2.get(begun.headers["location"], trust_env=False)
    assert sent.status_code == 302, sent.text
    return sent.headers["location"]


def log_in(browser: Client) -> httpx2.Response:
    return browser.get(to_the_provider(browser))


def current(browser: Client) -> dict[str, Any]:
    answer = browser.get(f"{API}/users/current")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def age(server: WithAccounts, milliseconds: int) -> None:
    async def work(tx: Transaction) -> None:
        await tx.execute(_AGE, by=milliseconds)

    server.work(work)


# ---- the way it should be


def test_a_login_makes_a_user_with_groups_and_leads_on(server: WithAccounts, issuer: Issuer, browser: Client) -> None:
    person(issuer, "ada", "crew", "hidden-1", name="Ada L.")
    answer = browser.get(to_the_provider(browser, "/harbor/projects?x=1"))
    assert (answer.status_code, answer.headers["location"]) == (302, "/harbor/projects?x=1")
    told = current(browser)
    assert (told["username"], told["email"], told["realname"]) == ("ada", "ada@example.org", "Ada L.")
    assert told["sysadmin_flag"] is False
    assert told["oidc_user_meta"]["subiss"] == f"s-ada{issuer.url}"
    with Client(server, auth=(ADMIN, PASSWORD)) as admin:
        groups = {group["group_name"]: group for group in admin.get(f"{API}/usergroups").json()}
        assert groups["crew"]["group_type"] == 3
        assert "hidden-1" not in groups
        seen = admin.get(f"{API}/users/{told['user_id']}").json()
        assert "secret" not in seen["oidc_user_meta"], "it is told to oneself alone"
        log = admin.get(f"{API}/audit-logs", params={"q": "username=ada"})
        assert log.status_code == 200


def test_a_group_gives_roles_until_its_member_leaves_it(server: WithAccounts, issuer: Issuer, browser: Client) -> None:
    person(issuer, "bea", "builders")
    log_in(browser)
    with Client(server, auth=(ADMIN, PASSWORD)) as admin:
        assert admin.post(f"{API}/projects", json={"project_name": "built"}).status_code == 201
        member = {"role_id": 2, "member_group": {"group_name": "builders", "group_type": 3}}
        assert admin.post(f"{API}/projects/built/members", json=member).status_code == 201
    assert browser.get(f"{API}/projects/built").status_code == 200
    secret = current(browser)["oidc_user_meta"]["secret"]
    person(issuer, "bea")
    for known in issuer.refreshes.values():
        if known["sub"] == "s-bea":
            known["groups"] = []
    age(server, 601_000)
    assert server.ask("bea", secret, "repository:built/app:pull").status_code == 200
    assert browser.get(f"{API}/projects/built").status_code == 403


def test_administrators_by_a_group(server: WithAccounts, issuer: Issuer, browser: Client) -> None:
    person(issuer, "cleo", "keepers")
    log_in(browser)
    assert current(browser)["sysadmin_flag"] is True
    person(issuer, "cleo", "crew")
    log_in(browser)
    assert current(browser)["sysadmin_flag"] is False
    server.user("made-admin-here")
    with Client(server, auth=(ADMIN, PASSWORD)) as admin:
        number = current(browser)["user_id"]
        assert admin.put(f"{API}/users/{number}/sysadmin", json={"sysadmin_flag": True}).status_code == 200
    log_in(browser)
    assert current(browser)["sysadmin_flag"] is True, "whom an administrator made one stays one"


def test_the_cli_secret(server: WithAccounts, issuer: Issuer, browser: Client) -> None:
    person(issuer, "dora")
    log_in(browser)
    told = current(browser)
    secret, number = told["oidc_user_meta"]["secret"], told["user_id"]
    assert secret.startswith("lading_cli_")
    assert server.ask("dora", secret).status_code == 200
    assert server.ask("dora", secret + "x").status_code == server.ask("dora", "").status_code == 401
    assert server.ask("ada", secret).status_code == 401, "it is one user's"
    assert browser.post("/c/login", data={"principal": "dora", "password": secret}).status_code == 401
    docker = server.run("login", server.host, "-u", "dora", "-p", secret, check=False)
    assert docker.returncode == 0, docker.stderr
    headers = {"x-harbor-csrf-token": browser.get(f"{API}/users/current").headers["x-harbor-csrf-token"]}
    weak = browser.put(f"{API}/users/{number}/cli_secret", json={"secret": "weak"}, headers=headers)
    assert weak.status_code == 400
    chosen = browser.put(f"{API}/users/{number}/cli_secret", json={"secret": "Chosen-secret-1"}, headers=headers)
    assert chosen.status_code == 200, chosen.text
    assert server.ask("dora", secret).status_code == 401
    assert server.ask("dora", "Chosen-secret-1").status_code == 200
    assert browser.post("/c/login", data={"principal": "dora", "password": "Chosen-secret-1"}).status_code == 401
    assert current(browser)["oidc_user_meta"]["secret"] == "Chosen-secret-1", "the session goes on"
    with Client(server, auth=(ADMIN, PASSWORD)) as admin:
        assert admin.put(f"{API}/users/1/cli_secret", json={}).status_code == 412, "who has a password has none"
        assert admin.put(f"{API}/users/{number}/cli_secret", json={}).status_code == 200
    assert server.ask("dora", "Chosen-secret-1").status_code == 401
    with Client(server, auth=("ada", PASSWORD)) as other:
        assert other.put(f"{API}/users/{number}/cli_secret", json={}).status_code == 401


def test_personal_tokens_live_on_and_the_local_admin_comes_in(
    server: WithAccounts, issuer: Issuer, browser: Client
) -> None:
    person(issuer, "eve")
    log_in(browser)
    token = server.personal_token("eve")
    assert browser.get("/c/log_out").status_code == 200
    assert server.ask("eve", token).status_code == 200
    assert server.ask(ADMIN, PASSWORD).status_code == 200
    assert browser.post("/c/login", data={"principal": ADMIN, "password": PASSWORD}).status_code == 200


def test_what_the_provider_ends_is_over_here(server: WithAccounts, issuer: Issuer, browser: Client) -> None:
    person(issuer, "fay")
    log_in(browser)
    secret = current(browser)["oidc_user_meta"]["secret"]
    identity = server.ask("fay", secret, offline_token="true").json()["refresh_token"]
    issuer.refreshes.clear()
    assert server.ask("fay", secret).status_code == 200, "its last word is ten minutes old at most"
    age(server, 601_000)
    assert server.ask("fay", secret).status_code == 401
    assert browser.get(f"{API}/users/current").status_code == 401
    form = {"grant_type": "refresh_token", "refresh_token": identity, "service": "lading"}
    assert browser.post("/service/token", data=form).status_code == 401
    log_in(browser)
    assert server.ask("fay", secret).status_code == 200, "whoever logs in there again is back"


def test_who_is_disabled_here_stays_out(server: WithAccounts, issuer: Issuer, browser: Client) -> None:
    person(issuer, "gil")
    log_in(browser)
    secret = current(browser)["oidc_user_meta"]["secret"]
    server.disable("gil")
    assert browser.get(f"{API}/users/current").status_code == 401
    assert server.ask("gil", secret).status_code == 401
    refused = log_in(browser)
    assert refused.status_code == 401
    assert "disabled" in refused.json()["errors"][0]["message"]
    assert "sid" not in refused.headers.get("set-cookie", "")


def test_a_taken_name_is_asked_for(server: WithAccounts, issuer: Issuer, browser: Client) -> None:
    server.user("taken")
    person(issuer, "taken", sub="s-other")
    answer = log_in(browser)
    assert (answer.status_code, answer.headers["location"]) == (302, "/c/oidc/onboard")
    page = browser.get("/c/oidc/onboard")
    assert 'value="taken"' in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    again = browser.post("/c/oidc/onboard", data={"username": "taken"})
    assert "there is a user taken already" in again.text
    odd = browser.post("/c/oidc/onboard", data={"username": '"><script>'})
    assert "<script>" not in odd.text
    assert browser.post("/c/oidc/onboard", json={"username": "taken"}).status_code == 409
    assert browser.post("/c/oidc/onboard", json={"username": 1}).status_code == 400
    elsewhere = {"origin": "https://evil.example"}
    assert browser.post("/c/oidc/onboard", data={"username": "mine"}, headers=elsewhere).status_code == 403
    arrival = browser.cookies["oidc_arrival"]
    assert browser.post("/c/oidc/onboard", json={"username": "not-taken"}).status_code == 200
    assert current(browser)["username"] == "not-taken"
    with Client(server, cookies={"oidc_arrival": arrival}) as replay:
        assert replay.post("/c/oidc/onboard", json={"username": "twice"}).status_code == 401


def test_settings_are_told_and_the_secret_is_not(server: WithAccounts, issuer: Issuer, browser: Client) -> None:
    with Client(server, auth=(ADMIN, PASSWORD)) as admin:
        answer = admin.get(f"{API}/configurations")
        found = {name: told["value"] for name, told in answer.json().items()}
        assert (found["auth_mode"], found["oidc_endpoint"]) == ("oidc_auth", issuer.url)
        assert (found["oidc_client_id"], found["oidc_admin_group"]) == (CLIENT, "keepers")
        assert found["oidc_auto_onboard"] is True
        assert SECRET not in answer.text
        refused = admin.put(f"{API}/configurations", json={"oidc_endpoint": "https://x.example"})
        assert (refused.status_code, "accounts.oidc" in refused.text) == (412, True)
        info = browser.get(f"{API}/systeminfo").json()
        assert (info["auth_mode"], info["oidc_provider_name"]) == ("oidc_auth", "SSO")
        assert admin.post(f"{API}/system/oidc/ping", json={"url": issuer.url}).status_code == 200
    assert browser.post(f"{API}/system/oidc/ping", json={"url": issuer.url}).status_code == 401


# ---- attacks


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil",
        "evil",
        "/a\r\nset-cookie:x=1",
        "/\t/evil",
    ],
)
def test_nobody_is_sent_elsewhere(browser: Client, target: str) -> None:
    assert browser.get("/c/oidc/login", params={"redirect_url": target}).status_code == 400


def test_an_answer_is_good_once_and_in_its_browser(server: WithAccounts, issuer: Issuer, browser: Client) -> None:
    person(issuer, "judy")
    back = to_the_provider(browser)
    kept = browser.cookies["oidc_login"]
    with Client(server) as other:
        assert other.get(back).status_code == 401, "another browser, which began nothing"
        to_the_provider(other)
        assert other.get(back).status_code == 401, "or began another login"
        assert "sid" not in other.cookies
    query = {name: values[0] for name, values in parse_qs(urlsplit(back).query).items()}
    for change in (
        {"state": "x"},
        {"state": ""},
        {"iss": "https://evil.example"},
        {"error": "access_denied"},
        {"code": ""},
    ):
        assert browser.get("/c/oidc/callback", params={**query, **change}).status_code == 401, change
        browser.cookies.set("oidc_login", kept)
    browser.cookies.clear()
    browser.cookies.set("oidc_login", kept)
    assert browser.get(back).status_code == 302
    browser.cookies.clear()
    browser.cookies.set("oidc_login", kept)
    assert browser.get(back).status_code == 401, "the code is used up"
    for odd in ("", "x", kept[:-3], "A" * 200, "é"):
        with Client(server) as forged:
            assert forged.get(back, headers={b"cookie": f"oidc_login={odd}".encode()}).status_code == 401


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"iss": "https://evil.example"},
        {"aud": "another-client"},
        {"aud": [CLIENT, "another"]},
        {"aud": [CLIENT, "another"], "azp": "another"},
        {"azp": "another"},
        {"exp": 1},
        {"exp": None},
        {"iat": 99999999999},
        {"iat": None},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 300},
    ],
)
def test_a_token_that_is_not_right_lets_nobody_in(issuer: Issuer, browser: Client, claims: dict[str, Any]) -> None:
    person(issuer, "mallory")
    issuer.claims = claims
    answer = log_in(browser)
    assert answer.status_code == 401, answer.text
    assert "sid" not in browser.cookies


@pytest.mark.parametrize("forgery", ["none", "HS256", "other key"])
def test_a_token_that_somebody_else_signed(
    issuer: Issuer, browser: Client, forgery: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    person(issuer, "mallory")
    honest = issuer.token

    def forged(claims: dict[str, Any], **_: Any) -> str:
        if forgery == "other key":
            return honest(claims, key=Key().private)
        return issuer.forged(claims, forgery)

    monkeypatch.setattr(issuer, "token", forged)
    assert log_in(browser).status_code == 401


def test_user_info_of_somebody_else(issuer: Issuer, browser: Client) -> None:
    person(issuer, "mallory")
    del issuer.person["groups"]
    issuer.userinfo = {"sub": "s-cleo", "groups": ["keepers"]}
    assert log_in(browser).status_code == 401
    issuer.userinfo = {"sub": "s-mallory", "groups": ["crew"], "email": "other@example.org"}
    assert log_in(browser).status_code == 302
    assert current(browser)["email"] == "mallory@example.org"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1",
        "http://10.0.0.1",
        "https://169.254.169.254",
        "https://10.0.0.1",
        "https://[::1]",
        "https://[::ffff:10.0.0.1]",
        "https://user:pw@127.0.0.1",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
        "https://",
        "x",
        "",
        "https://[",
        "https://127.0.0.1:99999",
    ],
)
def test_the_test_call_reaches_nothing_inside(server: WithAccounts, url: str) -> None:
    with Client(server, auth=(ADMIN, PASSWORD)) as admin:
        answer = admin.post(f"{API}/system/oidc/ping", json={"url": url})
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["code"] == "BAD_REQUEST"


# ---- at one moment


def test_two_first_logins_at_once_are_both_let_in(tmp_path: Path, issuer: Issuer, postgres: Postgres) -> None:
    """Of one person, in several browsers and two processes, on the index where writers go beside each other."""
    index = {"database": {"url": postgres.empty()}}
    settings = {**issuer.configuration(autoonboard=True), "lockout": {"attempts": 0}}
    with WithAccounts(tmp_path, settings, configuration=index, workers=2) as server, ExitStack() as open_:
        for number in range(3):
            person(issuer, f"twice{number}", "crowd")
            browsers = [open_.enter_context(Client(server)) for _ in range(6)]
            ways = [to_the_provider(browser) for browser in browsers]
            with ThreadPoolExecutor(6) as together:
                answers = list(together.map(lambda one: one[0].get(one[1]), zip(browsers, ways, strict=True)))
            assert [(one.status_code, one.headers.get("location")) for one in answers] == [(302, "/")] * 6
            assert len({current(browser)["user_id"] for browser in browsers}) == 1
        with Client(server, auth=(ADMIN, PASSWORD)) as admin:
            names = sorted(user["username"] for user in admin.get(f"{API}/users?page_size=100").json())
            assert [name for name in names if name.startswith("twice")] == ["twice0", "twice1", "twice2"]
            (crowd,) = admin.get(f"{API}/usergroups?groupname=crowd").json()
            assert crowd["group_type"] == 3
