"""Who may what: every route × every kind of caller → status, as one text that is reviewed, ``matrix.txt``.

The requests are made so that whoever may gets past the door and fails at the content (400, 404, 409, 412), or changes
nothing that another asks for. A token asked for with the scopes of the challenge must come to the same as the credentials themselves.
``make matrix`` writes the text anew; then read the difference. What a role, robot or token may is held against
Harbor's own table as well (``harbor.py``): nobody may more, and who has a role no less.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lading.api import token
from lading.api.distribution import routes
from lading.api.harbor import browsers, face
from lading.api.harbor.route import Route
from lading.api.harbor.routes import ROUTES
from tests.integration.permissions.callers import ABSENT, API, PRIVATE, PUBLIC, Caller, World
from tests.integration.permissions.harbor import NEEDS, holds, on_the_wire
from tests.support.access import certificates
from tests.support.directory import Slapd
from tests.support.http import Client
from tests.support.issuer import Issuer
from tests.support.ports import free_port

MATRIX = Path(__file__).with_name("matrix.txt")
REFUSED = {401, 403}
NO_BLOB = "sha256:" + "0" * 64
NOT_JSON = b"{"
REPOSITORIES = {
    "private": f"{PRIVATE}/app",
    "public": f"{PUBLIC}/app",
    "absent": f"{ABSENT}/app",
    "not in private": f"{PRIVATE}/none",
}
PROJECTS = {"private": PRIVATE, "public": PUBLIC, "absent": ABSENT}
BESIDES = (
    ("GET", "/"),
    ("GET", "/v1/_ping"),
    ("GET", "/v1/search?q=app"),
    *(("GET", path.decode()) for path in sorted(token.PATHS)),
    ("GET", f"/service/token?scope=repository:{PRIVATE}/app:pull,push"),
    ("POST", "/service/token"),
    *(("GET", path) for path in sorted(face._OPEN)),
    ("GET", "/api/v2.0/no/such/operation"),
    ("GET", "/api/v3.0/projects"),
    *(("GET", path) for path in browsers.PATHS if path != "/c/log_out"),
    ("GET", "/no/such/path"),
)
"""What is neither of the distribution specification nor an operation of Harbor's. Logging out ends sessions: see theirs."""
DEBUG = (("GET", "/debug/health"), ("POST", "/debug/health"), ("GET", "/metrics"), ("GET", "/debug/pprof/"))
numbers = itertools.count(1)


class Row(NamedTuple):
    """What was asked, and where; ``need`` as in ``harbor.py``, empty for what is not of its table."""

    method: str
    route: str
    place: str
    need: str
    face: str


Answers = dict[Row, list[int]]


@pytest.fixture(scope="module")
def debug() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, slapd: Slapd, debug: str) -> Iterator[World]:
    root = tmp_path_factory.mktemp("matrix")
    with ExitStack() as stack:
        issuer = stack.enter_context(Issuer())
        yield World(root, stack, slapd, issuer, certificates(root / "tls"), debug)


@pytest.fixture(scope="module")
def answers(world: World, debug: str) -> Answers:
    found = dict(distribution(world))
    found.update(operations(world))
    for method, path in BESIDES:
        found[Row(method, path, "", "", "besides")] = [beside(one, method, path) for one in world.callers]
    with Client(f"http://{debug}") as client:
        for method, path in DEBUG:
            row = Row(method, path, "", "", "debug address")
            found[row] = [client.request(method, path, auth=one.client.auth).status_code for one in world.callers]
    return found


# ---- the distribution specification


def distribution(world: World) -> Iterator[tuple[Row, list[int]]]:
    held = [tokens(world, one) for one in world.callers]
    for method, route, path in requests():
        for place, repository in (REPOSITORIES if "{}" in path else {"": ""}).items():
            where = path.format(repository)
            statuses = [
                status(world, one, mine[repository], method, where)
                for one, mine in zip(world.callers, held, strict=True)
            ]
            need = on_the_wire(method, route) if place else ""
            yield Row(method, route, place, need, "distribution"), statuses


def requests() -> Iterator[tuple[str, str, str]]:
    """(method, route, path with the place's repository as {})."""
    for route in routes.ROUTES:
        path = route.path.replace("<name>", "{}").replace("<digest>", NO_BLOB)
        if route is routes.UPLOAD:
            path = path.replace("<reference>", "c0ffee00-0000-4000-8000-000000000000")
        for method in sorted(route.methods):
            wanted = path.replace("<reference>", "1" if method in ("GET", "HEAD") else "sha256:" + "1" * 64)
            yield method, route.path, wanted
    from_private = f"mount={NO_BLOB}&from={PRIVATE}/app"
    yield "POST", "/v2/<name>/blobs/uploads/ from private", f"/v2/{{}}/blobs/uploads/?{from_private}"


def tokens(world: World, one: Caller) -> dict[str, str]:
    """For each repository the header with a token that has all they may have there; "" where they get none."""
    found = {}
    for repository in ("", *REPOSITORIES.values()):
        scopes = [f"repository:{repository}:pull,push,delete"] if repository else ["registry:catalog:*"]
        answer = one.client.get("/service/token", params={"scope": [*scopes, f"repository:{PRIVATE}/app:pull"]})
        found[repository] = f"Bearer {answer.json()['token']}" if answer.status_code == 200 else ""
    return found


def status(world: World, one: Caller, token: str, method: str, path: str) -> int:
    """The status for a caller, which a token must come to as well."""
    answer = one.client.request(method, path)
    if not token:
        assert answer.status_code == 401, (one.title, method, path)
    elif method != "HEAD" and (
        one.named or answer.status_code != 401
    ):  # a token of nobody's opens /v2/, which nobody may
        bearer = world.bare.request(method, path, headers={"authorization": token})
        assert bearer.status_code == answer.status_code, (one.title, method, path, bearer.text)
    return answer.status_code


# ---- Harbor's API


def operations(world: World) -> Iterator[tuple[Row, list[int]]]:
    asking = Asking(world)
    for route in ROUTES:
        need = NEEDS[route.method, route.path]
        for place, project in (PROJECTS if "{project_name" in route.path else {"": PRIVATE}).items():
            statuses = [asking.status(one, route, project) for one in world.callers]
            yield Row(route.method, route.path, place, need, "Harbor"), statuses


class Asking:
    """Fills in paths and bodies, with new things for what could be deleted."""

    def __init__(self, world: World) -> None:
        self._admin = world.admin
        self._projects = {name: self._admin.get(f"{API}/projects/{name}").json() for name in (PRIVATE, PUBLIC)}
        self._made: dict[str, str] = {}
        body = {"username": "victim", "password": "Victims-word-1", "email": "v@example.org", "realname": "V"}
        self._victim = _id(self._admin.post(f"{API}/users", json=body))

    def status(self, one: Caller, route: Route, project: str) -> int:
        path, document = self._path(route, project), self._document(route, project)
        if document is not None:
            return one.client.request(route.method, path, json=document).status_code
        body = NOT_JSON if route.body is not None else None
        return one.client.request(route.method, path, content=body).status_code

    def _path(self, route: Route, project: str) -> str:
        found = route.path
        for name, value in {
            "project_name_or_id": project,
            "project_name": project,
            "repository_name": "none" if route.method == "DELETE" and route.path.endswith("_name}") else "app",
            "reference": "none" if route.method in ("DELETE", "POST") else "1",
            "tag_name": "none",
            "meta_name": "severity",
            "addition": "build_history",
            "job_type": "all",
            "user_id": self._victim,
            **dict.fromkeys(("group_id", "mid", "gc_id", "purge_id", "trust_id", "task_id", "id"), "999999"),
        }.items():
            found = found.replace(f"{{{name}}}", value)
        for name in ("robot", "label"):
            if f"{{{name}_id}}" in found:
                found = found.replace(f"{{{name}_id}}", self._thing(name, anew=route.method == "DELETE"))
        return API + found + self._query(route, project)

    def _query(self, route: Route, project: str) -> str:
        return {
            ("GET", "/robots"): f"?q=Level=project,ProjectID={self._projects[PRIVATE]['project_id']}",
            ("GET", "/labels"): f"?scope=p&project_id={self._projects[PRIVATE]['project_id']}",
            ("GET", "/users/search"): "?username=x",
            ("GET", "/usergroups/search"): "?groupname=x",
            ("HEAD", "/projects"): f"?project_name={project}",
        }.get((route.method, route.path), "")

    def _document(self, route: Route, project: str) -> dict[str, Any] | None:
        """A body for what looks at it before it asks who may."""
        return {
            ("POST", "/projects"): {"project_name": project},
            ("POST", "/labels"): self._label(),
            ("PUT", "/labels/{label_id}"): {"name": ""},
            ("POST", "/robots"): self._robot(),
            ("PUT", "/robots/{robot_id}"): self._robot(),
            ("PATCH", "/robots/{robot_id}"): {},
            ("POST", "/robots/{robot_id}/trusts"): {"issuer": "x", "audience": "x", "claims": {}},
        }.get((route.method, route.path))

    def _thing(self, kind: str, *, anew: bool) -> str:
        if not anew and kind in self._made:
            return self._made[kind]
        made = _id(self._admin.post(f"{API}/{kind}s", json=self._robot() if kind == "robot" else self._label()))
        if not anew:
            self._made[kind] = made
        return made

    def _label(self) -> dict[str, Any]:
        return {"name": f"l{next(numbers)}", "scope": "p", "project_id": self._projects[PRIVATE]["project_id"]}

    def _robot(self) -> dict[str, Any]:
        access = [{"resource": "repository", "action": "pull"}]
        place = {"kind": "project", "namespace": PRIVATE, "access": access}
        return {"name": f"r{next(numbers)}", "level": "project", "duration": -1, "permissions": [place]}


def _id(answer: Any) -> str:
    assert answer.status_code == 201, answer.text
    return str(answer.headers["location"].rpartition("/")[2])


# ---- what stands beside them


def beside(one: Caller, method: str, path: str) -> int:
    if (method, path) == ("POST", "/service/token"):
        form = {"grant_type": "password", "username": "guest", "password": "wrong", "client_id": "matrix"}
        return one.client.post(path, data=form).status_code
    return one.client.request(method, path).status_code


# ---- what is held against them


def test_the_matrix_is_the_reviewed_one(world: World, answers: Answers) -> None:
    written = "".join(f"{line.rstrip()}\n" for line in drawn(world.callers, answers))
    if os.environ.get("LADING_WRITE_MATRIX"):
        MATRIX.write_text(written)
    assert written == MATRIX.read_text(), "see the module: it changed who may what"


def drawn(callers: list[Caller], answers: Answers) -> Iterator[str]:
    yield "Every route, asked by every kind of caller; written by test_matrix.py. 401 and 403 are refusals."
    yield "What it needs is what Harbor asks for it (harbor.py): a login, to be administrator of the system, or a"
    yield "letter of a resource in the project (Create Read Update Delete List, < pull, > push)."
    yield ""
    yield from (f"{number:3}  {one.title}" for number, one in enumerate(callers, start=1))
    for name in ("distribution", "Harbor", "besides", "debug address"):
        rows = {row: found for row, found in answers.items() if row.face == name}
        yield f"\n{name[0].upper()}{name[1:]}"
        wide = max(len(row.route) for row in rows) + 1
        columns = " ".join(f"{number:3}" for number in range(1, len(callers) + 1))
        yield f"{'':{wide + 43}}{columns}"
        for row, found in rows.items():
            head = f"{row.method:7}{row.route:{wide}}{row.place:16}{row.need:20}"
            yield head + " ".join(map(str, found))


def test_nobody_may_more_than_harbors_table_says(world: World, answers: Answers) -> None:
    """And who has a role, a robot's permissions or a limited token may all that they give."""
    wrong = [
        f"{one.title}: {row.method} {row.route} in {row.place or 'no project'} answers {answered}"
        for row, statuses in answers.items()
        for one, answered in zip(world.callers, statuses, strict=True)
        if not fits(one, row, allowed=answered not in REFUSED)
    ]
    assert not wrong, "\n".join(wrong)


def fits(one: Caller, row: Row, *, allowed: bool) -> bool:
    """Whether Harbor would have answered that way, or no more: what a login is enough for may be refused."""
    if row.need in ("", "anybody"):
        return True
    if row.need == "login":
        return one.known or not allowed
    return allowed == (one.admin if row.need == "system" else may(one, row))


def may(one: Caller, row: Row) -> bool:
    """What Harbor's table says of a caller."""
    if one.admin:
        return True
    if one.reads_only and row.face == "Harbor" and row.method not in ("GET", "HEAD"):
        return False
    held = [one.everywhere] if row.place == "public" else []
    if row.place in ("private", "not in private", ""):
        held = [one.wire if row.face == "distribution" else one.api]
        if row.place == "private" and ("<name>" in row.route or "{repository_name}" in row.route):
            held.append(one.within)
    return any(holds(each, row.need) for each in held)


def test_what_one_may_not_see_answers_as_if_it_were_not_there(world: World, answers: Answers) -> None:
    for row, statuses in answers.items():
        if row.place != "private":
            continue
        absent = answers[row._replace(place="absent")]
        for one, answered, missing in zip(world.callers, statuses, absent, strict=True):
            if not (one.wire or one.api or one.within or one.admin):
                assert answered == missing, f"{one.title}: {row.method} {row.route}"


def test_no_route_is_left_out(answers: Answers) -> None:
    asked = {(row.method, row.route) for row in answers}
    assert {(method, route.path) for route in routes.ROUTES for method in route.methods} <= asked
    assert {(route.method, route.path) for route in ROUTES} <= asked
    assert {("GET", path) for path in (*face._OPEN, *browsers.PATHS) if path != "/c/log_out"} <= asked
    assert {("GET", path.decode()) for path in token.PATHS} <= asked
    assert set(NEEDS) == {(route.method, route.path) for route in ROUTES}, "harbor.py names what is no operation here"


def test_strangers_see_nothing_of_a_private_project_in_lists(world: World) -> None:
    for one in world.callers:
        if one.wire or one.api or one.within or one.admin or not one.everywhere:
            continue
        for path in ("/projects", "/repositories", "/search?q=app"):
            told = one.client.get(API + path).text
            assert f"{PRIVATE}/" not in told, one.title
            assert f'"{PRIVATE}"' not in told, one.title
            assert f'"{PUBLIC}' in told, one.title
        catalog = one.client.get("/v2/_catalog").json()["repositories"]
        assert catalog == [f"{PUBLIC}/app"], one.title


def test_tokens_for_repositories_open_no_part_of_the_api(world: World) -> None:
    told = world.admin.get("/service/token", params={"scope": f"repository:{PRIVATE}/app:pull"}).json()
    client = world.client(headers={"authorization": f"Bearer {told['token']}"})
    for route in ROUTES:
        if not route.permission.open:
            path = API + route.path.replace("{", "").replace("}", "")
            answered = client.request(route.method, path).status_code
            assert answered == 401, f"{route.method} {route.path} answers {answered}"
