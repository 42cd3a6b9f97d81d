"""A client that lives in one repository, and remembers what it was answered, so that it can ask for it after a kill."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.support.images import Blob, Image, digest_of
from tests.support.plain import Gone, Plain, Reply

TAGS = ("one", "two", "three")

Key = tuple[str, str]
"""``manifests`` or ``blobs``, and the digest."""


class Lost(AssertionError):
    """A promise that was broken."""


@dataclass(frozen=True)
class Unfinished:
    """An upload of which the client was told that so many bytes arrived."""

    location: str
    blob: Blob
    arrived: int


class Customer:
    """One client and what it was promised.

    ``may``: of each tag the digests it may lead to, None among them if it may be gone; more than one after a request
    that had no answer. ``there``: what was answered 201, and when it was asked for. ``gone``: what was answered 202 when it was
    to be deleted. ``begun``: uploads that wait to be gone on with. What a request without an answer was about is in none of them.
    """

    def __init__(self, name: str, port: int, images: Mapping[str, Image], others: Sequence[str], grace: float) -> None:
        self.name = name
        self.client = Plain(port)
        self.chance = random.Random(name)
        self.may: dict[str, set[str | None]] = {tag: {None} for tag in TAGS}
        self.there: dict[Key, float] = {}
        self.gone: set[Key] = set()
        self.begun: list[Unfinished] = []
        self.answers: Counter[str] = Counter()
        self.held: Counter[str] = Counter()
        self._images = images
        self._names = sorted(images)
        self._others = others
        self._grace = grace
        self._fresh: set[Key] = set()
        self._numbers = itertools.count()

    # ---- what it does

    def live(self) -> None:
        """Send requests until the server is gone."""
        doing = (self.push, self.delete_tag, self.delete, self.mount, self.begin, self.go_on, self.loose)
        try:
            while True:
                self.chance.choices(doing, (8, 2, 1, 2, 1, 1, 2))[0]()
        except Gone:
            return

    def push(self) -> None:
        """Push what is not there, then the manifest under a tag or by its digest alone."""
        made = self._images[self.chance.choice(self._names)]
        for blob in made.blobs:
            if self.client.ask("HEAD", f"/v2/{self.name}/blobs/{blob.digest}").status_code != 200:
                self.bring(blob)
        tag = self.chance.choice((*TAGS, *TAGS, ""))
        before = set(self.may[tag]) if tag else set[str | None]()
        if tag:
            self.may[tag] |= {made.digest}
        sent = self.doubt("manifests", made.digest)
        done = self.client.ask(
            "PUT",
            f"/v2/{self.name}/manifests/{tag or made.digest}",
            content=made.manifest.data,
            headers={"content-type": made.manifest.media_type},
        )
        if self.note("manifest", done.status_code) == 201:
            self.there["manifests", made.digest] = sent
        if tag and done.status_code == 201:
            self.may[tag] = {made.digest}
        elif tag and done.status_code == 400:
            self.may[tag] = before  # so short a grace took a blob meanwhile, and the registry says so

    def bring(self, blob: Blob) -> None:
        """A blob in one request, or in three."""
        where = f"/v2/{self.name}/blobs/uploads/"
        sent = self.doubt("blobs", blob.digest)
        if self.chance.random() < 0.5:
            done = self.client.ask("POST", where, params={"digest": blob.digest}, content=blob.data)
        else:
            location = self.client.ask("POST", where).headers["location"]
            answer = self.client.ask("PATCH", location, content=blob.data[:1000])
            done = self.client.ask("PUT", answer.headers["location"], {"digest": blob.digest}, blob.data[1000:])
        if self.note("blob", done.status_code) == 201:
            self.there["blobs", blob.digest] = sent

    def loose(self) -> None:
        """A blob that no image has is pushed, or deleted."""
        blob = _loose(f"loose-{self.chance.randrange(8)}", 2000)
        if self.chance.random() < 0.6:
            self.bring(blob)
            return
        self.doubt("blobs", blob.digest)
        answer = self.client.ask("DELETE", f"/v2/{self.name}/blobs/{blob.digest}")
        if self.note("delete of a blob", answer.status_code) in (202, 404):
            self.went("blobs", blob.digest)

    def mount(self) -> None:
        """A blob of somebody else's, if it is still there."""
        blob = self.chance.choice(self._images[self.chance.choice(self._names)].blobs)
        sent = self.doubt("blobs", blob.digest)
        where = {"mount": blob.digest, "from": self.chance.choice(self._others)}
        answer = self.client.ask("POST", f"/v2/{self.name}/blobs/uploads/", params=where)
        if self.note("mount", answer.status_code) == 201:
            self.there["blobs", blob.digest] = sent
        elif answer.status_code == 202:
            self.client.ask("DELETE", answer.headers["location"])

    def begin(self) -> None:
        """The first half of an upload, which is left for later."""
        blob = _loose(f"{self.name}-{next(self._numbers)}", 3000)
        begun = self.client.ask("POST", f"/v2/{self.name}/blobs/uploads/")
        half = self.chance.randrange(1, blob.size)
        sent = self.client.ask("PATCH", begun.headers["location"], content=blob.data[:half])
        if self.note("chunk", sent.status_code) == 202:
            self.begun.append(Unfinished(sent.headers["location"], blob, half))

    def go_on(self) -> None:
        """The other half of one."""
        if not self.begun:
            return
        unfinished = self.begun.pop(self.chance.randrange(len(self.begun)))
        blob = unfinished.blob
        sent = self.doubt("blobs", blob.digest)
        rest = blob.data[unfinished.arrived :]
        done = self.client.ask("PUT", unfinished.location, {"digest": blob.digest}, rest)
        if self.note("blob", done.status_code) == 201:
            self.there["blobs", blob.digest] = sent

    def delete_tag(self) -> None:
        tag = self.chance.choice(TAGS)
        self.may[tag] |= {None}
        answer = self.client.ask("DELETE", f"/v2/{self.name}/manifests/{tag}")
        if self.note("delete of a tag", answer.status_code) in (202, 404):
            self.may[tag] = {None}

    def delete(self) -> None:
        """Delete a manifest, and with it the tags that lead to it."""
        digest = self.chance.choice(self._names)
        with_it = [tag for tag in TAGS if digest in self.may[tag]]
        for tag in with_it:
            self.may[tag] |= {None}
        self.doubt("manifests", digest)
        answer = self.client.ask("DELETE", f"/v2/{self.name}/manifests/{digest}")
        if self.note("delete", answer.status_code) in (202, 404):
            self.went("manifests", digest)
            for tag in with_it:
                self.may[tag] -= {digest}

    # ---- what it remembers

    def doubt(self, kind: str, digest: str) -> float:
        """A request may change this: until it is answered nothing is promised. The moment before it is sent."""
        self.there.pop((kind, digest), None)
        self.gone.discard((kind, digest))
        self._fresh.discard((kind, digest))
        return time.monotonic()

    def went(self, kind: str, digest: str) -> None:
        self.gone.add((kind, digest))
        self._fresh.add((kind, digest))

    def note(self, what: str, status: int) -> int:
        assert status in (201, 202, 400, 404, 503), f"{what} was answered {status}"
        self.answers[f"{status} {what}"] += 1
        return status

    # ---- what it asks for after a kill

    def check(self) -> None:
        """Whatever was promised holds."""
        for tag in TAGS:
            self._check_tag(tag)
        for key, asked in list(self.there.items()):
            self._check_there(key, asked)
        older = sorted(self.gone - self._fresh)
        for key in (*self._fresh, *self.chance.sample(older, min(5, len(older)))):
            answer = self._get(key)
            if answer.status_code != 404:
                raise Lost(f"{self.name}: {key} was deleted, and is answered {answer.status_code}")
            self.held["deletions"] += 1
        self._fresh.clear()
        self.begun = [self._check_begun(unfinished) for unfinished in self.begun]
        while len(self.begun) > 3:
            self.go_on()

    def _check_tag(self, tag: str) -> None:
        answer = self._get(("manifests", tag))
        found = answer.headers["docker-content-digest"] if answer.status_code == 200 else None
        if answer.status_code not in (200, 404) or found not in self.may[tag]:
            raise Lost(f"{self.name}:{tag} leads to {found}, and may lead to {self.may[tag]}")
        self.may[tag] = {found}
        self.held["tags"] += 1
        if found is not None:
            made = self._images[found]
            assert answer.content == made.manifest.data
            for blob in made.blobs:
                if not self._is_whole(("blobs", blob.digest)):
                    raise Lost(f"{self.name}:{tag} lacks {blob.digest}")

    def _check_there(self, key: Key, asked: float) -> None:
        whole = self._is_whole(key)
        if time.monotonic() - asked >= self._grace:
            del self.there[key]  # nothing but a tag protects it any longer
        elif not whole:
            raise Lost(f"{self.name}: {key} was answered 201 and is gone")
        self.held["201s"] += whole

    def _is_whole(self, key: Key) -> bool:
        answer = self._get(key)
        if answer.status_code == 404:
            return False
        if answer.status_code != 200 or digest_of(answer.content) != key[1]:
            raise Lost(f"{self.name}: {key} is answered {answer.status_code}, with {digest_of(answer.content)}")
        return True

    def _get(self, key: Key) -> Reply:
        return self.client.ask("GET", f"/v2/{self.name}/{key[0]}/{key[1]}", headers={"accept": "*/*"})

    def _check_begun(self, unfinished: Unfinished) -> Unfinished:
        status = self.client.ask("GET", unfinished.location)
        if status.status_code != 204 or status.headers["range"] != f"0-{unfinished.arrived - 1}":
            told = f"{status.status_code} {status.headers.get('range')}"
            raise Lost(f"{self.name}: of an upload {unfinished.arrived} bytes arrived, and its status is {told}")
        self.held["chunks"] += 1
        return Unfinished(status.headers["location"], unfinished.blob, unfinished.arrived)


def _loose(seed: str, size: int) -> Blob:
    """A blob that no image has."""
    return Blob("application/octet-stream", random.Random(seed).randbytes(size))
