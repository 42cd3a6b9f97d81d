"""Every route × every kind of identity → status, as a text that is reviewed: ``permission_matrix.txt``.

Here are ``/v2/``, the token service, search, the pages beside Harbor's API and the debug address; the operations of
Harbor's API themselves are in ``harbor/matrix.txt``, and together they are all there is
(:func:`test_no_route_is_left_out`). The requests are made so that whoever may gets past the door and fails at the
content (400, 404) or succeeds, and nothing is changed by it. Basic credentials and a token asked for with the very
scopes of the challenge must come to the same. ``make matrix`` writes both texts anew; then read the difference.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from lading.access.permissions import PUBLIC, repository_actions
from lading.access.permissions import ROLES as TABLE
from lading.api import token
from lading.api.distribution import routes
from lading.api.harbor import face
from lading.api.harbor.routes import ROUTES as OPERATIONS
from lading.api.harbor.routes import Route as Operation
from tests.support import images
from tests.support.accounts import ADMIN, PASSWORD, WithAccounts
from tests.support.http import Client
from tests.support.ports import free_port

MATRIX = Path(__file__).with_name("permission_matrix.txt")
ABSENT = "sha256:" + "0" * 64
PLACES = {
    "private": "team/app",
    "public": "open/app",
    "absent project": "nowhere/app",
    "absent repository": "team/none",
}
BESIDES = (
    ("GET", "/"),
    ("GET", "/v1/_ping"),
    ("GET", "/v1/search?q=app"),
    *(("GET", path.decode()) for path in sorted(token.PATHS)),
    ("GET", "/service/token?scope=repository:team/app:pull,push"),
    ("POST", "/service/token"),
    *(("GET", path) for path in sorted(face._OPEN)),
    ("GET", "/api/v2.0/no/such/operation"),
    ("GET", "/api/v3.0/projects"),
    ("GET", "/no/such/path"),
)
"""What is neither of the distribution specification nor an operation of Harbor's."""
DEBUG = (("GET", "/debug/health"), ("POST", "/debug/health"), ("GET", "/metrics"), ("GET", "/debug/pprof/"))
ROLES = ("projectAdmin", "maintainer", "developer", "guest", "limitedGuest")


class Identity(NamedTuple):
    """A column: what it is called, and what it logs in with ("" for nobody)."""

    title: str
    name: str
    secret: str


@pytest.fixture(scope="module")
def debug() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, debug: str) -> Iterator[WithAccounts]:
    settings = {"http": {"debug": {"addr": debug, "prometheus": {"enabled": True}}}}
    root = tmp_path_factory.mktemp("matrix")
    with WithAccounts(root, {"lockout": {"attempts": 0}}, configuration=settings) as made:
        yield made


@pytest.fixture(scope="module")
def identities(server: WithAccounts) -> list[Identity]:
    server.user(*map(str.lower, ROLES), "stranger", "disabled", "pathed")
    server.project("team")
    server.project("open", public=True)
    for role in ROLES:
        server.member("team", role.lower(), role)
    server.member("team", "disabled", "projectAdmin")
    server.member("team", "pathed", "developer", "team/app")
    server.disable("disabled")
    limited = server.personal_token("projectadmin", "repository:team/*:pull")
    allowed = {
        "pull": ["repository:pull"],
        "push": ["repository:pull", "repository:push"],
        "delete": ["artifact:delete"],
    }
    robots = {name: server.robot(name, "team", *permissions) for name, permissions in allowed.items()}
    everywhere = server.robot("everywhere", "*", "repository:pull")
    with Client(server, auth=(ADMIN, PASSWORD)) as client:
        for repository in (PLACES["private"], PLACES["public"]):
            client.push(repository, images.image("matrix"), "1")
    return [
        Identity("nobody", "", ""),
        Identity("wrong password", "guest", "wrong"),
        Identity("disabled", "disabled", PASSWORD),
        Identity("stranger", "stranger", PASSWORD),
        *(Identity(role, role.lower(), PASSWORD) for role in reversed(ROLES)),
        Identity("developer of team/app", "pathed", PASSWORD),
        Identity("projectAdmin by a token to pull", "projectadmin", limited),
        *(Identity(f"robot to {name}", f"robot$team+{name}", secret) for name, secret in robots.items()),
        Identity("robot to pull anywhere", "robot$everywhere", everywhere),
        Identity("administrator", ADMIN, PASSWORD),
    ]


def requests() -> Iterator[tuple[str, str, str]]:
    """(method, route, path with the place's repository as {})."""
    for route in routes.ROUTES:
        path = route.path.replace("<name>", "{}").replace("<digest>", ABSENT)
        if route is routes.UPLOAD:
            path = path.replace("<reference>", "c0ffee00-0000-4000-8000-000000000000")
        for method in sorted(route.methods):
            wanted = path.replace("<reference>", "1" if method in ("GET", "HEAD") else "sha256:" + "1" * 64)
            yield method, route.path, wanted
    yield "POST", "/v2/<name>/blobs/uploads/ from private", f"/v2/{{}}/blobs/uploads/?mount={ABSENT}&from=team/app"


def tokens(client: Client, one: Identity) -> dict[str, str]:
    """For each place the header with a token that has all the identity may have there; "" where it gets none."""
    found = {}
    for place in ("", *PLACES.values()):
        scopes = [f"repository:{place}:pull,push,delete"] if place else ["registry:catalog:*"]
        query = {"scope": [*scopes, "repository:team/app:pull"]}
        answer = client.get("/service/token", params=query, auth=(one.name, one.secret) if one.name else None)
        found[place] = f"Bearer {answer.json()['token']}" if answer.status_code == 200 else ""
    return found


def status(client: Client, one: Identity, token: str, method: str, path: str) -> int:
    """The status for an identity, which a token must come to as well."""
    answer = client.request(method, path, auth=(one.name, one.secret) if one.name else None)
    if not token:
        assert answer.status_code == 401, (one, method, path)
    elif one.name or answer.status_code != 401:  # a token of nobody's opens /v2/, which nobody may
        bearer = client.request(method, path, headers={"authorization": token})
        assert bearer.status_code == answer.status_code, (one, method, path, bearer.text)
    return answer.status_code


@pytest.fixture(scope="module")
def answers(server: WithAccounts, identities: list[Identity], debug: str) -> dict[tuple[str, str, str], list[int]]:
    """(method, route, place) → the status for each identity."""
    found: dict[tuple[str, str, str], list[int]] = {}
    with Client(server) as client:
        held = [tokens(client, one) for one in identities]
        for method, route, path in requests():
            for place, repository in (PLACES if "{}" in path else {"": ""}).items():
                where = path.format(repository)
                asked = zip(identities, held, strict=True)
                statuses = [status(client, one, mine[repository], method, where) for one, mine in asked]
                found[method, route, place] = statuses
        for method, path in BESIDES:
            found[method, path, ""] = [_alone(client, one, method, path) for one in identities]
    with Client(f"http://{debug}") as client:
        for method, path in DEBUG:
            found[method, f"{path} of the debug address", ""] = [
                _alone(client, one, method, path) for one in identities
            ]
    return found


def _alone(client: Client, one: Identity, method: str, path: str) -> int:
    auth = (one.name, one.secret) if one.name else None
    if method == "POST" and path == "/service/token":
        form = {"grant_type": "password", "username": one.name, "password": one.secret, "client_id": "matrix"}
        return client.post(path, data=form).status_code
    return client.request(method, path, auth=auth).status_code


def test_the_matrix_is_the_reviewed_one(
    identities: list[Identity], answers: dict[tuple[str, str, str], list[int]]
) -> None:
    rows = [
        f"{method:6} " + (f"{route:42} {place:17} " if place else f"{route:60} ") + " ".join(map(str, statuses))
        for (method, route, place), statuses in answers.items()
    ]
    heads = [f"{number:2}  {one.title}" for number, one in enumerate(identities, start=1)]
    numbers = " " * 68 + " ".join(f"{number:3}" for number in range(1, len(identities) + 1))
    written = "\n".join(["Columns:", *heads, "", numbers, *rows, ""])
    if os.environ.get("LADING_WRITE_MATRIX"):
        MATRIX.write_text(written)
    assert written == MATRIX.read_text()


def test_no_role_may_more_than_harbors_table_says(
    identities: list[Identity], answers: dict[tuple[str, str, str], list[int]]
) -> None:
    """In a private project a role may what its row in the table gives, no more and no less; elsewhere what all may."""
    columns = {one.title: number for number, one in enumerate(identities)}
    given = {role.name: role.permissions for role in TABLE.values()}
    needs = {"GET": "pull", "HEAD": "pull", "DELETE": "delete", "PUT": "push", "POST": "push", "PATCH": "push"}
    for (method, route, place), statuses in answers.items():
        if place not in ("private", "public") or " from " in route:
            continue
        need = "push" if "/uploads/" in route else needs[method]
        for role in ROLES:
            held = given[role] if place == "private" else PUBLIC
            may = need in repository_actions([held])
            assert (statuses[columns[role]] not in (401, 403)) == may, f"{role}: {method} {route} in {place}"
        for title in ("nobody", "stranger"):
            may = place == "public" and need == "pull"
            assert (statuses[columns[title]] not in (401, 403)) == may, f"{title}: {method} {route} in {place}"
        for title in ("wrong password", "disabled"):
            assert statuses[columns[title]] == 401, f"{title}: {method} {route} in {place}"


def test_no_route_is_left_out(answers: dict[tuple[str, str, str], list[int]]) -> None:
    """Every route of the tables is in one of the two texts; those that are not in a table are named here."""
    asked = {(method, route) for method, route, _ in answers}
    assert {(method, route.path) for route in routes.ROUTES for method in route.methods} <= asked
    assert {("GET", path) for path in face._OPEN} | {("GET", path.decode()) for path in token.PATHS} <= asked
    operations = (MATRIX.parent / "harbor" / "matrix.txt").read_text()
    lines = {tuple(line[:100].split()) for line in operations.splitlines()}
    missing = [(route.method, route.path) for route in OPERATIONS if not _in(lines, route)]
    assert not missing


def _in(lines: set[tuple[str, ...]], route: Operation) -> bool:
    return any(line[:1] == (route.method,) and line[1].startswith(route.path[:80]) for line in lines if len(line) > 1)
