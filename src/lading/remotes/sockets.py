"""Connections that are read a megabyte at a time, and that go where they may.

httpcore asks a connection for 64 KiB at a time and takes whatever comes. Where layers come in by the gigabyte, most of a
download's time goes into asking: reading larger pieces takes a third off it.

Where networks are given, a host is looked up once, every address it has must be public or in one of them, and the
connection goes to an address that was looked at.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore2
import httpx2

from lading.errors import Denied, Unreachable
from lading.remotes.addresses import may_reach

_PIECE = 1 << 20


class _Stream(httpcore2.AsyncNetworkStream):
    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max(max_bytes, _PIECE), timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        try:
            return _Stream(await self._stream.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:
            await self._stream.aclose()  # httpcore closes it after an error, but not when we are cancelled
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore2.AnyIOBackend):
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        return _Stream(await super().connect_tcp(host, port, timeout, local_address, socket_options))


class _Guarded(_Backend):
    """Goes to public addresses, and into ``networks``."""

    def __init__(self, networks: tuple[str, ...]) -> None:
        super().__init__()
        self._networks = networks

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        addresses = await self._addresses(host, port)
        for address in addresses[:-1]:
            try:
                return await super().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await super().connect_tcp(addresses[-1], port, timeout, local_address, socket_options)

    async def _addresses(self, host: str, port: int) -> list[str]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise Unreachable(f"the host {host[:200]} cannot be found") from None
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        inner = [address for address in addresses if not may_reach(address, self._networks)]
        if inner:
            raise Denied(
                f"{host[:200]} is at {inner[0]}, which is no public address and in none of the networks that the "
                "configuration names (replication.networks)"
            )
        return addresses[:4]


def transport(
    context: ssl.SSLContext | bool, proxy: str | None, limits: httpx2.Limits, networks: tuple[str, ...] | None = None
) -> httpx2.AsyncHTTPTransport:
    """What an httpx client sends with, over such connections; through a proxy it is the proxy's to say where to."""
    made = httpx2.AsyncHTTPTransport(verify=context, trust_env=False, proxy=proxy, limits=limits)
    # httpx has no argument for what httpcore has one for
    made._pool._network_backend = _Backend() if networks is None or proxy else _Guarded(networks)
    return made
