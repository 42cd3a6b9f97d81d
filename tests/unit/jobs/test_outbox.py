"""The outbox, between two processes on one index."""

from __future__ import annotations

import pytest

from lading.errors import Unavailable
from lading.jobs.events import BlobDeleted, By, Event, TagDeleted
from lading.jobs.outbox import Outbox
from lading.stores.metadata.transaction import Metadata, Transaction

pytestmark = pytest.mark.anyio

BY = By(actor="someone")


@pytest.fixture
def pair(metadata: Metadata, other: Metadata) -> tuple[Metadata, Metadata]:
    """The index as two processes see it."""
    return metadata, other


async def test_events_come_out_in_the_order_of_their_commits(pair: tuple[Metadata, Metadata]) -> None:
    boxes = [Outbox(one, listening=True) for one in pair]
    events: list[Event] = [TagDeleted(repository="a", by=BY, tag=f"{n}") for n in range(100)]
    for number, event in enumerate(events):
        box, metadata = boxes[number % 2], pair[number % 2]
        await metadata.write(lambda tx, b=box, e=event: b.emit(tx, e))  # type: ignore[misc]
    found, position = [], 0
    while page := await boxes[0].after(position, 7):
        found += [event for _, _, event in page]
        position = page[-1][0]
    assert found == events
    assert position == await boxes[1].newest()


async def test_what_was_undone_is_not_told(pair: tuple[Metadata, Metadata]) -> None:
    box = Outbox(pair[0], listening=True)

    async def fails(tx: Transaction) -> None:
        await box.emit(tx, BlobDeleted(repository="a", by=BY, digest="x"))
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - its own
        await pair[0].write(fails)
    assert await box.after(0, 10) == []


async def test_forgotten_ids_are_not_used_again(pair: tuple[Metadata, Metadata]) -> None:
    box = Outbox(pair[0], listening=True)
    event = BlobDeleted(repository="a", by=BY, digest="x")
    for _ in range(3):
        await pair[0].write(lambda tx: box.emit(tx, event))
    newest = await box.newest()
    assert await pair[0].write(lambda tx: box.forget(tx, newest)) == 3
    await pair[0].write(lambda tx: box.emit(tx, event))
    assert [number for number, _, _ in await box.after(newest, 10)] == [newest + 1]


async def test_where_nobody_listens_nothing_is_written(pair: tuple[Metadata, Metadata]) -> None:
    box = Outbox(pair[0], listening=False)
    event = BlobDeleted(repository="a", by=BY, digest="x")
    await pair[0].write(lambda tx: box.emit(tx, event))
    box.emit_soon(event)
    await box.flush()
    assert await box.newest() == 0


async def test_pulls_wait_for_an_index_that_is_away(
    pair: tuple[Metadata, Metadata], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: object) -> None:
        raise Unavailable("not now")

    box = Outbox(pair[0], listening=True)
    events: list[Event] = [TagDeleted(repository="a", by=BY, tag=f"{n}") for n in range(3)]
    for event in events:
        box.emit_soon(event)
    with monkeypatch.context() as patch:
        patch.setattr(pair[0], "write", away)
        with pytest.raises(Unavailable):
            await box.flush()
    box.emit_soon(events[0])
    await box.close()
    assert [event for _, _, event in await box.after(0, 10)] == [*events, events[0]]
