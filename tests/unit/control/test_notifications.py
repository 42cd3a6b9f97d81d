"""The outbox's consumers: who gets what, in which order, and what is given up; over a real index and real requests."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from lading.config.notifications import Endpoint
from lading.control import notifications
from lading.control.notifications import Address, Notifications
from lading.jobs.events import BlobPushed, By, ManifestPushed, TagDeleted, Target
from lading.jobs.kinds import Kind
from lading.jobs.outbox import Outbox
from lading.jobs.queue import JobQueue
from lading.jobs.worker import Worker
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.transaction import Metadata
from tests.support.patience import until
from tests.support.receiver import Receiver

pytestmark = pytest.mark.anyio
DIGEST = "sha256:" + "a" * 64


@pytest.fixture
async def metadata(index_url: str) -> AsyncIterator[Metadata]:
    index = open_index(index_url)
    yield index
    await index.close()


def endpoint(receiver: Receiver, name: str = "a", **settings: Any) -> Endpoint:
    return Endpoint.model_validate({"name": name, "url": receiver.url, "backoff": "100ms", "timeout": "5s", **settings})


def made(metadata: Metadata, *endpoints: Endpoint, holder: str = "one", **options: Any) -> Notifications:
    outbox = Outbox(metadata, listening=True)
    return Notifications(metadata, outbox, JobQueue(metadata, holder), endpoints, Address("host:5000"), **options)


@asynccontextmanager
async def running(notes: Notifications) -> AsyncIterator[Notifications]:
    await notes.register()
    assert notes.kind is not None
    worker = Worker(notes._queue, {notifications.JOB: notes.kind})
    worker.start()
    try:
        yield notes
    finally:
        await worker.stop()


async def emit(metadata: Metadata, first: int, last: int) -> None:
    outbox = Outbox(metadata, listening=True)

    async def push(tx: Any) -> None:
        for number in range(first, last + 1):
            await outbox.emit(tx, TagDeleted(repository="a", by=By(), tag=str(number)))

    await metadata.write(push)


def tags(receiver: Receiver) -> list[str]:
    return [event["target"]["tag"] for event in receiver.events]


async def test_events_come_in_order_and_once(metadata: Metadata) -> None:
    with Receiver() as receiver:
        async with running(made(metadata, endpoint(receiver))) as notes:
            await emit(metadata, 1, 300)
            await until(lambda: len(receiver.events) == 300)
            assert tags(receiver) == [str(number) for number in range(1, 301)]
            assert len(receiver.requests) == 300
        assert await notes.waiting() == {"a": 0}


async def test_an_endpoint_begins_with_what_happens_after_it_was_added(metadata: Metadata) -> None:
    await emit(metadata, 1, 3)
    with Receiver() as receiver:
        async with running(made(metadata, endpoint(receiver))):
            await emit(metadata, 4, 5)
            await until(lambda: len(receiver.events) == 2)
        assert tags(receiver) == ["4", "5"]


async def test_a_restart_goes_on_where_it_was(metadata: Metadata) -> None:
    with Receiver() as receiver:
        first = made(metadata, endpoint(receiver))
        async with running(first):
            await emit(metadata, 1, 2)
            await until(lambda: len(receiver.events) == 2)
        await emit(metadata, 3, 4)
        async with running(made(metadata, endpoint(receiver), holder="two")):
            await until(lambda: len(receiver.events) == 4)
        assert tags(receiver) == ["1", "2", "3", "4"]
        assert len(receiver.requests) == 4


async def test_one_process_at_a_time_delivers(metadata: Metadata) -> None:
    with Receiver() as receiver:
        async with running(made(metadata, endpoint(receiver))), running(made(metadata, endpoint(receiver), holder="2")):
            await emit(metadata, 1, 50)
            await until(lambda: len(receiver.events) == 50)
            await anyio.sleep(0.5)
        assert len(receiver.requests) == 50


async def test_what_is_refused_is_sent_again_with_the_same_id(
    metadata: Metadata, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with Receiver(status=500) as receiver:
        async with running(
            made(metadata, endpoint(receiver, threshold=3, headers={"Authorization": ["Bearer s3cr3t"]}))
        ):
            await emit(metadata, 1, 3)
            await until(lambda: "3 in a row" in caplog.text)
            receiver.status = 200
            await until(lambda: len(receiver.events) == 3)
        assert tags(receiver) == ["1", "2", "3"]
        assert receiver.requests[0][1]["authorization"] == "Bearer s3cr3t"
    assert "it answered 500" in caplog.text
    assert "takes events again" in caplog.text
    assert "s3cr3t" not in caplog.text


async def test_an_endpoint_that_is_away_holds_up_no_other(metadata: Metadata) -> None:
    gone = Receiver()
    with Receiver() as receiver:
        async with running(made(metadata, endpoint(gone, "gone", threshold=1), endpoint(receiver, "here"))) as notes:
            await emit(metadata, 1, 20)
            await until(lambda: len(receiver.events) == 20)
            assert (await notes.waiting())["gone"] == 20
            with gone:
                await until(lambda: len(gone.events) == 20)
    assert tags(gone) == tags(receiver)


async def test_what_is_ignored_is_not_sent(metadata: Metadata) -> None:
    outbox = Outbox(metadata, listening=True)
    target = Target(DIGEST, "application/octet-stream", 1)
    manifest = Target(DIGEST, "application/vnd.oci.image.manifest.v1+json", 1)
    with Receiver() as receiver:
        settings: dict[str, Any] = {
            "ignoredmediatypes": ["application/octet-stream"],
            "ignore": {"actions": ["delete"]},
        }
        async with running(made(metadata, endpoint(receiver, **settings))) as notes:

            async def push(tx: Any) -> None:
                await outbox.emit(tx, BlobPushed(repository="a", by=By(), target=target))
                await outbox.emit(tx, TagDeleted(repository="a", by=By(), tag="x"))
                await outbox.emit(tx, ManifestPushed(repository="a", by=By(), target=manifest))

            await metadata.write(push)
            await until(lambda: len(receiver.events) == 1)
        assert await notes.waiting() == {"a": 0}
        assert receiver.events[0]["target"]["mediaType"] == manifest.media_type


async def test_redirects(metadata: Metadata, caplog: pytest.LogCaptureFixture) -> None:
    with Receiver() as other, Receiver(status=307, location=other.url) as receiver:
        headers = {"Authorization": ["Bearer s3cr3t"]}
        async with running(made(metadata, endpoint(receiver, headers=headers))):
            await emit(metadata, 1, 1)
            await until(lambda: len(other.events) == 1)
            assert "authorization" not in other.requests[0][1], "another host is not told"
            receiver.status = 302
            await emit(metadata, 2, 2)
            await until(lambda: "answered 302" in caplog.text)
        assert tags(other) == ["1"]


async def test_too_much_is_given_up(
    metadata: Metadata, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "MOST_WAITING", 10)
    receiver = Receiver()
    async with running(made(metadata, endpoint(receiver))):
        await emit(metadata, 1, 5)
        await until(lambda: "did not take" in caplog.text)
        await emit(metadata, 6, 30)
        await until(lambda: "were given up" in caplog.text)
        with receiver:
            await until(lambda: len(receiver.events) == 10)
    assert tags(receiver) == [str(number) for number in range(21, 31)]


async def test_too_old_is_given_up(
    metadata: Metadata, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Receiver() as receiver:
        await made(metadata, endpoint(receiver)).register()
        await emit(metadata, 1, 5)
        await anyio.sleep(0.05)
        monkeypatch.setattr(notifications, "MOST_AGE", 10)
        async with running(made(metadata, endpoint(receiver))):
            await until(lambda: "were given up" in caplog.text)
            monkeypatch.setattr(notifications, "MOST_AGE", 10_000)
            await emit(metadata, 6, 6)
            await until(lambda: tags(receiver) == ["6"])


async def test_delivered_events_are_deleted_but_the_newest(metadata: Metadata, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "_FORGET_SECONDS", 0.2)
    monkeypatch.setattr(notifications, "_FORGET_AT_ONCE", 7)
    outbox = Outbox(metadata, listening=True)
    with Receiver() as receiver:
        async with running(made(metadata, endpoint(receiver))):
            await emit(metadata, 1, 40)
            await until(lambda: len(receiver.events) == 40)
            with anyio.fail_after(60):
                while len(await outbox.after(0, 100)) != 1:  # noqa: ASYNC110 - what is waited for has no event
                    await anyio.sleep(0.05)
        assert await outbox.newest() == 40


async def test_an_endpoint_that_was_removed_holds_nothing_back(metadata: Metadata) -> None:
    await made(metadata, endpoint(Receiver())).register()
    await emit(metadata, 1, 30)
    nobody = made(metadata)
    await nobody.register()
    assert await nobody.waiting() == {}
    assert len(await Outbox(metadata, listening=True).after(0, 100)) == 1


async def test_another_process_goes_on_when_the_first_is_silent(metadata: Metadata) -> None:
    with Receiver() as receiver:
        notes = made(metadata, endpoint(receiver), holder="dead")
        await notes.register()
        assert await notes._queue.claim({notifications.JOB: Kind(notes.deliver, lease=0.8)})
        async with running(made(metadata, endpoint(receiver))):
            await emit(metadata, 1, 1)
            await anyio.sleep(0.3)
            assert not receiver.events
            await until(lambda: len(receiver.events) == 1)
