"""The pull figures: manifests by tag, and a large blob."""

from __future__ import annotations

import hashlib
import json
import random
import selectors
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.figures import Figure, Metric, Options, Round, Sample
from bench.fixture import Fixture, manifest_path
from bench.servers import BenchmarkError, Server, program
from bench.wire import ACCEPTED_MANIFESTS, READ_SIZE, AnswerError, Connection

_SCRIPT = Path(__file__).with_name("requests.lua")
_ACCEPT = tuple(f"Accept: {media_type}" for media_type in ACCEPTED_MANIFESTS)
_THREADS = 2


@dataclass(frozen=True)
class Load:
    """Requests for manifests, drawn from tags named as the fixture names them; ``authorization`` is a header's value."""

    repositories: int
    tags_each: int
    connections: int
    seconds: float
    close: bool = False
    authorization: str = ""


def verify(server: Server, fixture: Fixture) -> None:
    """Check that a server serves the very bytes of the volume, before any of it is timed."""
    path = fixture.volume / "docker/registry/v2/blobs/sha256"
    for repository in {0, fixture.shape.repositories // 2, fixture.shape.repositories - 1}:
        body = b"".join(_get(server, manifest_path(repository, 0), _ACCEPT))
        hexadecimal = hashlib.sha256(body).hexdigest()
        if not (path / hexadecimal[:2] / hexadecimal / "data").exists():
            raise BenchmarkError(
                f"{server.name} answered {manifest_path(repository, 0)} with other bytes: {body[:200]!r}"
            )
    hasher = hashlib.sha256()
    for piece in _get(server, fixture.blob_path):
        hasher.update(piece)
    if f"sha256:{hasher.hexdigest()}" != fixture.blob_digest:
        raise BenchmarkError(f"{server.name} served other bytes than those of {fixture.blob_path}")


def manifest_get(turn: Round) -> Sample:
    """GET by tag over connections that stay open."""
    return wrk(turn, turn.options.connections)


def manifest_get_close(turn: Round) -> Sample:
    """GET by tag with one connection a request, as docker and skopeo do it."""
    return wrk(turn, turn.options.connections, close=True)


def manifest_head(turn: Round) -> Sample:
    """HEAD by tag over connections that stay open; by a client of our own, for wrk waits for a body after HEAD."""
    before = turn.server.cpu_seconds()
    latencies, seconds = _head(turn)
    cpu = turn.server.cpu_seconds() - before
    quantiles = statistics.quantiles(latencies, n=100)
    return {
        "rate": len(latencies) / seconds,
        "cpu_us": cpu / len(latencies) * 1e6,
        "p50_ms": quantiles[49] * 1e3,
        "p99_ms": quantiles[98] * 1e3,
    }


def blob_get(clients: int, turn: Round) -> Sample:
    """Several clients download the large blob at once."""
    before = turn.server.cpu_seconds()
    begin = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(_download, turn) for _ in range(clients)]
        received = sum(download.result() for download in running)
    seconds = time.monotonic() - begin
    cpu = turn.server.cpu_seconds() - before
    return {"gb_s": received / seconds / 1e9, "cpu_s_gb": cpu / (received / 1e9)}


def manifest_under_load(turn: Round) -> Sample:
    """One client asks for manifests, one after the other, while others download the large blob again and again."""
    with _downloading(turn):
        found = wrk(turn, 1)
    return {"p50_ms": found["p50_ms"], "p99_ms": found["p99_ms"]}


LATENCY = (Metric("p50_ms", "latency p50", "ms", "less"), Metric("p99_ms", "latency p99", "ms", "less"))
REQUESTS = (
    Metric("rate", "requests", "1/s", "more"),
    Metric("cpu_us", "server CPU a request", "µs", "less"),
    *LATENCY,
)


THROUGHPUT = (Metric("gb_s", "throughput", "GB/s", "more"), Metric("cpu_s_gb", "server CPU", "s/GB", "less"))


def figures(options: Options) -> tuple[Figure, ...]:
    """The pull figures."""
    connections, downloads, crowd = options.connections, options.downloads, options.crowd
    return (
        Figure("manifest-get", f"manifest GET by tag, {connections} connections", REQUESTS, manifest_get),
        Figure("manifest-head", f"manifest HEAD by tag, {connections} connections", REQUESTS, manifest_head),
        Figure("manifest-get-close", "manifest GET by tag, one connection a request", REQUESTS, manifest_get_close),
        Figure("blob-get", f"blob GET, {downloads} clients", THROUGHPUT, partial(blob_get, downloads)),
        Figure("blob-get-crowd", f"blob GET, {crowd} clients", THROUGHPUT, partial(blob_get, crowd)),
        Figure("manifest-under-load", f"manifest GET beside {downloads} downloads", LATENCY, manifest_under_load),
    )


def wrk(turn: Round, connections: int, *, close: bool = False) -> Sample:
    """GET manifests drawn at random for a while."""
    shape = turn.fixture.shape
    load = Load(shape.repositories, shape.tags_each, connections, turn.options.seconds, close=close)
    return ask(turn.server, load, turn.seed)


def ask(server: Server, load: Load, seed: int) -> Sample:
    """Let wrk ask for manifests; a server that does not answer each of them with 200 fails the figure."""
    command = [
        program("wrk", "wrk"),
        f"-t{min(_THREADS, load.connections)}",
        f"-c{load.connections}",
        f"-d{max(1, round(load.seconds))}s",
        "--latency",
        f"-s{_SCRIPT}",
        f"{'https' if server.certificate else 'http'}://127.0.0.1:{server.port}/",
        "--",
        str(load.repositories),
        str(load.tags_each),
        str(seed),
        "close" if load.close else "keep",
        load.authorization,
    ]
    before = server.cpu_seconds()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    cpu = server.cpu_seconds() - before
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise BenchmarkError(f"wrk gave no result ({done.returncode}): {(done.stdout + done.stderr)[-1000:]}")
    result = json.loads(line.removeprefix("RESULT "))
    if any(result["errors"].values()) or not result["requests"]:
        raise BenchmarkError(f"{server.name} did not answer every request: {result}")
    return {
        "rate": result["requests"] / result["seconds"],
        "cpu_us": cpu / result["requests"] * 1e6,
        "p50_ms": result["p50_ms"],
        "p99_ms": result["p99_ms"],
        "requests": float(result["requests"]),
    }


def _head(turn: Round) -> tuple[list[float], float]:
    """Ask in a closed loop over all connections; return each answer's latency and the whole time, in seconds."""
    draw = random.Random(turn.seed)
    shape = turn.fixture.shape
    lines = "".join(f"{line}\r\n" for line in _ACCEPT)
    tail = f" HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\n{lines}\r\n".encode()
    # Drawn before the clock runs: what the client does in between is kept to two system calls.
    paths = [
        b"HEAD " + manifest_path(draw.randrange(shape.repositories), draw.randrange(shape.tags_each)).encode() + tail
        for _ in range(20_000)
    ]
    latencies: list[float] = []
    clock = time.perf_counter
    with ExitStack() as stack, selectors.EpollSelector() as selector:
        connections = [
            stack.enter_context(Connection(turn.server.port)).socket for _ in range(turn.options.connections)
        ]
        sent: dict[int, float] = {}
        begin = now = clock()
        for index, connection in enumerate(connections):
            selector.register(connection, selectors.EVENT_READ)
            sent[connection.fileno()] = clock()
            connection.sendall(paths[index])
        index = len(connections)
        while now - begin < turn.options.seconds:
            for key, _ in selector.select(timeout=5):
                connection = key.fileobj  # type: ignore[assignment]
                answer = connection.recv(65536)
                if not answer.startswith(b"HTTP/1.1 200") or not answer.endswith(b"\r\n\r\n"):
                    raise AnswerError(f"{turn.server.name} answered HEAD with {answer[:300]!r}")
                now = clock()
                latencies.append(now - sent[key.fd])
                connection.sendall(paths[index % len(paths)])
                sent[key.fd] = now
                index += 1
            now = clock()
        seconds = now - begin
    return latencies, seconds


def _get(server: Server, path: str, headers: tuple[str, ...] = ()) -> Iterator[bytes]:
    with Connection(server.port) as connection:
        connection.send("GET", path, headers)
        for piece in connection.body(bytearray(READ_SIZE)):
            yield bytes(piece)


def _download(turn: Round, going: Callable[[], bool] = lambda: True) -> int:
    """Receive the large blob, or a part of it when ``going`` turns false; return the bytes received."""
    received = 0
    with Connection(turn.server.port, tls=turn.server.certificate is not None) as connection:
        connection.send("GET", turn.fixture.blob_path)
        for piece in connection.body(bytearray(READ_SIZE)):
            received += len(piece)
            if not going():
                break
    return received


@contextmanager
def _downloading(turn: Round) -> Iterator[None]:
    """Keep the downloads running for as long as the block does; a download that fails fails the figure."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.is_set():
            _download(turn, lambda: not ended.is_set())

    with ThreadPoolExecutor(turn.options.downloads) as pool:
        running = [pool.submit(repeat) for _ in range(turn.options.downloads)]
        try:
            yield
        finally:
            ended.set()
        for download in running:
            download.result()
