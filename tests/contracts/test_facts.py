"""Single values under a name, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from lading.stores.metadata import facts
from lading.stores.metadata.transaction import Metadata

pytestmark = pytest.mark.anyio


async def test_the_last_one_written_counts(metadata: Metadata) -> None:
    assert await facts.read(metadata, "accounts") is None
    for value in ("on", "", "off"):
        await metadata.write(lambda tx, value=value: facts.write(tx, "accounts", value))  # type: ignore[misc]
        assert await facts.read(metadata, "accounts") == value
        assert await metadata.read(lambda tx: facts.read(tx, "accounts")) == value


async def test_of_many_that_make_one_the_first_counts(
    metadata: Metadata, open_metadata: Callable[[], Metadata]
) -> None:
    other = open_metadata()
    both = (metadata, other)
    offered = [f"secret {number}" for number in range(20)]
    got = await asyncio.gather(
        *(both[n % 2].write(lambda tx, one=one: facts.first(tx, "secret", one)) for n, one in enumerate(offered))  # type: ignore[misc]
    )
    await other.close()
    assert len(set(got)) == 1
    assert await facts.read(metadata, "secret") == got[0]
    assert got[0] in offered


async def test_those_below_a_name_are_found_and_forgotten(metadata: Metadata) -> None:
    beside = ["list", "list9:1", "list;", "lisu", "LIST:1"]
    below = ["list:", "list:00000002", "list:00000010", "list:_%", "list:~"]
    for name in [*beside, *below]:
        await metadata.write(lambda tx, name=name: facts.write(tx, name, f"of {name}"))  # type: ignore[misc]
    found = await metadata.read(lambda tx: facts.below(tx, "list:"))
    assert list(found.items()) == [(name.removeprefix("list:"), f"of {name}") for name in below]
    await metadata.write(lambda tx: facts.forget_below(tx, "list:"))
    assert await metadata.read(lambda tx: facts.below(tx, "list:")) == {}
    assert [await facts.read(metadata, name) for name in beside] == [f"of {name}" for name in beside]
