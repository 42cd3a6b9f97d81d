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
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

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
    push_blob(target.keep(), REPOSITORY, blob)


def push_blob(connection: Connection, repository: str, blob: Payload) -> None:
    """POST and one PUT over a connection that stays open."""
    connection.send("POST", f"/v2/{repository}/blobs/uploads/", ["Content-Length: 0"])
    session = location(connection.expect(202))
    connection.send(
        "PUT", _with_digest(session, blob), [f"Content-Length: {len(blob)}", "Content-Type: application/octet-stream"]
    )
    connection.send_parts([blob.own, blob.rest])
    connection.expect(201)


def figures(options: Options) -> tuple[Figure, ...]:
    """The push figures."""
    seconds = Metric("seconds", "time", "s", "less")
    large = (
        seconds,
        Metric("cpu_s_gb", "server CPU", "s/GB", "less"),
        Metric("of_disk", "speed, share of dd conv=fdatasync", "", "more"),
    )
    small = (seconds, Metric("cpu_ms", "server CPU a blob", "ms", "less"))
    in_memory = (
        seconds,
        Metric("cpu_s_gb", "server CPU", "s/GB", "less"),
        Metric("of_sha256", "speed, share of one core's sha256", "", "more"),
    )
    many, few = f"push {options.large_count} blobs of {_size(options.large)}", options.uploads
    forms = (("docker", push_as_docker), ("containerd", push_as_containerd))
    return (
        *(
            Figure(name, f"{many}, {clients} at a time, as {form}", large, partial(_large, send, clients), static=False)
            for form, send in forms
            for name, clients in ((f"push-large-{form}", few), (f"push-large-{form}-alone", 1))
        ),
        *(
            Figure(
                f"push-small-{form}",
                f"push {options.small_count} blobs of {_size(options.small)}, {options.pushers} at a time, as {form}",
                small,
                partial(_small, send),
                static=False,
            )
            for form, send in forms
        ),
        Figure(
            "push-memory",
            f"push one blob of {_size(options.huge)} to a file system in memory, as containerd",
            in_memory,
            _in_memory,
            static=False,
        ),
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


def _large(send: Send, clients: int, turn: Round) -> Sample:
    blobs = payloads(turn.options.large, turn.options.large_count)
    size = sum(map(len, blobs))
    seconds, cpu = _push(send, turn, blobs, clients)
    return {"seconds": seconds, "cpu_s_gb": cpu / (size / 1e9), "of_disk": size / seconds / _disk(turn, blobs)}


def _in_memory(turn: Round) -> Sample:
    (blob,) = payloads(turn.options.huge, 1)
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="bench-") as memory:
        seconds, cpu = _push(push_as_containerd, replace(turn, directory=Path(memory) / "files"), [blob], 1)
    begin = time.monotonic()
    hashlib.sha256(blob.rest)
    hashing = len(blob.rest) / (time.monotonic() - begin)
    return {"seconds": seconds, "cpu_s_gb": cpu / (len(blob) / 1e9), "of_sha256": len(blob) / seconds / hashing}


def _disk(turn: Round, blobs: Sequence[Payload]) -> float:
    """Bytes a second that ``dd conv=fdatasync`` writes of the same bytes, right after the server did."""
    turn.directory.mkdir()
    with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="bench-") as source:
        for blob in blobs:
            source.write(blob.own)
            source.write(blob.rest)
        source.flush()
        words = ["dd", f"if={source.name}", f"of={turn.directory / 'written'}", "bs=1M", "conv=fdatasync"]
        begin = time.monotonic()
        subprocess.run(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        seconds = time.monotonic() - begin
    shutil.rmtree(turn.directory)
    return sum(map(len, blobs)) / seconds


def _small(send: Send, turn: Round) -> Sample:
    blobs = payloads(turn.options.small, turn.options.small_count)
    seconds, cpu = _push(send, turn, blobs, turn.options.pushers)
    return {"seconds": seconds, "cpu_ms": cpu / len(blobs) * 1e3}


def _push(send: Send, turn: Round, blobs: Sequence[Payload], clients: int) -> tuple[float, float]:
    """Push all blobs, so many at once; return the seconds it took and the server's CPU seconds."""
    with empty_server(turn) as server:
        # One blob outside the clock: the repository is there, as for most pushes.
        push_all(send, server.port, payloads(turn.options.small, 1), 1)
        before = server.cpu_seconds()
        begin = time.monotonic()
        push_all(send, server.port, blobs, clients)
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
