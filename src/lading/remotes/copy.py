"""From one registry to another, whatever either is: walk, skip what is there, mount, move the rest in parallel.

Children come before parents, so that a registry never has a manifest without what it refers to, and whatever was
moved before a failure is skipped the next time. Memory is bounded: a few blobs at a time, a piece of each.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Protocol, TypeVar

from lading import errors
from lading.oci import mediatypes
from lading.oci.manifest import Descriptor, Manifest, Platform
from lading.oci.reference import is_tag
from lading.remotes import choice, referrers
from lading.remotes.base import Chunks, RegistryClient, Source

T = TypeVar("T")

PARALLEL = 4
"""How many blobs move at the same time."""
_DEEPEST = 32
"""How many manifests may follow from one another, each named by the one before: indexes in indexes, signatures of signatures."""


class Watch(Protocol):
    """Hears how far a copy is. ``what`` names a blob; sizes are in bytes."""

    def begin(self, blob: Descriptor) -> None: ...

    def reads(self, blob: Descriptor, start: int) -> None:
        """It is read from this byte on: at first, and where a transfer broke and goes on, or begins anew."""
        ...

    def moved(self, blob: Descriptor, count: int) -> None: ...

    def end(self, blob: Descriptor, how: str) -> None:
        """``how`` is one of "moved", "there", "mounted"."""
        ...


class Silent:
    """Nobody listens."""

    def begin(self, blob: Descriptor) -> None: ...

    def reads(self, blob: Descriptor, start: int) -> None: ...

    def moved(self, blob: Descriptor, count: int) -> None: ...

    def end(self, blob: Descriptor, how: str) -> None: ...


@dataclass
class Report:
    """What a copy came to; counts of blobs, bytes that travelled."""

    moved: int = 0
    there: int = 0
    mounted: int = 0
    bytes: int = 0
    manifests: int = 0


@dataclass(frozen=True)
class Side:
    """A repository of a registry."""

    client: RegistryClient
    repository: str = ""


class Pace:
    """So many bytes a second, together, however many blobs move."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._free_at = 0.0

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """A chunk in pieces of half a second each, so that nobody takes the silence between them for the end."""
        step = max(1, self._rate // 2)
        return (chunk[start : start + step] for start in range(0, len(chunk), step))

    async def turn(self, count: int) -> None:
        """Wait until so many bytes may go."""
        now = time.monotonic()
        begin = max(now, self._free_at)
        self._free_at = begin + count / self._rate
        await asyncio.sleep(begin - now)


@dataclass
class Copy:
    """One or more images' way from ``source`` to ``target``, several at the same time if wanted.

    With ``wanted`` only that platform's image of an index is taken; without, all of it. With ``exact`` a lone image for
    another platform is refused, since the user has named one. ``same`` says that both are
    the same registry, so that blobs can be mounted; ``mounts`` names other repositories of the target's where a blob
    may be. ``referrers`` takes signatures and the like along, ``beside`` also
    those that cosign finds by a tag. ``pace`` holds bytes back.
    ``complete`` is for a target that is of no use without foreign layers, too: an archive for an engine.
    ``thorough`` is for a target that holds nobody to the protocol's rule that what is there has all that it names.
    """

    source: Side
    target: Side
    wanted: Platform | None = None
    exact: bool = False
    same: bool = False
    referrers: bool = False
    beside: bool = False
    complete: bool = False
    thorough: bool = False
    mounts: Callable[[Descriptor], Awaitable[Sequence[str]]] | None = None
    pace: Pace | None = None
    watch: Watch = field(default_factory=Silent)
    report: Report = field(default_factory=Report)

    def __post_init__(self) -> None:
        self._turns = asyncio.Semaphore(PARALLEL)
        self._blobs: dict[str, asyncio.Task[None]] = {}
        self._waiters: Counter[str] = Counter()
        self._done: set[str] = set()

    async def image(self, reference: str, names: Sequence[str]) -> Manifest:
        """Copy what ``reference`` stands for and give it ``names``; the manifest that was copied."""
        manifest = await self.source.client.manifest(self.source.repository, reference)
        if self.wanted is not None and manifest.children:
            manifest = await choice.chosen(self.source.client, self.source.repository, manifest, self.wanted)
        elif self.wanted is not None and self.exact:
            await choice.check(self.source.client, self.source.repository, manifest, self.wanted)
        await self._tree(manifest, names)
        return manifest

    async def _tree(self, manifest: Manifest, names: Sequence[str], depth: int = 0) -> None:
        """A manifest and all below it, then what refers to it."""
        if depth > _DEEPEST:
            raise errors.ManifestInvalid(f"more than {_DEEPEST} manifests name one another in a row; that is refused")
        for child in manifest.children:
            if child.digest not in self._done and child.media_type in mediatypes.MANIFESTS:
                if await self._is_there(child):
                    self._done.add(child.digest)
                    continue
                below = await choice.child_of(self.source.client, self.source.repository, child)
                await self._tree(below, [child.digest], depth + 1)
        # an index may list blobs among its manifests, as a build cache does
        blobs = (*manifest.blobs(), *(one for one in manifest.children if one.media_type not in mediatypes.MANIFESTS))
        foreign = [self._foreign(layer) for layer in _once(manifest.foreign() if self.complete else ())]
        # first what may not be there: all else would come in vain
        await together([*foreign, *(self._blob(blob) for blob in _once(blobs))])
        for name in names:
            await self.target.client.put_manifest(self.target.repository, name, manifest)
        self.report.manifests += 1
        self._done.add(manifest.digest)
        if self.referrers:
            async for descriptor in self.source.client.referrers(self.source.repository, manifest.digest):
                if descriptor.digest not in self._done:
                    found = await self.source.client.manifest(self.source.repository, descriptor.digest)
                    await self._tree(found, [found.digest], depth + 1)
        if self.beside:
            await self._beside(manifest, depth)

    async def _beside(self, manifest: Manifest, depth: int) -> None:
        for tag in (referrers.tag_beside(manifest.digest, ending) for ending in referrers.BESIDE):
            if is_tag(tag) and await self.source.client.resolve(self.source.repository, tag):
                await self._tree(await self.source.client.manifest(self.source.repository, tag), [tag], depth + 1)

    async def _is_there(self, child: Descriptor) -> bool:
        """Whether the target has a child already, and so, by the protocol's rule, all below it."""
        if self.referrers or self.beside or self.thorough or not child.digest:
            return False
        try:
            return await self.target.client.resolve(self.target.repository, child.digest) is not None
        except (errors.Denied, errors.Unauthenticated, errors.ManifestInvalid):
            return False

    async def _blob(self, blob: Descriptor) -> None:
        """Move a blob, once for all images that have it; it is given up when none of them waits for it any more."""
        if blob.digest not in self._blobs:
            self._blobs[blob.digest] = asyncio.ensure_future(self._move(blob))
        moving = self._blobs[blob.digest]
        self._waiters[blob.digest] += 1
        try:
            await asyncio.shield(moving)  # another image may want it still, when this one has failed
        finally:
            self._waiters[blob.digest] -= 1
            if not self._waiters[blob.digest] and not moving.done():
                del self._blobs[blob.digest]
                moving.cancel()
                await asyncio.gather(moving, return_exceptions=True)

    async def _foreign(self, layer: Descriptor) -> None:
        try:
            await self._blob(layer)
        except errors.BlobUnknown as error:
            there = f"only at {layer.urls[0][:200]}" if layer.urls else "elsewhere"
            raise errors.BlobUnknown(
                f"{error.message}: this layer, as Windows images have them, lies {there}, and an archive needs every "
                "layer for docker load. Take another platform's image (--platform), or write a folder instead of an "
                "archive, which leaves such a layer where it is"
            ) from None

    async def _move(self, blob: Descriptor) -> None:
        async with self._turns:
            self.watch.begin(blob)
            how = await self._cheaply(blob)
            if how == "moved":
                await self.target.client.put_blob(self.target.repository, blob, self._watched(blob))
                self.report.moved += 1
                self.report.bytes += blob.size
            self.watch.end(blob, how)

    async def _cheaply(self, blob: Descriptor) -> str:
        if await self.target.client.has_blob(self.target.repository, blob):
            self.report.there += 1
            return "there"
        origins = [self.source.repository] if self.same else []
        if self.mounts is not None:
            origins += await self.mounts(blob)
        for origin in origins:
            if await self.target.client.mount(self.target.repository, blob, origin):
                self.report.mounted += 1
                return "mounted"
        return "moved"

    def _watched(self, blob: Descriptor) -> Source:
        return partial(_Watched, self.source, blob, self.watch, self.pace)


async def together(work: Sequence[Awaitable[T]]) -> list[T]:
    """What all of it comes to, in its order; the first that fails stops the others, is waited for with them, and raised."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Watched:
    """A blob that tells how far it was read."""

    def __init__(self, side: Side, blob: Descriptor, watch: Watch, pace: Pace | None, start: int) -> None:
        self._opened = side.client.blob(side.repository, blob, start)
        self._blob = blob
        self._watch = watch
        self._pace = pace
        self._start = start

    async def __aenter__(self) -> Chunks:
        self._chunks = await self._opened.__aenter__()
        self._watch.reads(self._blob, self._start)
        return self._telling()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._opened.__aexit__(kind, error, trace)

    async def _telling(self) -> AsyncGenerator[bytes]:
        async for chunk in self._chunks:
            if self._pace is None:
                self._watch.moved(self._blob, len(chunk))
                yield chunk
                continue
            for piece in self._pace.pieces(chunk):
                await self._pace.turn(len(piece))
                self._watch.moved(self._blob, len(piece))
                yield piece


def _once(blobs: Sequence[Descriptor]) -> list[Descriptor]:
    """Each digest once: an image may have the same layer twice."""
    return list({blob.digest: blob for blob in blobs}.values())
