"""Failed logins by the hundred thousand: what they lock, whom they leave alone, and what stays of them."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from lading.access.failures import Failures, Lockout
from lading.stores.metadata import clock
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.schema.access import failures
from lading.stores.metadata.transaction import Statement, Transaction

pytestmark = pytest.mark.anyio

LOCKOUT = Lockout(attempts=10, address_attempts=100)
ROWS = Statement(select(func.count()).select_from(failures))


async def test_a_hundred_thousand_at_the_table(index_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Straight at the table, without HTTP and hashing; on PostgreSQL, where each statement travels, a twentieth."""
    number, metadata = (100_000 if index_url.startswith("sqlite") else 5_000), open_index(index_url)
    names, addresses = 50, 20

    async def some(tx: Transaction, begin: int) -> int:
        mine, locks = Failures(tx, LOCKOUT), 0
        for each in range(begin, begin + 1000):
            locks += await mine.failed(f"user{each % names}", f"203.0.113.{each % addresses}")
        return locks

    locks = [await metadata.write(lambda tx, begin=begin: some(tx, begin)) for begin in range(0, number, 1000)]  # type: ignore[misc]
    assert sum(locks) > 0

    async def look(tx: Transaction) -> tuple[int, list[int], list[int]]:
        mine = Failures(tx, LOCKOUT)
        locked = [await mine.locked(f"user{each}", "198.51.100.1") for each in range(names)]
        free = [await mine.locked("somebody", "198.51.100.1"), await mine.locked("user99", "198.51.100.2")]
        return await tx.value(ROWS), locked, free

    rows, locked, free = await metadata.read(look)
    assert rows == names + addresses
    assert all(locked)
    assert free == [0, 0]

    moment = clock.local() + LOCKOUT.window + LOCKOUT.duration + 1
    if index_url.startswith("sqlite"):  # PostgreSQL's time is the server's
        monkeypatch.setattr(clock, "local", lambda: moment)
        assert not await metadata.read(lambda tx: Failures(tx, LOCKOUT).locked("user1", "203.0.113.1"))
        await metadata.write(lambda tx: Failures(tx, LOCKOUT).forget())
        assert (await metadata.read(lambda tx: tx.value(ROWS))) == 0
    await metadata.close()


async def test_old_rows_go_without_waiting_for_the_upkeep(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new name and a new address each time: rows that are too old to count are taken along by later failures."""
    metadata = open_index(f"sqlite:///{tmp_path}/index.sqlite")
    begun = clock.local()
    monkeypatch.setattr("lading.access.failures.secrets.randbelow", lambda most: 0)
    for number in range(60):
        monkeypatch.setattr(clock, "local", lambda number=number: begun + number * LOCKOUT.window // 10)
        await metadata.write(lambda tx, n=number: Failures(tx, LOCKOUT).failed(f"user{n}", f"192.0.2.{n}"))  # type: ignore[misc]
    assert (await metadata.read(lambda tx: tx.value(ROWS))) <= 24
    await metadata.close()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:DB8:0:0:1::1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "nonsense", False),
    ],
)
async def test_what_counts_as_one_address(tmp_path: object, one: str, other: str, same: bool) -> None:
    metadata = open_index(f"sqlite:///{tmp_path}/index.sqlite")
    lockout = Lockout(attempts=0, address_attempts=3)

    async def fail(tx: Transaction) -> bool:
        mine = Failures(tx, lockout)
        for number in range(3):
            await mine.failed(f"user{number}", one)
        return bool(await mine.locked("another", other))

    assert await metadata.write(fail) is same
    await metadata.close()
