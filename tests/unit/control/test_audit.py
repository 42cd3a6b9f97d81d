"""The audit log: what is noted, how it is found again, and when it goes."""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lading.control.audit import COUNTED, Audit, Entry, Filter, Recorder, Syslog, as_json, looked_up, purge
from lading.errors import TooWide, Unavailable
from lading.jobs.events import By, ManifestDeleted, ManifestPushed, TagDeleted, Target
from lading.jobs.kinds import Claim, Task
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.paging import How, Match, Page
from lading.stores.metadata.transaction import Metadata, Transaction, Work

pytestmark = pytest.mark.anyio

DIGEST = "sha256:" + "a" * 64
BY = By(actor="alice", address="10.0.0.1:4711")


@pytest.fixture
async def metadata(index_url: str) -> AsyncIterator[Metadata]:
    made = open_index(index_url)
    yield made
    await made.close()


async def found(metadata: Metadata, limit: int = 100, before: int = 2**62, **filters: object) -> list[Entry]:
    wanted = Filter(**filters)  # type: ignore[arg-type]
    return await metadata.read(lambda tx: Audit(tx).page(wanted, limit, before))


async def test_what_happens_is_noted_in_its_own_transaction(metadata: Metadata) -> None:
    recorder = Recorder(metadata, pulls="summed")
    target = Target(DIGEST, "", 1)
    pushed = ManifestPushed(repository="team/app", by=BY, target=target, tag="1")

    async def fail(tx: Transaction) -> None:
        await recorder.react(tx, pushed, tx.now)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await metadata.write(fail)
    assert await found(metadata) == []

    async def work(tx: Transaction) -> None:
        await recorder.react(tx, pushed, tx.now)
        await recorder.react(tx, TagDeleted(repository="team/app", by=BY, tag="1"), tx.now)
        await recorder.react(tx, ManifestDeleted(repository="nginx", by=BY, digest=DIGEST), tx.now)

    await metadata.write(work)
    seen = [(e.operation, e.resource_type, e.resource, e.project, e.actor, e.address) for e in await found(metadata)]
    assert seen == [
        ("delete", "artifact", f"nginx@{DIGEST}", "library", "alice", "10.0.0.1"),
        ("delete", "tag", "team/app:1", "team", "alice", "10.0.0.1"),
        ("create", "artifact", "team/app:1", "team", "alice", "10.0.0.1"),
    ]


@pytest.mark.parametrize(("pulls", "rows"), [("none", []), ("summed", [(3, "a"), (1, "b")]), ("each", [(1, "a")] * 3)])
async def test_pulls(metadata: Metadata, pulls: str, rows: list[tuple[int, str]]) -> None:
    recorder = Recorder(metadata, pulls=pulls)
    for _ in range(3):
        recorder.pulled("team/app", DIGEST, "1", "a", "10.0.0.1")
    if pulls == "summed":
        recorder.pulled("team/app", DIGEST, "", "b", "::1")
    await recorder.flush()
    assert sorted((e.count, e.actor) for e in await found(metadata, operation="pull")) == sorted(rows)


async def test_what_was_noted_waits_for_an_index_that_is_away(
    metadata: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: object) -> None:
        raise Unavailable("not now")

    recorder = Recorder(metadata, pulls="summed")
    recorder.login("a", "10.0.0.1", result="success")
    recorder.pulled("team/app", DIGEST, "1", "a", "10.0.0.1")
    with monkeypatch.context() as patch:
        patch.setattr(metadata, "write", away)
        for part in (recorder._gathering, recorder._summing):
            with pytest.raises(Unavailable):
                await part.flush()
    recorder.login("b", "10.0.0.1", result="success")
    recorder.pulled("team/app", DIGEST, "1", "a", "10.0.0.1")
    await recorder.close()
    assert [(e.operation, e.actor, e.count) for e in await found(metadata)] == [
        ("pull", "a", 2),
        ("login", "b", 1),
        ("login", "a", 1),
    ]


async def test_filters_and_pages(metadata: Metadata) -> None:
    async def fill(tx: Transaction) -> None:
        rows = [
            {
                "happened_at": 10_000_000 * number,
                "operation": ("create", "delete", "pull")[number % 3],
                "resource_type": "artifact",
                "resource": f"team/app:{number}",
                "project": ("team", "other")[number % 2],
                "actor": ("alice", "bob")[number % 4 // 2],
                "address": "10.0.0.1",
                "result": ("success", "denied")[number % 5 == 0],
                "count": 1,
                "detail": "",
            }
            for number in range(60)
        ]
        await Audit(tx).add_all(rows)

    await metadata.write(fill)
    assert len(await found(metadata, project="team")) == 30
    assert len(await found(metadata, project="team", actor="alice")) == 15
    assert len(await found(metadata, operation="pull", result="denied")) == 4
    assert [e.resource for e in await found(metadata, since=10_000_000 * 57)] == [f"team/app:{n}" for n in (59, 58, 57)]
    assert len(await found(metadata, since=10_000_000 * 10, until=10_000_000 * 20)) == 10
    assert await found(metadata, since=10_000_000 * 100) == []
    assert await found(metadata, until=1) != []
    assert [e.resource for e in await found(metadata, until=10_000_000 * 2)] == ["team/app:1", "team/app:0"]
    assert [e.project for e in await found(metadata, resource="team/app:2")] == ["team"]
    pages, before = [], 2**62
    while page := await found(metadata, 7, before):
        pages.append(len(page))
        before = page[-1].id
    assert pages == [7] * 8 + [4]


async def test_only_the_purge_takes_rows(metadata: Metadata) -> None:
    recorder = Recorder(metadata, pulls="each")
    recorder.login("old", "10.0.0.1", result="failure")
    await recorder.flush()
    assert await purge(metadata, 60_000) == 0
    (old,) = await found(metadata)
    assert await metadata.write(lambda tx: Audit(tx).purge(old.happened_at + 1)) == 1
    assert await found(metadata) == []
    assert not [
        name
        for name in dir(Audit)
        if not name.startswith("_") and name not in ("add", "add_all", "page", "listed", "after", "purge")
    ]


async def test_a_name_cannot_end_its_line(metadata: Metadata) -> None:
    recorder = Recorder(metadata, pulls="each")
    evil = 'x" }\n{"operation":"create"\r\n\x1b[31m\u2028' + "y" * 5000
    recorder.login(evil, "10.0.0.1", result="failure")
    await recorder.flush()
    (entry,) = await found(metadata)
    line = as_json(entry)
    assert b"\n" not in line
    assert b"\r" not in line
    assert b"\x1b" not in line
    assert json.loads(line)["actor"] == evil[:512]


async def test_syslog_goes_on_from_where_it_was(metadata: Metadata, tmp_path: Path) -> None:
    place = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(place)
        receiver.settimeout(5)
        task = Task(Claim(1, "audit-syslog", None, 1, "x"))
        recorder = Recorder(metadata, pulls="each")
        recorder.login("before", "10.0.0.1", result="success")
        await recorder.flush()
        await Syslog(metadata, place).work(task)  # from now on
        for name in ("one", "two"):
            recorder.login(name, "10.0.0.1", result="success")
        await recorder.flush()
        await Syslog(metadata, place).work(task)
        await Syslog(metadata, place).work(task)
        lines = [receiver.recv(10_000) for _ in range(2)]
        receiver.setblocking(False)
        with pytest.raises(BlockingIOError):
            receiver.recv(10_000)
    assert all(line.startswith(b"<85>lading-audit: {") for line in lines)
    assert [json.loads(line.partition(b": ")[2])["actor"] for line in lines] == ["one", "two"]


PAIRS: list[dict[str, str]] = [
    {"actor": "alice", "operation": "delete"},
    {"project": "team", "operation": "delete"},
    {"project": "team", "actor": "bob"},
]


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
async def test_what_two_things_are_never_said_of_at_once_is_no_walk(tmp_path: Path, pair: dict[str, str]) -> None:
    """Each is said of thousands of rows: how much SQLite works for both is counted by its own steps, not by a clock."""
    path = tmp_path / "index.sqlite"
    metadata = open_index(f"sqlite:///{path}")
    await metadata.write(lambda tx: Audit(tx).purge(0))
    both = {"actor": "alice", "operation": "delete", "project": "team"} | pair
    others = {"actor": "carol", "operation": "pull", "project": "open"}
    with sqlite3.connect(path) as connection:
        for name in pair:
            row = {**others, name: both[name]}
            connection.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO audit"
                " (happened_at, operation, resource_type, resource, project, actor, address, result, count, detail)"
                " SELECT i, :operation, 'artifact', 'x', :project, :actor, '', 'success', 1, '' FROM n",
                row,
            )
    connection.close()

    async def look(tx: Transaction) -> None:
        assert await Audit(tx).page(Filter(**pair), 50) == []  # type: ignore[arg-type]

    assert await steps(metadata, look) < 50  # thousands of rows would be some 500 hundreds of steps
    await metadata.close()


async def steps(metadata: Metadata, work: Work[None]) -> int:
    """How many hundreds of SQLite's own steps a piece of work takes."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    async def counted(tx: Transaction) -> None:
        raw = tx._connection  # type: ignore[attr-defined]
        raw.set_progress_handler(count, 100)
        try:
            await work(tx)
        finally:
            raw.set_progress_handler(None, 0)

    await metadata.read(counted)
    return taken


QUESTIONS = [
    *(
        Page(size=20, sort=((name, down),))
        for name in ("resource", "resource_type", "username")
        for down in (False, True)
    ),
    Page(size=20, where=(Match("resource", "is", ("team/app:rare",)),)),
    Page(size=20, where=(Match("resource", "is", ("team/app:rare",)), Match("project", "is", ("team",)))),
]


async def filled(folder: Path, rows: int, resource: str, project: str, actor: str) -> Metadata:
    """An index with so many pulls in its audit log; ``resource`` and ``actor`` are SQL over a row's number ``i``."""
    path = folder / "index.sqlite"
    metadata = open_index(f"sqlite:///{path}")
    await metadata.write(lambda tx: Audit(tx).purge(0))
    with sqlite3.connect(path) as connection:
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) INSERT INTO audit (happened_at,"
            " operation, resource_type, resource, project, actor, address, result, count, detail) SELECT i, 'pull', 'artifact',"
            f" {resource}, ?, {actor}, '', 'success', 1, '' FROM n",
            (rows, project),
        )
    connection.close()
    return metadata


@pytest.mark.parametrize("page", QUESTIONS, ids=str)
async def test_things_are_found_and_sorted_by_without_a_walk(tmp_path: Path, page: Page) -> None:
    """Also where thousands of rows are alike in what is sorted by: which of them comes first follows the direction."""
    resource = "CASE WHEN i = 77 THEN 'team/app:rare' ELSE 'team/app:' || (i / 4500) END"
    metadata = await filled(tmp_path, 9000, resource, "team", "'alice'")

    async def look(tx: Transaction) -> None:
        _, entries = await Audit(tx).listed(page)
        if page.where:
            assert [entry.id for entry in entries] == [77]
            return
        ((name, down),) = page.sort
        column = {"username": "actor"}.get(name, name)
        keys = [(getattr(entry, column), entry.id) for entry in entries]
        assert len(keys) == 20
        assert keys == sorted(keys, reverse=down)

    async def count(tx: Transaction) -> None:
        await Audit(tx).listed(Page(size=20))

    # those that fit are counted either way; a walk with a sort takes some 1,000 hundreds of steps on top of that
    most = 50 if page.where else 50 + await steps(metadata, count)
    assert await steps(metadata, look) < most
    await metadata.close()


async def test_words_that_are_late_in_the_alphabet_are_counted_without_a_walk(tmp_path: Path) -> None:
    metadata = await filled(tmp_path, 60_000, "''", "", "CASE WHEN i % 3 THEN 'alice' ELSE 'zoe' END")

    def looking_for(word: str) -> Work[None]:
        async def look(tx: Transaction) -> None:
            total, _ = await Audit(tx).listed(Page(where=(Match("username", "like", (word,)),)))
            assert total == COUNTED

        return look

    # 30,000 rows as they lie; by the alphabet it would be 50,000
    assert await steps(metadata, looking_for("zoe")) < 2.5 * await steps(metadata, looking_for("alice"))
    await metadata.close()


async def test_a_question_that_no_index_answers_is_given_up_with_what_to_ask_instead(metadata: Metadata) -> None:
    rows = [dict(ROW, happened_at=1)] * 20_000
    await metadata.write(lambda tx: Audit(tx).add_all(rows))
    page = Page(where=(Match("resource", "like", ("nowhere",)),))
    with pytest.raises(TooWide, match=r"op_time=\["):
        await looked_up(metadata, lambda tx: Audit(tx).listed(page), seconds=0.000_1)
    assert await looked_up(metadata, lambda tx: Audit(tx).listed(page), seconds=60) == (0, [])


async def test_the_longest_name_is_found(metadata: Metadata) -> None:
    names = [f"{'é' * 511}{last}" for last in "ab"]
    await metadata.write(lambda tx: Audit(tx).add("create", "user", names[0] + "cut", by=BY))
    await metadata.write(lambda tx: Audit(tx).add("create", "user", names[1], by=BY))
    for name in names:
        assert [entry.resource for entry in await found(metadata, resource=name)] == [name]


async def test_a_span_of_time_is_found_by_its_ids(metadata: Metadata) -> None:
    """Also where what was gathered in memory came a little late, and where nothing is in the span."""
    minute = 60_000
    # every seventh came up to 40 minutes late
    times = [(number - (2 if number % 7 == 0 else 0)) * 20 * minute for number in range(2, 102)]
    rows = [dict(ROW, happened_at=time) for time in times]
    await metadata.write(lambda tx: Audit(tx).add_all(rows))

    async def asked(how: How, *values: str | None) -> list[int]:
        page = Page(size=100, where=(Match("op_time", how, values),))
        total, entries = await metadata.read(lambda tx: Audit(tx).listed(page))
        assert total == len(entries)
        assert [entry.id for entry in entries] == sorted((entry.id for entry in entries), reverse=True)
        return sorted(entry.happened_at for entry in entries)

    for low, high in (
        (None, 500 * minute),
        (500 * minute, None),
        (500 * minute, 900 * minute),
        (10**15, None),
        (None, 1),
    ):
        span = [None if each is None else str(each) for each in (low, high)]
        wanted = sorted(time for time in times if (low or 0) <= time <= (10**18 if high is None else high))
        assert await asked("between", *span) == wanted
    assert await asked("is", str(times[3])) == [time for time in times if time == times[3]]
    assert await asked("between", str(2**63 - 1), None) == []


ROW = {
    "operation": "pull",
    "resource_type": "artifact",
    "resource": "team/app:1",
    "project": "team",
    "actor": "alice",
    "address": "",
    "result": "success",
    "count": 1,
    "detail": "",
}
