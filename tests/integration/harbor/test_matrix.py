"""Who may what: every operation, asked by every kind of caller, against a reviewed table, ``matrix.txt``.

``make matrix`` writes the table anew; look at what changes. The other routes are in ``../permission_matrix.txt``. A call is made so that nothing comes of it where it
is allowed (a body that cannot be read, an id of nothing), so that 400, 404 and 412 mean: this caller may.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lading.access.permissions import PUBLIC, ROLES, allows
from lading.api.harbor.routes import ROUTES, Route
from tests.integration.harbor.conftest import ADMIN, API, PASSWORD, As, add_project, add_user, made
from tests.support.http import Client
from tests.support.images import image
from tests.support.lading import Lading

TABLE = Path(__file__).with_name("matrix.txt")
REFUSED = {401, 403}
STRANGER = "stranger"
NOT_JSON = b"{"
numbers = itertools.count(1)


class World:
    """A private project and a public one, with somebody in each role, and what paths can name in them."""

    def __init__(self, registry: Lading, admin: Client, logged_in: As) -> None:
        self.admin = admin
        self.projects = {"private": add_project(admin, "private"), "public": add_project(admin, "public", public=True)}
        for name in self.projects:
            with Client(registry, auth=(ADMIN, PASSWORD)) as pusher:
                pusher.push(f"{name}/app", image(name), "v1")
        self.clients = {"nobody": logged_in("")}
        for role in (None, *reversed(list(ROLES.values()))):
            name = role.name.lower() if role else STRANGER
            add_user(admin, name)
            if role:
                for project in self.projects:
                    body = {"role_id": role.id, "member_user": {"username": name}}
                    made(admin.post(f"/projects/{project}/members", json=body))
            self.clients[role.name if role else STRANGER] = logged_in(name, PASSWORD)
        self.clients["robot"] = self._robot(logged_in)
        self.clients["administrator"] = admin
        self.victim = add_user(admin, "victim")

    def _robot(self, logged_in: As) -> Client:
        told = self.admin.post("/robots", json=robot("private", "puller", ("repository", "pull"))).json()
        return logged_in(told["name"], told["secret"])

    def url(self, route: Route, project: str) -> str:
        """A path and query for a route, with new things for what it could delete."""
        found = route.path
        for name, value in (
            ("project_name_or_id", project),
            ("project_name", project),
            ("repository_name", "none" if route.method == "DELETE" else "app"),
            ("reference", "none" if route.method in ("DELETE", "POST") else "v1"),
            ("tag_name", "none"),
            ("meta_name", "severity"),
            ("addition", "build_history"),
            ("user_id", str(self.victim)),
            ("group_id", "999999"),
            ("mid", "999999"),
            ("gc_id", "999999"),
            ("trust_id", "999999"),
            ("task_id", "999999"),
            ("id", "999999"),
        ):
            found = found.replace("{" + name + "}", value)
        if "{robot_id}" in found:
            told = self.admin.post("/robots", json=robot(project, f"r{next(numbers)}", ("repository", "pull")))
            found = found.replace("{robot_id}", str(made(told)))
        if "{label_id}" in found:
            found = found.replace("{label_id}", str(self.label(project)))
        return found + self.query(route, project)

    def label(self, project: str) -> int:
        body = {"name": f"l{next(numbers)}", "scope": "p", "project_id": self.projects[project]}
        return made(self.admin.post("/labels", json=body))

    def query(self, route: Route, project: str) -> str:
        number = self.projects[project]
        return {
            ("GET", "/robots"): f"?q=Level=project,ProjectID={number}",
            ("GET", "/labels"): f"?scope=p&project_id={number}",
            ("GET", "/users/search"): "?username=x",
            ("GET", "/usergroups/search"): "?groupname=x",
            ("HEAD", "/projects"): f"?project_name={project}",
        }.get((route.method, route.path), "")

    def ask(self, who: str, route: Route, project: str) -> int:
        body: bytes | None = NOT_JSON if route.body is not None else None
        document = None
        if route.path == "/labels" and route.method == "POST":
            document = {"name": f"l{next(numbers)}", "scope": "p", "project_id": self.projects[project]}
        elif route.path == "/robots" and route.method == "POST":
            document = robot(project, f"r{next(numbers)}", ("repository", "pull"))
        elif route.path.startswith("/robots/") and route.method in ("PUT", "PATCH"):
            document = robot(project, "another-name", ("repository", "pull")) if route.method == "PUT" else {}
        elif route.path.startswith("/labels/") and route.method == "PUT":
            document = {"name": ""}
        client = self.clients[who]
        if document is not None:
            return client.request(route.method, self.url(route, project), json=document).status_code
        return client.request(route.method, self.url(route, project), content=body).status_code


def robot(project: str, name: str, access: tuple[str, str]) -> dict:
    pairs = [{"resource": access[0], "action": access[1]}]
    place = {"kind": "project", "namespace": project, "access": pairs}
    return {"name": name, "level": "project", "duration": -1, "permissions": [place]}


@pytest.fixture(scope="module")
def world(registry: Lading, admin: Client, logged_in: As) -> World:
    return World(registry, admin, logged_in)


@pytest.fixture(scope="module")
def answers(world: World) -> dict[tuple[str, Route], dict[str, int]]:
    """By project and route: what each caller was answered."""
    return {
        (project, route): {who: world.ask(who, route, project) for who in world.clients}
        for project in world.projects
        for route in ROUTES
        if project == "private" or "{project_name" in route.path
    }


def test_the_table_is_the_reviewed_one(world: World, answers: dict[tuple[str, Route], dict[str, int]]) -> None:
    text = "".join(f"{line}\n" for line in drawn(list(world.clients), answers))
    if os.environ.get("LADING_WRITE_MATRIX"):
        TABLE.write_text(text)
    assert text == TABLE.read_text(), "see the module: it changed who may what"


def drawn(callers: list[str], answers: dict[tuple[str, Route], dict[str, int]]) -> Iterator[str]:
    yield "Every operation, asked by every kind of caller; written by test_matrix.py. 401 and 403 are refusals."
    short = {"administrator": "admin", "projectAdmin": "p-admin", "maintainer": "maintain", "limitedGuest": "l-guest"}
    for project in ("private", "public"):
        yield f"\nIn a {project} project" if project == "public" else "\nIn a private project, and elsewhere"
        yield f"{'':100}" + "".join(f"{short.get(who, who)[:9]:10}" for who in callers).rstrip()
        for (where, route), found in answers.items():
            if where == project:
                yield f"{route.method:7}{route.path:93}" + "".join(f"{found[who]:<10}" for who in callers).rstrip()


@pytest.mark.parametrize("project", ["private", "public"])
def test_nobody_may_more_than_harbors_table_says(
    project: str, answers: dict[tuple[str, Route], dict[str, int]]
) -> None:
    """Roles may exactly what their permissions say; others what is public; and nothing of the system."""
    roles = {role.name: role.permissions for role in ROLES.values()}
    for (where, route), found in answers.items():
        kind, _, need = route.permission.text.partition(" ")
        if where != project or kind not in ("project", "system"):
            continue
        resource, _, action = need.partition(",")[0].partition(":")
        for who, status in found.items():
            held = [roles[who]] if who in roles else []
            public = [PUBLIC] if project == "public" else []
            may = who == "administrator" or (kind == "project" and allows([*held, *public], resource, action))
            if who == "robot":
                may = kind == "project" and (
                    (project, resource, action) == ("private", "repository", "pull") or allows(public, resource, action)
                )
            assert (status not in REFUSED) == may, f"{who}: {route.method} {route.path} in {project} answers {status}"


def test_strangers_see_nothing_of_a_private_project(world: World) -> None:
    for who in ("nobody", STRANGER):
        for path in ("/projects", "/repositories", "/search"):
            assert "private" not in world.clients[who].get(path).text
            assert "public" in world.clients[who].get(path).text
    gone = world.clients[STRANGER].get("/projects/private"), world.clients[STRANGER].get("/projects/no-such")
    assert gone[0].status_code == gone[1].status_code == 403
    assert gone[0].json() == gone[1].json()


def test_tokens_for_repositories_open_no_part_of_the_api(registry: Lading, world: World) -> None:
    url = f"{registry.url}/service/token?scope=repository:private/app:pull"
    with Client(registry, auth=(ADMIN, PASSWORD)) as asking:
        token = asking.get(url).json()["token"]
    for route in ROUTES:
        if route.permission.open:
            continue
        headers = {"authorization": f"Bearer {token}"}
        with Client(registry.url + API, headers=headers) as bearer:
            answer = bearer.request(route.method, world.url(route, "private"))
        assert answer.status_code == 401, f"{route.method} {route.path} answers {answer.status_code}"
