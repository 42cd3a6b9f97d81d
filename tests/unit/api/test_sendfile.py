"""How much of a file is sent at a time."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from lading.api.sendfile import FileSender, Pace

pytestmark = pytest.mark.anyio

SIZE = 20 << 20


class Clock:
    """A loop's time, as far as anybody asks here."""

    now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pace(clock: Clock) -> Pace:
    return Pace(cast("asyncio.AbstractEventLoop", clock))


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """A file that was just written, so the system has it in memory."""
    (tmp_path / "blob").write_bytes(bytes(SIZE))
    with (tmp_path / "blob").open("rb") as opened:
        yield opened.fileno()


def test_short_steps_only_while_there_are_others(clock: Clock, pace: Pace, file: int) -> None:
    alone = pace.step(file, 0, SIZE)
    pace.answered(clock.now)
    beside = pace.step(file, 0, SIZE)
    assert beside <= alone // 4
    clock.now += 0.05
    assert pace.step(file, 0, SIZE) == beside
    pace.answered(clock.now)
    clock.now += 0.09
    assert pace.step(file, 0, SIZE) == beside, "the last answer counts"
    clock.now += 0.02
    assert pace.step(file, 0, SIZE) == alone


def test_no_more_than_there_is(clock: Clock, pace: Pace, file: int) -> None:
    assert pace.step(file, SIZE - 700_000, 700_000) == 700_000
    pace.answered(clock.now)
    assert pace.step(file, SIZE - 700, 700) == 700


def test_what_the_disk_has_to_be_asked_for_is_sent_in_steps(
    pace: Pace, file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or all others wait for a disk that is slow."""
    whole = pace.step(file, 0, SIZE)
    asked = []

    def cold(descriptor: int, count: int, offset: int) -> None:
        asked.append((descriptor, count, offset))

    monkeypatch.setattr("lading.api.sendfile.at_hand", cold)
    assert pace.step(file, 1000, SIZE) < whole
    assert asked == [(file, 1, 1000 + whole - 1)]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        yield near, far


@pytest.mark.parametrize("beside", [False, True])
async def test_every_byte_arrives_whatever_the_pace(
    tmp_path: Path, ends: tuple[socket.socket, socket.socket], clock: Clock, pace: Pace, beside: bool
) -> None:
    """Also when others come and go meanwhile."""
    near, far = ends
    data = os.urandom(SIZE)
    (tmp_path / "blob").write_bytes(data)
    loop = asyncio.get_running_loop()
    _, writer = await asyncio.open_connection(sock=near)
    steps = 0

    def moved() -> None:
        nonlocal steps
        steps += 1
        if beside:
            clock.now += 0.06
            if steps % 3 == 0:
                pace.answered(clock.now)

    got = bytearray()

    async def read() -> None:
        while len(got) < len(data) + 4:
            got.extend(await loop.sock_recv(far, 1 << 20))

    sender = FileSender(cast("asyncio.Transport", writer.transport), loop, pace, moved)
    with (tmp_path / "blob").open("rb") as file:
        reading = asyncio.ensure_future(read())
        await sender.send(file.fileno(), 0, SIZE, b"head")
        await asyncio.wait_for(reading, 30)
    assert bytes(got) == b"head" + data
    sender.close()
    writer.close()
