"""The whole registry against a plain model of one: two workers behind HTTP, kills and collections in between.

The history and the model are those of ``tests/properties/test_collect.py``; what answers here is the real server, which
is killed and started again where the other one lets time pass.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Mapping
from contextlib import AbstractContextManager
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test

from lading.errors import BlobUnknown, ManifestBlobUnknown, ManifestUnknown, Unavailable
from lading.oci.digest import Digest
from lading.stores.blobs.filesystem import FilesystemStore
from tests.faults.server import Launcher, Server
from tests.properties.test_collect import BLOBS, MANIFESTS, NAMES, TAGS, Machine
from tests.support.counts import Count
from tests.support.http import Client
from tests.support.images import Blob
from tests.support.plain import Gone, Plain, Reply

T = TypeVar("T")

OPERATIONS = 100_000
"""Of the long run."""


class Served:
    """The world of that history, behind HTTP; what it asks of the registry's parts is asked of the server."""

    def __init__(self, launcher: Launcher, root: Path) -> None:
        self.server = Server(launcher, root, workers=2)
        self.store = FilesystemStore(self.server.storage)
        self.clients = [Plain(self.server.port) for _ in range(3)]
        self._turns = cycle(self.clients)
        self.operations = self.requests = self.kills = self.collections = 0
        self._serving: AbstractContextManager[Client] | None = None
        self.uploads = SimpleNamespace(mount=self.mount)
        self.delete = SimpleNamespace(tag=self.delete_manifest, manifest=self.delete_manifest, blob=self.delete_blob)
        self.pull = SimpleNamespace(manifest=self.manifest)
        self.start()

    def start(self) -> None:
        self._serving = self.server.serving()
        self._serving.__enter__()

    def kill(self) -> None:
        assert self._serving is not None
        self._serving.__exit__(None, None, None)
        self.kills += 1

    def ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request, over one connection after the other, so that it may reach either worker."""
        self.requests += 1
        client = next(self._turns)
        try:
            return client.ask(method, path, params, content, headers)
        except Gone:  # the connection is that of a server that was killed
            return client.ask(method, path, params, content, headers)

    async def put_blob(self, repository: str, data: bytes) -> Digest:
        digest = Digest.of(data)
        answer = self.ask("POST", f"/v2/{repository}/blobs/uploads/", params={"digest": digest}, content=data)
        assert answer.status_code == 201, answer.text
        return digest

    async def put_manifest(self, repository: str, manifest: Blob, *tags: str) -> None:
        where = f"/v2/{repository}/manifests/{tags[0] if tags else manifest.digest}"
        answer = self.ask("PUT", where, content=manifest.data, headers={"content-type": manifest.media_type})
        if answer.status_code == 400:
            raise ManifestBlobUnknown(answer.text)
        if answer.status_code == 503:
            raise Unavailable(answer.text)
        assert answer.status_code == 201, answer.text

    async def has_blob(self, repository: str, digest: str) -> bool:
        return self.ask("HEAD", f"/v2/{repository}/blobs/{digest}").status_code == 200

    async def mount(self, repository: str, digest: Digest, source: str, by: object) -> bool:
        where = f"/v2/{repository}/blobs/uploads/"
        answer = self.ask("POST", where, params={"mount": digest, "from": source})
        if answer.status_code == 201:
            return True
        assert answer.status_code == 202, answer.text
        assert self.ask("DELETE", answer.headers["location"]).status_code == 204
        return False

    async def delete_manifest(self, repository: str, reference: str, by: object) -> None:
        answer = self.ask("DELETE", f"/v2/{repository}/manifests/{reference}")
        if answer.status_code == 404:
            raise ManifestUnknown(answer.text)
        assert answer.status_code == 202, answer.text

    async def delete_blob(self, repository: str, digest: Digest, by: object) -> None:
        answer = self.ask("DELETE", f"/v2/{repository}/blobs/{digest}")
        if answer.status_code == 404:
            raise BlobUnknown(answer.text)
        assert answer.status_code == 202, answer.text

    async def manifest(self, repository: str, reference: str, *, by_digest: bool) -> SimpleNamespace:
        answer = self.ask("GET", f"/v2/{repository}/manifests/{reference}", headers={"accept": "*/*"})
        assert answer.status_code == 200, f"{repository}:{reference} by digest: {by_digest}: {answer.status_code}"
        return SimpleNamespace(digest=answer.headers["docker-content-digest"], raw=answer.content)

    def files(self) -> set[str]:
        return {digest for digest, _ in self.store._blobs()}

    async def close(self) -> None:
        self.kill()
        for client in self.clients:
            client.close()


class Real(Machine):
    """That history, told to a server."""

    launcher: Launcher
    told: list[Served]
    pace: int
    """How many times as much happens between two kills, and between two collections."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp(prefix="lading-model-"))
        self.world: Any = Served(self.launcher, self.root)
        self.told.append(self.world)
        self.due = {"kill": 0, "collection": 0}
        self.manifests = {"a": set(), "b": set()}
        self.tags = {}

    def teardown(self) -> None:
        if hasattr(self, "world"):
            assert self.world.server.verify() == 0, self.world.server.said
            self.do(self.world.close())
            self.loop.close()
            shutil.rmtree(self.root)

    def do(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self.loop.run_until_complete(wait())

    @precondition(lambda self: self.is_due("kill"))
    @rule()
    def time_passes(self) -> None:
        """All processes are killed, and started again."""
        self.put_off("kill", 60 * self.pace)
        self.world.kill()
        self.world.start()

    @rule(name=NAMES, digest=st.sampled_from(sorted(MANIFESTS)), tag=TAGS)
    def push_again(self, name: str, digest: str, tag: str) -> None:
        """What clients do most."""
        self.push_everything(name, digest, tag)

    @rule(
        name=NAMES,
        digest=st.sampled_from(sorted(MANIFESTS)),
        tag=TAGS,
        other=NAMES,
        blob=st.sampled_from(sorted(BLOBS)),
    )
    def push_and_mount(self, name: str, digest: str, tag: str, other: str, blob: str) -> None:
        self.push_everything(name, digest, tag)
        self.mount(other, name, blob)

    @invariant()
    def is_counted(self) -> None:
        """Asked after each operation."""
        if hasattr(self, "world"):
            self.world.operations += 1

    def is_due(self, what: str) -> bool:
        """Whether enough happened since the last one that another one can find something."""
        return bool(hasattr(self, "world") and self.world.requests >= self.due[what])

    def put_off(self, what: str, requests: int) -> None:
        self.due[what] = self.world.requests + requests

    @precondition(lambda self: self.is_due("collection"))
    @rule()
    def collect(self) -> None:
        """Without grace exactly what is referenced is left."""
        self.put_off("collection", 15 * self.pace)
        assert self.world.server.collect() == 0
        self.world.collections += 1
        for name in self.manifests:
            self.manifests[name] = self.living(name)
        self.after(set())


@pytest.mark.slow
@pytest.mark.timeout(36_000)
def test_the_server_is_what_the_model_is(long: bool, count: Count) -> None:
    launcher = Launcher()
    told: list[Served] = []
    machine = type("TheServer", (Real,), {"launcher": launcher, "told": told, "pace": 12 if long else 1})
    wanted, examples, steps = (OPERATIONS, 20, 200) if long else (200, 6, 40)
    while sum(one.operations for one in told) < wanted:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                derandomize=not long,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    launcher.close()
    operations, requests, kills, collections = (
        sum(getattr(one, name) for one in told) for name in ("operations", "requests", "kills", "collections")
    )
    count(
        f"model: {operations} operations in {len(told)} histories, {requests} requests to two workers, {kills} kills, "
        f"{collections} collections; 0 divergences"
    )
    assert requests > operations
    assert kills > len(told)
    assert collections > len(told) // 2
