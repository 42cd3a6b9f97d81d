"""The mirror's figures: an image pulled cold and warm beside the same pull without a mirror, and a crowd on a cold one.

The upstream is registry:2 whichever server mirrors it, so that a cold pull differs in nothing but the mirror. It writes
an access log, in which fetches are counted. Clients take three layers at a time, as docker does, and throw them away.
An upstream on loopback is faster than any disk the mirror may write to; a *distant* one has nginx in front of it, which
lets each download have a part of what a line to the internet carries. And there is what a user waits for: a whole ``docker
pull``.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from bench import docker
from bench.figures import Figure, Metric, Options, Round, Sample
from bench.fixture import MANIFEST_TYPE
from bench.push import Payload, empty_server, payloads, push_blob
from bench.servers import BenchmarkError, Registry, Server, program
from bench.wire import ACCEPTED_MANIFESTS, Connection, download
from tests.support import images

_REPOSITORY = "bench/image"
_LAYERS = 5
_DOCKER_LAYERS = 10
_AT_ONCE = 3
_CROWD = 50
_SETTLE_SECONDS = 30.0
_FETCHED = re.compile(r'"GET /v2/[^ ]+/blobs/(sha256:[0-9a-f]{64})[ ?]')


_RATE = 20_000_000
_LINE = """\
daemon off;
{user}
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{upstream};
      proxy_set_header Host $http_host;
      proxy_max_temp_file_size 0;
      limit_rate {rate};
    }}
  }}
}}
"""


@dataclass
class Line(Server):
    """A line to the server at the port ``upstream``, on which each answer has a rate of its own."""

    upstream: int = 0

    def command(self) -> list[str]:
        path = self.directory / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        about = {"port": self.port, "upstream": self.upstream, "rate": _RATE}
        path.write_text(_LINE.format(user=user, directory=self.directory, **about))
        return [program("nginx", "nginx-light"), "-p", str(self.directory), "-c", str(path)]


@dataclass
class Upstream(Registry):
    """registry:2 with its access log."""

    def command(self) -> list[str]:
        words = super().command()
        path = self.directory / "config.yml"
        path.write_text(path.read_text().replace("disabled: true", "disabled: false", 1))
        return words

    def fetches(self) -> Counter[str]:
        """How often each blob was fetched so far."""
        return Counter(_FETCHED.findall((self.directory / "output.log").read_text(errors="replace")))


def figures(options: Options) -> tuple[Figure, ...]:
    """The mirror's figures."""
    image = f"an image of {_LAYERS} layers of {options.large / 1e6:g} MB"
    pulls = (
        Metric("direct_s", "from the upstream itself", "s", "less"),
        Metric("cold_s", "cold, through the mirror", "s", "less"),
        Metric("of_direct", "cold, share of the time from the upstream", "", "less"),
        Metric("local_s", "from a registry that it was pushed to", "s", "less"),
        Metric("warm_s", "warm, from the mirror", "s", "less"),
        Metric("of_local", "warm, share of the time from there", "", "less"),
    )
    distant = pulls[:3]
    line = f"{image}, the upstream at {_RATE / 1e6:g} MB/s a download"
    crowd = (
        Metric("seconds", "until the last has it", "s", "less"),
        Metric("fetches", "fetches of a blob from the upstream, the most", "", "less"),
    )
    return (
        Figure("mirror-pull", f"pull {image}", pulls, _pulls, static=False),
        Figure(
            "mirror-docker",
            f"docker pull, an image of {_DOCKER_LAYERS} layers of {options.layer / 1e6:g} MB",
            distant,
            _docker,
            static=False,
        ),
        Figure("mirror-pull-distant", f"pull {line}", distant, _distant, static=False),
        Figure("mirror-crowd", f"{_CROWD} clients pull {image}, cold", crowd, _crowd, static=False),
    )


def _pulls(turn: Round) -> Sample:
    blobs = payloads(turn.options.large, _LAYERS)
    with _upstream(turn, blobs) as upstream:
        _pull(upstream)  # what it reads comes from memory from now on
        direct = _timed(upstream)
        with _mirror(turn, upstream) as server:
            cold = _timed(server)
            _pull(server)
            warm = _timed(server)
    with _beside(turn, "local") as server:
        _push(server, blobs)
        _pull(server)
        local = _timed(server)
    return {
        "direct_s": direct,
        "cold_s": cold,
        "of_direct": cold / direct,
        "local_s": local,
        "warm_s": warm,
        "of_local": warm / local,
    }


def _docker(turn: Round) -> Sample:
    """What a user waits for: the engine takes each layer apart as it comes, and mounts it."""
    engine = turn.kept.get("docker", docker.running)
    with _upstream(turn, ()) as upstream, _mirror(turn, upstream) as server:
        there, here = (f"127.0.0.1:{each.port}/bench/image:{turn.seed}" for each in (upstream, server))
        image = images.image(os.urandom(8).hex(), [turn.options.layer] * _DOCKER_LAYERS)
        archive = images.write_docker_archive(turn.directory / "image.tar", image, [there])
        engine.docker("load", "--quiet", "--input", archive, timeout=300)
        engine.docker("push", "--quiet", there, timeout=300)
        engine.docker("image", "rm", "--force", there)
        direct = docker.timed(engine, "pull", there)
        engine.docker("image", "rm", "--force", there)
        cold = docker.timed(engine, "pull", here)
        engine.docker("image", "rm", "--force", here)
    return {"direct_s": direct, "cold_s": cold, "of_direct": cold / direct}


def _distant(turn: Round) -> Sample:
    blobs = payloads(turn.options.large, _LAYERS)
    with _upstream(turn, blobs) as upstream:
        line = Line("a line", turn.directory, turn.directory / "line", upstream=upstream.port)
        line.start()
        try:
            direct = _timed(line)
            with _mirror(turn, line) as server:
                cold = _timed(server)
        finally:
            line.stop()
    return {"direct_s": direct, "cold_s": cold, "of_direct": cold / direct}


def _crowd(turn: Round) -> Sample:
    blobs = payloads(turn.options.large, _LAYERS)
    with _upstream(turn, blobs) as upstream, _mirror(turn, upstream) as server, ThreadPoolExecutor(_CROWD) as pool:
        begin = threading.Barrier(_CROWD + 1)

        def client() -> None:
            begin.wait()
            _pull(server)

        running = [pool.submit(client) for _ in range(_CROWD)]
        begin.wait()
        started = time.monotonic()
        for each in running:
            each.result()
        seconds = time.monotonic() - started
        return {"seconds": seconds, "fetches": float(_most_fetched(upstream, blobs))}


def _most_fetched(upstream: Upstream, blobs: tuple[Payload, ...]) -> int:
    """A line is written after its answer, so the log may be behind."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        found = upstream.fetches()
        if all(found[blob.digest] for blob in blobs):
            return max(found.values())
        if time.monotonic() > deadline:
            raise BenchmarkError(f"the upstream's log does not tell of every blob: {dict(found)}")
        time.sleep(0.1)


@contextmanager
def _upstream(turn: Round, blobs: tuple[Payload, ...]) -> Iterator[Upstream]:
    base = Upstream("upstream", turn.directory, turn.directory)
    with empty_server(replace(turn, server=base, directory=turn.directory / "upstream")) as server:
        assert isinstance(server, Upstream)
        if blobs:
            _push(server, blobs)
        yield server


@contextmanager
def _mirror(turn: Round, upstream: Server) -> Iterator[Server]:
    with _beside(turn, "mirror", f"proxy:\n  remoteurl: http://127.0.0.1:{upstream.port}\n") as server:
        yield server


@contextmanager
def _beside(turn: Round, name: str, more: str = "") -> Iterator[Server]:
    with empty_server(replace(turn, directory=turn.directory / name), more=more) as server:
        yield server


def _push(server: Server, blobs: tuple[Payload, ...]) -> None:
    with Connection(server.port) as connection:
        for blob in blobs:
            push_blob(connection, _REPOSITORY, blob)
        layers = [{"mediaType": "application/octet-stream", "digest": blob.digest, "size": len(blob)} for blob in blobs]
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": layers[0], "layers": layers[1:]}
        body = json.dumps(manifest).encode()
        headers = [f"Content-Type: {MANIFEST_TYPE}", f"Content-Length: {len(body)}"]
        connection.send("PUT", f"/v2/{_REPOSITORY}/manifests/1", headers, body)
        connection.expect(201)


def _pull(server: Server) -> None:
    with Connection(server.port) as connection:
        accept = [f"Accept: {kind}" for kind in ACCEPTED_MANIFESTS]
        connection.send("GET", f"/v2/{_REPOSITORY}/manifests/1", accept)
        manifest = json.loads(connection.answer(200))
    wanted = [manifest["config"], *manifest["layers"]]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        paths = [f"/v2/{_REPOSITORY}/blobs/{one['digest']}" for one in wanted]
        for one, size in zip(wanted, pool.map(lambda path: download(server.port, path), paths), strict=True):
            if size != one["size"]:
                raise BenchmarkError(f"{server.name} sent {size} bytes of a blob of {one['size']}")


def _timed(server: Server) -> float:
    begin = time.monotonic()
    _pull(server)
    return time.monotonic() - begin
