"""One connection's bytes, plain or through TLS: read a megabyte at a time, in the event loop or in a thread.

Where layers come in by the gigabyte, a read at each packet is most of a download's work. So a large body is read when half a
megabyte of it is there, and a thread that hashes and writes it may read it, too.

What goes wrong is an :class:`OSError`, and a :class:`TimeoutError` without a number where nothing moved.
"""

from __future__ import annotations

import asyncio
import errno
import select
import socket
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

_PIECE = 1 << 20
_AT_ONCE = 1 << 19
_READ = 1 << 18
_PATIENCE_SECONDS = 0.05
"""How long bytes may lie unread for more to come."""
_LOOK_SECONDS = 0.25
_LOWAT = getattr(socket, "SO_RCVLOWAT", None)


class Stream:
    """A connected socket that does not block; whoever reads, reads alone."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket: socket.socket | ssl.SSLSocket | _Within = connected
        self._lowest = 1
        self._reading = False
        self._closed = False

    async def secure(self, context: ssl.SSLContext, host: str, silence: float) -> None:
        """Go on with TLS; ``host`` is whose certificate is expected. Through TLS, it is another one within."""
        if isinstance(self._socket, ssl.SSLSocket):
            made: ssl.SSLSocket | _Within = _Within(self._socket, context, host)
        else:
            assert isinstance(self._socket, socket.socket)
            made = context.wrap_socket(self._socket, server_hostname=host, do_handshake_on_connect=False)
        self._socket = made
        await self._tried(made.do_handshake, silence=silence)

    async def read(self, silence: float) -> bytes:
        """What arrives next; empty at the end."""
        self._wake_at(1)
        return await self._tried(self._socket.recv, _READ, silence=silence)

    def heard(self) -> bytes | None:
        """What is there already: empty at the end, None where it is nothing."""
        try:
            return self._socket.recv(_READ)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None

    async def send(self, data: memoryview, silence: float) -> int:
        """Send as much as the kernel takes; it may be nothing, when there is something to be heard first."""
        try:
            return self._socket.send(data[:_READ])
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError) as blocked:
            self._wake_at(1)
            async with asyncio.timeout(silence):
                await self._ready(reading=True, writing=not isinstance(blocked, ssl.SSLWantReadError))
            return 0

    def close(self) -> None:
        """At once, or when the thread that reads has seen it."""
        self._closed = True
        if not self._reading:
            self._socket.close()

    # ---- a large body

    async def some(self, most: int, silence: float) -> bytes:
        """What arrives next, at most so many bytes; empty at the end."""
        async with asyncio.timeout(silence):
            while True:
                await self._gathered(min(most, _AT_ONCE))
                with suppress(BlockingIOError, ssl.SSLWantReadError):
                    if isinstance(self._socket, ssl.SSLSocket | _Within):
                        # deciphering a megabyte keeps others waiting; the bytes come a record at a time
                        self._reading = True
                        return await asyncio.to_thread(self._deciphered, self._socket, most)
                    return self._socket.recv(most)

    def some_into(self, buffer: memoryview, silence: float) -> int:
        """The same in a thread, which waits there; whoever closes the connection meanwhile ends it."""
        self._reading = True
        try:
            until = time.monotonic() + silence
            patient = True
            while not self._closed:
                if not self._pending():
                    patient = patient and self._wake_at(min(len(buffer), _AT_ONCE))
                    if not patient:
                        self._wake_at(1)
                    if not _poll(self._socket, _PATIENCE_SECONDS if patient else _LOOK_SECONDS):
                        patient = False
                        if time.monotonic() > until:
                            raise TimeoutError
                        continue
                with suppress(BlockingIOError, ssl.SSLWantReadError):
                    if isinstance(self._socket, ssl.SSLSocket | _Within):
                        return _deciphered_into(self._socket, buffer)
                    return self._socket.recv_into(buffer)
            raise OSError(errno.ECONNABORTED, "the connection was closed here")
        finally:
            self._has_read()

    def _deciphered(self, connection: ssl.SSLSocket | _Within, most: int) -> bytes:
        """What is there of ``most`` bytes; raises ``SSLWantReadError`` where nothing is."""
        try:
            buffer = bytearray(most)
            count = _deciphered_into(connection, memoryview(buffer))
            return bytes(memoryview(buffer)[:count])
        finally:
            self._has_read()

    def _has_read(self) -> None:
        """A thread is done with the socket, which may have been closed meanwhile: its number is another's only then."""
        self._reading = False
        if self._closed:
            self._socket.close()

    async def _gathered(self, enough: int) -> None:
        """Return when so many bytes are there, or some have been for a while, or no more will come."""
        if self._pending():
            return
        if self._wake_at(enough):
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await self._ready(reading=True)
                return
            self._wake_at(1)
        await self._ready(reading=True)

    def _pending(self) -> bool:
        """Whether deciphered bytes are at hand, of which the kernel knows nothing."""
        return isinstance(self._socket, ssl.SSLSocket | _Within) and self._socket.pending() > 0

    def _wake_at(self, size: int) -> bool:
        """Have the socket readable when it has so many bytes; whether that is more than one."""
        if _LOWAT is None:
            return False
        if size != self._lowest:
            self._socket.setsockopt(socket.SOL_SOCKET, _LOWAT, size)
            self._lowest = size
        return size > 1

    # ---- waiting

    async def _tried(self, call: Callable[..., T], *arguments: Any, silence: float) -> T:
        reading = True
        while True:
            try:
                return call(*arguments)
            except (BlockingIOError, ssl.SSLWantReadError):
                reading = True
            except ssl.SSLWantWriteError:  # which TLS may want when it reads
                reading = False
            async with asyncio.timeout(silence):
                await self._ready(reading=reading, writing=not reading)

    async def _ready(self, *, reading: bool = False, writing: bool = False) -> None:
        loop, handle = asyncio.get_running_loop(), self._socket.fileno()
        if handle < 0:
            raise OSError(errno.EBADF, "the connection was closed")
        ready: asyncio.Future[None] = loop.create_future()
        try:
            if reading:
                loop.add_reader(handle, _wake, ready)
            if writing:
                loop.add_writer(handle, _wake, ready)
            await ready
        finally:
            if reading:
                loop.remove_reader(handle)
            if writing:
                loop.remove_writer(handle)


class _Within:
    """TLS within the TLS of a connection to a proxy: a socket's methods, as far as they are called above."""

    def __init__(self, outer: ssl.SSLSocket, context: ssl.SSLContext, host: str) -> None:
        self._outer = outer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._inner = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._unsent = b""

    def do_handshake(self) -> None:
        self._moved(self._inner.do_handshake)
        self._flush()

    def recv(self, most: int) -> bytes:
        buffer = bytearray(most)
        count = self.recv_into(memoryview(buffer))
        return bytes(memoryview(buffer)[:count])

    def recv_into(self, buffer: memoryview) -> int:
        try:
            return self._moved(self._read, buffer)
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return 0

    def send(self, data: memoryview) -> int:
        self._flush()
        count = self._inner.write(data)
        with suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self._flush()  # what does not go now goes before anything else
        return count

    def pending(self) -> int:
        return self._inner.pending() or self._incoming.pending or self._outer.pending()

    def fileno(self) -> int:
        return self._outer.fileno()

    def setsockopt(self, level: int, name: int, value: int) -> None:
        self._outer.setsockopt(level, name, value)

    def close(self) -> None:
        self._outer.close()

    def _read(self, buffer: memoryview) -> int:
        return self._inner.read(len(buffer), buffer)  # type: ignore[return-value]  # typeshed knows one of its two forms

    def _moved(self, call: Callable[..., T], *arguments: Any) -> T:
        while True:
            self._flush()
            try:
                return call(*arguments)
            except ssl.SSLWantReadError:
                self._flush()
                if data := self._outer.recv(_READ):
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()

    def _flush(self) -> None:
        while self._unsent or self._outgoing.pending:
            self._unsent = self._unsent or self._outgoing.read()
            self._unsent = self._unsent[self._outer.send(self._unsent) :]


class Body:
    """The rest of an answer, of which ``left`` bytes are still to come: read in the loop, or in a thread, by one alone.

    What goes wrong is an end before its time, and :attr:`error` says what it was.
    """

    def __init__(self, stream: Stream, count: int, silence: float) -> None:
        self.left = count
        self.error: OSError | None = None
        self._stream = stream
        self._silence = silence

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.left:
            try:
                piece = await self._stream.some(min(self.left, _PIECE), self._silence)
            except OSError as error:
                self.error = error
                return
            if not piece:
                return
            self.left -= len(piece)
            yield piece

    def read_into(self, buffer: memoryview) -> int:
        """Wait in a thread for the next bytes; how many they are, 0 at the end."""
        count = 0
        if self.left:
            try:
                count = self._stream.some_into(buffer[: self.left], self._silence)
            except OSError as error:
                self.error = error
        self.left -= count
        return count

    def stop(self) -> None:
        """Have the thread that reads return soon."""
        self._stream.close()


async def pieces_of(parts: AsyncIterator[bytes | Body]) -> AsyncGenerator[bytes]:
    """All of it in pieces, for who does not read by himself."""
    async for part in parts:
        if isinstance(part, bytes):
            yield part
        else:
            async for piece in part:
                yield piece


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _poll(connected: socket.socket | _Within, seconds: float) -> bool:
    asked = select.poll()
    asked.register(connected, select.POLLIN)
    return bool(asked.poll(seconds * 1000))


def _deciphered_into(connection: ssl.SSLSocket | _Within, buffer: memoryview) -> int:
    """What is there, as far as the buffer takes it; how many bytes. Raises ``SSLWantReadError`` where nothing is."""
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
