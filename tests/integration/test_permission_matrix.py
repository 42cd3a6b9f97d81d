"""Every route of ``/v2/`` × every kind of identity → status, as a text that is reviewed: ``permission_matrix.txt``.

The requests are made so that whoever may gets past the door and fails at the content (400, 404) or succeeds, and
nothing is changed by it. Basic credentials and a token asked for with the very scopes of the challenge must come to
the same. To write the text anew after a change of rules: ``LADING_WRITE_MATRIX=1``, then read the difference.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from lading.api.distribution import routes
from tests.support import images
from tests.support.accounts import ADMIN, PASSWORD, WithAccounts
from tests.support.http import Client

MATRIX = Path(__file__).with_name("permission_matrix.txt")
ABSENT = "sha256:" + "0" * 64
PLACES = {
    "private": "team/app",
    "public": "open/app",
    "absent project": "nowhere/app",
    "absent repository": "team/none",
}
ROLES = ("projectAdmin", "maintainer", "developer", "guest", "limitedGuest")


class Identity(NamedTuple):
    """A column: what it is called, and what it logs in with ("" for nobody)."""

    title: str
    name: str
    secret: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WithAccounts]:
    with WithAccounts(tmp_path_factory.mktemp("matrix"), {"lockout": {"attempts": 0}}) as made:
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


def test_the_matrix_is_the_reviewed_one(server: WithAccounts, identities: list[Identity]) -> None:
    rows = []
    with Client(server) as client:
        held = [tokens(client, one) for one in identities]
        for method, route, path in requests():
            places = PLACES if "{}" in path else {"": ""}
            for place, repository in places.items():
                where = path.format(repository)
                asked = zip(identities, held, strict=True)
                statuses = [status(client, one, mine[repository], method, where) for one, mine in asked]
                rows.append(f"{method:6} {route:42} {place:17} " + " ".join(map(str, statuses)))
    heads = [f"{number:2}  {one.title}" for number, one in enumerate(identities, start=1)]
    numbers = " " * 68 + " ".join(f"{number:3}" for number in range(1, len(identities) + 1))
    written = "\n".join(["Columns:", *heads, "", numbers, *rows, ""])
    if os.environ.get("LADING_WRITE_MATRIX"):
        MATRIX.write_text(written)
    assert written == MATRIX.read_text()
