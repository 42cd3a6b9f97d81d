"""Where connections go: proxies, addresses that do not answer, and what is left of one that was given up."""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from lading import errors
from lading.remotes.credentials import Keyring
from lading.remotes.http import HttpRegistry
from lading.remotes.session import Session
from lading.remotes.sockets import Proxy, Way
from lading.remotes.stream import pieces_of
from lading.remotes.transport import Policy, proxy_url
from tests.support.access import certificates
from tests.support.scripted import Answer, Scripted
from tests.unit.remotes.far import DATA, registry, routes

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("proxy", ["HTTP_PROXY", "ALL_PROXY"])
async def test_a_proxy_is_used_but_not_for_this_machine(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with Scripted(lambda asked: Answer(404)) as between, Scripted(lambda asked: Answer(404)) as here:
        monkeypatch.setenv(proxy.lower(), between.url)
        monkeypatch.setenv("no_proxy", "direct.invalid")
        async with Session("registry.invalid", Keyring({}), Policy(plain_http=True, attempts=1)) as session:
            assert await HttpRegistry(session).resolve("a", "latest") is None
        assert [one.headers["host"] for one in between.asked] == ["registry.invalid"]
        async with registry(here) as client:
            assert await client.resolve("a", "latest") is None
        async with Session("direct.invalid", Keyring({}), Policy(plain_http=True, attempts=1)) as session:
            with pytest.raises(errors.Unreachable):
                await HttpRegistry(session).resolve("a", "latest")
        assert len(between.asked) == 1
        for broken, said in (("socks5://127.0.0.1:1", "socks5"), ("http://me:secret@[::1", r"cannot be read: \[::1$")):
            monkeypatch.setenv(proxy.lower(), broken)
            async with Session("registry.invalid", Keyring({}), Policy(plain_http=True, attempts=1)) as session:
                with pytest.raises(errors.LocalError, match=said):
                    await HttpRegistry(session).resolve("a", "latest")


@pytest.mark.parametrize(
    ("without", "place", "direct"),
    [
        ("10.0.0.0/8", "10.1.2.3:5000", True),
        ("x, 10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "ten.example", False),
        ("fd00::/8", "[fd00::1]:5000", True),
        ("10.0.0.0/99,/,::/0", "10.1.2.3", False),
        (".example", "registry.example:5000", True),
        ("registry.example:5000", "registry.example:5001", False),
    ],
)
def test_hosts_that_go_without_a_proxy(monkeypatch: pytest.MonkeyPatch, without: str, place: str, direct: bool) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example")
    monkeypatch.setenv("no_proxy", without)
    assert (proxy_url("https", place) is None) == direct


async def test_a_handshake_that_is_given_up_leaves_no_connection(tmp_path: Path) -> None:
    """One request of several that fails ends the others, wherever they are."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        async with Session(host, Keyring({"HOME": str(tmp_path)})) as session:
            session.transport._base = f"https://{host}"
            request = asyncio.ensure_future(HttpRegistry(session).resolve("a", "latest"))
            there, _ = await asyncio.to_thread(silent.accept)
            with there:
                there.settimeout(5)
                hello = await asyncio.to_thread(there.recv, 1 << 16)
                request.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await request
                assert hello
                assert await asyncio.to_thread(there.recv, 1 << 16) == b""


async def test_an_address_that_refuses_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scripted(lambda asked: Answer(404)) as far_side, socket.create_server(("127.0.0.1", 0)) as gone:
        closed = gone.getsockname()
        gone.close()

        async def two(*asked: object, **more: object) -> list[tuple[object, ...]]:
            there = (far_side.host.partition(":")[0], int(far_side.host.partition(":")[2]))
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", at) for at in (closed, there)]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two, raising=False)
        connection = await Way("registry.invalid", 80, 20).connect()
        await connection.request(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"", 20)
        assert connection.status == 404
        connection.close()


async def test_a_proxy_that_says_no_is_told_about(monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.create_default_context()
    with Scripted(lambda asked: Answer(407)) as between:
        monkeypatch.setenv("http_proxy", between.url)
        async with Session("registry.invalid", Keyring({}), Policy(plain_http=True, attempts=1)) as session:
            with pytest.raises(errors.Unreachable, match=r"the proxy on the way to registry\.invalid wants a login"):
                await HttpRegistry(session).manifest("a", "latest")
        proxy = Proxy(between.url.replace("//", "//me:a%40b@"))
        assert proxy.authorization == {"proxy-authorization": "Basic bWU6YUBi"}
        with pytest.raises(errors.Unreachable, match=r"the proxy does not let us through to registry.invalid:443"):
            await Way("registry.invalid", 443, 20, context, proxy).connect()
    with pytest.raises(errors.Unreachable, match=r"the proxy for registry.invalid, 127.0.0.1, cannot be reached"):
        await Way("registry.invalid", 443, 20, context, Proxy("http://127.0.0.1:1")).connect()


def through(proxy: socket.socket, context: ssl.SSLContext) -> None:
    """A proxy that is itself reached by TLS: it takes one CONNECT, and passes bytes on until somebody hangs up."""
    accepted, _ = proxy.accept()
    with context.wrap_socket(accepted, server_side=True) as near:
        asked = b""
        while not asked.endswith(b"\r\n\r\n"):
            asked += near.recv(1 << 16)
        host, _, port = asked.split()[1].decode().rpartition(":")
        with socket.create_connection((host, int(port))) as far:
            near.sendall(b"HTTP/1.1 200 Go on\r\n\r\n")
            near.settimeout(0.05)
            while True:
                if near.pending() or select.select([near, far], [], [], 30)[0] == [near]:
                    if not (piece := near.recv(1 << 16)):
                        return
                    far.sendall(piece)
                elif not (piece := far.recv(1 << 16)):
                    return
                else:
                    near.settimeout(30)
                    near.sendall(piece)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_registry_that_wants_our_certificate(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """Without it the error says where it belongs, whenever in the handshake that comes out; with it, all goes well."""
    authority = trustme.CA()
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.minimum_version = served.maximum_version = version
    served.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(served)
    authority.issue_cert("127.0.0.1").configure_cert(served)
    far_side = Scripted(routes(HEAD=Answer(404)))
    server = far_side._server
    server.socket = served.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    policy = Policy(scheme="https", ca=authority.cert_pem.bytes().decode(), attempts=1)
    with far_side:
        async with Session(far_side.host, Keyring({}), policy) as session:
            session.transport._environment = {"HOME": str(tmp_path)}
            with pytest.raises(errors.Untrusted, match=rf"into ~/\.docker/certs\.d/{far_side.host}/ as client\.cert"):
                await HttpRegistry(session).resolve("a", "latest")
        folder = tmp_path / ".docker" / "certs.d" / far_side.host
        folder.mkdir(parents=True)
        ours = authority.issue_cert("me@example.test")
        ours.cert_chain_pems[0].write_to_path(str(folder / "client.cert"))
        ours.private_key_pem.write_to_path(str(folder / "client.key"))
        async with Session(far_side.host, Keyring({}), policy) as session:
            session.transport._environment = {"HOME": str(tmp_path)}
            assert await HttpRegistry(session).resolve("a", "latest") is None


async def test_tls_within_the_tls_of_a_proxy(tmp_path: Path) -> None:
    """A megabyte each way, and what is wrong with the inner certificate is told as ever."""
    files = certificates(tmp_path)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(files.certificate, files.key)
    trusting = ssl.create_default_context(cafile=files.ca)
    far_side = Scripted(routes(GET=Answer(200, DATA), PUT=lambda asked: Answer(201, str(len(asked.read())).encode())))
    server = far_side._server
    server.socket = served.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    port = int(far_side.host.rpartition(":")[2])
    with far_side, socket.create_server(("127.0.0.1", 0)) as listening:
        proxy = Proxy(f"https://127.0.0.1:{listening.getsockname()[1]}", trusting)
        between = asyncio.ensure_future(asyncio.to_thread(through, listening, served))
        connection = await Way("127.0.0.1", port, 20, trusting, proxy).connect()
        await connection.request(b"GET /v2/a HTTP/1.1\r\nhost: x\r\n\r\n", b"", 20)
        assert b"".join([piece async for piece in pieces_of(connection.parts(20))]) == DATA
        assert connection.usable()
        head = b"PUT /v2/a HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(DATA)
        await connection.request(head, DATA, 20)
        assert b"".join([piece async for piece in pieces_of(connection.parts(20))]) == str(len(DATA)).encode()
        connection.close()
        await between
        between = asyncio.ensure_future(asyncio.to_thread(through, listening, served))
        with pytest.raises(ssl.SSLCertVerificationError):
            await Way("127.0.0.1", port, 20, ssl.create_default_context(), proxy).connect()
        await between
