"""The push figures: few large blobs and many small ones, as docker sends them and as containerd does.

docker: POST, PATCH (chunked, the whole blob), PUT, HEAD, each on a connection of its own.
containerd: POST, PUT with the whole blob and its length, over one connection that stays open.
Each sample goes to a server just started on an empty directory, so that no blob is there already and disks do not fill.
"""

from __future__ import annotations

import hashlib
import os
import queue
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial

from bench.figures import Figure, Metric, Options, Round, Sample
from bench.servers import Server
from bench.wire import Connection, location

REPOSITORY = "bench/pushed"
_CHUNK = 32 * 1024
"""What Go's HTTP client puts in one chunk of a chunked body."""
_CHUNKS_A_CALL = 32
_CLOSE = "Connection: close"

Send = Callable[["Target", "Payload"], None]


@dataclass(frozen=True)
class Payload:
    """A blob of incompressible bytes: a few of its own and a long rest that others share, to save memory."""

    own: bytes
    rest: memoryview
    digest: str

    def __len__(self) -> int:
        return len(self.own) + len(self.rest)


class Target:
    """Where one client pushes to. ``kept`` is its connection, for the form that keeps one."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.kept: Connection | None = None

    def keep(self) -> Connection:
        """The connection that stays open."""
        if self.kept is None:
            self.kept = Connection(self.port)
        return self.kept

    def close(self) -> None:
        """Close what stayed open."""
        if self.kept is not None:
            self.kept.socket.close()


@cache
def payloads(size: int, count: int) -> tuple[Payload, ...]:
    """``count`` blobs of ``size`` bytes, no two alike; made once, since every server they go to is empty."""
    rest = _random(size - 16)
    return tuple(_payload(os.urandom(16), rest) for _ in range(count))


def push_as_docker(target: Target, blob: Payload) -> None:
    """POST, chunked PATCH, PUT, HEAD: four connections."""
    with Connection(target.port) as connection:
        connection.send("POST", f"/v2/{REPOSITORY}/blobs/uploads/", ["Content-Length: 0", _CLOSE])
        session = location(connection.expect(202))
    with Connection(target.port) as connection:
        connection.send("PATCH", session, ["Transfer-Encoding: chunked", _CLOSE])
        for parts in _chunked(blob):
            connection.send_parts(parts)
        session = location(connection.expect(202))
    with Connection(target.port) as connection:
        connection.send("PUT", _with_digest(session, blob), ["Content-Length: 0", _CLOSE])
        connection.expect(201)
    with Connection(target.port) as connection:
        connection.send("HEAD", f"/v2/{REPOSITORY}/blobs/{blob.digest}", [_CLOSE])
        connection.expect(200, method="HEAD")


def push_as_containerd(target: Target, blob: Payload) -> None:
    """POST and one PUT with the whole blob."""
    connection = target.keep()
    connection.send("POST", f"/v2/{REPOSITORY}/blobs/uploads/", ["Content-Length: 0"])
    session = location(connection.expect(202))
    connection.send(
        "PUT", _with_digest(session, blob), [f"Content-Length: {len(blob)}", "Content-Type: application/octet-stream"]
    )
    connection.send_parts([blob.own, blob.rest])
    connection.expect(201)


def figures(options: Options) -> tuple[Figure, ...]:
    """The push figures."""
    seconds = Metric("seconds", "time", "s", "less")
    cpu_a_gb = Metric("cpu_s_gb", "server CPU", "s/GB", "less")
    cpu_a_blob = Metric("cpu_ms", "server CPU a blob", "ms", "less")
    large = f"push {options.large_count} blobs of {_size(options.large)}"
    small = f"push {options.small_count} blobs of {_size(options.small)}"
    return tuple(
        figure
        for form, send in (("docker", push_as_docker), ("containerd", push_as_containerd))
        for figure in (
            Figure(
                f"push-large-{form}", f"{large} as {form}", (seconds, cpu_a_gb), partial(_large, send), static=False
            ),
            Figure(
                f"push-small-{form}", f"{small} as {form}", (seconds, cpu_a_blob), partial(_small, send), static=False
            ),
        )
    )


@contextmanager
def empty_server(turn: Round, *, storage: str = "", more: str = "") -> Iterator[Server]:
    """The round's server again, on a directory that goes away afterwards (empty, if it is not there), or with a ``storage``."""
    root = turn.directory / "root"
    root.mkdir(parents=True, exist_ok=True)
    server = turn.server.beside(root, turn.directory / "server", storage=storage, more=more)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(turn.directory)


def _large(send: Send, turn: Round) -> Sample:
    blobs = payloads(turn.options.large, turn.options.large_count)
    seconds, cpu = _push(send, turn, blobs)
    return {"seconds": seconds, "cpu_s_gb": cpu / (sum(map(len, blobs)) / 1e9)}


def _small(send: Send, turn: Round) -> Sample:
    blobs = payloads(turn.options.small, turn.options.small_count)
    seconds, cpu = _push(send, turn, blobs)
    return {"seconds": seconds, "cpu_ms": cpu / len(blobs) * 1e3}


def _push(send: Send, turn: Round, blobs: Sequence[Payload]) -> tuple[float, float]:
    """Push all blobs from several clients at once; return the seconds it took and the server's CPU seconds."""
    with empty_server(turn) as server:
        # One blob outside the clock: the repository is there, as for most pushes.
        push_all(send, server.port, payloads(turn.options.small, 1), 1)
        before = server.cpu_seconds()
        begin = time.monotonic()
        push_all(send, server.port, blobs, turn.options.pushers)
        return time.monotonic() - begin, server.cpu_seconds() - before


def push_all(send: Send, port: int, blobs: Sequence[Payload], clients: int) -> None:
    waiting: queue.SimpleQueue[Payload] = queue.SimpleQueue()
    for blob in blobs:
        waiting.put(blob)

    def client() -> None:
        target = Target(port)
        try:
            while True:
                send(target, waiting.get_nowait())
        except queue.Empty:
            pass
        finally:
            target.close()

    with ThreadPoolExecutor(clients) as pool:
        for running in [pool.submit(client) for _ in range(clients)]:
            running.result()


@cache
def _random(size: int) -> memoryview:
    return memoryview(b"".join(os.urandom(min(1 << 24, size - start)) for start in range(0, size, 1 << 24)))


def _payload(own: bytes, rest: memoryview) -> Payload:
    hasher = hashlib.sha256(own)
    hasher.update(rest)
    return Payload(own, rest, f"sha256:{hasher.hexdigest()}")


def _chunked(blob: Payload) -> Iterator[list[bytes | memoryview]]:
    """The blob in chunked form, in groups that each go out with one system call."""
    parts: list[bytes | memoryview] = [b"%x\r\n" % len(blob.own), blob.own, b"\r\n"]
    for start in range(0, len(blob.rest), _CHUNK):
        piece = blob.rest[start : start + _CHUNK]
        parts += [b"%x\r\n" % len(piece), piece, b"\r\n"]
        if len(parts) >= 3 * _CHUNKS_A_CALL:
            yield parts
            parts = []
    yield [*parts, b"0\r\n\r\n"]


def _with_digest(session: str, blob: Payload) -> str:
    return f"{session}{'&' if '?' in session else '?'}digest={blob.digest}"


def _size(count: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:g} {unit}"
    return f"{count} B"
