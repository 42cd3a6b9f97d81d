"""New connections: to whichever address of a host answers first, where they may go, through a proxy or not, with TLS or not.

Where networks are given, a host is looked up once, every address it has must be public or in one of them, and the
connection goes to an address that was looked at. Through a proxy it is the proxy's to say where to.
"""

from __future__ import annotations

import asyncio
import base64
import errno
import os
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from lading.errors import Denied, Unreachable
from lading.remotes.addresses import may_reach
from lading.remotes.connection import Connection
from lading.remotes.stream import Stream

_HEAD_START = 0.25
"""How many seconds an address is tried alone before the next one is tried beside it (RFC 8305)."""
_MOST_ADDRESSES = 4

Address = tuple[int, Any]
"""A family, and what the kernel takes for an address in it."""


@dataclass(frozen=True)
class Proxy:
    """Who connects for us: an http or https URL, which may hold a user and a password. ``context`` is for https."""

    url: str
    context: ssl.SSLContext | None = None

    @property
    def authorization(self) -> dict[str, str]:
        """The header by which the proxy knows us; nothing where its URL names nobody."""
        parts = urlsplit(self.url)
        if parts.username is None:
            return {}
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return {"proxy-authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


@dataclass(frozen=True)
class Way:
    """How a host is reached: with a ``context`` by TLS, with a ``path`` by the Unix socket that is there.

    ``silence``: for how many seconds nothing may move while a connection is made secure.
    """

    host: str
    port: int
    silence: float
    context: ssl.SSLContext | None = None
    proxy: Proxy | None = None
    networks: tuple[str, ...] | None = None
    path: str = ""

    async def connect(self) -> Connection:
        """A new connection; for plain HTTP by a proxy, one to the proxy."""
        if self.path:
            return await self._over(await _connected(socket.AF_UNIX, self.path), self.context, self.host)
        if self.proxy is None:
            made = await _first(await _addresses(self.host, self.port, self.networks))
            return await self._over(made, self.context, self.host)
        connection = await self._to_proxy(self.proxy)
        return await self._tunnel(connection, self.proxy, self.context) if self.context else connection

    async def _to_proxy(self, proxy: Proxy) -> Connection:
        parts = urlsplit(proxy.url)
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            made = await _first(await _addresses(parts.hostname or "", port, None))
            return await self._over(made, proxy.context, parts.hostname or "")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error) or "it does not answer"
            raise Unreachable(f"the proxy for {self.host}, {parts.hostname}, cannot be reached: {why}") from None

    async def _tunnel(self, connection: Connection, proxy: Proxy, context: ssl.SSLContext) -> Connection:
        place = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        lines = [f"CONNECT {place} HTTP/1.1", f"host: {place}"]
        lines += [f"{name}: {value}" for name, value in proxy.authorization.items()]
        try:
            await connection.request("\r\n".join([*lines, "", ""]).encode("latin-1"), b"", self.silence, bodiless=True)
            if not 200 <= connection.status < 300:
                hint = "; it wants a login: write http://USER:PASSWORD@PROXY" if connection.status == 407 else ""
                raise Unreachable(f"the proxy does not let us through to {place}: it answers {connection.status}{hint}")
            await connection.stream.secure(context, self.host, self.silence)
        except BaseException:
            connection.close()
            raise
        return Connection(connection.stream)

    async def _over(self, made: socket.socket, context: ssl.SSLContext | None, host: str) -> Connection:
        stream = Stream(made)
        try:
            if context is not None:
                await stream.secure(context, host, self.silence)
        except BaseException:
            stream.close()
            raise
        return Connection(stream)


async def _addresses(host: str, port: int, networks: tuple[str, ...] | None) -> list[Address]:
    name = host.encode() if host.isascii() else host  # for text Python imports a codec, dear to who asks once
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise Unreachable(f"the host {host[:200]} cannot be found") from None
    except OSError:
        if networks is None:
            raise
        raise Unreachable(f"the host {host[:200]} cannot be found") from None
    addresses: list[Address] = list(dict.fromkeys((one[0], one[4]) for one in found))
    inner = [] if networks is None else [str(at[0]) for _, at in addresses if not may_reach(str(at[0]), networks)]
    if inner:
        raise Denied(
            f"{host[:200]} is at {inner[0]}, which is no public address and in none of the networks that the "
            "configuration names (replication.networks)"
        )
    return addresses


async def _first(addresses: Sequence[Address]) -> socket.socket:
    """A connection to the first of the addresses that takes one; each has a start before the next."""
    if len(addresses) == 1:
        return await _connected(*addresses[0])
    waiting: set[asyncio.Task[socket.socket]] = set()
    left = _alternating(addresses)[:_MOST_ADDRESSES]
    failure: BaseException = OSError(errno.EADDRNOTAVAIL, "the host has no address")
    try:
        while left or waiting:
            if left:
                waiting.add(asyncio.ensure_future(_connected(*left.pop(0))))
            patience = _HEAD_START if left else None
            done, waiting = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                if (error := each.exception()) is None:
                    waiting |= done - {each}
                    return each.result()
                failure = error
        raise failure
    finally:
        for each in waiting:
            each.cancel()
            each.add_done_callback(_unwanted)


def _alternating(addresses: Sequence[Address]) -> list[Address]:
    """As they come, but the first of the other kind second: where one kind leads nowhere, the other is tried soon."""
    first = list(addresses)
    other = next((one for one in first if one[0] != first[0][0]), None)
    if other is not None:
        first.remove(other)
        first.insert(1, other)
    return first


async def _connected(family: int, address: Any) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, address)
        if family != socket.AF_UNIX:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException as error:
        made.close()
        if isinstance(error, OSError) and error.errno:
            raise OSError(error.errno, os.strerror(error.errno)) from None  # asyncio's says what it called
        raise
    return made


def _unwanted(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
