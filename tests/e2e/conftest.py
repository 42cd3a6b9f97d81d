"""What the tests with real clients share: servers, the docker engine, images, marks and time limits.

``LADING_E2E_REGISTRY=peer`` runs the same tests against Debian's registry:2, to tell our faults from a client's.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.engine import Containerd, Engine
from tests.support import images
from tests.support.access import Certificates, TokenServer, certificates, write_htpasswd
from tests.support.http import Client
from tests.support.lading import Lading
from tests.support.peer import Peer
from tests.support.server import RegistryServer

USER, PASSWORD = "alice", "wonder land?"
PEER = os.environ.get("LADING_E2E_REGISTRY") == "peer"
not_in_the_peer = pytest.mark.skipif(PEER, reason="registry:2 does not search")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder ends within a minute unless it says otherwise."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(60))


@pytest.fixture(scope="session", autouse=True)
def _end_in_order() -> Iterator[None]:
    """A TERM ends the session as Ctrl-C does, so that engines and mounts are not left behind."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    yield
    signal.signal(signal.SIGTERM, before)


@contextmanager
def serve(
    root: Path, configuration: Mapping[str, Any] | None = None, ca: Path | None = None
) -> Iterator[RegistryServer]:
    """The registry under test; what it stored is deleted in the end, its log stays."""
    if PEER:
        server: RegistryServer = Peer(root, configuration, ca=ca)
    else:
        server = Lading(root, configuration, ca=ca, workers=2)
    with server:
        yield server
    shutil.rmtree(server.storage)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """A registry open to everyone, over plain HTTP."""
    with serve(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A certificate authority and a server certificate; ``ca.crt`` beside them for clients' certificate folders."""
    made = certificates(tmp_path_factory.mktemp("tls"))
    folder = made.ca.parent / "trusted"
    folder.mkdir()
    (folder / "ca.crt").write_bytes(made.ca.read_bytes())
    return made


@pytest.fixture(scope="session")
def htpasswd(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The ``auth`` section that lets :data:`USER` in with :data:`PASSWORD`."""
    path = write_htpasswd(tmp_path_factory.mktemp("htpasswd") / "htpasswd", {USER: PASSWORD})
    return {"htpasswd": {"realm": "Registry of the tests", "path": str(path)}}


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory, htpasswd: dict[str, Any]) -> Iterator[RegistryServer]:
    """A registry that asks for a password, over plain HTTP."""
    with serve(tmp_path_factory.mktemp("guarded"), {"auth": htpasswd}) as server:
        yield server


@pytest.fixture(scope="session")
def secure(
    tmp_path_factory: pytest.TempPathFactory, htpasswd: dict[str, Any], authority: Certificates
) -> Iterator[RegistryServer]:
    """A registry that asks for a password, over TLS."""
    tls = {"certificate": str(authority.certificate), "key": str(authority.key)}
    settings = {"auth": htpasswd, "http": {"tls": tls}}
    with serve(tmp_path_factory.mktemp("secure"), settings, authority.ca) as server:
        yield server


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    """An outside token server."""
    with TokenServer(tmp_path_factory.mktemp("tokens"), {USER: PASSWORD}) as server:
        yield server


@pytest.fixture(scope="session")
def tokened(tmp_path_factory: pytest.TempPathFactory, tokens: TokenServer) -> Iterator[RegistryServer]:
    """A registry that trusts the outside token server, over plain HTTP."""
    with serve(tmp_path_factory.mktemp("tokened"), {"auth": tokens.configuration()}) as server:
        yield server


@pytest.fixture(scope="session")
def containerd() -> Iterator[Containerd]:
    with Containerd() as daemon:
        yield daemon


@pytest.fixture(scope="session")
def engine(containerd: Containerd) -> Iterator[Engine]:
    with Engine(containerd) as daemon:
        yield daemon


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A repository's name nobody else uses."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")
    return f"{words}/{secrets.token_hex(3)}"


class Shelf(NamedTuple):
    """Three repositories to search for: their common *term*, and the best known first."""

    term: str
    official: str
    popular: str
    plain: str


@pytest.fixture
def shelf(registry: RegistryServer, name: str) -> Shelf:
    """Repositories described by ``lading describe``, beside the running server."""
    term = name.rpartition("/")[2]
    made = Shelf(term, *(f"{term}/{word}" for word in ("official", "popular", "plain")))
    known = {
        made.official: ("--description=Ours", "--stars=50", "--official"),
        made.popular: ("--description=A tool many like", "--stars=3"),
        made.plain: ("--not-official",),
    }
    with Client(registry) as client:
        for repository in known:
            client.push(repository, images.image(term), "1")
    assert isinstance(registry, Lading)
    for repository, options in known.items():
        registry.run("describe", *options, repository)
    return made
