"""Several processes on one index in PostgreSQL: behind a pooler, in each other's way, and with clocks that go wrong."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest
from sqlalchemy import bindparam, select

from lading.errors import Invalid, Unavailable
from lading.jobs.events import By, TagDeleted
from lading.jobs.outbox import Outbox
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.postgresql import PostgresMetadata
from lading.stores.metadata.schema.work import facts
from lading.stores.metadata.transaction import Metadata, Statement, Transaction
from tests.support.http import Client
from tests.support.images import image
from tests.support.lading import Lading
from tests.support.packages import program
from tests.support.postgres import PgBouncer, Postgres
from tests.support.process import run
from tests.unit.registry.world import AT_ONCE, World

NOTHING = Statement(select(facts.c.value).where(facts.c.name == bindparam("name")))
LAYERS = image("shared", (2000, 3000))


@pytest.mark.anyio
async def test_a_pooler_in_transaction_mode(postgres: Postgres) -> None:
    database = postgres.fresh().rpartition("/")[2]
    with PgBouncer(postgres, connections=2) as bouncer:
        index = open_index(bouncer.url(database), wait=60)
        assert isinstance(index, PostgresMetadata)
        outbox = Outbox(index, listening=True)

        async def emit(tx: Transaction) -> None:
            await outbox.emit(tx, TagDeleted(repository="a", by=By(), tag="t"))

        for _ in range(5):
            await asyncio.gather(*(index.write(emit, durable=bool(n % 2)) for n in range(40)))
            assert len(await outbox.after(0, 1000)) % 40 == 0
        assert len(await outbox.after(0, 1000)) == 200
        async with index.connections.lend() as connection:
            assert connection.prepare_threshold is None, "no statement is prepared where sessions are shared"
        await index.close()
        direct = open_index(postgres.url(database))
        assert isinstance(direct, PostgresMetadata)
        async with direct.connections.lend() as connection:
            assert connection.prepare_threshold is not None
        await direct.close()


def test_servers_behind_a_pooler(postgres: Postgres, tmp_path: Path) -> None:
    database = postgres.fresh().rpartition("/")[2]
    with PgBouncer(postgres, connections=2) as bouncer:
        settings = {"database": {"url": bouncer.url(database)}}
        with Lading(tmp_path, settings, workers=2) as registry:
            for number in range(20):
                with Client(registry) as client:
                    made = image(f"pooled-{number}", (500, 600))
                    digest = client.push("pooled/image", made, f"t{number}")
                    assert client.manifest("pooled/image", f"t{number}").headers["docker-content-digest"] == digest
            assert "level=error" not in registry.output
            assert "Traceback" not in registry.output


@pytest.mark.anyio
async def test_no_event_is_passed_over_whatever_the_order_of_commits(postgres: Postgres) -> None:
    url = postgres.fresh()
    writers: list[Metadata] = [open_index(url, wait=60) for _ in range(3)]
    reader = open_index(url)
    chance = random.Random(1)

    async def write(number: int) -> None:
        outbox, index = Outbox(writers[number % 3], listening=True), writers[number % 3]

        async def emit(tx: Transaction) -> None:
            await outbox.emit(tx, TagDeleted(repository="a", by=By(), tag=str(number)))
            for _ in range(chance.randrange(6)):
                await tx.each(NOTHING, [{"name": "n"}])  # the number is taken; the commit comes sooner or later

        await index.write(emit, durable=False)

    writing = asyncio.gather(*(write(number) for number in range(600)))
    outbox, position, seen = Outbox(reader, listening=True), 0, []
    while not writing.done() or await outbox.after(position, 10):
        for number, _, event in await outbox.after(position, 50):
            position = number
            assert isinstance(event, TagDeleted)
            seen.append(event.tag)
        await asyncio.sleep(0)
    await writing
    assert sorted(seen, key=int) == [str(number) for number in range(600)]
    for one in (*writers, reader):
        await one.close()


@pytest.mark.anyio
async def test_nothing_that_was_acknowledged_is_collected(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pushers of the same layers, and a collector that takes everything it may at once, without a pause."""
    monkeypatch.setattr("lading.registry.collect._LONGEST_PAUSE", 0)
    url, root = postgres.fresh(), tmp_path / "store"
    pushing, collecting = [World(root, url), World(root, url)], World(root, url)
    images = [image("one", (2000, 3000)), LAYERS, image("two", (700,))]
    begin = time.monotonic()
    acknowledged = refused = collected = 0

    def going_on() -> bool:
        seconds = time.monotonic() - begin
        return seconds < 6 or (seconds < 120 and (acknowledged <= 20 or collected <= 5))

    async def push_again_and_again(number: int) -> None:
        nonlocal acknowledged, refused
        world, name = pushing[number % 2], f"race/{number % 3}"
        while going_on():
            made = images[random.randrange(3)]
            try:
                await world.put(name, made, f"t{number}")
            except (Invalid, Unavailable):
                refused += 1  # with no time of grace at all a blob may go before the manifest that names it comes
                continue
            acknowledged += 1
            assert await world.read_all(name, f"t{number}") == {blob.digest for blob in made.blobs}
            await world.delete.tag(name, f"t{number}", By())
            await asyncio.sleep(random.random() / 10)

    async def collect_again_and_again() -> None:
        nonlocal collected
        while going_on():
            report = await collecting.run(AT_ONCE)
            collected += report.blobs

    await asyncio.gather(collect_again_and_again(), *(push_again_and_again(number) for number in range(6)))
    assert acknowledged > 20
    assert collected > 5
    for world in (*pushing, collecting):
        await world.close()


@pytest.mark.anyio
async def test_a_repository_made_by_many_at_once(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.fresh()
    worlds = [World(tmp_path / "store", url) for _ in range(3)]
    for name in ("new/one", "new/two"):
        await asyncio.gather(*(worlds[n % 3].put_blob(name, LAYERS.blobs[n % 2].data) for n in range(30)))
    for world in worlds:
        await world.close()


def test_clocks_that_are_ten_minutes_apart(postgres: Postgres, tmp_path: Path) -> None:
    """The time in rows is the database's: a collection goes by it, and a lease is not taken over too early."""
    url = postgres.fresh()
    database = url.rpartition("/")[2]

    def replica(clock: str) -> Lading:
        server = Lading(tmp_path / "shared", environment={**skewed(clock), "REGISTRY_DATABASE_URL": url})
        server.log = tmp_path / f"{clock}.log"
        return server

    with replica("-10m") as slow, replica("+10m") as fast, Client(slow) as behind, Client(fast) as ahead:
        layer = LAYERS.blobs[0]
        behind.push_blob("skewed/slow", layer)
        ahead.push("skewed/fast", LAYERS, "latest")
        assert behind.manifest("skewed/fast", "latest").status_code == 200
        now = postgres.ask("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint", database)[0][0]
        assert isinstance(now, int)
        for table, column in (("blobs", "touched_at"), ("manifests", "pushed_at"), ("tags", "moved_at")):
            for (moment,) in postgres.ask(f"SELECT {column} FROM {table}", database):
                assert isinstance(moment, int)
                assert abs(now - moment) < 60_000, (table, column)
        orphan = image("orphan", (300,)).blobs[0]
        behind.push_blob("skewed/slow", orphan)
        for clock in ("+10m", "-10m"):
            done = run(
                [fast.argv[0], "collect", "--grace", "5m", "--untagged", "5m"],
                environment={
                    **skewed(clock),
                    "REGISTRY_DATABASE_URL": url,
                    "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(fast.storage),
                },
            )
            assert done.stdout.startswith("0 manifests and 0 blobs deleted"), done.stdout
        assert behind.head(f"/v2/skewed/slow/blobs/{orphan.digest}").status_code == 200


def skewed(clock: str) -> dict[str, str]:
    """The variables that make a program's clock wrong by so much, as ``faketime`` sets them."""
    shown = run([program("faketime"), "-f", clock, "env"]).stdout.splitlines()
    chosen = dict(line.split("=", 1) for line in shown if line.startswith(("LD_PRELOAD=", "FAKETIME")))
    return {**chosen, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
