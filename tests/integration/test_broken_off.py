"""Bodies that are shorter or longer than they were said to be, clients that go away, and clients that are slow."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.kept import NAME, Kept, keep
from tests.integration.wire import Wire
from tests.integration.workers import works_on
from tests.support.http import Client
from tests.support.images import digest_of
from tests.support.lading import Lading
from tests.support.patience import eventually
from tests.support.server import RegistryServer

GET = "GET /v2/ HTTP/1.1\r\nHost: x\r\n"
POST = f"POST /v2/{NAME}/blobs/uploads/ HTTP/1.1\r\nHost: x\r\n"
LONG = 25
"""Seconds; less than the limits that hold when a server is not told to be impatient."""


def session(client: Client, name: str = "bad/uploads") -> str:
    """The path and query of a fresh upload."""
    location = client.post(f"/v2/{name}/blobs/uploads/").headers["location"]
    return location.removeprefix(str(client.base_url).rstrip("/"))


# ---- shorter, longer, gone


@pytest.mark.parametrize("target", ["blobs/uploads/?digest=" + digest_of(b"12345678"), "manifests/t"])
@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_a_body_shorter_than_it_said(server: Lading, client: Client, target: str, chunked: bool) -> None:
    """Who shuts its side down and waits is told; nothing is stored."""
    with Wire(server) as wire:
        method = "PUT" if "manifests" in target else "POST"
        length = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": "100"}
        wire.request(method, f"/v2/bad/short/{target}", length)
        wire.send(b"8\r\n12345678\r\n" if chunked else b"12345678").end()
        answer = wire.expect()
        assert (answer.status, answer.code) == (400, "SIZE_INVALID")
        assert wire.closed()
    assert client.head(f"/v2/bad/short/blobs/{digest_of(b'12345678')}").status_code == 404


def test_a_body_longer_than_it_said(server: Lading) -> None:
    """What is behind the body is the next request, and no good one."""
    data = b"12345678"
    with Wire(server) as wire:
        wire.request("POST", f"/v2/bad/long/blobs/uploads/?digest={digest_of(data)}", {"Content-Length": "8"})
        wire.send(data + b"and some more\r\n\r\n")
        assert wire.expect().status == 201
        second = wire.answer()
        assert second is None or second.status == 400
        assert wire.closed()


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("arrived", [2, 70_000, 3_000_000])
def test_a_chunk_whose_client_goes_away(server: Lading, client: Client, reset: bool, arrived: int) -> None:
    """What arrived is kept: the status says how much, and the upload goes on from there."""
    data = hashlib.sha256(b"resumed").digest() * 200_000
    location = session(client)
    wire = Wire(server)
    wire.request("PATCH", location, {"Content-Length": str(len(data))})
    wire.send(data[:arrived])
    time.sleep(0.05)
    if reset:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.socket.close()
    status = client.get(location)
    assert status.status_code == 204
    last = int(status.headers["range"].removeprefix("0-"))
    there = last + 1 if last else 0
    assert there <= arrived
    done = client.patch(
        status.headers["location"],
        content=data[there:],
        headers={"content-range": f"{there}-{len(data) - 1}"} if there else {},
    )
    assert done.status_code == 202, done.text
    done = client.put(done.headers["location"] + f"&digest={digest_of(data)}")
    assert done.status_code == 201
    assert client.get(f"/v2/bad/uploads/blobs/{digest_of(data)}").content == data


def descriptors(server: RegistryServer) -> int:
    """Open files of the server's workers."""
    workers = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return sum(len(os.listdir(f"/proc/{worker}/fd")) for worker in workers)  # noqa: PTH208 - a count will do


def test_downloads_whose_clients_go_away(server: Lading, client: Client) -> None:
    """Connections and files are let go of; the server goes on."""
    data = bytes(range(256)) * (1 << 17)
    digest = client.push_blob("bad/downloads", data)
    before = descriptors(server)
    wires = [Wire(server).request("GET", f"/v2/bad/downloads/blobs/{digest}") for _ in range(20)]
    for number, wire in enumerate(wires):
        assert wire.socket.recv(1000).startswith(b"HTTP/1.1 200")
        if number % 2:
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.socket.close()
    eventually(lambda: descriptors(server) <= before + 1, "files and sockets are closed")
    assert client.get(f"/v2/bad/downloads/blobs/{digest}").content == data


def test_two_requests_at_once_on_one_upload(server: Lading, client: Client) -> None:
    """Bytes never mix: the second request waits, and is refused when the first takes too long."""
    location = session(client)
    first = Wire(server).request("PATCH", location, {"Content-Length": "10"}).send(b"01234")
    eventually(lambda: works_on(server.pid, location), "the first has it")
    with first, Wire(server) as second:
        second.request("PATCH", location, body=b"abcde")
        answer = second.expect()
        assert (answer.status, answer.code) == (409, "BLOB_UPLOAD_INVALID")
        done = first.send(b"56789").expect()
        assert (done.status, done.headers["range"]) == (202, "0-9")
    data = b"0123456789"
    assert client.put(f"{location}&digest={digest_of(data)}").status_code == 201


def test_two_chunks_at_once_are_taken_one_after_the_other(server: Lading, client: Client) -> None:
    location = session(client)
    with Wire(server) as first, Wire(server) as second:
        for wire, byte in ((first, b"a"), (second, b"b")):
            wire.request("PATCH", location, body=byte * 100_000)
        assert {first.expect().status, second.expect().status} == {202}
    one, other = b"a" * 100_000, b"b" * 100_000
    upload = location.partition("?")[0].rpartition("/")[2]
    (arrived,) = server.storage.rglob(f"_uploads/{upload}")
    assert arrived.read_bytes() in (one + other, other + one)
    whole = arrived.read_bytes()
    assert client.put(f"{location}&digest={digest_of(whole)}").status_code == 201
    assert client.get(f"/v2/bad/uploads/blobs/{digest_of(whole)}").content == whole


# ---- slow


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    limits = {"headertimeout": "1s", "bodytimeout": "1s", "idletimeout": "1s", "headersize": "4096"}
    with Lading(tmp_path_factory.mktemp("impatient"), {"limits": limits}) as server:
        kept = keep(server)
        yield kept
        kept.check()


@pytest.mark.parametrize("raw", ["", "GET /v2/ HT", GET, f"{GET}\r\n{GET}"], ids=["nothing", "line", "head", "second"])
def test_slow_heads_are_not_waited_for(impatient: Kept, raw: str) -> None:
    begun = time.monotonic()
    with Wire(impatient.server) as wire:
        wire.send(raw)
        if raw.count("GET") == 2:
            assert wire.expect().status == 200
        answer = wire.answer()
        assert answer is None or (answer.status, answer.code) == (408, "UNSUPPORTED")
        assert wire.closed()
    assert 0.5 < time.monotonic() - begun < LONG


def test_a_head_that_drips_is_not_waited_for(impatient: Kept) -> None:
    """A byte now and then does not keep a connection: the time is for the whole head."""
    begun = time.monotonic()
    with Wire(impatient.server) as wire:
        wire.send(GET)
        while time.monotonic() - begun < LONG:
            try:
                wire.socket.sendall(b"X: 1\r\n")
            except OSError:
                break
            time.sleep(0.2)
    assert time.monotonic() - begun < LONG


def test_slow_bodies_are_not_waited_for(impatient: Kept) -> None:
    with Wire(impatient.server) as wire:
        wire.request("PUT", f"/v2/{NAME}/manifests/t", {"Content-Length": "100"}).send(b"{")
        answer = wire.expect()
        assert (answer.status, answer.code) == (408, "UNSUPPORTED")
        assert wire.closed()


def test_a_reader_that_does_not_read_is_not_waited_for(impatient: Kept) -> None:
    server = impatient.server
    idle = descriptors(server)
    with Client(server) as client:
        digest = client.push_blob("bad/unread", bytes(32 << 20))
    eventually(lambda: descriptors(server) <= idle, "the pushing connection is closed")
    before = descriptors(server)
    with Wire(server) as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.request("GET", f"/v2/bad/unread/blobs/{digest}")
        eventually(lambda: descriptors(server) > before, "the blob is being sent")
        eventually(lambda: descriptors(server) <= before, "the server gives up, and lets go of file and socket")
