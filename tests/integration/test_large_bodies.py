"""Large bodies, which are read past the transport: whole, in odd chunks, slow, broken off, and with something behind them."""

from __future__ import annotations

import hashlib
import random
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.kept import Kept, keep
from tests.integration.wire import Wire
from tests.support.http import Client
from tests.support.images import digest_of
from tests.support.lading import Lading
from tests.support.patience import eventually

DATA = b"".join(hashlib.sha512(b"%d" % number).digest() for number in range(60_000))
"""Some 3.8 MB, no two parts alike."""
WHOLE = f"/v2/large/bodies/blobs/uploads/?digest={digest_of(DATA)}"
CHUNKED = {"Transfer-Encoding": "chunked"}


def chunks(data: bytes, sizes: Iterator[int]) -> Iterator[bytes]:
    """The data in chunked form, without its end."""
    while data:
        piece, data = data[: (size := next(sizes))], data[size:]
        yield b"%x;name=value\r\n" % len(piece) + piece + b"\r\n"


def odd(seed: int = 1) -> Iterator[int]:
    """Sizes of chunks: some of a byte, some of more than is read at once."""
    draw = random.Random(seed)
    while True:
        yield draw.choice((1, 7, 4096, 32_768, 65_537, 700_000, 1_500_000))


def stored(server: Lading, data: bytes = DATA) -> bool:
    with Client(server) as client:
        return client.get(f"/v2/large/bodies/blobs/{digest_of(data)}").content == data


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"0\r\nX-Trailer: 1\r\n\r\n"], ids=["plain", "trailer"])
def test_chunks_of_any_size(server: Lading, end: bytes) -> None:
    """And the connection goes on behind them."""
    for seed in range(3):
        data = DATA + bytes([seed, len(end)])
        with Wire(server) as wire:
            target = f"/v2/large/bodies/blobs/uploads/?digest={digest_of(data)}"
            wire.request("POST", target, CHUNKED).send(*chunks(data, odd(seed)), end)
            assert wire.expect().status == 201
            assert wire.request("GET", "/v2/").expect().status == 200
        assert stored(server, data)


def test_what_is_behind_a_length_is_the_next_request(server: Lading) -> None:
    """Two bodies and a question, sent at once, are three requests."""
    second = DATA[::-1]
    with Wire(server) as wire:
        wire.request("POST", WHOLE, body=DATA)
        wire.request("POST", f"/v2/large/bodies/blobs/uploads/?digest={digest_of(second)}", body=second)
        wire.request("GET", "/v2/")
        assert [wire.expect().status for _ in range(3)] == [201, 201, 200]
    assert stored(server)
    assert stored(server, second)


def test_what_is_behind_the_last_chunk_is_answered_or_the_connection_closed(server: Lading) -> None:
    """The answer to the body comes in any case; never one to something else."""
    with Wire(server) as wire:
        wire.request("POST", WHOLE, CHUNKED)
        wire.send(b"".join(chunks(DATA, iter([len(DATA)]))) + b"0\r\n\r\nGET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = wire.expect()
        assert answer.status == 201
        if answer.headers.get("connection") == "close":
            assert wire.closed()
        else:
            assert wire.expect().body == b"{}"
    assert stored(server)


@pytest.mark.parametrize("bad", [b"zz\r\n", b"-1\r\n", b"1\n", b"ffffffffffffffffff\r\n", b"5\r\n123456\r\n"])
def test_a_bad_chunk_in_the_middle(server: Lading, kept: Kept, bad: bytes) -> None:
    """It ends the connection with 400; nothing of the body becomes a blob, and nobody else notices."""
    data = DATA + bad
    with Wire(server) as wire:
        wire.request("POST", f"/v2/large/bodies/blobs/uploads/?digest={digest_of(data)}", CHUNKED)
        wire.send(*chunks(DATA, odd()), bad)
        answer = wire.expect()
        assert (answer.status, answer.code) == (400, "UNSUPPORTED")
        assert wire.closed()
    with Client(server) as client:
        assert client.head(f"/v2/large/bodies/blobs/{digest_of(data)}").status_code == 404
    kept.check()


def test_endless_trailers_behind_a_large_body(server: Lading) -> None:
    with Wire(server) as wire:
        wire.request("POST", WHOLE, CHUNKED).send(*chunks(DATA, odd()), b"0\r\n")
        for _ in range(400):
            try:
                wire.socket.sendall((b"X-Trailer: " + b"x" * 200 + b"\r\n") * 300)
            except OSError:
                break
        else:
            pytest.fail("the server read 25 MB of trailers")
        answer = wire.answer()
        assert answer is None or answer.status in (400, 431)
        assert wire.closed()


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
@pytest.mark.parametrize("how", ["half-closed", "closed", "reset"])
def test_a_large_body_that_breaks_off(server: Lading, client: Client, chunked: bool, how: str) -> None:
    """What arrived is kept, the status says how much, and the upload goes on from there."""
    location = client.post("/v2/large/bodies/blobs/uploads/").headers["location"]
    path = location.removeprefix(str(client.base_url).rstrip("/"))
    wire = Wire(server)
    wire.request("PATCH", path, CHUNKED if chunked else {"Content-Length": str(len(DATA))})
    wire.send(b"%x\r\n" % len(DATA) if chunked else b"", DATA[:3_000_000])
    if how == "half-closed":
        answer = wire.end().expect()
        assert (answer.status, answer.code) == (400, "SIZE_INVALID")
    else:
        uploads = server.storage / "docker/registry/v2/repositories/large/bodies/_uploads"
        file = uploads / path.partition("?")[0].rpartition("/")[2]
        eventually(lambda: file.stat().st_size > 1_000_000, "bytes arrive")
    if how == "reset":
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.socket.close()
    status = client.get(location)
    assert status.status_code == 204
    there = int(status.headers["range"].removeprefix("0-")) + 1
    assert there <= 3_000_000 if how == "reset" else there == 3_000_000
    span = {"content-range": f"{there}-{len(DATA) - 1}"}
    done = client.patch(status.headers["location"], content=DATA[there:], headers=span)
    assert done.status_code == 202, done.text
    assert client.put(done.headers["location"] + f"&digest={digest_of(DATA)}").status_code == 201
    assert stored(server)


def test_a_body_that_waits_to_be_asked_for(server: Lading) -> None:
    with Wire(server) as wire:
        wire.request("POST", WHOLE, {"Expect": "100-continue", "Content-Length": str(len(DATA))})
        assert wire.expect(to_head=True).status == 100
        assert wire.send(DATA).expect().status == 201
        assert wire.request("GET", "/v2/").expect().status == 200
    assert stored(server)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """A server that waits for a body's next byte for two seconds."""
    with Lading(tmp_path_factory.mktemp("impatient"), {"limits": {"bodytimeout": "2s"}}) as server:
        kept = keep(server)
        yield kept
        kept.check()


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_a_large_body_that_stands_still_is_not_waited_for(impatient: Kept, chunked: bool) -> None:
    with Wire(impatient.server) as wire:
        wire.request("POST", WHOLE, CHUNKED if chunked else {"Content-Length": str(len(DATA))})
        wire.send(b"%x\r\n" % len(DATA) if chunked else b"", DATA[:2_000_000])
        answer = wire.expect()
        assert (answer.status, answer.code) == (408, "UNSUPPORTED")
        assert wire.closed()


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_a_large_body_that_drips_is_waited_for(impatient: Kept, chunked: bool) -> None:
    """Fewer bytes than a thread is woken for are progress as well."""
    server = impatient.server
    with Wire(server, timeout=30) as wire:
        wire.request("POST", WHOLE, CHUNKED if chunked else {"Content-Length": str(len(DATA))})
        wire.send(b"%x\r\n" % len(DATA) if chunked else b"", DATA[:3_000_000])
        for place in range(3_000_000, 3_000_200, 8):  # longer than nothing may come, all together
            time.sleep(0.2)
            wire.send(DATA[place : place + 8])
        wire.send(DATA[3_000_200:], b"\r\n0\r\n\r\n" if chunked else b"")
        assert wire.expect().status == 201


def test_more_slow_senders_than_threads(tmp_path: Path) -> None:
    """Who finds no thread free is served as well, beside those who hold one."""
    with Lading(tmp_path, {}, workers=1) as server:

        def begin(number: int) -> tuple[Wire, bytes]:
            data = DATA + b"%d" % number
            wire = Wire(server, timeout=60)
            wire.request("POST", f"/v2/large/bodies/blobs/uploads/?digest={digest_of(data)}", CHUNKED)
            wire.send(b"%x\r\n" % len(data), data[:1_500_000])
            return wire, data

        def end(begun: tuple[Wire, bytes]) -> int:
            wire, data = begun
            with wire:
                return wire.send(data[1_500_000:], b"\r\n0\r\n\r\n").expect().status

        with ThreadPoolExecutor(8) as pool:
            begun = list(pool.map(begin, range(80)))
            with Wire(server) as wire:
                assert wire.request("GET", "/v2/").expect().status == 200
            assert set(pool.map(end, reversed(begun))) == {201}
        assert all(stored(server, data) for _, data in begun[::20])
