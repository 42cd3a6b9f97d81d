"""What arrives, and those who read it meanwhile: ahead of it, behind it, and through a break."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lading.errors import Unreachable
from lading.oci.digest import Digest
from lading.registry.arrivals import Arrival
from lading.registry.fills import Fill, Reader
from lading.stores.blobs.base import UploadSession
from lading.stores.blobs.filesystem import FilesystemStore
from lading.stores.blobs.localfile import LocalFile
from tests.support.patience import eventually

pytestmark = pytest.mark.anyio

DATA = random.Random("fills").randbytes(200_000)
DIGEST = Digest.of(DATA)


def held() -> Counter[str]:
    """The files that this process has open, as often as it does."""
    found = Counter[str]()
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the folder's own
            found[str(each.readlink())] += 1
    return Counter({name: times for name, times in found.items() if name.startswith("/")})


@pytest.fixture
def files() -> Iterator[None]:
    """Nothing stays open; what has no name any more is closed by a thread."""
    before = held()
    yield
    eventually(lambda: not held() - before, "all files closed")


class Apart:
    """An upload to a store that has no file to read from."""

    def __init__(self, session: UploadSession) -> None:
        self._session = session

    def follow(self, grew: object) -> None:
        return None

    def __getattr__(self, name: str) -> object:
        return getattr(self._session, name)


class Sender:
    """Sends what it is given, to an upload and (as the mirror does) to the fill."""

    def __init__(self, fill: Fill) -> None:
        self._fill = fill
        self._queue: asyncio.Queue[bytes] = asyncio.Queue()

    def send(self, data: bytes) -> None:
        self._queue.put_nowait(data)

    async def chunks(self) -> AsyncIterator[bytes]:
        async for chunk in self._fill.kept():
            yield chunk
        while data := await self._queue.get():
            self._fill.add(data)
            yield data


async def begin(store: FilesystemStore, fill: Fill, *, followed: bool) -> UploadSession:
    session: UploadSession = await store.begin("a", "sha256", aim=DIGEST)
    if not followed:
        session = Apart(session)  # type: ignore[assignment]
    fill.begins(session)
    return session


async def waits(task: asyncio.Future[int]) -> bool:
    for _ in range(20):
        await asyncio.sleep(0)
    return not task.done()


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("followed", [True, False])
async def test_a_reader_has_what_came_and_the_last_byte_when_it_is_right(tmp_path: Path, followed: bool) -> None:
    store = FilesystemStore(tmp_path)
    fill = Fill(DIGEST, len(DATA), tmp_path)
    fill.hold()
    session = await begin(store, fill, followed=followed)
    sender = Sender(fill)
    appending = asyncio.ensure_future(session.append(sender.chunks()))
    ahead, behind = Reader(fill, store), Reader(fill, store)
    reaching = asyncio.ensure_future(ahead.reach(150_000, len(DATA)))
    assert await waits(reaching)
    sender.send(DATA[:1000])
    assert await behind.reach(0, len(DATA)) == 1000
    descriptor = behind.fileno()
    assert descriptor is not None
    assert os.pread(descriptor, 1000, 0) == DATA[:1000]
    assert await behind.reach(100, 200) == 200
    assert await waits(reaching)
    sender.send(DATA[1000:])
    assert await reaching == len(DATA) - 1
    sender.send(b"")
    await appending
    last = asyncio.ensure_future(ahead.reach(len(DATA) - 1, len(DATA)))
    assert await waits(last)
    fill.checked()
    assert await last == len(DATA)
    assert b"".join([data async for data in ahead.chunks(7, len(DATA) - 7)]) == DATA[7:]
    await session.cancel()
    await session.close()
    for each in (ahead, behind):
        each.close()
        each.close()
    fill.let_go()
    await store.close()


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("followed", [True, False])
async def test_what_came_before_a_break_is_read_on_while_it_is_tried_again(tmp_path: Path, followed: bool) -> None:
    store = FilesystemStore(tmp_path)
    fill = Fill(DIGEST, len(DATA), tmp_path)
    fill.hold()
    session = await begin(store, fill, followed=followed)
    sender = Sender(fill)
    sender.send(DATA[:50_000])
    sender.send(b"")
    await session.append(sender.chunks())
    first = Reader(fill, store)
    assert await first.reach(0, len(DATA)) == 50_000
    fill.end(Unreachable("gone"))
    await session.cancel()
    await session.close()
    with pytest.raises(EOFError):
        await first.reach(50_000, len(DATA))
    with pytest.raises(Unreachable):
        await fill.begun()
    fill.again()
    begun = asyncio.ensure_future(fill.begun())
    session = await begin(store, fill, followed=followed)
    second = Reader(fill, store)
    assert await second.reach(0, len(DATA)) == 50_000, "though the new upload has none of it yet"
    sender = Sender(fill)
    appending = asyncio.ensure_future(session.append(sender.chunks()))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not begun.done()
    sender.send(DATA[50_000:])
    await begun
    sender.send(b"")
    await appending
    assert await session.digest() == DIGEST
    fill.checked()
    for reader in (first, second):
        assert b"".join([data async for data in reader.chunks(0, len(DATA))]) == DATA
        reader.close()
    await session.publish(DIGEST)
    await session.close()
    fill.let_go()
    await store.close()


@pytest.mark.usefixtures("files")
async def test_what_another_process_of_this_machine_fetches_is_read_as_it_comes(tmp_path: Path) -> None:
    """Up to the last byte, which is in the store alone; and who goes on in its place begins with what there was."""
    store, others = FilesystemStore(tmp_path), FilesystemStore(tmp_path)
    fill, follower = (Fill(DIGEST, len(DATA), tmp_path, Arrival(tmp_path, "one")) for _ in range(2))
    stranger = Fill(DIGEST, len(DATA), tmp_path, Arrival(tmp_path, "two"))
    for each in (fill, follower, stranger):
        each.hold()
    session = await begin(store, fill, followed=True)
    reader = Reader(follower, others)
    sender = Sender(fill)
    appending = asyncio.ensure_future(session.append(sender.chunks()))
    for place in (0, 100_000):
        reaching = asyncio.ensure_future(reader.reach(place, len(DATA)))
        follower.read_elsewhere()
        stranger.read_elsewhere()
        assert await waits(reaching)
        sender.send(DATA[place : place + 100_000])
        await fill.reach(place, len(DATA))
        follower.read_elsewhere()
        come = min(place + 100_000, len(DATA) - 1)
        assert await reaching == come
        assert b"".join([data async for data in reader.chunks(place, come - place)]) == DATA[place:come]
    assert (follower.held, stranger.held) == (len(DATA), 0)
    assert b"".join([data async for data in follower.kept()]) == DATA
    sender.send(b"")
    await appending
    assert await session.digest() == DIGEST
    last = asyncio.ensure_future(reader.reach(len(DATA) - 1, len(DATA)))
    assert await waits(last)
    await session.publish(DIGEST)
    await session.close()
    fill.arrived()
    follower.end()
    assert await last == len(DATA)
    assert b"".join([data async for data in reader.chunks(0, len(DATA))]) == DATA
    assert not list((tmp_path / "lading/arriving").iterdir())
    reader.close()
    for each in (fill, follower, stranger):
        each.let_go()
    await store.close()
    await others.close()


@pytest.mark.usefixtures("files")
async def test_what_a_process_that_was_killed_left_behind_is_gone_on_with(tmp_path: Path) -> None:
    store = FilesystemStore(tmp_path)
    killed, after = (Fill(DIGEST, len(DATA), tmp_path, Arrival(tmp_path, "one")) for _ in range(2))
    for each in (killed, after):
        each.hold()
    session = await begin(store, killed, followed=True)
    sender = Sender(killed)
    sender.send(DATA[:50_000])
    sender.send(b"")
    await session.append(sender.chunks())
    await session.close()
    killed.let_go()  # and nobody says that it is over
    after.here()
    assert (after.held, after.elsewhere) == (50_000, False)
    assert b"".join([data async for data in after.kept()]) == DATA[:50_000]
    after.arrived()
    after.let_go()
    await store.close()


async def test_a_note_that_is_not_true_is_not_followed(tmp_path: Path) -> None:
    """It may be older than the last start of the machine, of another one, or its file may be another one by now."""
    one, other = (Arrival(tmp_path, "one") for _ in range(2))
    (tmp_path / "file").write_bytes(b"something")
    file = LocalFile(os.open(tmp_path / "file", os.O_RDONLY))
    one.tell(file)
    (note,) = (tmp_path / "lading/arriving").iterdir()
    true = note.read_text()
    for false in (true.replace(true[:8], "00000000", 1), true.replace(" ", " 9", 1), f"{true}x", "", "\0\n\0"):
        note.write_text(false)
        assert other.look() is None
    note.write_text(true)
    found = other.look()
    assert found is not None
    assert other.look() is None, "it was handed out"
    found.close()
    file.close()


@pytest.mark.usefixtures("files")
async def test_what_another_process_fetches_is_read_from_the_store(tmp_path: Path) -> None:
    store = FilesystemStore(tmp_path)
    fill = Fill(DIGEST, len(DATA), tmp_path)
    fill.hold()
    reader = Reader(fill, store)
    fill.read_elsewhere()
    await fill.begun()
    reaching = asyncio.ensure_future(reader.reach(10, len(DATA)))
    assert await waits(reaching)
    await store.put(DIGEST, DATA)
    fill.end()
    assert await reaching == len(DATA)
    assert reader.fileno() is not None
    assert b"".join([data async for data in reader.chunks(10, 50)]) == DATA[10:60]
    reader.close()
    fill.let_go()
    await store.close()
