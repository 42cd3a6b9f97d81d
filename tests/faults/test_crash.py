"""``kill -9`` to everything, at random moments and at each named step, while clients push, move, mount and delete.

Three clients (``customer.py``) live in a registry of two workers, which collects every second what is a few seconds old. All its processes
are killed, a new server starts on what they left, and everything that any of them was ever answered must hold:

* a tag leads where the last answer said, or where a request without an answer asked for, and every byte it leads to is there;
* what was answered 201 is there, tagged or not, for as long as the period of grace protects it;
* what was deleted stays deleted;
* an upload goes on where the last 202 said it stands, and becomes the blob;
* ``lading verify`` reads everything and finds nothing broken.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.customer import Customer
from tests.faults.server import Launcher, Server
from tests.support.counts import Count
from tests.support.images import image

IMAGES = {
    made.digest: made
    for made in (image(f"crash-{number // 2}", (1500 * (number % 2 + 1), 4000)) for number in range(60))
}
NAMES = ("alice", "bob/tools", "carol")
STEPS = [
    *("body", "pwritev", "fdatasync", "mkdir", "rename", "fsync"),
    *("BEGIN IMMEDIATE", "COMMIT", "committed", "answer", "unlink", "rmdir"),
]
SELDOM = {"mkdir", "unlink", "rmdir"}
GRACE = 3
COLLECT = f"{{interval: 1s, grace: {GRACE}s, untagged: {GRACE}s}}"
PATIENCE = 4.0
"""How many seconds a named step is waited for."""


@pytest.mark.slow
@pytest.mark.timeout(36_000)
def test_killed_at_any_moment(tmp_path: Path, long: bool, count: Count) -> None:
    launcher = Launcher()
    server = Server(launcher, tmp_path, workers=2, collect=COLLECT)
    customers = [
        Customer(name, server.port, IMAGES, [other for other in NAMES if other != name], GRACE) for name in NAMES
    ]
    chance, steps = random.Random("moments"), itertools.cycle(STEPS)
    kills: Counter[str] = Counter()
    rounds, beside = 1250 if long else 24, ThreadPoolExecutor(1)
    for number in range(rounds + 1):
        only = next(steps) if number % (5 if long else 2) == 1 else ""
        with server.serving(chance.randrange(1, 4 if only in SELDOM else 25) if only else 0, only):
            customers[0].check()  # from now on there is an index
            verified = beside.submit(server.verify)
            for customer in customers[1:]:
                customer.check()
            assert verified.result() == 0, server.said
            if number == rounds:
                break
            threads = [threading.Thread(target=customer.live, daemon=True) for customer in customers]
            server.arm()
            for thread in threads:
                thread.start()
            killed = moment(threads, chance, only)
        kills[killed] += 1
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
    for customer in customers:
        customer.client.close()
    launcher.close()
    beside.shutdown()
    answers = sum((customer.answers for customer in customers), Counter[str]())
    held = sum((customer.held for customer in customers), Counter[str]())
    named = ", ".join(f"{n} at {what}" for what, n in sorted(kills.items()))
    told = ", ".join(f"{n} {what}" for what, n in sorted(answers.items()))
    asked = ", ".join(f"{n} {what}" for what, n in sorted(held.items()))
    count(f"kill: {kills.total()} kills ({named}); answers: {told}; held after restarts: {asked}; 0 promises broken")
    assert answers["201 manifest"] > rounds // 4
    assert min(held[what] for what in ("tags", "201s", "deletions", "chunks")) > rounds // 4
    assert len(kills) > len(STEPS) // 2
    if long:
        assert kills["a random moment"] >= 1000
        assert set(STEPS) <= set(kills)


def moment(threads: list[threading.Thread], chance: random.Random, only: str) -> str:
    """Return when the server is to be killed, or was; where that is."""
    if not only:
        time.sleep(chance.uniform(0.02, 0.8))
        return "a random moment"
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if not all(thread.is_alive() for thread in threads):
            return only
        time.sleep(0.01)
    return "a random moment"
