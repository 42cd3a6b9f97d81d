"""Connections that are read a megabyte at a time.

httpcore asks a connection for 64 KiB at a time and takes whatever comes. Where layers come in by the gigabyte, most of a
download's time goes into asking: reading larger pieces takes a third off it.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any

import httpcore2
import httpx2

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


def transport(context: ssl.SSLContext | bool, proxy: str | None, limits: httpx2.Limits) -> httpx2.AsyncHTTPTransport:
    """What an httpx client sends with, over such connections."""
    made = httpx2.AsyncHTTPTransport(verify=context, trust_env=False, proxy=proxy, limits=limits)
    made._pool._network_backend = _Backend()  # httpx has no argument for what httpcore has one for
    return made
