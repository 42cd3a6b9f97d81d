"""HTTP as it arrives: whole, in pieces, in chunks, cut, and wrong; and what of it leaves the connection usable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from lading.remotes.connection import Connection, Garbled, Lost
from lading.remotes.sockets import Way
from lading.remotes.stream import pieces_of

pytestmark = pytest.mark.anyio

ASK = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
SILENCE = 30.0


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def connected(serve: Serve) -> AsyncIterator[Connection]:
    """A connection to somebody who does this once a request's head has come, as often as one comes."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while not writer.is_closing():
                await reader.readuntil(b"\r\n\r\n")
                await serve(reader, writer)
        writer.transport.abort() if not writer.is_closing() else None

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = await Way("127.0.0.1", port, SILENCE).connect()
    try:
        yield connection
    finally:
        connection.close()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks)


@asynccontextmanager
async def answered(*pieces: bytes, stays: bool = True) -> AsyncIterator[Connection]:
    """A connection to somebody who says these pieces, one after the other; who does not stay hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)  # so that they arrive as they were sent, most likely
        if not stays:
            writer.close()

    async with connected(serve) as connection:
        yield connection


async def body(connection: Connection) -> bytes:
    return b"".join([piece async for piece in pieces_of(connection.parts(SILENCE))])


@pytest.mark.parametrize(
    ("said", "found", "again"),
    [
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"], b"hello", True),
        ([b"HTTP/1.1 200 OK\r\ncontent-le", b"ngth: 5\r\n\r\nh", b"el", b"lo"], b"hello", True),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", b"hello and more"], b"hello", False),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello and more"], b"hello", False),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"], b"hello", False),
        ([b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello"], b"hello", False),
        (
            [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r", b"\nllo\r\n0\r\n\r\n"],
            b"hello",
            True,
        ),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"], b"hello", True),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], b"", True),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"], b"", True),
    ],
)
async def test_an_answer(said: list[bytes], found: bytes, again: bool) -> None:
    async with answered(*said) as connection:
        for _ in range(2 if again else 1):
            await connection.request(ASK, b"", SILENCE)
            assert await body(connection) == found
        assert connection.usable() == again


async def test_what_has_no_length_ends_with_the_connection() -> None:
    async with answered(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo", stays=False) as connection:
        await connection.request(ASK, b"", SILENCE)
        assert await body(connection) == b"hello"
        assert not connection.usable()


async def test_an_answer_to_head_has_no_body() -> None:
    async with answered(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n") as connection:
        for _ in range(2):
            await connection.request(ASK, b"", SILENCE, bodiless=True)
            assert connection.headers.get("Content-Length") == "5"
            assert await body(connection) == b""
        assert connection.usable()


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ([b""], Lost),
        ([b"HTTP/1.1 200 OK\r\ncontent-le"], Lost),
        ([b"SSH-2.0-OpenSSH\r\n"], Garbled),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello"], Garbled),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\nhello"], Garbled),
        ([b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"], Garbled),
        ([b"HTTP/1.1 200 OK\r\nx: " + b"a" * 300_000], Garbled),
    ],
)
async def test_no_answer(said: list[bytes], error: type[Exception]) -> None:
    async with answered(*said, stays=False) as connection:
        with pytest.raises(error):
            await connection.request(ASK, b"", SILENCE)
        assert not connection.usable()


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"], Lost),
        ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"], Lost),
        ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", b"zz\r\n"], Garbled),
    ],
)
async def test_a_body_that_breaks_off_is_no_body(said: list[bytes], error: type[Exception]) -> None:
    async with answered(*said, stays=False) as connection:
        await connection.request(ASK, b"", SILENCE)
        pieces = connection.parts(SILENCE)
        assert await anext(pieces) == b"hello"
        with pytest.raises(error):
            await anext(pieces)


async def test_a_trailer_is_no_header() -> None:
    chunks = b"5\r\nhello\r\n0\r\nlocation: elsewhere\r\n\r\n"
    async with answered(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks) as connection:
        await connection.request(ASK, b"", SILENCE)
        assert await body(connection) == b"hello"
        assert connection.headers.get("location") == ""
        assert connection.usable()


@pytest.mark.parametrize("frame", [b"0\r\n", b"0\r\nx: ", b"5;"], ids=["trailers", "trailer", "extension"])
async def test_what_frames_a_body_has_an_end(frame: bytes) -> None:
    """Endless bytes that are none of the body's are nothing to wait for, or to keep."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n" + frame)
        while True:
            writer.write(b"a: b\r\n" * 1000 if frame == b"0\r\n" else b"a" * 10_000)
            await writer.drain()

    async with connected(serve) as connection:
        await connection.request(ASK, b"", SILENCE)
        with pytest.raises(Garbled, match="has no end"):
            await body(connection)


async def test_a_head_in_drips_is_no_answer() -> None:
    """Each byte breaks the silence; the head as a whole has no more time than that."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nx: ")
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with connected(serve) as connection:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await connection.request(ASK, b"", 0.5)
        assert not connection.usable()


async def test_a_refusal_is_heard_while_sending() -> None:
    """Who does not want an upload need not take all of it to say so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await asyncio.Event().wait()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1_000_000)

    async with connected(serve) as connection:
        await connection.request(ASK, endless(), SILENCE, chunked=True)
        assert connection.status == 413
        assert await body(connection) == b"no"
        assert not connection.usable()


@pytest.mark.parametrize(
    "wait", [lambda one: one.request(ASK, b"", 0.05), lambda one: one.request(ASK, b"", 0.01, patience=0.05)]
)
async def test_silence_ends_it(wait: Callable[[Connection], object]) -> None:
    async with answered(b"") as connection:
        with pytest.raises(TimeoutError):
            await wait(connection)  # type: ignore[misc]  # both are coroutines
        assert not connection.usable()
