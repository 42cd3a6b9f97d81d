"""Lists: filtered, sorted, counted and cut, on a real index."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import bindparam, exists, insert, select

from lading.errors import Invalid
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.paging import FURTHEST, MOST_VALUES, Field, Listing, Match, Page
from lading.stores.metadata.schema.content import blobs, repositories, repository_blobs
from lading.stores.metadata.transaction import Metadata, Statement, Transaction

pytestmark = pytest.mark.anyio

LIST = Listing(
    select(repositories.c.id, repositories.c.name, repositories.c.stars),
    {
        "id": Field(repositories.c.id, "number"),
        "name": Field(repositories.c.name),
        "official": Field(repositories.c.official, "flag"),
        "made": Field(repositories.c.created_at, "moment"),
        "stars": Field(repositories.c.stars, "number"),
        "blobs": Field(
            None,
            holds=lambda digest: exists().where(
                repository_blobs.c.repository_id == repositories.c.id,
                repository_blobs.c.blob_id == blobs.c.id,
                blobs.c.digest == digest,
            ),
            words={"none": ~exists().where(repository_blobs.c.repository_id == repositories.c.id)},
        ),
    },
    (repositories.c.name,),
)
REPOSITORY = Statement(
    insert(repositories).values({name: bindparam(name) for name in ("id", "name", "created_at", "stars", "official")})
)
BLOB = Statement(
    insert(blobs).values({name: bindparam(name) for name in ("id", "digest", "size", "present", "touched_at")})
)
HELD = Statement(
    insert(repository_blobs).values(repository_id=bindparam("repository_id"), blob_id=bindparam("blob_id"))
)
BOUNDED = Listing(select(repositories.c.id), {}, (repositories.c.id,), most=4)


CONDITIONS: list[tuple[Match, list[int]]] = [
    (Match("name", "is", ("Beta",)), [3]),
    (Match("name", "is", ("beta",)), []),
    (Match("name", "is", ("' OR 1=1 --",)), []),
    (Match("name", "like", ("A_B",)), [1]),
    (Match("name", "like", ("%",)), [4]),
    (Match("name", "like", ("ta",)), [3, 5]),
    (Match("name", "any", ("Beta", "delta", "none")), [3, 5]),
    (Match("name", "all", ("Beta", "delta")), []),
    (Match("id", "between", ("2", "3")), [2, 3]),
    (Match("id", "between", (None, "2")), [1, 2]),
    (Match("id", "between", ("4", None)), [4, 5]),
    (Match("official", "is", ("true",)), [4, 5]),
    (Match("official", "is", ("False",)), [1, 2, 3]),
    (Match("made", "between", ("2020-01-01T00:00:04", None)), [4, 5]),
    (Match("made", "between", ("2020-01-01 01:00:04+01:00", None)), [4, 5]),
    (Match("made", "is", ("1577836801000",)), [1]),
    (Match("blobs", "is", ("one",)), [1, 2]),
    (Match("blobs", "all", ("one", "two")), [1]),
    (Match("blobs", "any", ("two", "none")), [1, 3, 4, 5]),
]
WRONG = [
    Match("nothing", "is", ("x",)),
    Match("id", "is", ("x",)),
    Match("id", "is", ("9" * 19,)),
    Match("id", "is", ("٣",)),
    Match("id", "like", ("1",)),
    Match("official", "is", ("maybe",)),
    Match("made", "is", ("yesterday",)),
    Match("blobs", "like", ("one",)),
    Match("name", "any", ("x",) * (MOST_VALUES + 1)),
]


@pytest.fixture
async def metadata(index_url: str) -> AsyncIterator[Metadata]:
    opened = open_index(index_url)

    async def fill(tx: Transaction) -> None:
        for number, name in enumerate(("a_b", "aXb", "Beta", "gamma%", "delta"), start=1):
            about = {"id": number, "name": name, "created_at": 1_577_836_800_000 + number * 1000}
            await tx.execute(REPOSITORY, **about, stars=number % 3, official=number > 3)
        for number, digest in enumerate(("one", "two"), start=1):
            await tx.execute(BLOB, id=number, digest=digest, size=1, present=True, touched_at=1)
        for repository, blob in ((1, 1), (1, 2), (2, 1)):
            await tx.execute(HELD, repository_id=repository, blob_id=blob)

    await opened.write(fill)
    yield opened
    await opened.close()


async def ids(metadata: Metadata, *where: Match, sort: tuple[tuple[str, bool], ...] = (("id", False),)) -> list[int]:
    page = Page(size=50, where=where, sort=sort)
    total, rows = await metadata.read(lambda tx: LIST.page(tx, page))
    assert total == len(rows)
    assert await metadata.read(lambda tx: LIST.count(tx, where)) == total
    return [row[0] for row in rows]


async def test_conditions(metadata: Metadata) -> None:
    for match, found in CONDITIONS:
        assert await ids(metadata, match) == found, match
        assert await ids(metadata, match, Match("id", "between", ("0", "99"))) == found


async def test_what_cannot_be_asked(metadata: Metadata) -> None:
    for match in WRONG:
        with pytest.raises(Invalid):
            await ids(metadata, match)


async def test_order_and_pages(metadata: Metadata) -> None:
    assert await ids(metadata, sort=()) == [3, 2, 1, 5, 4]
    assert await ids(metadata, sort=(("stars", True), ("name", False))) == [2, 5, 1, 4, 3]
    with pytest.raises(Invalid):
        await ids(metadata, sort=(("blobs", True),))
    for number, found in ((1, [1, 2]), (2, [3, 4]), (3, [5]), (4, [])):
        page = Page(number, 2, sort=(("id", False),))
        total, rows = await metadata.read(lambda tx, page=page: LIST.page(tx, page))  # type: ignore[misc]
        assert (total, [row[0] for row in rows]) == (5, found)
    with pytest.raises(Invalid, match="narrower"):
        await metadata.read(lambda tx: LIST.page(tx, Page(FURTHEST, 100)))


async def test_a_bounded_count_says_that_there_may_be_more(metadata: Metadata) -> None:
    totals = [await metadata.read(lambda tx, n=n: BOUNDED.page(tx, Page(n, 2))) for n in (1, 2, 3, 4)]  # type: ignore[misc]
    assert [(total, len(rows)) for total, rows in totals] == [(4, 2), (5, 2), (4, 1), (4, 0)]


def test_statements_are_made_once_for_a_shape() -> None:
    made = [LIST._statements(Page(where=(Match("name", "any", (value, "x")),)))[0] for value in ("a", "b")]
    assert made[0] is made[1]
    assert isinstance(made[0], Statement)
