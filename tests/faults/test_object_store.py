"""A store that fails at every step: nothing acknowledged is lost, nothing wrong is served, what is left is found."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from lading.config.storage import S3
from lading.errors import Conflict, LadingError, StoreError, Unavailable
from lading.oci.digest import Digest
from lading.stores.blobs import s3 as module
from lading.stores.blobs.base import UploadSession, UploadState
from lading.stores.blobs.objects import ChangedError
from lading.stores.blobs.remote import RemoteStore
from lading.stores.blobs.s3 import S3Client
from tests.support.faulty import Call, Fault, Faulty
from tests.support.objects import Moto

pytestmark = pytest.mark.anyio

DATA = random.Random("object store").randbytes(2_700_000)
DIGEST = Digest.of(DATA)
PART = 1 << 20

Open = Callable[..., RemoteStore]


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with Moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture
def proxy(moto: Moto) -> Iterator[Faulty]:
    with Faulty(moto.url) as made:
        yield made


@pytest.fixture
async def opened(moto: Moto, proxy: Faulty, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Open]:
    """Opens stores on one place of the bucket, as processes do: through the proxy, or (``straight``) past it."""
    monkeypatch.setattr(module, "_READ_SECONDS", 1)
    monkeypatch.setattr(module, "_ATTEMPTS", 2)
    made: list[RemoteStore] = []
    prefix = uuid4().hex

    def make(*, straight: bool = False) -> RemoteStore:
        given = {**moto.settings, "regionendpoint": moto.url if straight else proxy.url, "rootdirectory": prefix}
        made.append(RemoteStore(S3Client(S3.model_validate(given)), prefix, where="the test", part=PART))
        return made[-1]

    yield make
    for store in made:
        await store.close()


async def stream(data: bytes, size: int = 200_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def content(store: RemoteStore, digest: Digest) -> bytes | None:
    file = await store.open(digest)
    return None if file is None else b"".join([data async for data in file.chunks(0, file.size)])


async def resumed(store: RemoteStore, state: UploadState) -> UploadSession:
    session = await store.resume(state)
    assert session is not None
    return session


async def upload(store: RemoteStore, told: list[UploadState]) -> None:
    """A blob in four requests; ``told`` is what a client was answered so far."""
    session: UploadSession = await store.begin("a/b", "sha256")
    await session.close()
    told.append(session.state())
    for data in (DATA[:1_500_000], DATA[1_500_000:2_000_000]):
        session = await resumed(store, told[-1])
        await session.append(stream(data))
        told.append(session.state())
        await session.close()
    session = await resumed(store, told[-1])
    try:
        session.aim(DIGEST)
        await session.append(stream(DATA[2_000_000:]))
        assert await session.digest_as("sha256") == DIGEST
        await session.publish(DIGEST)
    finally:
        await session.close()


async def brought(session: UploadSession, data: bytes) -> None:
    await session.append(stream(data))
    await session.publish(Digest.of(data))


async def left(store: RemoteStore) -> list[str]:
    """What there is after a purge of all that is unfinished, blobs apart."""
    for found in [found async for found in store.uploads()]:
        assert await store.discard_upload(found.repository, found.uuid)
    await store.clear(datetime.now(UTC) + timedelta(days=1))
    prefix = f"{store.layout.root}/"
    blobs = f"{store.layout.blobs}/"
    objects = [each.key async for each in store.objects.list(prefix) if not each.key.startswith(blobs)]
    return objects + [each.key async for each in store.objects.multiparts(prefix)]


@pytest.mark.parametrize("fault", [Fault("status", 503), Fault("status", 500), Fault("reset"), Fault("stall", 3)])
async def test_what_passes_is_waited_for(opened: Open, proxy: Faulty, fault: Fault) -> None:
    store = opened()
    await store.put(DIGEST, DATA)
    failing = {len(proxy.calls) + 1, len(proxy.calls) + 3}
    proxy.script = lambda call: fault if call.number in failing else None
    assert await content(store, DIGEST) == DATA


@pytest.mark.parametrize("fault", [Fault("status", 503), Fault("status", 500), Fault("reset"), Fault("stall", 3)])
async def test_what_does_not_pass_is_told_soon(opened: Open, proxy: Faulty, fault: Fault) -> None:
    store = opened()
    proxy.script = lambda call: fault
    started = time.monotonic()
    with pytest.raises(Unavailable) as told:
        await store.put(DIGEST, DATA)
    assert time.monotonic() - started < 20
    assert told.value.retry_after > 0
    with pytest.raises(StoreError):
        await store.probe()
    assert (await store.delete([DIGEST, Digest.of(b"x")])).failed
    proxy.script = lambda call: None
    await store.put(DIGEST, DATA)
    assert await content(store, DIGEST) == DATA


async def test_a_missing_right_is_named(opened: Open, proxy: Faulty) -> None:
    proxy.script = lambda call: Fault("status", 403)
    with pytest.raises(StoreError, match="rights the manual lists"):
        await opened().probe()


async def test_a_transfer_that_breaks_off_goes_on_behind_what_arrived(opened: Open, proxy: Faulty) -> None:
    store = opened()
    await store.put(DIGEST, DATA)
    proxy.script = lambda call: Fault("truncate", 700_000) if call.method == "GET" else None
    assert await content(store, DIGEST) == DATA
    assert sum(call.method == "GET" for call in proxy.calls) == 4


async def test_a_transfer_that_never_gets_on_ends(opened: Open, proxy: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened()
    await store.put(DIGEST, DATA)
    monkeypatch.setattr("lading.stores.blobs.download._TRIES", 2)
    proxy.script = lambda call: Fault("truncate", 0) if call.method == "GET" else None
    with pytest.raises(EOFError):
        await content(store, DIGEST)


@pytest.mark.parametrize("large", [False, True])
async def test_bytes_that_change_on_the_way_are_noticed(opened: Open, proxy: Faulty, large: bool) -> None:
    store = opened()
    await store.put(Digest.of(b"x"), b"x")
    proxy.script = lambda call: Fault("damage") if call.method == "PUT" else None
    data = DATA if large else DATA[:1000]
    session = await store.begin("a/b", "sha256", aim=Digest.of(data))
    with pytest.raises(Unavailable):
        await brought(session, data)
    await session.cancel()
    await session.close()
    assert await left(opened(straight=True)) == []
    session = await store.begin("a/b", "sha256", aim=Digest.of(data))
    if large:
        proxy.script = lambda call: None
    else:
        first = len(proxy.calls) + 1
        proxy.script = lambda call: Fault("damage") if call.number == first else None
    await brought(session, data)
    await session.close()
    assert await content(store, Digest.of(data)) == data


async def test_lost_answers_are_not_taken_for_failures(opened: Open, proxy: Faulty) -> None:
    """Each write is made, its first answer lost, and made again by the library."""
    store = opened()
    seen: set[str] = set()

    def lose(call: Call) -> Fault | None:
        write = call.method in {"PUT", "POST", "DELETE"} and "uploads" not in call.path.partition("?")[2]
        if not write or ".probe" in call.path or call.path in seen:
            return None
        seen.add(call.path)
        return Fault("reset", passed=True)

    proxy.script = lose
    await upload(store, [])
    assert any("/record" in path for path in seen)
    assert any(path.partition("?")[2].startswith("uploadId=") for path in seen)
    proxy.script = lambda call: None
    assert await content(store, DIGEST) == DATA
    assert [found async for found in store.uploads()] == []


async def test_a_store_that_answers_before_it_has_read_is_no_second_cancellation() -> None:
    """Who clears up after a cancellation hears the refusal; MinIO refuses conditions so, instead of ``100 Continue``."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"100-continue" in await reader.readuntil(b"\r\n\r\n")
        body = b"<Error><Code>PreconditionFailed</Code><Message>no</Message></Error>"
        writer.write(b"HTTP/1.1 412 Precondition Failed\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            with pytest.raises(ChangedError):
                await client.put("record", b"x" * 100, replaces='"0"')
            heard.set()

    heard = asyncio.Event()
    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    given = {"bucket": "b", "region": "us-east-1", "regionendpoint": url, "accesskey": "x", "secretkey": "x"}
    client = S3Client(S3.model_validate(given))
    client._conditional = True
    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert heard.is_set()
    await client.close()
    server.close()


async def test_nothing_relies_on_listings_being_up_to_date(opened: Open, proxy: Faulty) -> None:
    store = opened()
    proxy.script = lambda call: Fault("listing") if "list-type" in call.path else None
    await upload(store, [])
    assert await content(store, DIGEST) == DATA


async def test_of_two_that_write_at_once_one_is_refused(opened: Open) -> None:
    stores = opened(straight=True), opened(straight=True)
    session: UploadSession = await stores[0].begin("a/b", "sha256")
    await session.close()
    both = [await resumed(store, session.state()) for store in stores]
    halves = DATA[:1_300_000], DATA[1_300_000:]
    done = await asyncio.gather(
        *(each.append(stream(half)) for each, half in zip(both, halves, strict=True)), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in done) == ["Conflict", "NoneType"]
    won = done.index(None)
    for each in both:
        await each.close()
    session = await resumed(stores[0], session.state())
    assert session.size == len(halves[won])
    assert await session.digest() == Digest.of(halves[won])
    try:
        await session.publish(Digest.of(halves[won]))
    except Conflict:  # the one that was refused had put parts in the place of the other's
        await session.cancel()
    else:
        assert await content(stores[0], Digest.of(halves[won])) == halves[won]
    await session.close()


async def gone_on_with(store: RemoteStore, state: UploadState) -> None:
    """What a client does that was answered up to here."""
    session = await resumed(store, state)
    try:
        assert session.size >= state.hashed
        if session.size < len(DATA):
            await session.append(stream(DATA[session.size :]))
        assert await session.digest() == DIGEST
        await session.publish(DIGEST)
    finally:
        await session.close()


@pytest.mark.slow
async def test_a_process_that_dies_at_any_step(opened: Open, proxy: Faulty) -> None:
    """From the nth request on nothing gets through, as if the process were gone; another one takes over."""
    await upload(opened(), [])
    steps, anew = len(proxy.calls), list[int]()
    assert steps > 15
    for step in range(1, steps + 1):
        dying, other, told = opened(), opened(straight=True), list[UploadState]()
        await other.delete([DIGEST])
        died = len(proxy.calls) + step
        proxy.script = lambda call, died=died: Fault("status", 501) if call.number >= died else None  # type: ignore[misc]
        try:
            await upload(dying, told)
        except (LadingError, OSError):
            pass
        proxy.script = lambda call: None
        assert await content(other, DIGEST) in (None, DATA)
        if told and await content(other, DIGEST) is None:
            try:
                await gone_on_with(other, told[-1])
            except (Conflict, Unavailable):
                # the parts were put together and the record does not say so: the upload is over for whoever goes on
                # with it (moto fails where S3 says that it does not know the upload), and the client begins anew
                anew.append(step)
                await upload(other, [])
            assert await content(other, DIGEST) == DATA
        assert await left(other) == [], f"after step {step}"
    assert len(anew) <= 1, f"an upload was lost after steps {anew}"
