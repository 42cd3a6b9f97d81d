"""What every ``BlobStore`` and ``UploadSession`` promises."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest

from lading.errors import Conflict, SizeInvalid, Unavailable
from lading.oci.digest import Digest
from lading.stores.blobs.base import BlobFile, BlobStore, Deleted, FoundUpload, UploadSession, UploadState
from lading.stores.blobs.remote import RemoteStore
from tests.support.patience import PATIENCE

pytestmark = pytest.mark.anyio

DATA = random.Random("contract").randbytes(3_500_000)
DIGEST = Digest.of(DATA)
SMALL = Digest.of(b"small")


async def stream(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        await asyncio.sleep(0)
        yield part


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


async def content(store: BlobStore, digest: Digest) -> bytes:
    file = await store.open(digest)
    assert file is not None
    try:
        return await read(file, 0, file.size)
    finally:
        file.close()


async def read(file: BlobFile, offset: int, count: int) -> bytes:
    return b"".join([data async for data in file.chunks(offset, count)])


async def walked(store: BlobStore) -> list[tuple[Digest, int]]:
    return [found async for found in store.walk()]


async def open_uploads(store: BlobStore) -> list[FoundUpload]:
    return [found async for found in store.uploads()]


async def begin(store: BlobStore, data: bytes = b"", algorithm: str = "sha256") -> UploadSession:
    session = await store.begin("a/b", algorithm)
    if data:
        await session.append(stream(data))
    return session


async def resumed(store: BlobStore, state: UploadState) -> UploadSession:
    session = await store.resume(state)
    assert session is not None
    return session


class TestBlobs:
    @pytest.mark.real
    async def test_slow_readers_hold_up_nobody(self, store: BlobStore) -> None:
        """An answer that has arrived whole, and is still being read, has given its connection to the next request."""
        sizes = [(1 << 20) - 1, (1 << 20) + 1, (1 << 20) + 300_000, len(DATA)]
        blobs = {Digest.of(DATA[:size]): DATA[:size] for size in sizes}
        for digest, data in blobs.items():
            await store.put(digest, data)
        await store.put(SMALL, b"small")

        async def slowly(digest: Digest) -> bytes:
            file = await store.open(digest)
            assert file is not None
            found = bytearray()
            try:
                async for data in file.chunks(0, file.size):
                    found += data
                    for _ in range(3):
                        assert await content(store, SMALL) == b"small"
            finally:
                file.close()
            return bytes(found)

        async with asyncio.timeout(29):  # who waits for bytes that do not come gives up after 30, and tries again
            assert await asyncio.gather(*map(slowly, blobs)) == list(blobs.values())

    @pytest.mark.real
    async def test_put_and_open(self, store: BlobStore) -> None:
        await store.put(SMALL, b"small")
        file = await store.open(SMALL)
        assert file is not None
        assert file.size == 5
        assert (await read(file, 1, 3), await read(file, 4, 1), await read(file, 5, 0)) == (b"mal", b"l", b"")
        descriptor = file.fileno()
        assert descriptor is None or os.pread(descriptor, 5, 0) == b"small"
        with pytest.raises(EOFError):
            await read(file, 4, 2)
        file.close()
        file.close()

    @pytest.mark.parametrize("data", [b"", b"x"])
    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    async def test_every_algorithm_and_nothing(self, store: BlobStore, data: bytes, algorithm: str) -> None:
        digest = Digest.of(data, algorithm)
        await store.put(digest, data)
        assert await content(store, digest) == data
        assert await walked(store) == [(digest, len(data))]

    @pytest.mark.real
    async def test_what_is_not_there(self, store: BlobStore) -> None:
        assert await store.open(SMALL) is None
        assert not (await store.delete([SMALL])).failed
        assert await walked(store) == []
        assert await open_uploads(store) == []

    async def test_putting_twice_is_once(self, store: BlobStore) -> None:
        await store.put(SMALL, b"small")
        await store.put(SMALL, b"small")
        assert await walked(store) == [(SMALL, 5)]

    @pytest.mark.real
    async def test_a_damaged_blob_is_mended_by_the_next_push(self, store: BlobStore) -> None:
        await store.put(SMALL, b"damaged")
        await store.put(SMALL, b"small")
        assert await content(store, SMALL) == b"small"

    async def test_many_put_the_same_at_once(self, store: BlobStore) -> None:
        await asyncio.gather(*(store.put(SMALL, b"small") for _ in range(20)))
        assert await walked(store) == [(SMALL, 5)]

    @pytest.mark.real
    async def test_delete_says_what_it_freed_where_it_knows(self, store: BlobStore) -> None:
        other = Digest.of(b"other")
        await store.put(SMALL, b"small")
        await store.put(other, b"other")
        for sizes in ({SMALL: 5, other: 5}, {SMALL: 0, other: 0}):
            done = await store.delete([SMALL, other])
            assert not done.failed
            assert done.freed in (sizes, {SMALL: None, other: None})
        assert await store.open(SMALL) is None
        assert await walked(store) == []

    async def test_delete_meets_put(self, store: BlobStore) -> None:
        """The collector sees to it that they do not; if they do, the pusher may have to push again, and no more."""
        for _ in range(10):
            session = await begin(store, b"small")
            put, publish, deleted = await asyncio.gather(
                store.put(SMALL, b"small"),
                session.publish(SMALL),
                store.delete([SMALL]),
                return_exceptions=True,
            )
            await session.cancel()
            await session.close()
            assert {type(put), type(publish)} <= {type(None), Unavailable}
            # a blob that came back while it was deleted was not deleted
            assert isinstance(deleted, Deleted)
            if await store.open(SMALL) is not None:
                assert await content(store, SMALL) == b"small"
        await store.delete([SMALL])

    async def test_walk_names_every_blob_with_its_size(self, store: BlobStore) -> None:
        made = {Digest.of(b"x" * size, algorithm): size for size in range(20) for algorithm in ("sha256", "sha512")}
        for digest, size in made.items():
            await store.put(digest, b"x" * size)
        assert dict(await walked(store)) == made

    @pytest.mark.real
    async def test_probe(self, store: BlobStore) -> None:
        await store.probe()
        await store.probe()
        assert await walked(store) == []


class TestUploads:
    @pytest.mark.parametrize("size", [1, 1000, 262_144, 1 << 20, (1 << 20) + 1, 4_000_000])
    async def test_any_size_of_chunks(self, store: BlobStore, size: int) -> None:
        data = DATA[: 20_000 if size == 1 else None]
        session = await store.begin("a/b", "sha256")
        await session.append(stream(*pieces(data, size)))
        assert session.size == len(data)
        assert await session.digest() == Digest.of(data)
        await session.sync()
        await session.publish(Digest.of(data))
        await session.close()
        assert await content(store, Digest.of(data)) == data
        assert await open_uploads(store) == []

    async def test_thousands_of_tiny_chunks_at_once(self, store: BlobStore) -> None:
        """More than one writev takes."""
        session = await begin(store)
        await session.append(stream(*pieces(DATA[:30_000], 3)))
        assert await session.digest() == Digest.of(DATA[:30_000])
        await session.close()

    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    async def test_taken_up_by_another_process(
        self, store: BlobStore, open_store: Callable[[], BlobStore], algorithm: str
    ) -> None:
        session = await begin(store, algorithm=algorithm)
        await session.close()
        state = session.state()
        for number, part in enumerate(pieces(DATA, 700_001)):
            session = await resumed((store, open_store())[number % 2], state)
            await session.append(stream(part))
            state = session.state()
            await session.close()
        session = await resumed(open_store(), state)
        assert await session.digest() == Digest.of(DATA, algorithm)
        await session.publish(Digest.of(DATA, algorithm))
        await session.close()
        assert await content(store, Digest.of(DATA, algorithm)) == DATA

    async def test_a_saved_hash_spares_reading_again(self, store: BlobStore) -> None:
        session = await begin(store, DATA)
        await session.close()
        state = session.state()
        assert state.hashed == len(DATA)
        lie = UploadState(state.repository, state.uuid, state.algorithm, state.hashed, None)
        assert (await resumed_digest(store, lie)) == (await resumed_digest(store, state)) == DIGEST

    @pytest.mark.real
    async def test_a_state_that_is_behind_or_ahead(self, store: BlobStore) -> None:
        session = await begin(store, DATA[:1000])
        behind = session.state()
        await session.append(stream(DATA[1000:2000]))
        now = session.state()
        await session.close()
        ahead = UploadState(now.repository, now.uuid, now.algorithm, 5000, now.hash_state)
        for state in (behind, now, ahead):
            assert await resumed_digest(store, state) == Digest.of(DATA[:2000])

    @pytest.mark.real
    async def test_the_digest_in_another_algorithm(self, store: BlobStore) -> None:
        session = await begin(store, DATA)
        assert await session.digest_as("sha512") == Digest.of(DATA, "sha512")
        assert await session.digest_as("sha256") == DIGEST
        await session.close()
        session = await resumed(store, session.state())
        session.aim(Digest.of(DATA, "sha512"))
        await session.append(stream())
        assert await session.digest_as("sha512") == Digest.of(DATA, "sha512")
        await session.publish(Digest.of(DATA, "sha512"))
        await session.close()
        assert await content(store, Digest.of(DATA, "sha512")) == DATA

    @pytest.mark.parametrize("sent", [0, 999, 1001, 1_200_000, 3_000_000])
    async def test_bytes_that_are_not_as_many_as_said_do_not_stay(self, store: BlobStore, sent: int) -> None:
        session = await begin(store, b"before")
        with pytest.raises(SizeInvalid):
            await session.append(stream(*pieces(DATA[:sent], 300_000)), exact=1000)
        assert session.size == 6
        await session.append(stream(DATA[:1000]), exact=1000)
        assert await session.digest() == Digest.of(b"before" + DATA[:1000])
        await session.publish(Digest.of(b"before" + DATA[:1000]))
        await session.close()

    @pytest.mark.parametrize("arrived", [0, 10, 1_500_000])
    async def test_what_arrived_before_the_sender_broke_off_stays(self, store: BlobStore, arrived: int) -> None:
        async def breaking() -> AsyncIterator[bytes]:
            for part in pieces(DATA[:arrived], 300_000):
                yield part
            raise ConnectionResetError

        session = await begin(store)
        with pytest.raises(ConnectionResetError):
            await session.append(breaking())
        state = session.state()
        await session.close()
        session = await resumed(store, state)
        assert session.size == arrived
        await session.append(stream(DATA[arrived:]))
        assert await session.digest() == DIGEST
        await session.close()

    async def test_cancelled_in_the_middle_what_arrived_can_be_gone_on_from(self, store: BlobStore) -> None:
        taken, hold = asyncio.Event(), asyncio.Event()

        async def waiting() -> AsyncIterator[bytes]:
            yield DATA[:2_000_000]
            taken.set()
            await hold.wait()

        session = await begin(store)
        state = session.state()
        task = asyncio.create_task(session.append(waiting()))
        await taken.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await session.close()
        session = await resumed(store, state)
        assert session.size == 2_000_000
        await session.append(stream(DATA[2_000_000:]))
        assert await session.digest() == DIGEST
        await session.close()

    async def test_nobody_else_while_it_is_open(
        self, store: BlobStore, open_store: Callable[[], BlobStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("lading.stores.blobs.filesystem._LOCK_SECONDS", 0.2)
        monkeypatch.setattr("lading.stores.blobs.remote._HOLD_SECONDS", 0.2)
        session = await begin(store, b"x")
        others = [store] if isinstance(store, RemoteStore) else [store, open_store()]
        for other in others:
            with pytest.raises(Conflict):
                await other.resume(session.state())
            assert not await other.discard_upload("a/b", session.state().uuid)
        await session.close()
        await (await resumed(open_store(), session.state())).close()

    async def test_who_waits_gets_it_when_it_is_free(self, store: BlobStore) -> None:
        session = await begin(store, b"x")
        waiting = asyncio.create_task(store.resume(session.state()))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await session.close()
        taken = await asyncio.wait_for(waiting, PATIENCE)
        assert taken is not None
        await taken.close()

    async def test_who_waits_for_one_that_ends_finds_none(self, store: BlobStore) -> None:
        for end in ("publish", "cancel"):
            session = await begin(store, b"small")
            waiting = asyncio.create_task(store.resume(session.state()))
            await asyncio.sleep(0.05)
            await (session.publish(SMALL) if end == "publish" else session.cancel())
            await session.close()
            assert await asyncio.wait_for(waiting, PATIENCE) is None

    @pytest.mark.real
    async def test_publishing_what_is_there_already(self, store: BlobStore) -> None:
        for _ in range(2):
            session = await begin(store, DATA)
            await session.publish(DIGEST)
            await session.close()
        assert await content(store, DIGEST) == DATA
        assert await open_uploads(store) == []

    @pytest.mark.real
    async def test_cancel(self, store: BlobStore) -> None:
        session = await begin(store, DATA)
        await session.cancel()
        await session.close()
        assert await open_uploads(store) == []
        assert await store.resume(session.state()) is None

    async def test_closing_twice_is_safe(self, store: BlobStore) -> None:
        session = await begin(store, b"x")
        await session.close()
        await session.close()

    @pytest.mark.real
    async def test_uploads_are_found_with_their_size_and_age(self, store: BlobStore) -> None:
        sessions = [await store.begin(name, "sha256") for name in ("a", "a/b", "c/d/e")]
        await sessions[1].append(stream(b"12345"))
        for session in sessions:
            await session.close()
        found = {upload.repository: upload for upload in await open_uploads(store)}
        sizes = {name: upload.size for name, upload in found.items()}
        assert sizes in ({"a": 0, "a/b": 5, "c/d/e": 0}, {"a": None, "a/b": None, "c/d/e": None})
        assert found["a"].uuid == sessions[0].state().uuid
        assert abs(datetime.now(UTC) - found["a/b"].touched_at) < timedelta(minutes=1)

    @pytest.mark.real
    async def test_discard(self, store: BlobStore) -> None:
        session = await begin(store, b"x")
        await session.close()
        assert await store.discard_upload("a/b", session.state().uuid)
        assert await store.discard_upload("a/b", session.state().uuid)
        assert await open_uploads(store) == []

    @pytest.mark.parametrize("uuid", ["", "..", "../../../blobs", "x", "0" * 36, "\x00"])
    async def test_no_upload_of_that_name(self, store: BlobStore, uuid: str) -> None:
        assert await store.resume(UploadState("a/b", uuid, "sha256")) is None


class TestInOneGo:
    """What is known to be a certain blob, and comes in one request."""

    @pytest.mark.parametrize("before", [False, True])
    @pytest.mark.parametrize("size", [0, 5, 1 << 20, 3_500_000])
    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    async def test_any_size(self, store: BlobStore, before: bool, size: int, algorithm: str) -> None:
        data = DATA[:size]
        digest = Digest.of(data, algorithm)
        session = await aimed(store, digest, begun=before)
        await session.append(stream(*pieces(data, 300_000)))
        assert session.size == size
        assert await session.digest_as(algorithm) == digest
        await session.sync()
        await session.publish(digest)
        await session.close()
        assert await content(store, digest) == data
        assert await open_uploads(store) == []

    @pytest.mark.parametrize("before", [False, True])
    @pytest.mark.parametrize("size", [5, 3_500_000])
    async def test_other_bytes_never_come_to_its_place(self, store: BlobStore, before: bool, size: int) -> None:
        session = await aimed(store, SMALL, begun=before)
        await session.append(stream(*pieces(DATA[:size], 300_000)))
        assert await session.digest_as("sha256") != SMALL
        await session.cancel()
        await session.close()
        assert await walked(store) == []
        assert await open_uploads(store) == []

    @pytest.mark.real
    async def test_one_that_breaks_off_leaves_nothing_in_its_place(self, store: BlobStore) -> None:
        async def breaking() -> AsyncIterator[bytes]:
            for part in pieces(DATA[:2_500_000], 300_000):
                yield part
            raise ConnectionResetError

        session = await aimed(store, DIGEST, begun=False)
        with pytest.raises(ConnectionResetError):
            await session.append(breaking())
        await session.cancel()
        await session.close()
        assert await walked(store) == []
        assert await open_uploads(store) == []

    @pytest.mark.real
    async def test_the_rest_after_other_requests(self, store: BlobStore, open_store: Callable[[], BlobStore]) -> None:
        session = await begin(store, DATA[:1_700_000])
        await session.close()
        session = await resumed(open_store(), session.state())
        session.aim(DIGEST)
        await session.append(stream(*pieces(DATA[1_700_000:], 300_000)))
        assert await session.digest_as("sha256") == DIGEST
        await session.publish(DIGEST)
        await session.close()
        assert await content(store, DIGEST) == DATA
        assert await open_uploads(store) == []


async def aimed(store: BlobStore, digest: Digest, *, begun: bool) -> UploadSession:
    """A session for a whole blob: of a request that begins and ends it, or of one behind a POST."""
    if not begun:
        return await store.begin("a/b", digest.algorithm, aim=digest)
    session = await store.begin("a/b", "sha256")
    await session.close()
    session = await resumed(store, session.state())
    session.aim(digest)
    return session


async def resumed_digest(store: BlobStore, state: UploadState) -> Digest:
    session = await resumed(store, state)
    digest = await session.digest()
    await session.close()
    return digest
