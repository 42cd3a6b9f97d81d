"""Requests that a machine makes up, for every route of every face: no 5xx, no hang, no growth.

``open`` is what a registry without accounts answers; ``accounts`` is all of it, asked by the administrator: the distribution
specification, the token service, every operation of Harbor's API, what browsers ask for; ``debug`` is the debug address. How inputs
come to be is in ``inputs.py``.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.inputs import FOLDER, Corpus
from tests.faults.offline import offline
from tests.faults.operations import AUTHORIZATION, REPOSITORY, request, requests
from tests.integration.kept import Kept, keep
from tests.integration.workers import memory
from tests.support.accounts import ADMIN, PASSWORD, WithAccounts
from tests.support.counts import Count
from tests.support.http import Client
from tests.support.images import image
from tests.support.lading import Lading
from tests.support.ports import free_port
from tests.support.replication import NETWORKS

LIMITS = {"limits": {"headertimeout": "2s", "bodytimeout": "2s"}}
FUZZED = image("fuzzed", (300,))
METHODS = {b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"}
MOST_GROWTH = 30 << 20
HANGS = 15
"""Seconds after which an answer counts as one that does not come."""
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_CODE = re.compile(rb'"code": ?"([A-Z_]+)"')


class Answered(NamedTuple):
    """All answers on one connection."""

    statuses: tuple[int, ...]
    codes: tuple[str, ...]


def answers(port: int, raw: bytes) -> Answered:
    """What is answered to these bytes; the server ends the connection, and soon."""
    got = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=HANGS) as connection:
        with contextlib.suppress(OSError):  # it may have closed already
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(1 << 16):
                got += data
    statuses = tuple(int(each) for each in _STATUS.findall(got))
    return Answered(statuses, tuple(each.decode() for each in _CODE.findall(got)))


class Hammer:
    """Sends inputs, and looks at what comes back; ``fine`` are the failures that an answer may tell of."""

    def __init__(self, corpus: Corpus, fine: tuple[int, ...] = ()) -> None:
        self.corpus = corpus
        self.sent = 0
        self.slowest = 0.0
        self.grown = 0
        self._fine = fine

    def strike(self, server: Lading, port: int, inputs: Iterator[bytes]) -> None:
        """Send all of these."""
        warm, began_with = memory(server.pid), self.sent
        for raw in inputs:
            began = time.monotonic()
            answered = answers(port, raw)
            self.slowest = max(self.slowest, time.monotonic() - began)
            assert all(status < 500 or status in self._fine for status in answered.statuses), (raw, answered)
            method = raw.partition(b" ")[0]
            kind = method if method in METHODS else b"", answered.statuses[:2], answered.codes[:2]
            self.corpus.turned_out(raw, kind)
            self.sent += 1
            if self.sent - began_with == 2_000:
                warm = memory(server.pid)
        self.grown = max(self.grown, memory(server.pid) - warm)
        assert self.grown < MOST_GROWTH

    def told(self, what: str) -> str:
        return (
            f"fuzz: {self.sent} requests to {what} ({self.corpus}); 0 failures, slowest {self.slowest:.2f} s, "
            f"{self.grown / 1000:.0f} kB of growth"
        )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Kept]:
    """It holds an image that must be served unchanged in the end."""
    with Lading(tmp_path, LIMITS) as made:
        kept = keep(made)
        yield kept
        kept.check()
        assert "Traceback" not in made.output


@pytest.mark.slow
@pytest.mark.timeout(36_000)
def test_every_route_without_accounts(server: Kept, long: bool, count: Count) -> None:
    registry = server.server
    assert isinstance(registry, Lading)
    plain = [raw.replace(b"authorization: " + AUTHORIZATION + b"\r\n", b"") for raw in requests(FUZZED)]
    corpus = Corpus("open", (raw for raw in plain if b" /api/" not in raw), long=long)
    hammer = Hammer(corpus)
    hammer.strike(registry, registry.port, corpus.inputs(300_000 if long else 1_500))
    corpus.keep()
    count(hammer.told("every route without accounts"))


@contextlib.contextmanager
def with_accounts(root: Path) -> Iterator[WithAccounts]:
    """One with a project, an image in it, and a user, for the administrator to do as they like with."""
    with WithAccounts(
        root, {"lockout": {"attempts": 0, "addressattempts": 0}}, configuration={**LIMITS, **NETWORKS}
    ) as made:
        made.project("fuzzed", public=True)
        made.user("victim")
        with Client(made, auth=(ADMIN, PASSWORD)) as client:
            client.push(REPOSITORY, FUZZED, "latest")
        yield made
        assert made.alive
        assert "Traceback" not in made.output


@pytest.mark.slow
@pytest.mark.timeout(36_000)
def test_every_route_with_accounts(tmp_path: Path, long: bool, count: Count) -> None:
    """Every so often on a new registry: an administrator who does anything also takes their own rights away."""
    number, at_once = (600_000, 30_000) if long else (1_500, 1_500)
    corpus = Corpus("accounts", requests(FUZZED), long=long)
    hammer, registries = Hammer(corpus, fine=(501, 503)), 0
    inputs = corpus.inputs(number)
    with offline():
        while hammer.sent < number:
            registries += 1
            with with_accounts(tmp_path / str(registries)) as server:
                hammer.strike(server, server.port, administering(server, inputs, at_once))
    corpus.keep()
    count(hammer.told(f"every route of {registries} registries with accounts"))


def administering(server: WithAccounts, inputs: Iterator[bytes], most: int) -> Iterator[bytes]:
    """So many of the inputs, for as long as the administrator is one."""
    for number, raw in enumerate(itertools.islice(inputs, most)):
        yield raw
        if number % 500 == 499 and answers(server.port, request("GET", "/api/v2.0/users/current")).statuses != (200,):
            return


@pytest.mark.timeout(36_000)
def test_every_route_of_the_debug_address(tmp_path: Path, long: bool, count: Count) -> None:
    port = free_port()
    paths = ("/debug/health", "/metrics", "/debug/pprof/", "/debug/vars", "/")
    seeds = [request(method, path) for path in paths for method in ("GET", "HEAD", "POST")]
    corpus = Corpus("debug", seeds, long=long)
    hammer = Hammer(corpus, fine=(501, 503))
    settings = {"http": {"debug": {"addr": f"127.0.0.1:{port}", "prometheus": {"enabled": True}}}}
    with Lading(tmp_path, {**LIMITS, **settings}) as registry:
        hammer.strike(registry, port, corpus.inputs(100_000 if long else 500))
        assert "Traceback" not in registry.output
    corpus.keep()
    count(hammer.told("the debug address"))


def test_the_corpus_is_one() -> None:
    """It is read, and no input is in it twice."""
    kept = {path.stem: Corpus(path.stem, (), long=False).kept() for path in FOLDER.iterdir()}
    assert len(kept["open"]) > 20
    for name, known in kept.items():
        assert len(known) == len(set(known)), name
