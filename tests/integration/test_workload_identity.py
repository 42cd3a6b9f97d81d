"""Jobs of a CI system, which log in with the token they have there: the ways in, what they may, and attacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest

from tests.support import images
from tests.support.accounts import ADMIN, PASSWORD, WithAccounts
from tests.support.http import Client
from tests.support.issuer import Issuer, Key
from tests.support.patience import eventually

API = "/api/v2.0"
AUDIENCE = "registry.example"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
TYPE = "urn:ietf:params:oauth:token-type:"
SCOPE = "repository:library/app:pull,push,delete"
JOB = {
    "sub": "repo:example/app:ref:refs/heads/main",
    "aud": AUDIENCE,
    "repository": "example/app",
    "ref": "refs/heads/main",
    "environment": "production",
}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer() as made:
        yield made


def rule(issuer: Issuer, **more: Any) -> dict[str, Any]:
    return {
        "name": "actions",
        "project": "library",
        "issuer": issuer.url,
        "audience": AUDIENCE,
        "claims": {"repository": "example/*", "ref": ["refs/heads/main", "refs/tags/v*"]},
        **more,
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[WithAccounts]:
    settings = networks(trust=[rule(issuer)])
    with WithAccounts(tmp_path_factory.mktemp("workloads"), settings, workers=2) as made:
        made.project("other")
        made.user("stranger")
        yield made


def networks(**more: Any) -> dict[str, Any]:
    return {"identitynetworks": ["127.0.0.0/8"], "lockout": {"attempts": 0, "addressattempts": 0}, **more}


@pytest.fixture
def client(server: WithAccounts) -> Iterator[Client]:
    with Client(server) as made:
        yield made


def access(answer: httpx2.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    told = jwt.decode(answer.json()["token"], options={"verify_signature": False})
    return [f"{one['type']}:{one['name']}:{','.join(one['actions'])}" for one in told["access"]]


def exchange(client: Client, token: str, **more: str) -> httpx2.Response:
    form = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": f"{TYPE}jwt", "scope": SCOPE, **more}
    return client.post("/service/token", data=form)


def test_a_job_logs_in_and_pushes_what_its_rule_allows(server: WithAccounts, issuer: Issuer) -> None:
    token = issuer.token(JOB)
    answer = server.ask("oidc", token, SCOPE, "repository:other/app:pull")
    assert access(answer) == ["repository:library/app:pull,push"]
    told = jwt.decode(answer.json()["token"], options={"verify_signature": False})
    assert told["sub"] == "robot$library+actions"
    with Client(server, auth=("oidc", token)) as basic:
        basic.push("library/app", images.image("by a job"), "1")
        assert basic.get("/v2/other/app/tags/list").status_code == 401
    with server.bearer("robot@library+actions", SCOPE, password=token) as bearer:
        assert bearer.tags("library/app") == ["1"]
    long = issuer.token({**JOB, "job_workflow_ref": "x" * 2500})
    assert server.ask("oidc", long, SCOPE).status_code == 200
    logged = server.run("login", server.host, "-u", "oidc", "-p", token, check=False)
    assert logged.returncode == 0, logged.stderr


def test_a_token_is_exchanged_as_rfc_8693_has_it(client: Client, issuer: Issuer) -> None:
    answer = exchange(client, issuer.token(JOB), subject_token_type=f"{TYPE}id_token")
    assert access(answer) == ["repository:library/app:pull,push"]
    told = answer.json()
    assert (told["issued_token_type"], told["token_type"]) == (f"{TYPE}access_token", "Bearer")
    assert "refresh_token" not in exchange(client, issuer.token(JOB), access_type="offline").json()
    assert exchange(client, issuer.token(JOB), username="robot$library+actions").status_code == 200
    assert exchange(client, issuer.token(JOB), username="robot$library+nobody").status_code == 401
    assert exchange(client, issuer.token(JOB), username=ADMIN).status_code == 401
    assert exchange(client, issuer.token(JOB), subject_token_type=f"{TYPE}saml2").status_code == 400
    assert exchange(client, issuer.token(JOB), requested_token_type=f"{TYPE}refresh_token").status_code == 400
    assert exchange(client, "").status_code == exchange(client, "x" * 50_000).status_code == 401


@pytest.mark.parametrize(
    "claims",
    [
        {"repository": "evil/app"},
        {"repository": "example/app/x"},
        {"repository": None},
        {"repository": ["example/app"]},
        {"ref": "refs/heads/main2"},
        {"ref": "refs/pull/1/merge"},
        {"aud": "another.example"},
        {"aud": [AUDIENCE, "another.example"]},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"exp": 1},
        {"exp": None},
        {"nbf": 99999999999},
        {"iat": 99999999999},
        {"iat": 1_600_000_000},
        {"iat": None},
        {"sub": None},
    ],
)
def test_other_tokens_are_refused(server: WithAccounts, client: Client, issuer: Issuer, claims: dict[str, Any]) -> None:
    token = issuer.token({**JOB, **claims})
    assert exchange(client, token).status_code == 401
    refused = server.ask("oidc", token, SCOPE)
    assert refused.status_code == 401
    assert token not in refused.text


def test_forged_tokens_are_refused(client: Client, issuer: Issuer) -> None:
    assert exchange(client, issuer.token(JOB)).status_code == 200
    forged = [issuer.forged(JOB, "none"), issuer.forged(JOB, "HS256"), issuer.token(JOB, key=Key().private)]
    head, claims, signature = issuer.token(JOB).split(".")
    forged += [f"{head}.{claims}.", f"{head}.{claims}.{signature[:-8]}AAAAAAAA"]
    for token in forged:
        assert exchange(client, token).status_code == 401


def test_an_issuer_nobody_trusts_is_not_asked(client: Client) -> None:
    with Issuer() as other:
        assert exchange(client, other.token(JOB)).status_code == 401
        assert other.asked == []


def test_the_log_names_rule_and_subject(server: WithAccounts, client: Client, issuer: Issuer) -> None:
    token = issuer.token({**JOB, "sub": "repo:example/app:named"})
    assert exchange(client, token).status_code == 200
    exchange(client, issuer.token({**JOB, "repository": "evil/app"}))
    wanted = {("robot$library+actions", True, "app:named"), ("oidc", False, "no rule of trust fits")}
    with Client(server, auth=(ADMIN, PASSWORD)) as admin:

        def log() -> list[dict[str, Any]]:
            lines: list[dict[str, Any]] = admin.get(f"{API}/auditlog-exts", params={"page_size": "100"}).json()
            return lines if all(any(told(line, *one) for line in lines) for one in wanted) else []

        lines = eventually(log, "both are in the log, a second later")
    assert any(told(line, "robot$library+actions", True, issuer.url) for line in lines)
    assert token not in str(lines)
    assert token not in server.output


def told(line: dict[str, Any], name: str, good: bool, words: str) -> bool:
    return line["username"] == name and line["operation_result"] is good and words in str(line)


def test_rules_by_the_api(server: WithAccounts, client: Client, issuer: Issuer) -> None:
    place = {"kind": "project", "namespace": "other", "access": [{"resource": "repository", "action": "pull"}]}
    body = {"name": "by-api", "level": "project", "permissions": [place], "duration": -1}
    given = {"issuer": issuer.url, "audience": "by-api", "claims": {"repository": ["example/*"]}}
    job = issuer.token({**JOB, "aud": "by-api"})
    wanted = "repository:other/app:pull,push"
    with Client(server, auth=(ADMIN, PASSWORD)) as admin:
        robot = admin.post(f"{API}/robots", json=body).json()["id"]
        trusts = f"{API}/robots/{robot}/trusts"
        assert exchange(client, job, scope=wanted).status_code == 401
        made = admin.post(trusts, json=given)
        assert made.status_code == 201, made.text
        assert made.headers["location"] == f"{trusts}/{made.json()['id']}"
        assert admin.get(trusts).json() == [made.json()]
        assert access(exchange(client, job, scope=wanted)) == ["repository:other/app:pull"]
        wrong: list[dict[str, Any]] = [{"issuer": "http://evil.example"}, {"claims": {"ref": ["*"]}}, {"max_age": 5}]
        for odd in wrong:
            assert admin.post(trusts, json={**given, **odd}).status_code == 400, odd
        bearer = {"authorization": f"Bearer {exchange(client, job, scope=wanted).json()['token']}"}
        assert client.get("/v2/other/app/tags/list", headers=bearer).status_code == 404
        with Client(server, auth=("stranger", PASSWORD)) as stranger:
            for method, path in (("GET", trusts), ("POST", trusts), ("DELETE", made.headers["location"])):
                assert stranger.request(method, path, json=given).status_code == 403
        with Client(server, auth=("oidc", issuer.token(JOB))) as robber:  # a robot that would be another
            assert robber.post(trusts, json=given).status_code == 403
        assert admin.delete(made.headers["location"]).status_code == 200
        assert admin.delete(made.headers["location"]).status_code == 404
    assert exchange(client, job, scope=wanted).status_code == 401


def test_rules_by_the_shell_and_robots_that_are_locked_out(
    server: WithAccounts, client: Client, issuer: Issuer
) -> None:
    server.robot("by-shell", "library", "repository:pull")
    words = ["trust", "create", "robot@library+by-shell", "--issuer", issuer.url, "--audience", "by-shell"]
    server.admin(*words, "--claim", "repository=example/*", "--claim", "environment=production")
    job = issuer.token({**JOB, "aud": "by-shell"})
    assert access(exchange(client, job)) == ["repository:library/app:pull"]
    assert exchange(client, issuer.token({**JOB, "aud": "by-shell", "environment": "dev"})).status_code == 401
    (line,) = (each for each in server.admin("trust", "list").splitlines() if "by-shell" in each)
    assert "environment=production" in line
    with Client(server, auth=(ADMIN, PASSWORD)) as admin:
        (robot,) = (one for one in robots(admin) if one["name"] == "robot$library+by-shell")
        assert admin.put(f"{API}/robots/{robot['id']}", json={**robot, "disable": True}).status_code == 200
        assert exchange(client, job).status_code == 401
        assert admin.put(f"{API}/robots/{robot['id']}", json={**robot, "disable": False}).status_code == 200
        assert exchange(client, job).status_code == 200
    server.admin("trust", "delete", "robot$library+by-shell", line.split()[0])
    assert exchange(client, job).status_code == 401


def robots(admin: Client) -> list[dict[str, Any]]:
    number = admin.get(f"{API}/projects/library").json()["project_id"]
    return list(admin.get(f"{API}/robots", params={"q": f"Level=project,ProjectID={number}"}).json())


def test_a_rule_that_would_trust_everybody_is_refused_at_the_start(tmp_path: Path, issuer: Issuer) -> None:
    wide = rule(issuer, project="*", claims={"repository": "*"})
    server = WithAccounts(tmp_path / "registry", networks(trust=[wide]))
    refused = server.run("serve", server.configuration, check=False)
    assert refused.returncode != 0
    assert "accounts.trust: every claim has a pattern that begins with *" in refused.stderr + refused.stdout
