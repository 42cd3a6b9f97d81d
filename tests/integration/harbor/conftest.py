"""One registry with accounts for these tests, and clients of Harbor's API as various people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.support.http import Client
from tests.support.lading import Lading
from tests.support.postgres import Postgres
from tests.support.replication import NETWORKS

ADMIN, PASSWORD = "admin", "Harbor-Test-1"
API = "/api/v2.0"

As = Callable[..., Client]


@pytest.fixture(scope="module")
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lading]:
    """Over SQLite, or over PostgreSQL where a module asks for it."""
    settings: dict[str, Any] = {"accounts": {"adminpassword": PASSWORD}, **NETWORKS}
    if getattr(request, "param", "") == "postgresql":
        postgres: Postgres = request.getfixturevalue("postgres")
        settings["database"] = {"url": postgres.empty()}
    with Lading(tmp_path_factory.mktemp("harbor"), settings) as server:
        yield server


@pytest.fixture(scope="module")
def logged_in(registry: Lading) -> Iterator[As]:
    """``logged_in("name", "password")`` is a client whose paths are below the API's; without a name it is nobody."""
    opened = []

    def make(name: str = ADMIN, password: str = PASSWORD) -> Client:
        auth = (name, password) if name else None
        opened.append(Client(registry.url + API, auth=auth))
        return opened[-1]

    yield make
    for client in opened:
        client.close()


@pytest.fixture(scope="module")
def admin(logged_in: As) -> Client:
    return logged_in()


def made(answer: httpx2.Response) -> int:
    """The id of what was made, from its Location."""
    assert answer.status_code == 201, answer.text
    return int(answer.headers["location"].rpartition("/")[2])


def add_user(admin: Client, name: str) -> int:
    body = {"username": name, "password": PASSWORD, "email": f"{name}@example.org", "realname": name.title()}
    return made(admin.post("/users", json=body))


def add_project(admin: Client, name: str, *, public: bool = False) -> int:
    body = {"project_name": name, "metadata": {"public": str(public).lower()}}
    return made(admin.post("/projects", json=body))
