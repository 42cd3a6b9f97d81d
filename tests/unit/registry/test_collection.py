"""What a collection tells of what it did."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from lading.stores.metadata.transaction import Transaction
from tests.unit.registry.world import AT_ONCE, World, tiny

T = TypeVar("T")

pytestmark = pytest.mark.anyio


class BrokenOffError(Exception):
    """An attempt ends."""


async def test_what_a_broken_off_attempt_deleted_counts_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL may break a transaction off and have it run once more, when the bytes are gone already."""
    gone = tiny("gone")
    await world.put("a", gone)
    whole = world.collect._metadata.write

    async def twice(work: Callable[[Transaction], Awaitable[T]], *, durable: bool = True) -> T:
        async def broken_off(tx: Transaction) -> None:
            await work(tx)
            raise BrokenOffError

        with contextlib.suppress(BrokenOffError):
            await whole(broken_off)
        return await whole(work, durable=durable)

    monkeypatch.setattr(world.collect._metadata, "write", twice)
    report = await world.collect.run(AT_ONCE)
    assert {(each.kind, each.digest) for each in report.gone} == {
        ("manifest", gone.digest), ("blob", gone.digest), *(("blob", blob.digest) for blob in gone.blobs),
    }  # fmt: skip
    assert len(report.gone) == 1 + report.blobs == 4
    assert report.bytes == sum(blob.size for blob in (*gone.blobs, gone.manifest))
