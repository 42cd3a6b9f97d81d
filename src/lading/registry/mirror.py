"""The mirror: what is not here is fetched from another registry, kept, and handed out meanwhile.

What was fetched is ordinary content of the store and the index, and goes by collection. **A tag** is believed for a
while (``revalidate``), then the upstream is asked by HEAD whether it moved. Where the upstream limits us, fails or is away,
what is here is served and said to be old; that it has no such tag is an answer, and takes the tag away here. A manifest or
a blob by its digest is never asked for again.

``tags.moved_at`` is when the upstream last said so, which all processes see; what nobody asks for grows old in it, and
``mirrored.py`` takes it away.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TypeVar

from msgspec import structs
from sqlalchemy import bindparam, exists, select, text

from lading import errors
from lading.jobs.events import By
from lading.jobs.leases import Leases
from lading.jobs.outbox import Outbox
from lading.oci.digest import Digest
from lading.oci.manifest import Descriptor
from lading.registry.admission import Admission
from lading.registry.arrivals import Arrival
from lading.registry.blobs import Blobs
from lading.registry.fills import Fill, Reader
from lading.registry.flights import Flights
from lading.registry.listed import Lists, Stale
from lading.registry.manifests import Manifests, Referrer
from lading.registry.pull import Elsewhere, Pull, StoredManifest
from lading.registry.push import Push, PushPolicy
from lading.registry.recent import Contents
from lading.registry.repositories import Repositories, below
from lading.registry.tags import Tags
from lading.registry.uploads import Uploads
from lading.registry.upstream import Upstream, weight
from lading.stores.blobs.base import BlobFile, BlobStore, Inflow, pieces
from lading.stores.metadata.schema.content import blobs, manifest_blobs, manifests, repositories, repository_blobs, tags
from lading.stores.metadata.transaction import Metadata, Statement, Transaction

log = logging.getLogger(__name__)
T = TypeVar("T")

_CONFIRMED = Statement(
    select(tags.c.moved_at)
    .join(repositories, repositories.c.id == tags.c.repository_id)
    .where(repositories.c.name == bindparam("name"), tags.c.name == bindparam("tag"))
)
_elsewhere = repositories.alias("elsewhere")
_NAMED = Statement(
    select(
        blobs.c.size,
        blobs.c.present,
        exists()
        .where(
            repository_blobs.c.blob_id == blobs.c.id,
            repository_blobs.c.repository_id == _elsewhere.c.id,
            _elsewhere.c.name >= bindparam("first"),
            _elsewhere.c.name < bindparam("last"),
        )
        .label("near"),
    )
    .select_from(repositories)
    .join(manifests, manifests.c.repository_id == repositories.c.id)
    .join(manifest_blobs, manifest_blobs.c.manifest_id == manifests.c.id)
    .join(blobs, blobs.c.id == manifest_blobs.c.blob_id)
    .where(repositories.c.name == bindparam("name"), blobs.c.digest == bindparam("digest"))
    .limit(1)
)
_FORGET = Statement(
    text(
        "DELETE FROM tags WHERE repository_id = :repository AND name = :tag"
        " AND manifest_id IN (SELECT manifest_id FROM mirrored)"
    )
)
"""What somebody pushed, to a repository that was none of a mirror's then, is not an upstream's to take away."""
_PATIENCE_SECONDS = 5.0
_DENIED_SECONDS = 10.0
_MOST_DENIED = 10_000
_MOST_BROKEN = 16
_FOLLOWED = 1 << 20
"""Bytes from which on a blob takes long enough for other processes to follow it."""
_MOST_TAGS = 100_000
_MOST_REFERRERS = 4 << 20
"""Bytes of what refers to one image that are told."""
_NOBODY = By()
_BROKE = (errors.Unreachable, errors.Unavailable, errors.TooMany)
_AWAY = (errors.TooMany, errors.Unavailable, errors.RemoteError, errors.Denied)


class Mirror(Pull):
    """Hands out what is here, and what ``upstream`` has. ``revalidate`` is in seconds.

    Blobs on their way to a store of objects lie in ``folder`` as well (None: where the system keeps such files).
    ``stays``: a tag that the upstream has no longer is served on.
    ``admission`` is asked when something comes in; ``contents`` is what is shared with others of the process.
    """

    def __init__(
        self,
        metadata: Metadata,
        store: BlobStore,
        outbox: Outbox,
        upstream: Upstream,
        *,
        leases: Leases,
        revalidate: float,
        outage: float = 0,
        depth: int = 32,
        folder: Path | None = None,
        stays: bool = False,
        admission: Admission | None = None,
        contents: Contents | None = None,
    ) -> None:
        super().__init__(metadata, store, outbox, outage)
        self._contents = contents or self._contents
        self._upstream = upstream
        self._below = below(upstream.prefix)
        self._revalidate = int(revalidate * 1000)
        self._folder = folder
        self._stays = stays
        self._flights = Flights(leases)
        self._denied: OrderedDict[str, tuple[float, errors.LadingError]] = OrderedDict()
        self._fills: OrderedDict[str, Fill] = OrderedDict()
        self._doubted: OrderedDict[str, None] = OrderedDict()
        self._lists = Lists(revalidate)
        # nobody pushed what is fetched, so nobody is told that somebody did
        quiet = Outbox(metadata, listening=False)
        anything = PushPolicy(lambda child: False, blobs_required=False, urls_checked=False, most_depth=depth)
        self._push = Push(metadata, store, quiet, anything, admission)
        self._uploads = Uploads(metadata, store, quiet, b"", admission)

    async def close(self) -> None:
        """Break off what is being fetched."""
        await self._flights.close()
        for fill in self._fills.values():
            fill.let_go()
        self._fills.clear()
        await self._upstream.close()

    async def retire(self) -> None:
        """Let what is being fetched come to its end, then close."""
        try:
            await self._flights.settled()
        finally:
            await self.close()

    # ---- manifests

    async def manifest(self, repository: str, reference: str, *, by_digest: bool) -> StoredManifest:
        if by_digest:
            try:
                return await super().manifest(repository, reference, by_digest=True)
            except errors.Missing:
                bring = partial(self._bring, repository, Digest(reference), [])
                await self._fetch(repository, reference, partial(self._has_manifest, repository, reference), bring)
            return await super().manifest(repository, reference, by_digest=True)
        try:
            confirmed = await self._confirmed(repository, reference)
        except errors.Unavailable:
            return await super().manifest(repository, reference, by_digest=False)
        if self._fresh(confirmed):
            return await super().manifest(repository, reference, by_digest=False)
        # what is here need not wait for an upstream that takes its time; it is asked on
        patience = None if confirmed is None else _PATIENCE_SECONDS
        try:
            fresh = partial(self._is_fresh, repository, reference)
            work = partial(self._refresh, repository, reference)
            async with asyncio.timeout(patience):
                await self._fetch(repository, reference, fresh, work)
        except (*_AWAY, TimeoutError) as error:
            if confirmed is None:
                raise
            why = error.message if isinstance(error, errors.LadingError) else "the upstream takes its time"
            log.warning("%s:%s is served as it was: %s", repository, reference, why)
            return await self._as_it_was(repository, reference, confirmed, error)
        return await super().manifest(repository, reference, by_digest=False)

    async def _as_it_was(self, repository: str, tag: str, confirmed: int, error: Exception) -> StoredManifest:
        try:
            found = await super().manifest(repository, tag, by_digest=False)
        except errors.Missing:
            raise error from None  # it went meanwhile; that the upstream has none is for the upstream to say
        return structs.replace(found, age=max(0, self._metadata.now() - confirmed) // 1000)

    async def _refresh(self, repository: str, tag: str) -> None:
        found = await self._upstream.resolve(repository, tag)
        if found is None:
            if self._stays and await self._confirmed(repository, tag) is not None:
                return
            await self._metadata.write(lambda tx: _forget(tx, repository, tag))
            raise errors.ManifestUnknown(
                f"{self._upstream.host} has no {self._upstream.named(repository)}:{tag}", detail={"tag": tag}
            )
        digest = Digest.parse(found.digest)
        if not await self._metadata.write(lambda tx: _point(tx, repository, tag, digest), durable=False):
            await self._bring(repository, digest, [tag])

    async def _bring(self, repository: str, digest: Digest, names: list[str]) -> None:
        found = await self._upstream.manifest(repository, digest)
        try:
            await self._push.manifest(repository, digest, names, found.media_type, found.raw, _NOBODY)
        except errors.Invalid as error:  # the client said nothing wrong
            raise errors.BadAnswer(f"{self._upstream.host}: {error.message}") from None

    async def _confirmed(self, repository: str, tag: str) -> int | None:
        row = await self._metadata.row(_CONFIRMED, name=repository, tag=tag)
        return None if row is None else int(row[0])

    def _fresh(self, confirmed: int | None) -> bool:
        return confirmed is not None and self._metadata.now() - confirmed < self._revalidate

    async def _is_fresh(self, repository: str, tag: str) -> bool:
        return self._fresh(await self._confirmed(repository, tag))

    async def _has_manifest(self, repository: str, digest: str) -> bool:
        try:
            await super().manifest(repository, digest, by_digest=True)
        except errors.Missing:
            return False
        return True

    # ---- blobs

    async def blob_size(self, repository: str, digest: Digest) -> int:
        try:
            return await super().blob_size(repository, digest)
        except errors.Missing:
            return await self._size(repository, digest)

    async def blob(self, repository: str, digest: Digest) -> BlobFile | Elsewhere:
        here = await self._here(repository, digest)
        if here is not None:
            return here
        fill = self._fill(repository, digest, await self._size(repository, digest))
        reader = Reader(fill, self._store)
        try:
            await fill.begun()
        except BaseException:
            reader.close()
            raise
        return reader

    async def file(self, repository: str, digest: Digest) -> BlobFile:
        found = await self.blob(repository, digest)
        return await self._open(repository, digest, found.size) if isinstance(found, Elsewhere) else found

    async def _here(self, repository: str, digest: Digest) -> BlobFile | Elsewhere | None:
        """A blob that is in the store, also one that came by another repository; None if it is to be fetched."""
        for _ in range(2):
            try:
                size = await super().blob_size(repository, digest)
                url = await self._store.redirect(digest)
                return Elsewhere(url, size) if url is not None else await self._open(repository, digest, size)
            except errors.Missing:
                if not await self._adopt(repository, digest):
                    break
        return None

    async def _size(self, repository: str, digest: Digest) -> int:
        row = await self._metadata.row(_NAMED, name=repository, digest=digest, **self._below)
        if row is not None and (row[1] or digest not in self._doubted):
            return int(row[0])
        name = f"{repository}@{digest}?blob"  # it may be a manifest
        self._remembered(name)
        size = await self._upstream.blob_size(repository, digest)
        if size is None:
            unknown = errors.BlobUnknown(
                f"{self._upstream.host} has no blob {digest} in {self._upstream.named(repository)}",
                detail={"digest": digest},
            )
            self._remember(name, unknown)
            raise unknown
        return size

    async def _adopt(self, repository: str, digest: Digest) -> bool:
        """Make a blob visible that came from the same upstream by another repository, and that a manifest here names.

        What is in other repositories may be secret, and a manifest can name anything.
        """
        row = await self._metadata.row(_NAMED, name=repository, digest=digest, **self._below)
        if row is None or not row[1] or not row[2]:
            return False

        async def link(tx: Transaction) -> bool:
            return await Blobs(tx).link(await Repositories(tx).ensure(repository), digest)

        return await self._metadata.write(link, durable=False)

    def _fill(self, repository: str, digest: Digest, size: int) -> Fill:
        fill = self._fills.get(digest)
        if fill is not None and fill.error is not None and fill.size != size:
            self._drop(digest)
            fill = None
        if fill is None:
            fill = self._fills[digest] = Fill(digest, size, self._folder, self._arrival(digest, size))
            fill.hold()
        if fill.error is not None:
            fill.again()
        self._flights.begin(digest, partial(self._run, fill, repository))
        return fill

    def _arrival(self, digest: Digest, size: int) -> Arrival | None:
        if self._folder is None or size < _FOLLOWED:
            return None
        return Arrival(self._folder, self._upstream.prefix + digest)

    async def _run(self, fill: Fill, repository: str) -> None:
        digest = fill.digest
        try:
            here = partial(self._has_blob, repository, digest)
            name = self._upstream.prefix + digest
            await self._flights.alone(name, here, partial(self._store_blob, fill, repository), fill.read_elsewhere)
            fill.end()
        except BaseException as error:
            fill.end(error)
            if isinstance(error, errors.BadAnswer):
                self._doubt(digest)
            if isinstance(error, _BROKE):
                log.warning("%s of %s broke after %d of %d bytes", digest, repository, fill.held, fill.size)
                self._keep_broken(digest)
            else:
                self._drop(digest)
            raise
        self._drop(digest)

    async def _store_blob(self, fill: Fill, repository: str) -> None:
        fill.here()
        try:
            async with aclosing(self._arriving(fill, repository)) as chunks:
                await self._uploads.push(repository, fill.digest, chunks, _NOBODY, fill)
        except (errors.DigestInvalid, errors.SizeInvalid) as error:
            raise errors.BadAnswer(f"{self._upstream.host} sends something else as {fill.digest}") from error
        except OSError as error:
            raise errors.Unavailable(f"{fill.digest} cannot be kept: {error.strerror}") from error
        finally:
            fill.arrived()

    async def _arriving(self, fill: Fill, repository: str) -> AsyncGenerator[bytes | Inflow]:
        place = 0
        async for chunk in fill.kept():
            place += len(chunk)
            yield chunk
        if place < fill.size:
            blob = Descriptor(digest=fill.digest, size=fill.size)
            async with aclosing(self._upstream.blob(repository, blob, place)) as parts:
                async for part in parts if fill.followed else pieces(parts):
                    coming = len(part) if isinstance(part, bytes) else part.left
                    if place + coming > fill.size:
                        raise errors.SizeInvalid(f"there are more than {fill.size} bytes")
                    if isinstance(part, bytes):
                        fill.add(part)
                    yield part
                    place += coming if isinstance(part, bytes) else coming - part.left

    def _doubt(self, digest: str) -> None:
        """A manifest may have lied about the size: the next time the upstream is asked for it."""
        self._doubted[digest] = None
        if len(self._doubted) > _MOST_DENIED:
            self._doubted.popitem(last=False)

    def _keep_broken(self, digest: str) -> None:
        self._fills.move_to_end(digest)
        broken = [name for name, each in self._fills.items() if each.error is not None]
        for name in broken[:-_MOST_BROKEN]:
            self._drop(name)

    def _drop(self, digest: str) -> None:
        fill = self._fills.pop(digest, None)
        if fill is not None:
            fill.let_go()

    async def _has_blob(self, repository: str, digest: Digest) -> bool:
        found = await self._here(repository, digest)
        if found is not None and not isinstance(found, Elsewhere):
            found.close()
        return found is not None

    # ---- lists

    async def tags(self, repository: str, after: str, limit: int) -> tuple[list[str], bool]:
        """The upstream's tags, believed as long as one tag; those that are here, where it cannot be asked."""
        try:
            found = await self._list(f"{repository}?tags", partial(self._list_tags, repository))
        except _AWAY as error:
            try:
                page, more = await super().tags(repository, after, limit)
            except errors.Missing:
                raise error from None
            return Stale(page), more
        return _page(found, [tag for tag in found if tag > after], limit)

    async def _list_tags(self, repository: str) -> tuple[list[str], int]:
        found = await self._upstream.tags(repository, _MOST_TAGS)
        return found, sum(60 + len(tag) for tag in found)

    async def referrers(
        self, repository: str, subject: Digest, artifact_type: str, after: str, limit: int
    ) -> tuple[list[Referrer], bool]:
        """What the upstream says refers to a subject, believed as long as a tag; what is here, where it cannot be asked."""
        try:
            name = f"{repository}@{subject}?referrers"
            found = await self._list(name, partial(self._list_referrers, repository, subject))
        except _AWAY:
            page, more = await super().referrers(repository, subject, artifact_type, after, limit)
            return Stale(page), more
        rest = [
            one for one in found if one.digest > after and (not artifact_type or one.artifact_type == artifact_type)
        ]
        return _page(found, rest, limit)

    async def _list_referrers(self, repository: str, subject: Digest) -> tuple[list[Referrer], int]:
        found = await self._upstream.referrers(repository, subject, _MOST_REFERRERS)
        listed = {
            one.digest: Referrer(one.digest, one.media_type, one.size, one.artifact_type or "", one.annotations or {})
            for one in found
        }
        return [listed[digest] for digest in sorted(listed)], sum(map(weight, found))

    async def _list(self, name: str, ask: Callable[[], Awaitable[tuple[list[T], int]]]) -> Sequence[T]:
        """A list, asked for once for all who want it; the last one, where the upstream cannot be asked or takes its time."""
        found = self._lists.find(name)
        if found is not None:
            return found
        before = self._lists.last(name)

        async def work() -> None:
            self._lists.keep(name, *(await ask()))

        try:
            async with asyncio.timeout(None if before is None else _PATIENCE_SECONDS):
                await self._flights.share(name, work)
        except (*_AWAY, TimeoutError) as error:
            why = error.message if isinstance(error, errors.LadingError) else "the upstream takes its time"
            log.warning("the list %s is told as it was, or as far as it is here: %s", name, why)
            if before is None:
                raise
            return Stale(before)
        return self._lists.last(name) or ()

    # ---- asking

    async def _fetch(
        self, repository: str, reference: str, done: Callable[[], Awaitable[bool]], work: Callable[[], Awaitable[None]]
    ) -> None:
        """Once for all who ask; that there is no such thing is remembered for some seconds."""
        name = f"{repository}@{reference}"
        self._remembered(name)
        try:
            await self._flights.share(name, partial(self._flights.alone, name, done, work))
        except errors.Missing as error:
            self._remember(name, error)
            raise

    def _remembered(self, name: str) -> None:
        until, error = self._denied.get(name, (0.0, None))
        if error is not None and until > time.monotonic():
            raise type(error)(error.message, detail=error.detail)

    def _remember(self, name: str, error: errors.LadingError) -> None:
        self._denied[name] = time.monotonic() + _DENIED_SECONDS, error
        self._denied.move_to_end(name)
        if len(self._denied) > _MOST_DENIED:
            self._denied.popitem(last=False)


def _page(found: Sequence[T], rest: list[T], limit: int) -> tuple[list[T], bool]:
    page = rest[:limit]
    return Stale(page) if isinstance(found, Stale) else page, len(rest) > limit


async def _point(tx: Transaction, repository: str, tag: str, digest: Digest) -> bool:
    own = await Repositories(tx).hold(repository)
    manifest = None if own is None else await Manifests(tx).find(own, digest)
    if own is None or manifest is None:
        return False
    await Tags(tx).point(own, tag, manifest)
    return True


async def _forget(tx: Transaction, repository: str, tag: str) -> None:
    own = await Repositories(tx).hold(repository)
    if own is not None:
        await tx.execute(_FORGET, repository=own, tag=tag)
