"""``kill -9`` to a mirror while it fetches: whoever got a whole answer got the right bytes, and the next pull goes well."""

from __future__ import annotations

import contextlib
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
from tests.support.lading import Lading

STEPS = ("pwritev", "fdatasync", "rename", "fsync", "BEGIN IMMEDIATE", "COMMIT", "committed", "answer")


class Puller(threading.Thread):
    """Pulls images until that is done or the mirror is gone; every answer that came to its end must be the one."""

    def __init__(self, url: str, images: list[Image]) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._wanted = [
            (kind, digest)
            for made in images
            for kind, digest in (("manifests", made.digest), *(("blobs", blob.digest) for blob in made.blobs))
        ]
        self.whole = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        with contextlib.suppress(httpx2.TransportError), Client(self._url, verify=False) as client:
            for kind, digest in self._wanted:
                answer = client.get(f"/v2/a/{kind}/{digest}", headers={"accept": "*/*"})
                if answer.status_code != 200 or digest_of(answer.content) != digest:
                    self.wrong.append(f"{digest}: {answer.status_code}, {digest_of(answer.content)}")
                self.whole += 1


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_mirror_that_is_killed(tmp_path: Path, long: bool, count: Count) -> None:
    rounds, chance, kills, whole = 200 if long else 4, random.Random("mirror"), Counter[str](), 0
    launcher = Launcher()
    with Lading(tmp_path / "far") as far, Client(far) as pusher:
        server = Server(launcher, tmp_path / "near", workers=2, more=f"proxy: {{remoteurl: {far.url}}}\n")
        for number in range(rounds):
            images = [image(f"{number}-{each}", (200_000, 90_000)) for each in range(3)]
            for each, made in enumerate(images):
                pusher.push("a", made, f"{number}-{each}")
            only = STEPS[number // 2 % len(STEPS)] if number % 2 else ""
            with server.serving(chance.randrange(1, 12) if only else 0, only) as client:
                pullers = [Puller(str(client.base_url), images[each:] + images[:each]) for each in range(3)]
                server.arm()
                for puller in pullers:
                    puller.start()
                if only:
                    for puller in pullers:
                        puller.join(30)
                else:
                    time.sleep(chance.uniform(0, 0.3))
            kills[only or "a random moment"] += 1
            with server.serving() as client:
                after = Puller(str(client.base_url), images)
                after.run()
                assert after.whole == len(after._wanted), "each of them can be pulled again"
                assert server.verify() == 0, server.said
            for puller in (*pullers, after):
                puller.join(30) if puller is not after else None
                assert puller.wrong == []
                whole += puller.whole
    launcher.close()
    named = ", ".join(f"{n} at {what}" for what, n in sorted(kills.items()))
    count(f"kill: {kills.total()} kills of a mirror ({named}); {whole} whole answers, 0 wrong")
