"""Connections, byte by byte: every good form of a request, and what is no HTTP, ambiguous or too large."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.kept import NAME, Kept
from tests.integration.wire import Wire, ask
from tests.support.access import certificates
from tests.support.http import Client
from tests.support.images import digest_of
from tests.support.lading import Lading

GET = "GET /v2/ HTTP/1.1\r\nHost: x\r\n"
POST = f"POST /v2/{NAME}/blobs/uploads/ HTTP/1.1\r\nHost: x\r\n"
SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


# ---- good form, in every shape


def test_a_connection_is_kept_and_closed_when_asked(server: Lading) -> None:
    with Wire(server) as wire:
        for _ in range(3):
            assert wire.request("GET", "/v2/").expect().status == 200
        last = wire.request("GET", "/v2/", {"Connection": "close"}).expect()
        assert last.headers["connection"] == "close"
        assert wire.closed()


@pytest.mark.parametrize("keep_alive", ["", "Connection: keep-alive\r\n"])
def test_http_1_0(server: Lading, kept: Kept, keep_alive: str) -> None:
    blob = kept.image.layers[1]
    for target, expected in (("/v2/", b"{}"), (f"/v2/{NAME}/blobs/{blob.digest}", blob.data)):
        with Wire(server) as wire:
            answer = wire.send(f"GET {target} HTTP/1.0\r\n{keep_alive}\r\n").expect()
            assert (answer.status, answer.body) == (200, expected)
            assert "transfer-encoding" not in answer.headers
            assert wire.closed()


def test_pipelined_requests_are_answered_in_order(server: Lading, kept: Kept) -> None:
    layer = kept.image.layers[1]
    targets = ["/v2/", f"/v2/{NAME}/blobs/{layer.digest}", f"/v2/{NAME}/manifests/safe", "/nothing", "/v2/_catalog"]
    with Wire(server) as wire:
        wire.send("".join(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n" for target in targets * 2))
        for _ in range(2):
            assert wire.expect().body == b"{}"
            assert wire.expect().body == layer.data
            assert wire.expect().body == kept.image.manifest.data
            assert wire.expect().status == 404
            assert wire.expect().status == 200


def test_pipelined_bodies(server: Lading) -> None:
    data = b"one of several in a row"
    push = f"{POST.replace('uploads/', f'uploads/?digest={digest_of(data)}')}Content-Length: {len(data)}\r\n\r\n"
    with Wire(server) as wire:
        wire.send(*[push.encode() + data] * 5, f"{GET}\r\n")
        assert [wire.expect().status for _ in range(6)] == [201] * 5 + [200]


def test_very_many_pipelined_requests(server: Lading) -> None:
    with Wire(server) as wire:
        wire.send(f"{GET}\r\n" * 2000)
        answers = 0
        while wire.answer() is not None:
            answers += 1
            if answers == 2000:
                break
        assert answers


def test_the_absolute_form(server: Lading, kept: Kept) -> None:
    answer = ask(server, "GET", f"http://registry.example:80/v2/{NAME}/manifests/safe?ns=a")
    assert (answer.status, answer.body) == (200, kept.image.manifest.data)


@pytest.mark.parametrize("method", ["OPTIONS", "GET", "CONNECT"])
@pytest.mark.parametrize("target", ["*", "example.com:443", "http://", "http://[::1", "//", "//v2/", "v2/", "?", "#x"])
def test_targets_that_are_no_path(server: Lading, method: str, target: str) -> None:
    answer = ask(server, method, target)
    assert 400 <= answer.status < 500
    assert answer.code


def test_a_body_that_waits_for_100_continue(server: Lading) -> None:
    data = b"sent when it was asked for"
    with Wire(server) as wire:
        target = f"/v2/bad/continue/blobs/uploads/?digest={digest_of(data)}"
        wire.request("POST", target, {"Expect": "100-continue", "Content-Length": str(len(data))})
        assert wire.expect().status == 100
        assert wire.send(data).expect().status == 201
        assert wire.request("GET", f"/v2/bad/continue/blobs/{digest_of(data)}").expect().body == data


def test_a_body_that_is_not_wanted_is_not_asked_for(server: Lading) -> None:
    for method, target in (
        ("PUT", "/v2/a/blobs/uploads/none?digest=x"),
        ("POST", "/v2/BAD/blobs/uploads/"),
        ("PUT", "/v2/x"),
    ):
        with Wire(server) as wire:
            wire.request(method, target, {"Expect": "100-continue", "Content-Length": "1000"})
            answer = wire.expect()
            assert 400 <= answer.status < 500
            assert answer.headers["connection"] == "close"


# ---- ambiguous or broken


@pytest.mark.parametrize(
    "raw",
    [
        f"{POST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
        f"{POST}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{SMUGGLED}",
        f"{POST}Content-Length: 0\r\nContent-Length: {len(SMUGGLED)}\r\n\r\n{SMUGGLED}",
        f"{POST}Content-Length: 0\r\nContent-Length: 0\r\n\r\n{SMUGGLED}",
        f"{POST}Content-Length: 0, 0\r\n\r\n{SMUGGLED}",
        f"{POST}Content-Length: +0\r\n\r\n{SMUGGLED}",
        f"{POST}Content-Length: -1\r\n\r\n{SMUGGLED}",
        f"{POST}Content-Length: 0x0\r\n\r\n{SMUGGLED}",
        f"{POST}Content-Length: 99999999999999999999999999\r\n\r\n{SMUGGLED}",
        f"{POST}Content-Length:\r\n\r\n{SMUGGLED}",
        f"{POST}Content-Length : 0\r\n\r\n{SMUGGLED}",
        f"{POST}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{SMUGGLED}",
        f"{POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
        f"{POST}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
        f"{POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{SMUGGLED}",
        f"{POST}Transfer-Encoding: chunked\r\n\r\nxyz\r\n{SMUGGLED}",
        f"{POST}Transfer-Encoding: chunked\r\n\r\n-1\r\n{SMUGGLED}",
        f"{POST}Transfer-Encoding: chunked\r\n\r\n5\r\n1234567\r\n0\r\n\r\n{SMUGGLED}",
        f"{POST}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{SMUGGLED}",
        f"{GET}X: a\r\n folded: {SMUGGLED}\r\n\r\n",
        f"{GET}X: a\rb\r\n\r\n{SMUGGLED}",
        f"{GET}X: a\0b\r\n\r\n{SMUGGLED}",
        f"{GET}: nameless\r\n\r\n{SMUGGLED}",
        f"{GET}na me: x\r\n\r\n{SMUGGLED}",
        f"{GET}no colon\r\n\r\n{SMUGGLED}",
        f"GET /v2/ HTTP/1.1\nHost: x\n\n{SMUGGLED}",
        f"GET /v2/ HTTP/1.1\r\r\nHost: x\r\n\r\n{SMUGGLED}",
        f"GET /v2/ extra HTTP/1.1\r\nHost: x\r\n\r\n{SMUGGLED}",
    ],
    ids=lambda raw: repr(raw.replace(POST, "").replace(GET, "").replace(SMUGGLED, "…"))[:60],
)
def test_nothing_is_smuggled(server: Lading, raw: str) -> None:
    """What two readers could take apart in two ways gets 400 and the connection ends: no second request is read."""
    with Wire(server) as wire:
        answer = wire.send(raw).expect()
        assert answer.status == 400
        assert answer.code == "UNSUPPORTED"
        assert answer.headers["connection"] == "close"
        assert wire.closed()


@pytest.mark.parametrize("hosts", ["", "Host: a\r\nHost: b\r\n"], ids=["none", "two"])
def test_a_request_has_one_host(server: Lading, hosts: str) -> None:
    """RFC 9112, 3.2: 400 for none, and for more than one."""
    with Wire(server) as wire:
        assert wire.send(f"GET /v2/ HTTP/1.1\r\n{hosts}\r\n").expect().status == 400


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"\0" * 100,
        b"\xff\xfe\xfd" * 50,
        b"hello\r\n\r\n",
        b"get /v2/ http/1.1\r\n\r\n",
        b"{}\r\n\r\n",
    ],
    ids=lambda raw: repr(raw[:12]),
)
def test_what_is_no_http_gets_an_answer_in_the_right_form(server: Lading, raw: bytes) -> None:
    with Wire(server) as wire:
        answer = wire.send(raw).expect()
        assert (answer.status, answer.code) == (400, "UNSUPPORTED")
        assert wire.closed()


@pytest.mark.parametrize(("raw", "why"), [(f"{GET}X: a\r\n b\r\n\r\n", b"whitespace"), ("\x16\x03\1", b"TLS")])
def test_what_is_wrong_with_a_request_is_said(server: Lading, raw: str, why: bytes) -> None:
    with Wire(server) as wire:
        assert re.findall(b"whitespace|TLS", wire.send(raw).expect().body) == [why]


def test_tls_to_the_plain_port(server: Lading) -> None:
    context = ssl.create_default_context()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(raw, server_hostname="localhost")


def test_websockets_and_other_upgrades_are_not_spoken(server: Lading) -> None:
    for protocol in ("websocket", "h2c", "TLS/1.2"):
        headers = {"Connection": "Upgrade", "Upgrade": protocol, "Sec-WebSocket-Key": "AAAA"}
        answer = ask(server, "GET", "/v2/", headers)
        assert answer.status in (200, 400)


@pytest.mark.parametrize("raw", ["GET /v2/ HTT", GET, f"{GET}Authorization: Ba", "G", ""])
def test_a_request_that_ends_in_its_head(server: Lading, raw: str) -> None:
    with Wire(server) as wire:
        wire.send(raw).end()
        answer = wire.answer()
        assert answer is None or answer.status == 400
        assert wire.closed()


# ---- too large


@pytest.mark.parametrize("where", ["value", "names", "many", "target", "endless"])
def test_a_head_that_is_too_large_is_431(server: Lading, where: str) -> None:
    filler = "x" * 20_000
    raw = {
        "value": f"{GET}Cookie: {filler}\r\n\r\n",
        "names": f"{GET}{filler}: 1\r\n\r\n",
        "many": GET + "".join(f"X-{number}: 1\r\n" for number in range(5000)) + "\r\n",
        "target": f"GET /v2/{filler}/tags/list HTTP/1.1\r\nHost: x\r\n\r\n",
        "endless": f"{GET}Cookie: {filler}",
    }[where]
    with Wire(server) as wire:
        wire.send(raw)
        answer = wire.expect()
        assert answer.status in (414, 431)
        assert answer.code == "SIZE_INVALID"
        assert wire.closed()


def test_a_head_is_as_large_as_it_is_however_it_is_cut(server: Lading) -> None:
    """It may begin in a read that ended the request before it, and end in a read that is small."""
    for filler, status in ((12_000, 200), (20_000, 431)):
        first = f"{POST}Content-Length: 4\r\n\r\nbody{GET}Cookie: "
        with Wire(server) as wire:
            wire.send(first + "x" * (filler - 5_000))
            assert wire.expect().status == 202  # so all of that was read
            wire.send("x" * 5_000, "\r\n\r\n")
            assert wire.expect().status == status


@pytest.mark.parametrize("piece", ["x" * 65_536, "X: 1\r\n" * 10_000], ids=["one", "many"])
def test_endless_trailers_are_refused(server: Lading, piece: str) -> None:
    """What follows a chunked body is bounded as the head is."""
    with Wire(server) as wire:
        wire.send(f"{POST}Transfer-Encoding: chunked\r\n\r\n0\r\nX: ")
        for _ in range(400):
            try:
                wire.socket.sendall(piece.encode())
            except OSError:
                return
    pytest.fail("the server read 25 MB of trailers")


def test_trailers_are_no_headers(server: Lading) -> None:
    """RFC 9110, 6.5.1: a field behind the body does not count as one before it."""
    index = b'{"schemaVersion": 2, "manifests": []}'
    with Wire(server) as wire:
        wire.request("PUT", "/v2/bad/trailers/manifests/t", {"Transfer-Encoding": "chunked"})
        wire.send(b"%x\r\n%s\r\n0\r\nContent-Type: text/plain\r\n\r\n" % (len(index), index))
        assert wire.expect().status == 201


def too_large(size: int) -> Iterator[bytes]:
    """The beginning of a manifest that has no end."""
    yield b'{"schemaVersion": 2, "annotations": {"a": "'
    for _ in range(size >> 16):
        yield b"x" * (1 << 16)


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
@pytest.mark.parametrize("size", [(4 << 20) + 100, 64 << 20], ids=["5M", "64M"])
def test_a_manifest_that_is_too_large_is_413_while_it_is_sent(server: Lading, chunked: bool, size: int) -> None:
    """The answer arrives though the client is still sending, and no more than needed is read."""
    length = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(size)}
    with Wire(server) as wire:
        wire.request("PUT", "/v2/bad/large/manifests/t", length)
        for piece in too_large(size):
            wire.send(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        answer = wire.expect()
        assert (answer.status, answer.code) == (413, "SIZE_INVALID")
        assert answer.headers["connection"] == "close"


# ---- over TLS


def test_a_large_blob_over_tls_and_no_session_to_resume(tmp_path: Path) -> None:
    """The bytes of a file go through the process here: read where the kernel has them, encrypted and sent."""
    made = certificates(tmp_path / "tls")
    tls = {"certificate": str(made.certificate), "key": str(made.key)}
    data = os.urandom(3_000_001)
    with Lading(tmp_path, {"http": {"tls": tls}}, ca=made.ca) as server, Client(server) as client:
        digest = client.push_blob("bad/uploads", data)
        assert client.get(f"/v2/bad/uploads/blobs/{digest}").content == data
        part = client.get(f"/v2/bad/uploads/blobs/{digest}", headers={"Range": "bytes=262143-2000000"})
        assert (part.status_code, part.content) == (206, data[262_143:2_000_001])
        context = ssl.create_default_context(cafile=str(made.ca))
        host, _, port = server.host.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=30) as plain:
            with context.wrap_socket(plain, server_hostname=host) as wrapped:
                wrapped.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
                assert wrapped.recv(12) == b"HTTP/1.1 200"
                assert wrapped.session is None or not wrapped.session.has_ticket
