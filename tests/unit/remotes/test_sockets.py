"""Large reads: the argument that httpx lacks is set where httpcore looks for it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from lading import errors
from lading.remotes import sockets
from lading.remotes.credentials import Keyring
from lading.remotes.http import HttpRegistry
from lading.remotes.session import Session
from lading.remotes.transport import Policy
from tests.support.scripted import Answer, Scripted
from tests.unit.remotes.far import DATA, read, registry, routes

pytestmark = pytest.mark.anyio


async def test_a_connection_is_read_in_large_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new release of httpx or httpcore that keeps its backend elsewhere is noticed here, not by slow users."""
    asked: list[int] = []
    plain = sockets.Stream.read

    async def counted(self: sockets.Stream, max_bytes: int, timeout: float | None = None) -> bytes:
        asked.append(max_bytes)
        return await plain(self, max_bytes, timeout)

    monkeypatch.setattr(sockets.Stream, "read", counted)
    with Scripted(routes(GET=Answer(200, DATA))) as far_side:
        async with registry(far_side) as client:
            assert await read(client) == DATA
    assert asked


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
        monkeypatch.setenv(proxy.lower(), "socks5://127.0.0.1:1")
        async with Session("registry.invalid", Keyring({}), Policy(plain_http=True, attempts=1)) as session:
            with pytest.raises(errors.LocalError, match="socks5"):
                await HttpRegistry(session).resolve("a", "latest")


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
