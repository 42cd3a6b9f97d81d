"""With accounts: manifests by bearer token beside the same server without accounts, and how fast tokens are issued."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from bench.figures import Figure, Metric, Options, Round, Sample
from bench.fixture import repository_name
from bench.index import Filler, fill
from bench.pull import Load, ask
from bench.servers import Lading, Server
from bench.wire import Connection

_PASSWORD = "Secret-word-1"
_TAGS = 100
_BASIC = f"Authorization: Basic {base64.b64encode(f'admin:{_PASSWORD}'.encode()).decode()}"
_TOKEN = f"/service/token?service=lading&scope=repository:{repository_name(0)}:pull"


def manifests(turn: Round) -> Sample:
    """GET with a token, and right after it from a server without accounts."""
    if not isinstance(turn.server, Lading):
        return {}
    guarded, plain = turn.kept.get(f"accounts of {turn.server.name}", lambda: _servers(turn))
    options = turn.options
    bearer = f"Bearer {_token(guarded)}"
    found = ask(guarded, Load(1, _TAGS, options.connections, options.seconds, authorization=bearer), turn.seed)
    other = ask(plain, Load(1, _TAGS, options.connections, options.seconds), turn.seed)
    return {
        "rate": found["rate"],
        "plain": other["rate"],
        "share": found["rate"] / other["rate"],
        "cpu_us": found["cpu_us"],
        "plain_us": other["cpu_us"],
    }


def tokens(turn: Round) -> Sample:
    """Tokens for one account, one after the other over each of some connections."""
    if not isinstance(turn.server, Lading):
        return {}
    server, _ = turn.kept.get(f"accounts of {turn.server.name}", lambda: _servers(turn))
    _token(server)  # a password is looked at once, then remembered for a while
    before, begin = server.cpu_seconds(), time.monotonic()
    until = begin + turn.options.seconds
    with ThreadPoolExecutor(turn.options.pushers) as pool:
        issued = sum(pool.map(lambda _: _issue(server, until), range(turn.options.pushers)))
    seconds = time.monotonic() - begin
    return {"rate": issued / seconds, "cpu_us": (server.cpu_seconds() - before) / issued * 1e6}


def figures(options: Options) -> tuple[Figure, ...]:
    """What accounts cost."""
    return (
        Figure(
            "accounts-manifest-get",
            f"manifest GET with a bearer token, {options.connections} connections",
            (
                Metric("rate", "with a token", "1/s", "more"),
                Metric("plain", "without accounts", "1/s", "more"),
                Metric("share", "with : without", "", "more"),
                Metric("cpu_us", "server CPU with a token", "µs", "less"),
                Metric("plain_us", "server CPU without accounts", "µs", "less"),
            ),
            manifests,
            static=False,
        ),
        Figure(
            "accounts-token",
            f"tokens for a local account by Basic, {options.pushers} clients",
            (Metric("rate", "tokens", "1/s", "more"), Metric("cpu_us", "server CPU a token", "µs", "less")),
            tokens,
            static=False,
        ),
    )


@contextmanager
def _servers(turn: Round) -> Iterator[tuple[Lading, Lading]]:
    """A Lading with accounts and one without, over indexes that are alike."""
    guarded = _one(turn, "with-accounts", f"accounts:\n  adminpassword: {_PASSWORD}\n")
    filler = Filler(guarded)
    project, now = filler.next("projects"), int(time.time() * 1000)
    name = repository_name(0).partition("/")[0]
    columns = ("id", "name", "public", "created_at", "updated_at")
    filler.insert("projects", columns, [(project, name, False, now, now)])
    filler.insert("project_repositories", ("repository_id", "project_id"), [(1, project)])
    filler.close()
    plain = _one(turn, "without-accounts")
    try:
        guarded.start()
        plain.start()
        yield guarded, plain
    finally:
        guarded.stop()
        plain.stop()


def _one(turn: Round, name: str, more: str = "") -> Lading:
    assert isinstance(turn.server, Lading)
    here = turn.kept.directory / f"{turn.server.name}-{name}".replace(" ", "-")
    (here / "root").mkdir(parents=True)
    server = turn.server.beside(here / "root", here, more=more)
    fill(server, 1, _TAGS)
    return server


def _token(server: Server) -> str:
    with Connection(server.port) as connection:
        connection.send("GET", _TOKEN, [_BASIC])
        return str(json.loads(connection.answer(200))["token"])


def _issue(server: Server, until: float) -> int:
    """Ask for tokens one after the other over one connection; how many came."""
    issued = 0
    with Connection(server.port) as connection:
        while time.monotonic() < until:
            connection.send("GET", _TOKEN, [_BASIC])
            connection.answer(200)
            issued += 1
    return issued
