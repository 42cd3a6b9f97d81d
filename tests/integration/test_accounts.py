"""Accounts in the running server: the token service's forms, what ends tokens, uploads, lists, and attacks on all of it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import jwt
import pytest

from tests.support import images
from tests.support.access import write_htpasswd
from tests.support.accounts import ADMIN, PASSWORD, WithAccounts
from tests.support.http import Client
from tests.support.patience import eventually

OWN = "repository:team/app:pull,push"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WithAccounts]:
    settings = {"lockout": {"attempts": 0}, "audit": {"pulls": "each"}, "trustedproxies": ["127.0.0.1"]}
    with WithAccounts(tmp_path_factory.mktemp("accounts"), settings, workers=2) as made:
        made.user("alice", "bob", "carol", "dave")
        made.project("team", owner="alice")
        made.project("other")
        made.project("open", public=True)
        made.member("team", "dave", "developer")
        with Client(made, auth=(ADMIN, PASSWORD)) as client:
            for name in ("team/app", "other/app", "open/app"):
                client.push(name, images.image(name), "1")
        yield made


@pytest.fixture
def client(server: WithAccounts) -> Iterator[Client]:
    with Client(server) as made:
        yield made


def claims(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


def access(answer: httpx2.Response) -> list[str]:
    listed = claims(answer.json()["token"])["access"]
    return [f"{one['type']}:{one['name']}:{','.join(one['actions'])}" for one in listed]


def test_the_challenge_names_this_host_and_what_is_wanted(client: Client, server: WithAccounts) -> None:
    found = client.get("/v2/").headers["www-authenticate"]
    assert found == f'Bearer realm="{server.url}/service/token",service="lading"'
    found = client.post("/v2/team/app/blobs/uploads/").headers["www-authenticate"]
    assert 'scope="repository:team/app:pull,push"' in found
    behind = {"x-forwarded-proto": "https", "x-forwarded-host": "registry.example"}
    found = client.get("/v2/", headers=behind).headers["www-authenticate"]
    assert found.startswith('Bearer realm="https://registry.example/service/token"')
    for odd in ('a"b', "a b", "x\\y"):
        found = client.get("/v2/", headers={"x-forwarded-host": odd}).headers["www-authenticate"]
        assert re.fullmatch(r'Bearer realm="(?:[^"\\]|\\.)*",service="lading"', found)


def test_get(server: WithAccounts) -> None:
    answer = server.ask("alice", PASSWORD, OWN, "repository:open/app:pull,push registry:catalog:*", account="alice")
    body = answer.json()
    assert access(answer) == [OWN, "repository:open/app:pull", "registry:catalog:*"]
    assert body["access_token"] == body["token"]
    assert body["expires_in"] == 600
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", body["issued_at"])
    assert "refresh_token" not in body
    assert answer.headers["cache-control"] == "no-store"
    told = claims(body["token"])
    assert (told["iss"], told["aud"], told["sub"]) == ("lading", "lading", "alice")
    assert told["exp"] - told["iat"] == 600
    assert access(server.ask("bob", PASSWORD, OWN)) == []
    assert access(server.ask("", "", "repository:open/app:pull", OWN)) == ["repository:open/app:pull"]
    assert claims(server.ask("", "", "repository:open/app:pull").json()["token"])["sub"] == ""


def test_post_in_every_form_clients_use(client: Client) -> None:
    form: dict[str, Any] = {"service": "lading", "client_id": "docker", "grant_type": "password"}
    login = {**form, "username": "alice", "password": PASSWORD}
    joined = client.post("/service/token", data={**login, "scope": f"{OWN} repository:open/app:pull"})
    assert access(joined) == [OWN, "repository:open/app:pull"]
    assert "refresh_token" not in joined.json()
    repeated = client.post("/service/token", data={**login, "scope": [OWN, "repository:open/app:pull"]})
    assert access(repeated) == [OWN, "repository:open/app:pull"]
    raw = repeated.request.content

    def chunks() -> Iterator[bytes]:
        yield raw[:7]
        yield raw[7:]

    kind = {"content-type": "application/x-www-form-urlencoded"}
    chunked = client.post("/service/token", content=chunks(), headers=kind)
    assert chunked.request.headers["transfer-encoding"] == "chunked"
    assert access(chunked) == [OWN, "repository:open/app:pull"]
    offline = client.post("/service/token", data={**login, "access_type": "offline"}).json()["refresh_token"]
    renew = {**form, "grant_type": "refresh_token", "refresh_token": offline}
    for _ in range(2):
        renewed = client.post("/service/token", data={**renew, "scope": OWN})
        assert access(renewed) == [OWN]
        assert renewed.json()["refresh_token"] == offline
    spoiled = offline[:-1] + ("y" if offline.endswith("x") else "x")
    for wrong in ({"refresh_token": spoiled}, {"refresh_token": ""}, {"refresh_token": "x" * 9000}):
        answer = client.post("/service/token", data={**renew, **wrong})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize(
    ("method", "arguments", "status"),
    [
        ("GET", {"scope": "nonsense"}, 400),
        ("GET", {"scope": "repository:a:PULL"}, 400),
        ("GET", {"scope": ["repository:a:pull"] * 129}, 400),
        ("GET", {"scope": "repository:" + "a" * 20_000 + ":pull"}, 400),
        ("GET", {"service": "somebody else"}, 400),
        ("POST", {"grant_type": "authorization_code"}, 400),
        ("POST", {}, 400),
        ("POST", {"grant_type": "password"}, 401),
        ("POST", {"grant_type": "password", "username": "alice", "password": "x" * 60_000}, 401),
        ("POST", {"grant_type": "password", "username": "alice", "password": "x" * 70_000}, 413),
        ("PUT", {}, 405),
        ("DELETE", {}, 405),
    ],
)
def test_bad_words(client: Client, method: str, arguments: dict[str, Any], status: int) -> None:
    where = {"data": arguments} if method == "POST" else {"params": arguments}
    answer = client.request(method, "/service/token", **where)  # type: ignore[arg-type]
    assert answer.status_code == status
    assert answer.json()["errors"][0]["message"]
    if status == 405:
        assert answer.headers["allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize("body", [b"\xff\xfe", b"%zz=%00", b"a=1&" * 500, b"scope=\xc3\x28", b"{}"])
def test_forms_that_are_none(client: Client, body: bytes) -> None:
    answer = client.post("/service/token", content=body)
    assert answer.status_code == 400
    assert answer.json()["errors"]


def test_keys_for_others(client: Client, server: WithAccounts) -> None:
    keys = {key["kid"]: key for key in client.get("/service/jwks.json").json()["keys"]}
    token = server.token("alice", OWN)
    header = jwt.get_unverified_header(token)
    assert header["alg"] == "ES256"
    assert re.fullmatch(r"([A-Z2-7]{4}:){11}[A-Z2-7]{4}", header["kid"])
    key = jwt.PyJWK(keys[header["kid"]]).key
    assert jwt.decode(token, key, ["ES256"], audience="lading")["sub"] == "alice"
    assert len(keys) == 2
    assert all(set(each) == {"kty", "crv", "x", "y", "kid", "use", "alg"} for each in keys.values())
    assert client.get("/service/certificates.pem").text.startswith("-----BEGIN CERTIFICATE-----")
    sealed = (server.storage / "lading" / "seal.key").stat()
    assert sealed.st_mode & 0o777 == 0o600


def test_lists_show_what_may_be_seen(server: WithAccounts) -> None:
    def catalog(user: str) -> list[str]:
        with server.bearer(user, "registry:catalog:*") as mine:
            return list(mine.get("/v2/_catalog").json()["repositories"])

    assert catalog(ADMIN) == ["open/app", "other/app", "team/app"]
    assert catalog("alice") == ["open/app", "team/app"]
    assert catalog("bob") == ["open/app"]
    with Client(server) as nobody:
        found = nobody.get("/v1/search", params={"q": "app"}, headers={"x-docker-token": "true"}).json()
        assert [one["name"] for one in found["results"]] == ["open/app"]
        found = nobody.get("/v1/search", params={"q": "app"}, auth=("alice", PASSWORD)).json()
        assert {one["name"] for one in found["results"]} == {"open/app", "team/app"}
        assert nobody.get("/v1/search", params={"q": "app"}).status_code == 401
        pages = nobody.get("/v2/_catalog", params={"n": 1}, auth=("alice", PASSWORD))
        assert pages.json()["repositories"] == ["open/app"]
        assert "last=open%2Fapp" in pages.headers["link"]


def test_a_limited_token_lists_nothing_of_its_owners(server: WithAccounts) -> None:
    limited = server.personal_token("dave", "repository:team/*:pull")
    assert access(server.ask("dave", limited, "registry:catalog:*", OWN)) == ["repository:team/app:pull"]
    with server.bearer("dave", "repository:team/app:pull", password=limited) as mine:
        assert mine.get("/v2/team/app/manifests/1").status_code == 200
        assert mine.get("/v2/_catalog").status_code == 401


def test_users_of_an_htpasswd_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("htpasswd")
    path = write_htpasswd(root / "htpasswd", {"erin": "from the file", ADMIN: "from the file", "a,b": "from the file"})
    settings = {"auth": {"htpasswd": {"realm": "x", "path": str(path)}}}
    with WithAccounts(root, configuration=settings) as server:
        assert server.ask("erin", "from the file", "repository:library/x:pull").json()["scope"] == ""
        assert server.ask("erin", "wrong").status_code == 401
        server.member("library", "erin", "guest")
        assert server.ask("erin", "from the file", "repository:library/x:pull,push").json()["scope"].endswith(":pull")
        # a name that is taken here, or that nobody can have, is not the file's to give
        assert server.ask(ADMIN, "from the file").status_code == 401
        assert server.ask(ADMIN, PASSWORD).status_code == 200
        assert server.ask("a,b", "from the file").status_code == 401
        server.disable("erin")
        assert server.ask("erin", "from the file").status_code == 401


def test_a_mount_from_what_may_not_be_read_becomes_an_upload(server: WithAccounts) -> None:
    secret = images.image("other/app").layers[0]
    with server.bearer("dave", OWN, "repository:other/app:pull") as mine:
        wanted = {"mount": secret.digest, "from": "other/app"}
        assert mine.post("/v2/team/app/blobs/uploads/", params=wanted).status_code == 202
        assert mine.post("/v2/team/app/blobs/uploads/", params={"mount": secret.digest}).status_code == 202
        assert mine.head(f"/v2/team/app/blobs/{secret.digest}").status_code == 404
    with server.bearer("dave", OWN, "repository:open/app:pull") as mine:
        public = images.image("open/app").layers[0]
        wanted = {"mount": public.digest, "from": "open/app"}
        assert mine.post("/v2/team/app/blobs/uploads/", params=wanted).status_code == 201


def test_whoever_may_push_may_cancel(server: WithAccounts) -> None:
    with server.bearer("dave", OWN) as mine:
        begun = mine.post("/v2/team/app/blobs/uploads/").headers["location"]
        assert mine.delete(begun).status_code == 204


def test_a_token_ends_within_a_minute_of_its_account(server: WithAccounts) -> None:
    server.user("leaver")
    server.member("team", "leaver", "guest")
    refresh = server.ask("leaver", PASSWORD, offline_token="true").json()["refresh_token"]
    with server.bearer("leaver", "repository:team/app:pull") as mine:
        assert mine.get("/v2/team/app/manifests/1").status_code == 200
        server.disable("leaver")
        # two workers look for themselves; both must have seen it
        eventually(lambda: all(mine.get("/v2/team/app/manifests/1").status_code != 200 for _ in range(6)))
        form = {"grant_type": "refresh_token", "refresh_token": refresh}
        assert mine.post("/service/token", data=form).status_code == 401
    assert server.ask("leaver", PASSWORD).status_code == 401


def test_an_unknown_name_is_told_the_same_as_a_wrong_password(server: WithAccounts) -> None:
    answers = [server.ask(name, "wrong") for name in ("alice", "nobody-here", "robot$nothing", "robot$team+x")]
    assert {(one.status_code, one.text) for one in answers} == {(401, answers[0].text)}


@pytest.mark.parametrize(
    "name",
    [
        "a\nb",
        "a\r\nSet-Cookie: x=1",
        "\x1b[31mred",
        "a\u2028b",
        "ü",
        "x" * 5000,
        "' OR 1=1 --",
        "robot$",
        "robot@+",
        "a\0b",
    ],
    ids=ascii,
)
def test_names_that_are_none(server: WithAccounts, client: Client, name: str) -> None:
    encoded = base64.b64encode(f"{name}:secret".encode()).decode()
    for path in ("/service/token", "/v2/"):
        answer = client.get(path, headers={"authorization": f"Basic {encoded}"})
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
    lines = [line for line in server.output.splitlines() if "\x1b" in line or line.startswith("Set-Cookie")]
    assert lines == []


def test_no_secret_in_the_log(server: WithAccounts) -> None:
    robot = server.robot("quiet", "team", "repository:pull")
    personal = server.personal_token("carol")
    refresh = server.ask("carol", PASSWORD, offline_token="true").json()["refresh_token"]
    token = server.token("robot$team+quiet", "repository:team/app:pull", password=robot)
    server.ask("carol", personal)
    with Client(server) as client:
        client.post("/service/token", data={"grant_type": "refresh_token", "refresh_token": refresh})
        client.get("/service/token", params={"refresh_token": refresh, "password": PASSWORD})
        client.get("/v2/", headers={"authorization": f"Bearer {token}x"})
    server.access_log()
    for secret in (robot, personal, refresh, token, PASSWORD):
        assert secret not in server.output


def test_where_a_request_came_from(server: WithAccounts) -> None:
    with Client(server) as client:
        behind = {"x-forwarded-for": "6.6.6.6, 203.0.113.9"}
        client.get("/service/token", auth=("alice", "wrong"), headers=behind)
        client.get("/v2/team/app/manifests/1", auth=("alice", PASSWORD), headers=behind)
    wanted = {("login", "failure"), ("pull", "success")}

    def told() -> bool:
        return wanted <= {(e["operation"], e["result"]) for e in _exported(server) if e["address"] == "203.0.113.9"}

    eventually(told, "both are in the log")
    assert not [e for e in _exported(server) if e["address"] == "6.6.6.6"]


def _exported(server: WithAccounts) -> list[dict[str, Any]]:
    from lading.control.audit import Audit, Filter, as_json

    rows = server.work(lambda tx: Audit(tx).page(Filter(), 1000))
    return [json.loads(as_json(row)) for row in rows]


def test_thousands_of_failed_logins_are_bounded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The account is locked, then the address; others are served, and the rows that come of it stay few."""
    from lading.control.audit import Audit, Filter

    settings = {"lockout": {"attempts": 5, "addressattempts": 20}}
    elsewhere = httpx2.HTTPTransport(local_address="127.0.0.2", trust_env=False)
    with (
        WithAccounts(tmp_path_factory.mktemp("locked"), settings) as server,
        Client(server) as client,
        Client(server, transport=elsewhere) as another,
    ):
        server.user("alice")
        found = []
        for number in range(3000):
            found.append(client.get("/service/token", auth=(f"user{number % 10}", f"wrong{number}")).status_code)
            if number % 500 == 0:
                assert another.get("/service/token", auth=("alice", PASSWORD)).status_code == 200
        assert found[:20] == [401] * 20
        assert set(found[20:]) == {429}
        assert client.get("/service/token", auth=(ADMIN, PASSWORD)).status_code == 429
        robot = server.robot("ci", "library", "repository:pull")
        assert client.get("/service/token", auth=("robot$library+ci", robot)).status_code == 200

        def failed() -> int:
            rows = server.work(lambda tx: Audit(tx).page(Filter(operation="login"), 1000))
            return len([row for row in rows if row.result != "success"])

        eventually(lambda: failed() >= 20, "rows are written a moment later")
        assert failed() <= 22


def test_accounts_stay_on_when_their_section_is_lost(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("kept")
    with WithAccounts(root) as server, Client(server) as client:
        assert client.get("/v2/").status_code == 401
        server.configure({})
        server.restart()
        assert client.get("/v2/", auth=(ADMIN, PASSWORD)).status_code == 200
        assert client.get("/v2/").status_code == 401
        server.configure({"accounts": {"enabled": False}})
        server.restart()
        assert client.get("/v2/").status_code == 200


def test_the_shell(tmp_path_factory: pytest.TempPathFactory) -> None:
    with WithAccounts(tmp_path_factory.mktemp("shell")) as server:
        server.admin("user", "create", "alice", "--password-stdin", "--email", "a@example.com", stdin=f"{PASSWORD}\n")
        assert "too short" in server.admin("user", "create", "b", "--password-stdin", stdin="Ab1\n", check=False)
        server.admin("project", "create", "team", "--owner", "alice", "--quota", "10MiB")
        assert server.ask("alice", PASSWORD, OWN).json()["scope"] == OWN
        secret = server.admin("robot", "create", "ci", "--project", "team").splitlines()[-1]
        assert server.ask("robot@team+ci", secret, OWN).json()["scope"] == OWN
        server.admin("user", "password", ADMIN, "--password-stdin", stdin="Another-word-2\n")
        assert server.ask(ADMIN, PASSWORD).status_code == 401
        assert server.ask(ADMIN, "Another-word-2").status_code == 200
        assert "last administrator" in server.admin("user", "demote", ADMIN, check=False)
        assert "there is no user nobody" in server.admin("user", "delete", "nobody", check=False)
        exported = [json.loads(line) for line in server.admin("audit", "export").splitlines()]
        assert {("create", "team"), ("create", "alice"), ("update", ADMIN)} <= {
            (each["operation"], each["resource"]) for each in exported
        }
