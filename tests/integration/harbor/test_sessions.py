"""Browsers' sessions on Harbor's API: the cookie, the token against other sites, and what ends them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx2
import pytest

from tests.support.accounts import ADMIN, PASSWORD, WithAccounts
from tests.support.http import Client

API = "/api/v2.0"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WithAccounts]:
    with WithAccounts(tmp_path_factory.mktemp("sessions"), {"lockout": {"attempts": 0}}, workers=2) as made:
        made.user("alice", "bob", "carol", "dave")
        yield made


@pytest.fixture
def browser(server: WithAccounts) -> Iterator[Client]:
    with Client(server) as made:
        yield made


def log_in(client: Client, name: str = "alice", password: str = PASSWORD, **headers: str) -> httpx2.Response:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return client.post("/c/login", data={"principal": name, "password": password}, headers=named)


def current(client: Client) -> httpx2.Response:
    return client.get(f"{API}/users/current")


def test_a_session_is_known_to_every_worker_and_over_after_the_log_out(server: WithAccounts, browser: Client) -> None:
    answer = log_in(browser)
    assert answer.status_code == 200
    (kept,) = (value for value in answer.headers.get_list("set-cookie") if value.startswith("sid="))
    assert re.fullmatch(r"sid=lading_ses_\w+; Path=/; SameSite=Lax; HttpOnly", kept)
    assert answer.headers["cache-control"] == "no-store"
    sid = browser.cookies["sid"]
    for _ in range(8):
        with Client(server, cookies={"sid": sid}) as other:  # a connection each, and so one worker or the other
            assert current(other).json()["username"] == "alice"
    assert browser.get("/c/log_out").status_code == 200
    assert "sid" not in browser.cookies
    with Client(server, cookies={"sid": sid}) as thief:
        assert current(thief).status_code == 401


def test_the_cookie_is_for_https_alone_where_that_is_spoken(browser: Client) -> None:
    answer = log_in(browser, x_forwarded_proto="https")
    assert all("; Secure" in value for value in answer.headers.get_list("set-cookie"))


def test_a_login_makes_another_session_than_the_one_there_was(server: WithAccounts, browser: Client) -> None:
    planted = "lading_ses_" + "A" * 46
    browser.cookies.set("sid", planted)
    log_in(browser)
    first = [cookie.value for cookie in browser.cookies.jar if cookie.name == "sid" and cookie.value != planted]
    assert first
    with Client(server, cookies={"sid": str(first[0])}) as again:
        log_in(again, "bob")
    with Client(server, cookies={"sid": str(first[0])}) as old:
        assert current(old).status_code == 401, "the session before it ended"
    with Client(server, cookies={"sid": planted}) as fixed:
        assert current(fixed).status_code == 401


@pytest.mark.parametrize(
    ("name", "password"), [("alice", "wrong"), ("nobody", PASSWORD), ("", ""), ("robot$x", "y"), ("alice", "")]
)
def test_a_wrong_login_begins_nothing(browser: Client, name: str, password: str) -> None:
    answer = log_in(browser, name, password)
    assert answer.status_code == 401
    assert answer.json()["errors"][0]["message"] == "wrong user name or password"
    assert "set-cookie" not in answer.headers


def test_personal_tokens_and_robots_begin_no_session(server: WithAccounts, browser: Client) -> None:
    server.project("machines")
    robot = server.robot("ci", "machines", "repository:pull")
    assert log_in(browser, "robot$machines+ci", robot).status_code == 401
    assert log_in(browser, "bob", server.personal_token("bob")).status_code == 401


def test_what_changes_something_needs_the_token(server: WithAccounts, browser: Client) -> None:
    token = log_in(browser, ADMIN).headers["x-harbor-csrf-token"]
    body = {"project_name": "by-session"}
    assert browser.post(f"{API}/projects", json=body).status_code == 403
    with Client(server) as other:
        foreign = log_in(other, "bob").headers["x-harbor-csrf-token"]
    for wrong in ("", "x", "A" * 88, foreign, token[:-4] + "AAA="):
        answer = browser.post(f"{API}/projects", json=body, headers={"x-harbor-csrf-token": wrong})
        assert answer.status_code == 403, wrong
        assert answer.json()["errors"][0]["code"] == "FORBIDDEN"
    latest = current(browser).headers["x-harbor-csrf-token"]
    assert latest != token, "it looks different each time"
    assert browser.cookies["__csrf"] == latest, "pages may read it there"
    headers = {"x-harbor-csrf-token": latest}
    for elsewhere in ({"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        assert browser.post(f"{API}/projects", json=body, headers={**headers, **elsewhere}).status_code == 403
    here = {"origin": server.url, "sec-fetch-site": "same-origin"}
    assert browser.post(f"{API}/projects", json=body, headers={**headers, **here}).status_code == 201
    assert browser.delete(f"{API}/projects/by-session", headers={"x-harbor-csrf-token": token}).status_code == 200


def test_credentials_need_no_token_and_outdo_the_cookie(server: WithAccounts, browser: Client) -> None:
    log_in(browser, "bob")
    answer = browser.get(f"{API}/users/current", auth=("alice", PASSWORD))
    assert answer.json()["username"] == "alice"
    assert "x-harbor-csrf-token" not in answer.headers
    made = browser.post(f"{API}/projects", json={"project_name": "by-basic"}, auth=("alice", PASSWORD))
    assert made.status_code == 201
    assert current(browser).json()["username"] == "bob"


def test_nobody_is_logged_in_or_out_by_another_site(browser: Client) -> None:
    assert log_in(browser, origin="https://evil.example").status_code == 403
    assert log_in(browser, sec_fetch_site="cross-site").status_code == 403
    log_in(browser)
    assert browser.get("/c/log_out", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert current(browser).status_code == 200


def test_a_session_ends_with_the_account_and_with_its_password(server: WithAccounts, browser: Client) -> None:
    log_in(browser, "carol")
    assert current(browser).status_code == 200
    server.admin("user", "disable", "carol")
    assert current(browser).status_code == 401
    with Client(server) as one, Client(server) as other:
        token = log_in(one, "dave").headers["x-harbor-csrf-token"]
        log_in(other, "dave")
        number = current(one).json()["user_id"]
        words = {"old_password": PASSWORD, "new_password": "Another-Word-1"}
        answer = one.put(f"{API}/users/{number}/password", json=words, headers={"x-harbor-csrf-token": token})
        assert answer.status_code == 200
        assert current(one).status_code == current(other).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "content", "kind", "status"),
    [
        ("GET", "/c/login", b"", "", 405),
        ("GET", "/c/nothing", b"", "", 404),
        ("PUT", "/c/log_out", b"", "", 405),
        ("POST", "/c/login", b"{}", "application/json", 400),
        ("POST", "/c/login", b"principal=%ff", "application/x-www-form-urlencoded", 400),
        ("POST", "/c/login", b"principal=%00&password=x", "application/x-www-form-urlencoded", 400),
        ("POST", "/c/login", b"a=1&" * 30, "application/x-www-form-urlencoded", 400),
        ("POST", "/c/login", b"principal=" + b"a" * 20_000, "application/x-www-form-urlencoded", 413),
    ],
)
def test_bad_input(browser: Client, method: str, path: str, content: bytes, kind: str, status: int) -> None:
    answer = browser.request(method, path, content=content, headers={"content-type": kind} if kind else {})
    assert answer.status_code == status, answer.text
    assert answer.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    "cookie", ["sid=", "sid=x", "sid=lading_ses_" + "0" * 46, 'sid="\\', "sid=" + "a" * 9000, ";;=;"]
)
def test_odd_cookies_are_nobodys(server: WithAccounts, browser: Client, cookie: str) -> None:
    assert browser.get(f"{API}/users/current", headers={"cookie": cookie}).status_code == 401
    assert browser.get(f"{API}/projects", headers={"cookie": cookie}).status_code == 200
    assert server.alive
