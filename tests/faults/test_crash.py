"""``kill -9`` at random moments and at named steps, while clients push, move tags and delete, and the collector runs.

Every client has a repository of its own and knows of each of its tags what it may lead to: exactly what the last answer
said, or also what a request asked for that was never answered. After every kill the server is started again, and
then each tag leads to one of these, whole, byte for byte; what was deleted stays deleted; and ``lading verify``
finds nothing broken.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from pathlib import Path

import httpx2
import pytest

from tests.faults.server import Launcher, Server
from tests.support.counts import Count
from tests.support.http import Client
from tests.support.images import Image, digest_of, image

IMAGES = [image(f"crash-{number // 2}", (1500 * (number % 2 + 1), 4000)) for number in range(120)]
BY_DIGEST = {made.digest: made for made in IMAGES}
TAGS = ("one", "two", "three")
STEPS = [
    *("body", "pwritev", "fdatasync", "mkdir", "rename", "fsync"),
    *("BEGIN IMMEDIATE", "COMMIT", "committed", "answer", "unlink", "rmdir"),
]
COLLECT = "{interval: 1s, grace: 2s, untagged: 2s}"


class Lost(AssertionError):
    """A promise that was broken."""


class Customer:
    """One client and what it was promised: of each tag the digests it may lead to, None among them if it may be gone."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.client = Client(url, timeout=20, verify=False)
        self.chance = random.Random(name)
        self.may: dict[str, set[str | None]] = {tag: {None} for tag in TAGS}
        self.answers: Counter[str] = Counter()

    def live(self) -> None:
        """Send requests until the server is gone."""
        try:
            for _ in itertools.count():
                self.chance.choices((self.push, self.delete_tag, self.delete), (6, 2, 1))[0](self.client)
        except httpx2.TransportError:
            return

    def push(self, client: Client) -> None:
        """Push what is not there, then the manifest under a tag."""
        made, tag = self.chance.choice(IMAGES), self.chance.choice(TAGS)
        for blob in made.blobs:
            if client.head(f"/v2/{self.name}/blobs/{blob.digest}").status_code == 200:
                continue
            where = f"/v2/{self.name}/blobs/uploads/"
            if self.chance.random() < 0.5:
                done = client.post(where, params={"digest": blob.digest}, content=blob.data)
            else:
                begun = client.post(where)
                sent = client.patch(begun.headers["location"], content=blob.data[:1000])
                target = httpx2.URL(sent.headers["location"]).copy_merge_params({"digest": blob.digest})
                done = client.put(target, content=blob.data[1000:])
            self.note("blob", done.status_code)
        before = set(self.may[tag])
        self.may[tag] |= {made.digest}
        headers = {"content-type": made.manifest.media_type}
        done = client.put(f"/v2/{self.name}/manifests/{tag}", content=made.manifest.data, headers=headers)
        self.note("manifest", done.status_code)
        if done.status_code == 201:
            self.may[tag] = {made.digest}
        elif done.status_code == 400:
            self.may[tag] = before  # so short a grace took a blob meanwhile, and the registry says so

    def delete_tag(self, client: Client) -> None:
        tag = self.chance.choice(TAGS)
        self.may[tag] |= {None}
        if self.note("delete", client.delete(f"/v2/{self.name}/manifests/{tag}").status_code) in (202, 404):
            self.may[tag] = {None}

    def delete(self, client: Client) -> None:
        """Delete a manifest, and with it the tags that lead to it."""
        digest = self.chance.choice(IMAGES).digest
        with_it = [tag for tag in TAGS if digest in self.may[tag]]
        for tag in with_it:
            self.may[tag] |= {None}
        if self.note("delete", client.delete(f"/v2/{self.name}/manifests/{digest}").status_code) in (202, 404):
            for tag in with_it:
                self.may[tag] -= {digest}

    def note(self, what: str, status: int) -> int:
        assert status in (201, 202, 400, 404, 503), f"{what} was answered {status}"
        self.answers[f"{status} {what}"] += 1
        return status

    def check(self, client: Client) -> int:
        """Every tag leads to what it may; how many blobs were read."""
        read = 0
        for tag in TAGS:
            answer = client.manifest(self.name, tag)
            found = answer.headers["docker-content-digest"] if answer.status_code == 200 else None
            if answer.status_code not in (200, 404) or found not in self.may[tag]:
                raise Lost(f"{self.name}:{tag} leads to {found}, and may lead to {self.may[tag]}")
            self.may[tag] = {found}
            if found is not None:
                read += self.whole(client, BY_DIGEST[found], answer.content)
        return read

    def whole(self, client: Client, made: Image, manifest: bytes) -> int:
        assert manifest == made.manifest.data
        for blob in made.blobs:
            answer = client.get(f"/v2/{self.name}/blobs/{blob.digest}")
            if answer.status_code != 200 or digest_of(answer.content) != blob.digest:
                raise Lost(f"{self.name}@{made.digest} lacks {blob.digest}: {answer.status_code}")
        return len(made.blobs)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_killed_at_any_moment(tmp_path: Path, long: bool, count: Count) -> None:
    launcher = Launcher()
    server = Server(launcher, tmp_path, workers=2, collect=COLLECT)
    customers = [Customer(name, f"http://127.0.0.1:{server.port}") for name in ("alice", "bob/tools", "carol")]
    chance, steps = random.Random("moments"), itertools.cycle(STEPS)
    kills: Counter[str] = Counter()
    read = 0
    rounds = 1000 if long else 40
    for number in range(rounds + 1):
        only = next(steps) if number % 2 else ""
        with server.serving(chance.randrange(1, 25) if only else 0, only):
            read += sum(customer.check(customer.client) for customer in customers)
            assert server.verify() == 0, server.log.read_text()[-3000:]
            if number == rounds:
                break
            threads = [threading.Thread(target=customer.live, daemon=True) for customer in customers]
            server.arm()
            for thread in threads:
                thread.start()
            killed = moment(server, threads, chance, only)
        kills[killed] += 1
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
    for customer in customers:
        customer.client.close()
    launcher.close()
    answers = sum((customer.answers for customer in customers), Counter[str]())
    named = ", ".join(f"{n} at {what}" for what, n in sorted(kills.items()))
    told = ", ".join(f"{n} {what}" for what, n in sorted(answers.items()))
    assert answers["201 manifest"] > rounds // 4
    assert len(kills) > len(STEPS) // 2
    count(
        f"kill: {kills.total()} kills ({named}); answers: {told}; {read} blobs read after restarts, 0 promises broken"
    )


def moment(server: Server, threads: list[threading.Thread], chance: random.Random, only: str) -> str:
    """Return when the server is to be killed, or was; where that is."""
    if not only:
        time.sleep(chance.uniform(0.02, 1.0))
        return "a random moment"
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        if not all(thread.is_alive() for thread in threads):
            return only
        time.sleep(0.01)
    return "a random moment"
