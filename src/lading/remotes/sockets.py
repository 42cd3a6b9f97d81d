"""Connections that are read a megabyte at a time, and that go where they may.

httpcore asks a connection for 64 KiB at a time and copies each piece twice before anybody sees it. Where layers come in by
the gigabyte, most of a download's time goes there. So a connection is a socket of our own: what is answered comes through
httpcore, but the rest of a large body is taken from the socket itself (:meth:`Stream.body`), when half a megabyte is there
and not at each packet.

Where networks are given, a host is looked up once, every address it has must be public or in one of them, and the
connection goes to an address that was looked at.
"""

from __future__ import annotations

import asyncio
import errno
import select
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import httpcore2
import httpx2

from lading.errors import Denied, Unreachable
from lading.remotes.addresses import may_reach

T = TypeVar("T")

_PIECE = 1 << 20
_AT_ONCE = 1 << 19
_READ = 1 << 18
_PATIENCE_SECONDS = 0.05
"""How long bytes may lie unread for more to come."""
_LOOK_SECONDS = 0.25
_STAGGER_SECONDS = 0.25
_MOST_ADDRESSES = 4
_LOWAT = getattr(socket, "SO_RCVLOWAT", None)


class Stream(httpcore2.AsyncNetworkStream):
    """One connection, plain or TLS; whoever reads, reads alone."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._lowest = 1
        self._reading = False
        self._closed = False

    # ---- what httpcore asks of it

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _told(httpcore2.ReadTimeout, httpcore2.ReadError):
            async with asyncio.timeout(timeout):
                return await self._tried(self._socket.recv, max(max_bytes, _READ))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        left = memoryview(buffer)
        with _told(httpcore2.WriteTimeout, httpcore2.WriteError):
            while left:
                async with asyncio.timeout(timeout):
                    left = left[await self._tried(self._socket.send, left, reading=False) :]

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        """At once, or when the thread that reads has seen it."""
        self._closed = True
        if not self._reading:
            self._socket.close()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        try:
            with _told(httpcore2.ConnectTimeout, httpcore2.ConnectError):
                made = ssl_context.wrap_socket(
                    self._socket, server_hostname=server_hostname, do_handshake_on_connect=False
                )
                self._socket = made
                async with asyncio.timeout(timeout):
                    await self._tried(made.do_handshake)
        except BaseException:
            self._socket.close()
            raise
        return Stream(made)

    def get_extra_info(self, info: str) -> Any:
        if info == "socket":
            return self._socket
        if info == "ssl_object":
            return self._socket if isinstance(self._socket, ssl.SSLSocket) else None
        if info == "is_readable":
            return self._socket.fileno() < 0 or _poll(self._socket, 0)
        return None

    # ---- a large body

    def body(self, count: int, silence: float) -> Body:
        """The next ``count`` bytes, which httpcore does not see: it takes the connection for broken afterwards."""
        return Body(self, count, silence)

    async def some(self, most: int, silence: float) -> bytes:
        """What arrives next, at most so many bytes; empty at the end."""
        async with asyncio.timeout(silence):
            while True:
                await self._gathered(min(most, _AT_ONCE))
                with suppress(BlockingIOError, ssl.SSLWantReadError):
                    if isinstance(self._socket, ssl.SSLSocket):
                        # deciphering a megabyte keeps others waiting; the bytes come a record at a time
                        return await asyncio.to_thread(_deciphered, self._socket, most)
                    return self._socket.recv(most)

    def some_into(self, buffer: memoryview, silence: float) -> int:
        """The same in a thread, which waits there; whoever closes the connection meanwhile ends it."""
        self._reading = True
        try:
            until = time.monotonic() + silence
            patient = True
            while not self._closed:
                if not (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()):
                    patient = patient and self._wake_at(min(len(buffer), _AT_ONCE))
                    if not patient:
                        self._wake_at(1)
                    if not _poll(self._socket, _PATIENCE_SECONDS if patient else _LOOK_SECONDS):
                        patient = False
                        if time.monotonic() > until:
                            raise TimeoutError
                        continue
                with suppress(BlockingIOError, ssl.SSLWantReadError):
                    if isinstance(self._socket, ssl.SSLSocket):
                        return _deciphered_into(self._socket, buffer)
                    return self._socket.recv_into(buffer)
            raise OSError(errno.ECONNABORTED, "the connection was closed here")
        finally:
            self._reading = False
            if self._closed:
                self._socket.close()

    async def _gathered(self, enough: int) -> None:
        """Return when so many bytes are there, or some have been for a while, or no more will come."""
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return
        if self._wake_at(enough):
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await self._ready(reading=True)
                return
            self._wake_at(1)
        await self._ready(reading=True)

    def _wake_at(self, size: int) -> bool:
        """Have the socket readable when it has so many bytes; whether that is more than one."""
        if _LOWAT is None:
            return False
        if size != self._lowest:
            self._socket.setsockopt(socket.SOL_SOCKET, _LOWAT, size)
            self._lowest = size
        return size > 1

    # ---- waiting

    async def _tried(self, call: Callable[..., T], *arguments: Any, reading: bool = True) -> T:
        while True:
            try:
                return call(*arguments)
            except BlockingIOError:
                pass
            except ssl.SSLWantReadError:  # which TLS may want when it writes, and the other way round
                reading = True
            except ssl.SSLWantWriteError:
                reading = False
            await self._ready(reading=reading)

    async def _ready(self, *, reading: bool) -> None:
        loop, handle = asyncio.get_running_loop(), self._socket.fileno()
        if handle < 0:
            raise OSError(errno.EBADF, "the connection was closed")
        ready: asyncio.Future[None] = loop.create_future()
        watch, leave = (loop.add_reader, loop.remove_reader) if reading else (loop.add_writer, loop.remove_writer)
        watch(handle, _wake, ready)
        try:
            await ready
        finally:
            leave(handle)


class Body:
    """The rest of an answer, of which ``left`` bytes are still to come: read in the loop, or in a thread, by one alone.

    What goes wrong is an end before its time, and :attr:`error` says what it was.
    """

    def __init__(self, stream: Stream, count: int, silence: float) -> None:
        self.left = count
        self.error: Exception | None = None
        self._stream = stream
        self._silence = silence

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.left:
            piece = b""
            with self._noted():
                piece = await self._stream.some(min(self.left, _PIECE), self._silence)
            if not piece:
                return
            self.left -= len(piece)
            yield piece

    def read_into(self, buffer: memoryview) -> int:
        """Wait in a thread for the next bytes; how many they are, 0 at the end."""
        count = 0
        if self.left:
            with self._noted():
                count = self._stream.some_into(buffer[: self.left], self._silence)
        self.left -= count
        return count

    def stop(self) -> None:
        """Have the thread that reads return soon."""
        self._stream.close()

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            with _told(httpx2.ReadTimeout, httpx2.ReadError):
                yield
        except httpx2.HTTPError as error:
            self.error = error


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _poll(connected: socket.socket, seconds: float) -> bool:
    asked = select.poll()
    asked.register(connected, select.POLLIN)
    return bool(asked.poll(seconds * 1000))


def _deciphered(connection: ssl.SSLSocket, most: int) -> bytes:
    """What is there of ``most`` bytes; raises ``SSLWantReadError`` where nothing is."""
    buffer = bytearray(most)
    count = _deciphered_into(connection, memoryview(buffer))
    return bytes(memoryview(buffer)[:count])


def _deciphered_into(connection: ssl.SSLSocket, buffer: memoryview) -> int:
    """The same into a buffer; how many bytes."""
    filled = 0
    while filled < len(buffer):
        try:
            count = connection.recv_into(buffer[filled:])
        except ssl.SSLWantReadError:
            if filled:
                break
            raise
        if not count:
            break
        filled += count
    return filled


@contextmanager
def _told(late: type[Exception], broken: type[Exception]) -> Iterator[None]:
    """Failures as httpcore names them, which httpx then does as well."""
    try:
        yield
    except TimeoutError as error:
        raise (broken if error.errno else late)(str(error)) from error
    except OSError as error:  # those of ssl are such
        raise broken(str(error)) from error


class _Backend(httpcore2.AsyncNetworkBackend):
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - httpcore's signature; nobody sets it
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        with _told(httpcore2.ConnectTimeout, httpcore2.ConnectError):
            async with asyncio.timeout(timeout):
                connected = await _first(await self._addresses(host, port))
        for option in ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), *(socket_options or ())):
            connected.setsockopt(*option)
        return Stream(connected)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> Sequence[_Address]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise OSError(errno.EINVAL, "its name is none that a host can have") from None
        return [(one[0], one[4]) for one in found]


class _Guarded(_Backend):
    """Goes to public addresses, and into ``networks``."""

    def __init__(self, networks: tuple[str, ...]) -> None:
        super().__init__()
        self._networks = networks

    async def _addresses(self, host: str, port: int) -> Sequence[_Address]:
        try:
            found = await super()._addresses(host, port)
        except OSError:
            raise Unreachable(f"the host {host[:200]} cannot be found") from None
        inner = [str(address[0]) for _, address in found if not may_reach(str(address[0]), self._networks)]
        if inner:
            raise Denied(
                f"{host[:200]} is at {inner[0]}, which is no public address and in none of the networks that the "
                "configuration names (replication.networks)"
            )
        return found


_Address = tuple[int, Any]


async def _first(addresses: Sequence[_Address]) -> socket.socket:
    """A connection to the first of the addresses that takes one; each has a start before the next (RFC 8305)."""
    waiting: set[asyncio.Task[socket.socket]] = set()
    left = _alternating(addresses)[:_MOST_ADDRESSES]
    failure: BaseException = OSError(errno.EADDRNOTAVAIL, "the host has no address")
    try:
        while left or waiting:
            if left:
                waiting.add(asyncio.ensure_future(_connect(*left.pop(0))))
            patience = _STAGGER_SECONDS if left else None
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
            each.add_done_callback(_leave)


def _alternating(addresses: Sequence[_Address]) -> list[_Address]:
    """As they come, but the first of the other kind second: where one kind leads nowhere, the other is tried soon."""
    first = list(addresses)
    other = next((one for one in first if one[0] != first[0][0]), None)
    if other is not None:
        first.remove(other)
        first.insert(1, other)
    return first


async def _connect(family: int, address: Any) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, address)
    except BaseException:
        made.close()
        raise
    return made


def _leave(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def transport(
    context: ssl.SSLContext | bool, proxy: str | None, limits: httpx2.Limits, networks: tuple[str, ...] | None = None
) -> httpx2.AsyncHTTPTransport:
    """What an httpx client sends with, over such connections; through a proxy it is the proxy's to say where to."""
    made = httpx2.AsyncHTTPTransport(verify=context, trust_env=False, proxy=proxy, limits=limits)
    if proxy is None or not proxy.startswith("https:"):  # TLS within TLS needs what only httpcore's own has
        # httpx has no argument for what httpcore has one for
        made._pool._network_backend = _Backend() if networks is None or proxy else _Guarded(networks)
    return made
