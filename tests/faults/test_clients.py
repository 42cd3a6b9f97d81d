"""Clients that misbehave: gone at any byte, slow by the byte, idle by the thousand, without end, without finishing.

Others are served meanwhile, memory stays bounded, and afterwards everything is as it was: no file left open, no upload
left behind.
"""

from __future__ import annotations

import contextlib
import random
import resource
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.workers import children, memory
from tests.support.accounts import WithAccounts
from tests.support.counts import Count
from tests.support.http import Client
from tests.support.images import digest_of, image, noise
from tests.support.lading import Lading
from tests.support.patience import eventually

pytestmark = pytest.mark.timeout(7200)

KEPT = image("kept", (4000,))
MEGABYTE = 1 << 20
LIMITS = {"headertimeout": "2s", "bodytimeout": "3s", "idletimeout": "60s", "connections": 12_000}
GET = b"GET /v2/a/manifests/kept HTTP/1.1\r\nhost: x\r\naccept: */*\r\n\r\n"


@pytest.fixture(autouse=True)
def many_files() -> Iterator[None]:
    """As many open files as may be, for us and the server."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Lading]:
    purging = {"enabled": True, "age": "2s", "interval": "1s"}
    settings = {
        "limits": LIMITS,
        "log": {"accesslog": {"disabled": True}},
        "storage": {"maintenance": {"uploadpurging": purging}},
    }
    with Lading(tmp_path, settings) as made:
        with Client(made, verify=False) as client:
            client.push("a", KEPT, "kept")
        yield made
        assert "Traceback" not in made.output


def connected(registry: Lading) -> socket.socket:
    return socket.create_connection(("127.0.0.1", registry.port), timeout=30)


def worker(registry: Lading) -> Path:
    [pid] = children(registry.pid)
    return Path(f"/proc/{pid}")


def files(registry: Lading) -> int:
    return len(list((worker(registry) / "fd").iterdir()))


def serves(registry: Lading) -> float:
    """Somebody else is served; in how many seconds."""
    began = time.monotonic()
    with Client(registry, verify=False) as client:
        assert client.manifest("a", "kept").content == KEPT.manifest.data
    return time.monotonic() - began


def uploads(registry: Lading) -> list[Path]:
    return list((registry.storage / "docker/registry/v2/repositories/a/_uploads").glob("*"))


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


def test_gone_at_any_byte(registry: Lading, long: bool, count: Count) -> None:
    data = b"".join(noise("gone", 300))
    manifest = KEPT.manifest
    requests = [
        b"POST /v2/a/blobs/uploads/?digest=%b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b"
        % (digest_of(data).encode(), len(data), data),
        b"POST /v2/a/blobs/uploads/?digest=%b HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        % (digest_of(data).encode(), len(data), data),
        b"PUT /v2/a/manifests/cut HTTP/1.1\r\nhost: x\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b"
        % (manifest.media_type.encode(), manifest.size, manifest.data),
        GET,
    ]
    before = files(registry)
    gone = 0
    for request in requests:
        for place in range(1, len(request), 1 if long else 7):
            connection = connected(registry)
            connection.sendall(request[:place])
            reset(connection) if place % 2 else connection.close()
            gone += 1
    with Client(registry, verify=False) as client:
        assert client.head(f"/v2/a/blobs/{digest_of(data)}").status_code == 404
        assert client.manifest("a", "cut").status_code == 404
    serves(registry)
    eventually(lambda: files(registry) <= before + 2, what="every file is closed")
    eventually(lambda: uploads(registry) == [], "every upload is gone")
    count(f"clients: {gone} gone at any byte")


def test_slow_by_the_byte(registry: Lading, count: Count) -> None:
    """Heads that never end are ended by the registry; answers that are read by the byte hold nobody up."""
    slow = [connected(registry) for _ in range(100)]
    readers = [connected(registry) for _ in range(20)]
    for reader in readers:
        reader.sendall(GET * 20)
    ended = 0
    deadline = time.monotonic() + 60
    while slow and time.monotonic() < deadline:
        for connection in list(slow):
            try:
                connection.send(b"G")
            except OSError:
                connection.close()
                slow.remove(connection)
                ended += 1
        for reader in readers:
            assert reader.recv(1)
        assert serves(registry) < 30
        time.sleep(0.1)
    assert ended == 100, "a head may take two seconds"
    for reader in readers:
        reader.close()
    count(f"clients: {ended} heads by the byte, ended; {len(readers)} readers by the byte, served")


def test_thousands_idle(registry: Lading, long: bool, count: Count) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 1000
    number = min(10_000 if long else 3000, most)
    before, open_before = memory(registry.pid), files(registry)
    idle = []
    try:
        for _ in range(number):
            connection = connected(registry)
            connection.sendall(GET)
            idle.append(connection)
        for connection in idle:
            assert connection.recv(12) == b"HTTP/1.1 200"
        assert serves(registry) < 30
        grown = memory(registry.pid) - before
        assert grown < number * 16_000 + 20 * MEGABYTE
    finally:
        for connection in idle:
            connection.close()
    eventually(lambda: files(registry) <= open_before + 2, "every connection is closed")
    assert serves(registry) < 30
    count(f"clients: {number} idle connections, {grown / number / 1000:.1f} kB of memory each")


def test_bodies_that_never_end(registry: Lading, count: Count) -> None:
    """Some send on and on, some stop in the middle. Memory is bounded; who stands still is let go; all is cleaned up."""
    before, open_before = memory(registry.pid), files(registry)
    head = b"POST /v2/a/blobs/uploads/?digest=%b HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    head %= KEPT.digest.encode()
    chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
    endless = [connected(registry) for _ in range(8)]
    still = [connected(registry) for _ in range(50)]
    for connection in (*endless, *still):
        connection.sendall(head + chunk)
    peak = 0
    for turn in range(60):
        for connection in endless:
            connection.sendall(chunk * 4)
        peak = max(peak, memory(registry.pid))
        if turn % 20 == 0:
            assert serves(registry) < 30
    assert peak - before < 80 * MEGABYTE
    for connection in endless:
        reset(connection)
    for connection in still:
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(4096):
                pass  # the registry ends it
        connection.close()
    eventually(lambda: files(registry) <= open_before + 2, "every file is closed")
    eventually(lambda: uploads(registry) == [], "every upload is gone")
    count(
        f"clients: 8 bodies without end and 50 that stood still, {(peak - before) / MEGABYTE:.0f} MB of memory at most"
    )


def test_uploads_that_nobody_finishes(registry: Lading, long: bool, count: Count) -> None:
    number = 1000 if long else 300
    open_before = files(registry)
    with Client(registry, verify=False) as client:
        for each in range(number):
            begun = client.post("/v2/a/blobs/uploads/")
            assert begun.status_code == 202
            if each % 3 == 0:
                assert client.patch(begun.headers["location"], content=b"begun, and never finished").status_code == 202
        assert files(registry) <= open_before + 4, "an unfinished upload holds no file"
        eventually(lambda: uploads(registry) == [], "every upload is given up")
        client.push("a", image("after"), "after")
    count(f"clients: {number} uploads never finished, all given up")


def test_many_small_requests(registry: Lading, long: bool, count: Count) -> None:
    number = 1_000_000 if long else 20_000
    connection = connected(registry)
    chance = random.Random("requests")
    warm = answered = 0
    seen = b""
    for done in range(0, number, 50):
        connection.sendall(GET * 50)
        # by the end of each head, since their length is not always the same: each has a number in it
        while answered < done + 50 or not seen.endswith(b"}"):
            data = connection.recv(chance.randrange(1000, 200_000))
            assert data
            answered += (seen[-3:] + data).count(b"\r\n\r\n")
            seen = data[-3:]
        if done == number // 4 // 50 * 50:
            warm = memory(registry.pid)
    grown = memory(registry.pid) - warm
    assert grown < 4 * MEGABYTE, "no growth"
    connection.close()
    count(f"clients: {number} small requests on one connection, {grown / 1000:.0f} kB of growth")


def test_many_wrong_passwords(tmp_path: Path, count: Count) -> None:
    """Each takes 19 MB to look at, which is given back."""
    number = 200
    with WithAccounts(tmp_path, {"lockout": {"attempts": 0, "addressattempts": 0}}) as registry:
        registry.user("victim")

        def wrong(each: int) -> int:
            with Client(registry, auth=("victim", f"guess-{each}")) as client:
                return client.get("/v2/").status_code

        assert wrong(-1) == 401
        before = memory(registry.pid)
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(wrong, range(number))) <= {401, 503}
        grown = memory(registry.pid) - before
    assert grown < 10 * MEGABYTE
    count(f"clients: {number} wrong passwords, {grown / 1000:.0f} kB of memory more")
