"""Large bodies: past the parser, in a thread or in the loop, plain or through TLS."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lading import errors
from lading.remotes.http import HttpRegistry
from lading.remotes.stream import Body
from lading.remotes.transport import Policy
from tests.support.access import certificates
from tests.support.scripted import Answer, Asked, Scripted
from tests.unit.remotes.far import BLOB, DATA, HURRIED, read, registry, routes

pytestmark = pytest.mark.anyio


@contextmanager
def far_side(answer: object, tls: Path | None) -> Iterator[tuple[Scripted, Policy]]:
    """A scripted registry, plain or over TLS, and how it is reached."""
    made, policy = Scripted(routes(GET=answer)), HURRIED  # type: ignore[arg-type]
    if tls is not None:
        files = certificates(tls)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        server = made._server
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        policy = replace(HURRIED, scheme="https", ca=files.ca.read_text())
    with made:
        yield made, policy


async def emptied(client: HttpRegistry) -> tuple[bytes, int]:
    """All of the blob, its large parts read in a thread; and how many those were."""
    found, buffer, large = bytearray(), memoryview(bytearray(1 << 20)), 0
    async with client.unverified("a", BLOB, 0) as parts:
        async for part in parts:
            if isinstance(part, bytes):
                found += part
                continue
            large += 1
            found += await all_of(part, buffer, in_thread=True)
    return bytes(found), large


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a_large_body_is_read_past_the_parser(tmp_path: Path, tls: bool) -> None:
    """Whole, in a thread and in the loop, and on another connection from where one broke."""
    cuts = iter([None, 400_000, 1_200_000, None, 700_000, None])

    def answer(asked: Asked) -> Answer:
        start = int(asked.headers.get("range", "bytes=0-")[6:-1])
        ranged = {"content-range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"} if start else {}
        return Answer(206 if start else 200, DATA[start:], ranged, cut=next(cuts))

    with far_side(answer, tmp_path if tls else None) as (far, policy):
        async with registry(far, policy=policy) as client:
            assert await emptied(client) == (DATA, 1)
            assert await emptied(client) == (DATA, 3)
            assert await read(client) == DATA
        assert next(cuts, "all used") == "all used"


async def all_of(body: Body, buffer: memoryview, *, in_thread: bool) -> bytes:
    found = bytearray()
    if in_thread:
        while count := await asyncio.to_thread(body.read_into, buffer):
            found += buffer[:count]
    else:
        async for piece in body:
            found += piece
    return bytes(found)


@pytest.mark.parametrize("in_thread", [True, False], ids=["thread", "loop"])
async def test_what_has_come_waits_for_no_more(in_thread: bool) -> None:
    """Less than is read at once is handed out all the same, and silence is an error after its time."""
    held, found, buffer = threading.Event(), bytearray(), memoryview(bytearray(1 << 20))

    async def all_that_comes(client: HttpRegistry) -> None:
        async with client.unverified("a", BLOB, 0) as parts:
            async for part in parts:
                found.extend(part if isinstance(part, bytes) else await all_of(part, buffer, in_thread=in_thread))

    with far_side(Answer(200, DATA, cut=300_000, hold=held), None) as (far, policy):
        async with registry(far, policy=replace(policy, silence=0.5, attempts=1)) as client:
            with pytest.raises(errors.Unreachable, match="in time"):
                await all_that_comes(client)
        held.set()
    assert found == DATA[:300_000]


async def test_a_thread_that_waits_for_bytes_can_be_ended() -> None:
    held, buffer = threading.Event(), memoryview(bytearray(1 << 20))
    with far_side(Answer(200, DATA, cut=300_000, hold=held), None) as (far, policy):
        async with registry(far, policy=replace(policy, silence=600)) as client:
            async with client.unverified("a", BLOB, 0) as parts:
                body = await anext(part async for part in parts if not isinstance(part, bytes))
                reading = asyncio.ensure_future(all_of(body, buffer, in_thread=True))
                await asyncio.wait([reading], timeout=0.3)
                assert not reading.done()
                body.stop()
                async with asyncio.timeout(30):
                    assert DATA.find(await reading) >= 0
                assert body.error is not None
                assert body.left
        held.set()
