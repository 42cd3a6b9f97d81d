"""What every ``Metadata`` promises to a piece of work."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import pytest
from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy import text as sql

from lading.errors import Invalid, TooWide
from lading.stores.metadata.schema.content import blobs, manifest_blobs
from lading.stores.metadata.schema.work import facts
from lading.stores.metadata.transaction import Metadata, Statement, Transaction

pytestmark = pytest.mark.anyio

ADD = Statement(insert(facts).values(name=bindparam("name"), value=bindparam("value")))
FIND = Statement(select(facts.c.value).where(facts.c.name == bindparam("name")))
ALL = Statement(select(facts.c.name, facts.c.value).order_by(facts.c.name))
DELETE = Statement(delete(facts).where(facts.c.name == bindparam("fact")))
SET = Statement(update(facts).where(facts.c.name == bindparam("fact")).values(value=bindparam("to")))
FOR_UPDATE = Statement(select(facts.c.value).where(facts.c.name == bindparam("name")).with_for_update())
CONSTANT = Statement(select(facts.c.name).where(facts.c.value == "constant"))
DANGLING = Statement(insert(manifest_blobs).values(manifest_id=1, blob_id=1))
BLOB = Statement(
    insert(blobs).values(digest=bindparam("digest"), size=bindparam("size"), present=True, touched_at=bindparam("at"))
)
SIZE = Statement(select(blobs.c.size, blobs.c.touched_at, blobs.c.condemned_at, blobs.c.present))


class OhNoError(Exception):
    pass


def add(name: str, value: str = "x") -> Callable[[Transaction], Awaitable[int]]:
    return lambda tx: tx.execute(ADD, name=name, value=value)


async def names(metadata: Metadata) -> list[str]:
    return [row[0] for row in await metadata.read(lambda tx: tx.rows(ALL))]


async def test_the_forms_of_an_answer(metadata: Metadata) -> None:
    async def work(tx: Transaction) -> None:
        await tx.execute_many(ADD, [{"name": f"n{n}", "value": str(n)} for n in range(3)])
        assert await tx.rows(ALL) == [("n0", "0"), ("n1", "1"), ("n2", "2")]
        assert await tx.row(FIND, name="n1") == ("1",)
        assert await tx.row(FIND, name="none") is None
        assert await tx.value(FIND, name="n2") == "2"
        assert await tx.value(FIND, name="none") is None
        assert await tx.execute(DELETE, fact="n0") == 1
        assert await tx.execute(DELETE, fact="n0") == 0
        await tx.execute_many(ADD, [])

    await metadata.write(work)
    assert await metadata.row(FIND, name="n1") == ("1",)
    assert await metadata.row(FIND, name="n0") is None


async def test_numbers_of_64_bits(metadata: Metadata) -> None:
    most = (1 << 63) - 1
    await metadata.write(lambda tx: tx.execute(BLOB, digest="d", size=most, at=most))
    found = await metadata.row(SIZE)
    assert found is not None
    assert (found[0], found[1], found[2], bool(found[3])) == (most, most, None, True)


async def test_a_sum_is_a_number_like_what_it_sums(metadata: Metadata) -> None:
    total = Statement(select(func.sum(blobs.c.size)))
    assert await metadata.row(total) == (None,)
    for size in (3, 1 << 40):
        await metadata.write(lambda tx, s=size: tx.execute(BLOB, digest=str(s), size=s, at=1))  # type: ignore[misc]
    found = await metadata.read(lambda tx: tx.value(total))
    assert (found, type(found)) == ((1 << 40) + 3, int)


async def test_text_of_any_kind(metadata: Metadata) -> None:
    for text in ("", "'; DROP TABLE facts; --", "é\u0001x", "\U0001f6a2", "%_\\ %(name)s %s :name", "x" * 100_000):
        await metadata.write(lambda tx, t=text: tx.execute(ADD, name="t", value=t))  # type: ignore[misc]
        assert await metadata.row(FIND, name="t") == (text,)
        await metadata.write(lambda tx: tx.execute(DELETE, fact="t"))


async def test_text_that_cannot_be_kept_is_the_callers_mistake(metadata: Metadata) -> None:
    """PostgreSQL knows no text with a NUL in it, SQLite does; what is asked for beside it is answered."""
    await metadata.write(add("a"))
    found = await asyncio.gather(
        *(metadata.row(FIND, name=name) for name in ("a", "nul\0", "a", "none")), return_exceptions=True
    )
    assert [found[0], found[2], found[3]] == [("x",), ("x",), None]
    assert found[1] is None or isinstance(found[1], Invalid)
    with suppress(Invalid):
        await metadata.write(add("nul", "\0"))
    assert set(await names(metadata)) <= {"a", "nul"}


async def test_rows_for_many_parameters(metadata: Metadata) -> None:
    async def work(tx: Transaction) -> None:
        await tx.execute_many(ADD, [{"name": f"n{n:03}", "value": str(n)} for n in range(450)])
        asked = [{"name": f"n{n:03}"} for n in (*range(440, 460), 1, 1)]
        assert await tx.each(FIND, asked) == [*((str(n),) for n in range(440, 450)), *[None] * 10, ("1",), ("1",)]
        assert await tx.each(FIND, []) == []
        assert await tx.each(ALL, [{}, {}]) == [("n000", "0")] * 2

    await metadata.write(work)


async def test_rows_asked_for_at_once_are_told_apart(metadata: Metadata) -> None:
    many = [{"name": f"n{n}", "value": str(n)} for n in range(300)]
    await metadata.write(lambda tx: tx.execute_many(ADD, many))
    wanted = [f"n{n}" for n in range(0, 600, 2)]
    found = await asyncio.gather(*(metadata.row(FIND, name=name) for name in wanted))
    assert found == [(name[1:],) if int(name[1:]) < 300 else None for name in wanted]


async def test_a_row_sees_all_that_was_committed_before_it_was_asked(
    metadata: Metadata, open_metadata: Callable[[], Metadata]
) -> None:
    other = open_metadata()
    stop = False

    async def ask_all_the_time() -> None:
        while not stop:
            await asyncio.gather(*(metadata.row(FIND, name="none") for _ in range(5)))
            await asyncio.sleep(0)

    asking = [asyncio.create_task(ask_all_the_time()) for _ in range(3)]
    try:
        for number in range(100):
            await other.write(add(f"n{number}"), durable=False)
            assert await metadata.row(FIND, name=f"n{number}") == ("x",)
    finally:
        stop = True
        await asyncio.gather(*asking)
        await other.close()


async def test_constants_in_a_statement(metadata: Metadata) -> None:
    await metadata.write(add("a", "constant"))
    assert await metadata.row(CONSTANT) == ("a",)


async def test_what_write_answers(metadata: Metadata) -> None:
    async def work(tx: Transaction) -> str:
        await tx.execute(ADD, name="a", value="x")
        return "answer"

    assert await metadata.write(work) == "answer"


@pytest.mark.parametrize("durable", [True, False])
async def test_a_commit_is_seen_at_once_by_everyone(
    metadata: Metadata, open_metadata: Callable[[], Metadata], durable: bool
) -> None:
    other = open_metadata()
    await metadata.write(add("a"), durable=durable)
    for one in (metadata, other):
        assert await one.row(FIND, name="a") == ("x",)
        assert await one.scan(lambda tx: tx.value(FIND, name="a")) == "x"
        assert await one.read(lambda tx: tx.value(FIND, name="a")) == "x"
    await other.write(add("b"), durable=durable)
    assert await names(metadata) == ["a", "b"]
    await other.close()


async def test_work_that_raises_is_undone(metadata: Metadata) -> None:
    async def work(tx: Transaction) -> None:
        await tx.execute(ADD, name="a", value="x")
        raise OhNoError

    with pytest.raises(OhNoError):
        await metadata.write(work)
    assert await names(metadata) == []


async def test_one_failing_work_does_not_undo_those_it_is_committed_with(metadata: Metadata) -> None:
    async def fails(tx: Transaction) -> None:
        await tx.execute(ADD, name="failed", value="x")
        raise OhNoError

    async def breaks_a_rule(tx: Transaction) -> None:
        await tx.execute(ADD, name="broken", value="x")
        await tx.execute(ADD, name="before", value="again")

    await metadata.write(add("before"))
    work: Sequence[Callable[[Transaction], Awaitable[object]]] = [
        add("one"),
        fails,
        add("two"),
        breaks_a_rule,
        add("z"),
    ]
    # at once: on SQLite what comes while the first is committed goes into one commit
    waiting = [asyncio.create_task(metadata.write(one)) for one in work]
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(one, Exception) for one in done] == [False, True, False, True, False]
    assert await names(metadata) == ["before", "one", "two", "z"]


@pytest.mark.parametrize("how", ["write", "read", "scan"])
async def test_work_that_waits_for_something_else_is_refused(metadata: Metadata, how: str) -> None:
    async def work(tx: Transaction) -> None:
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="waited for something other"):
        await getattr(metadata, how)(work)
    await metadata.write(add("a"))
    assert await names(metadata) == ["a"]


async def test_refused_work_leaves_nothing(metadata: Metadata) -> None:
    async def work(tx: Transaction) -> None:
        await tx.execute(ADD, name="a", value="x")
        await asyncio.sleep(0)

    with pytest.raises(RuntimeError):
        await metadata.write(work)
    assert await names(metadata) == []


@pytest.mark.parametrize("how", ["read", "scan"])
async def test_reading_work_cannot_write(metadata: Metadata, how: str) -> None:
    with pytest.raises(Exception, match=r"readonly|read-only"):
        await getattr(metadata, how)(add("a"))
    assert await names(metadata) == []
    await metadata.write(add("a"))


async def test_a_read_sees_one_moment(metadata: Metadata, open_metadata: Callable[[], Metadata]) -> None:
    other = open_metadata()
    entered, go = threading.Event(), threading.Event()

    async def look(tx: Transaction) -> tuple[int, int]:
        first = len(await tx.rows(ALL))
        entered.set()
        deadline = time.monotonic() + 30
        while not go.is_set() and time.monotonic() < deadline:
            await tx.rows(ALL)  # which on PostgreSQL lets others go on
        return first, len(await tx.rows(ALL))

    looking = asyncio.create_task(metadata.scan(look))
    await asyncio.to_thread(entered.wait, 30)
    await other.write(add("a"))
    go.set()
    assert await looking == (0, 0)
    assert await names(metadata) == ["a"]
    await other.close()


async def test_a_scan_that_takes_too_long_is_given_up(metadata: Metadata) -> None:
    endless = Statement(
        sql(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000000) SELECT count(*) FROM n"
        )
    )
    for _ in range(2):
        with pytest.raises(TooWide, match=r"0\.05 s"):
            await metadata.scan(lambda tx: tx.value(endless), seconds=0.05)
    await metadata.write(add("after"))
    assert await metadata.scan(lambda tx: tx.rows(ALL), seconds=60) == [("after", "x")]


async def test_references_are_kept(metadata: Metadata) -> None:
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        await metadata.write(lambda tx: tx.execute(DANGLING))


async def test_many_writers_in_many_processes_lose_nothing(
    metadata: Metadata, open_metadata: Callable[[], Metadata]
) -> None:
    others = [metadata, open_metadata(), open_metadata()]
    await asyncio.gather(*(others[n % 3].write(add(f"{n:04}"), durable=bool(n % 2)) for n in range(600)))
    assert len(await names(metadata)) == 600
    for one in others[1:]:
        await one.close()


async def test_a_counter_that_all_of_them_raise(metadata: Metadata, open_metadata: Callable[[], Metadata]) -> None:
    other = open_metadata()
    await metadata.write(add("count", "0"))
    await metadata.write(add("locked", "0"))

    async def raise_it(tx: Transaction) -> None:
        await tx.lock("counter")
        value = int(await tx.value(FIND, name="locked"))
        await tx.execute(SET, fact="locked", to=str(value + 1))
        row = await tx.value(FOR_UPDATE, name="count")
        await tx.execute(SET, fact="count", to=str(int(row) + 1))

    await asyncio.gather(*((metadata, other)[n % 2].write(raise_it) for n in range(100)))
    assert (await metadata.row(FIND, name="count"), await metadata.row(FIND, name="locked")) == (("100",), ("100",))
    await other.close()


async def test_two_that_would_wait_for_each_other_for_ever_are_both_done(
    metadata: Metadata, open_metadata: Callable[[], Metadata]
) -> None:
    other = open_metadata()
    await metadata.write(lambda tx: tx.execute_many(ADD, [{"name": name, "value": "0"} for name in "ab"]))

    def both(first: str, second: str) -> Callable[[Transaction], Awaitable[None]]:
        async def work(tx: Transaction) -> None:
            for name in (first, second):
                value = await tx.value(FOR_UPDATE, name=name)
                await tx.execute(SET, fact=name, to=str(int(value) + 1))

        return work

    await asyncio.gather(metadata.write(both("a", "b")), other.write(both("b", "a")))
    assert await metadata.read(lambda tx: tx.rows(ALL)) == [("a", "2"), ("b", "2")]
    await other.close()


async def test_what_is_settled_was_committed_or_not(metadata: Metadata, open_metadata: Callable[[], Metadata]) -> None:
    other = open_metadata()
    entered = threading.Event()

    async def slow(tx: Transaction) -> None:
        await tx.lock("events", shared=True)
        await tx.execute(ADD, name="early", value="x")
        entered.set()
        for _ in range(50):
            await tx.rows(ALL)

    async def quick(tx: Transaction) -> None:
        await tx.lock("events", shared=True)
        await tx.execute(ADD, name="late", value="x")

    slowly = asyncio.create_task(metadata.write(slow))
    await asyncio.to_thread(entered.wait, 30)
    await other.write(quick)
    await other.settled("events")
    assert await names(other) == ["early", "late"]
    await slowly
    await other.settled("nobody holds this")
    await other.close()


async def test_the_time_for_rows(metadata: Metadata) -> None:
    before = time.time_ns() // 1_000_000

    async def work(tx: Transaction) -> int:
        await tx.rows(ALL)
        return tx.now

    moments = [await metadata.write(work), metadata.now(), await metadata.read(work)]
    assert all(before - 100 <= moment <= time.time_ns() // 1_000_000 + 100 for moment in moments)


async def test_work_whose_asker_went_away_is_done_or_not_but_not_half(metadata: Metadata) -> None:
    async def both(tx: Transaction) -> None:
        await tx.execute(ADD, name="one", value="x")
        await tx.execute(ADD, name="two", value="x")

    asking = asyncio.create_task(metadata.write(both))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await metadata.write(add("later"))
    assert await names(metadata) in (["later"], ["later", "one", "two"])


async def test_close_finishes_what_was_begun(open_metadata: Callable[[], Metadata]) -> None:
    metadata = open_metadata()
    writing = [asyncio.create_task(metadata.write(add(f"{n:02}"))) for n in range(50)]
    await asyncio.sleep(0)
    await metadata.close()
    await asyncio.gather(*writing)
    again = open_metadata()
    assert len(await names(again)) == 50
    await again.close()
