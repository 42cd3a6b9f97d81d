"""A registry without HTTP, on a store and an index of its own, and a clock that tests move."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import select

from lading.jobs.events import By
from lading.jobs.outbox import Outbox
from lading.oci.digest import Digest
from lading.oci.manifest import Manifest, parse
from lading.registry.collect import Collect
from lading.registry.collection import Report, Terms
from lading.registry.delete import Delete
from lading.registry.pull import Pull
from lading.registry.push import Push, PushPolicy
from lading.registry.uploads import Uploads
from lading.stores.blobs.filesystem import FilesystemStore
from lading.stores.blobs.localfile import LocalFile
from lading.stores.metadata.clock import DatabaseClock
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.schema.content import blobs
from lading.stores.metadata.transaction import Statement, Transaction
from tests.support.images import Blob, Image, Index, image

T = TypeVar("T")

BY = By(actor="someone", request_id="request", method="PUT")
SECRET = b"the installation's secret"
HOUR = 3_600_000
AT_ONCE = Terms(grace=0, untagged=0, wait=0)

_ALL_BLOBS = Statement(select(blobs.c.digest, blobs.c.present, blobs.c.condemned_at, blobs.c.touched_at))


class Clock:
    """Stands in for the ``time`` module where the index's time comes from; it moves when told to."""

    def __init__(self) -> None:
        self.milliseconds = 1_700_000_000_000

    def take_the_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Be the time of the index in this process, also where a database has a clock of its own."""
        monkeypatch.setattr("lading.stores.metadata.clock.time", self)
        monkeypatch.setattr(DatabaseClock, "measured", lambda *_: None)
        monkeypatch.setattr(DatabaseClock, "is_older_than", lambda *_: False)

    def time_ns(self) -> int:
        return self.milliseconds * 1_000_000

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def pass_by(self, milliseconds: float) -> None:
        self.milliseconds += int(milliseconds)


class World:
    """Everything one process needs. Two of them on one ``root`` are two processes."""

    def __init__(self, root: Path, url: str = "", *, policy: PushPolicy | None = None, listening: bool = True) -> None:
        self.root = root
        self.url = url or f"sqlite:///{root / 'lading' / 'index.sqlite'}"
        self.store = FilesystemStore(root, threads=4)
        self.metadata = open_index(self.url)
        self.outbox = Outbox(self.metadata, listening=listening)
        self.uploads = Uploads(self.metadata, self.store, self.outbox, SECRET)
        self.push = Push(self.metadata, self.store, self.outbox, policy or PushPolicy())
        self.pull = Pull(self.metadata, self.store, self.outbox)
        self.delete = Delete(self.metadata, self.outbox)
        self.collect = Collect(self.metadata, self.store)

    async def close(self) -> None:
        await self.metadata.close()
        await self.store.close()

    # ---- bring in

    async def put_blob(self, repository: str, data: bytes) -> Digest:
        digest = Digest.of(data)
        await self.uploads.push(repository, digest, stream(data), BY)
        return digest

    async def put_manifest(self, repository: str, manifest: Blob, *tags: str) -> Manifest:
        return await self.push.manifest(
            repository, Digest(manifest.digest), tags, manifest.media_type, manifest.data, BY
        )

    async def put(self, repository: str, content: Image | Index, *tags: str) -> Digest:
        """Everything of an image or an index, children first."""
        if isinstance(content, Index):
            for one in content.images:
                await self.put(repository, one)
        else:
            for blob in content.blobs:
                await self.put_blob(repository, blob.data)
        return (await self.put_manifest(repository, content.manifest, *tags)).digest

    # ---- look

    async def has_manifest(self, repository: str, reference: str) -> bool:
        return await _there(self.pull.manifest(repository, reference, by_digest=":" in reference))

    async def has_blob(self, repository: str, digest: str) -> bool:
        """Whether a blob is visible, as HEAD answers it (which takes the collector's mark off)."""
        return await _there(self.pull.blob_size(repository, Digest(digest)))

    async def read(self, repository: str, digest: str) -> bytes:
        file = await self.pull.blob(repository, Digest(digest))
        assert isinstance(file, LocalFile)
        try:
            return b"".join([data async for data in file.chunks(0, file.size)])
        finally:
            file.close()

    async def read_all(self, repository: str, tag: str) -> set[str]:
        """Read the manifest that a tag points to and every blob it names, byte for byte; their digests."""
        stored = await self.pull.manifest(repository, tag, by_digest=False)
        manifest = parse(stored.raw, stored.media_type)
        assert manifest.digest == stored.digest
        named = {descriptor.digest for descriptor in manifest.blobs()}
        for digest in named:
            assert Digest.of(await self.read(repository, digest)) == digest
        return named

    async def rows(self) -> dict[str, tuple[bool, int | None, int]]:
        """Every blob in the index: present, condemned_at, touched_at."""
        found = await self.metadata.read(lambda tx: tx.rows(_ALL_BLOBS))
        return {row[0]: (bool(row[1]), row[2], row[3]) for row in found}

    def files(self) -> set[str]:
        """Every blob whose bytes lie in the store."""
        return {digest for digest, _ in self.store._blobs()}

    async def write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await self.metadata.write(work)

    async def run(self, terms: Terms = AT_ONCE) -> Report:
        """Collect, under the promise of every run: ``preview`` told it before."""
        return await self.collect.run(terms)


async def stream(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def broken(parts: Iterable[bytes], error: BaseException) -> AsyncIterator[bytes]:
    """A sender that breaks off."""
    for part in parts:
        yield part
    raise error


async def _there(work: Awaitable[Any]) -> bool:
    from lading.errors import Missing

    try:
        await work
    except Missing:
        return False
    return True


def tiny(seed: object, *, layers: Sequence[int] = (50,), **options: Any) -> Image:
    """A small image of its own."""
    return image(seed, layers, **options)
