"""Power cuts: the server's own system calls, replayed on a medium that loses what was not synced.

The real program serves a real history of requests under ``strace``. Its calls are replayed (``trace``) on a simulated
file system (``medium``); after each of them the power is cut, and what is left is laid down in many ways: nothing that
was not synced, names without bytes, bytes without names, zeros, torn writes, any mixture. Then the registry is
opened on it, and everything that was answered before the cut must hold.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from lading.errors import Invalid, Missing
from lading.oci.digest import Digest
from lading.registry.uploads import Uploads
from lading.registry.verify import Terms, Verify
from lading.stores.metadata import facts
from tests.faults.medium import (
    ALL_LEFT,
    BYTES_LEFT,
    NAMES_LEFT,
    NOTHING_LEFT,
    ZEROS_LEFT,
    Loss,
    Medium,
    lay_down,
    some_left,
)
from tests.faults.promises import Key, Promises, Pusher, Unfinished
from tests.faults.server import Launcher, Server
from tests.faults.trace import CALLS, Event, events
from tests.support.counts import Count
from tests.support.images import image
from tests.support.packages import program
from tests.unit.registry.world import AT_ONCE, BY, World, stream

FIRST, SECOND, THIRD = image("first", (3000,)), image("second", (2000, 1000)), image("third", (500,))
LARGE = image("large", (100_000, 1_300_000))
"""What is synced by itself, and what is read past the event loop."""
PLAIN = {"nothing": NOTHING_LEFT, "names": NAMES_LEFT, "zeros": ZEROS_LEFT, "bytes": BYTES_LEFT, "all": ALL_LEFT}


@dataclass(frozen=True)
class History:
    """What happened, and what was promised meanwhile."""

    events: list[Event]
    promises: Promises


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    root = tmp_path_factory.mktemp("power")
    trace = root / "trace"
    watch: list[str | Path] = [
        program("strace"),
        "-f",
        "-y",
        "-xx",
        "-s",
        "1200000",
        "--seccomp-bpf",
        "-e",
        f"trace={CALLS}",
        "-o",
        trace,
    ]
    launcher = Launcher(watch)
    server = Server(launcher, root)
    with server.serving() as client:
        pusher = Pusher(client)
        happen(pusher, server)
    launcher.close()
    return History(list(events(trace, server.storage)), pusher.promises)


@pytest.fixture(autouse=True)
def started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power cut it is another start of the machine."""
    monkeypatch.setattr("lading.stores.blobs.localupload.boot", lambda: b"another start of it")


@pytest.fixture
def place() -> Iterator[Path]:
    """Where states are laid down: in memory, since there are many."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(
        prefix="lading-power-", dir=memory if os.access(memory, os.W_OK) else None
    ) as made:
        yield Path(made)


def happen(pusher: Pusher, server: Server) -> None:
    """Push, move a tag, mount, delete, collect, push again what was collected, and something large."""
    pusher.push("a", FIRST, "one", "two")
    pusher.push("a/b", SECOND, "one")
    pusher.manifest("a/b", SECOND, "moving")
    for blob in FIRST.blobs:
        pusher.mount(blob, "a", "a/b")
    pusher.manifest("a/b", FIRST, "moving")
    pusher.delete_tag("a", "two")
    pusher.push("a", THIRD, "three")
    pusher.delete("a", THIRD, "three")
    pusher.forget("a", THIRD)
    assert server.collect() == 0
    pusher.push("a", THIRD, "again")
    pusher.push("a", LARGE, "large")


def cuts(history: History, losses: int, share: int) -> Iterator[tuple[int, str, dict[str, bytes | None], int]]:
    """After which event, in which way, what is left, and how many answers had been given; each state once.

    Of the states in which something is left that was not synced, one in ``share``, and all just after an answer.
    """
    medium = Medium()
    seen: set[bytes] = set()
    answers = 0
    for number, event in enumerate(history.events):
        if event.kind == "answer":
            answers += 1
        else:
            medium.apply(event)
        ways: dict[str, Loss] = {**PLAIN, **{f"some-{n}": some_left((number, n)) for n in range(losses)}}
        for name, loss in ways.items():
            left = medium.left(loss)
            state = fingerprint(left, answers)
            if state in seen:
                continue
            seen.add(state)
            if loss is NOTHING_LEFT or event.kind == "answer" or len(seen) % share == 0:
                yield number, name, left, answers


def fingerprint(left: dict[str, bytes | None], answers: int) -> bytes:
    hashing = hashlib.blake2b(str(answers).encode())
    for path, content in sorted(left.items()):
        hashing.update(f"\0{path}\0{'' if content is None else len(content)}\0".encode() + (content or b""))
    return hashing.digest()


async def check(world: World, expected: dict[Key, str], maybe: set[Key], every: set[Key]) -> Counter[str]:
    """Everything that was promised holds, nothing that was deleted is there, nothing is broken; what garbage there is."""
    for key in every - maybe:
        kind, repository, name = key
        digest = expected.get(key)
        if kind == "blob":
            if digest:
                assert Digest.of(await world.read(repository, digest)) == digest, key
            continue
        try:
            found = await world.pull.manifest(repository, name, by_digest=kind == "manifest")
        except Missing:
            assert digest is None, f"{key} was promised and is gone"
        else:
            assert digest is not None, f"{key} was deleted and is there"
            assert found.digest == digest == Digest.of(found.raw), key
    store = world.store
    report = await Verify(world.metadata, store, store.layout).run(Terms(patience=0, grace=0))
    assert report.sound, [f"{each.kind} {each.what}: {each.detail}" for each in report.findings]
    return Counter(finding.kind for finding in report.findings)


async def go_on(world: World, unfinished: Unfinished) -> None:
    """The client outlived the machine and sends the second half: the blob becomes whole, or is refused."""
    blob, url = unfinished.blob, urlsplit(unfinished.location)
    secret = await facts.read(world.metadata, "secret")
    uploads = Uploads(world.metadata, world.store, world.outbox, (secret or "").encode())
    ticket = dict(parse_qsl(url.query))["_state"]
    name, digest, rest = url.path.rpartition("/")[2], Digest(blob.digest), stream(blob.data[blob.size // 2 :])
    try:
        await uploads.finish(unfinished.repository, name, ticket, digest, rest, None, BY)
    except (Invalid, Missing):
        return
    assert await world.read(unfinished.repository, blob.digest) == blob.data


def survives(history: History, left: dict[str, bytes | None], answers: int, place: Path, again: bool) -> Counter[str]:
    lay_down(left, place)
    expected, maybe = history.promises.at(answers)
    every = {key for state in history.promises.after[: answers + 1] for key in state}

    async def run() -> Counter[str]:
        world = World(place / "storage")
        try:
            garbage = await check(world, expected, maybe, every)
            if answers in history.promises.uploads:
                await go_on(world, history.promises.uploads[answers])
            if again:
                await world.put("later", THIRD, "later")
                await world.run(AT_ONCE)
                await check(world, {k: d for k, d in expected.items() if k[0] == "tag"}, set(), set())
            return garbage
        finally:
            await world.close()

    try:
        return asyncio.run(run())
    finally:
        shutil.rmtree(place)


@pytest.mark.slow
@pytest.mark.timeout(36_000)
def test_the_power_is_cut_anywhere(history: History, place: Path, long: bool, count: Count) -> None:
    tried: Counter[str] = Counter()
    garbage: Counter[str] = Counter()
    for number, way, left, answers in cuts(history, 40 if long else 1, 1 if long else 10):
        tried[way.partition("-")[0]] += 1
        try:
            again = long or tried.total() % 10 == 0
            garbage += survives(history, left, answers, place / str(number), again)
        except BaseException as error:
            error.add_note(
                f"the power was cut after event {number} ({way}): {history.events[max(0, number - 3) : number + 1]}"
            )
            raise
    kinds = Counter(event.kind for event in history.events)
    assert kinds["sync-ends"] > 50
    assert kinds["answer"] == len(history.promises.doing)
    count(
        f"power: {len(history.events)} events with {kinds['sync-ends']} syncs and {kinds['answer']} answers; "
        f"{tried.total()} states after a cut ({', '.join(f'{n} {way}' for way, n in tried.items())}), "
        f"0 promises broken; garbage: {dict(garbage) or 'none'}"
    )
