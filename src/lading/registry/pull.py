"""Pull: manifests, blobs, and lists of what is there (distribution spec, "Pull", "Content Discovery").

What a tag points to, and whether a repository has a manifest or a blob, is asked of the index for every request: a tag
moved by one process is moved for all. Bytes that have a digest are read once and kept. While the index is away, what
was answered within the last ``outage`` seconds is answered again, and said to be old.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import msgspec

from lading.errors import BlobUnknown, ManifestUnknown, RepositoryUnknown, TooLarge, Unavailable
from lading.jobs.events import BlobPulled, By, ManifestPulled, Target
from lading.jobs.outbox import Outbox
from lading.oci.digest import Digest
from lading.oci.manifest import parse
from lading.oci.mediatypes import OCTET_STREAM
from lading.registry.blobs import VISIBLE, Blobs
from lading.registry.manifests import BY_DIGEST, BY_TAG, CONTENT, Manifests, Referrer
from lading.registry.push import references
from lading.registry.recent import Answers, Contents
from lading.registry.repositories import Repositories
from lading.registry.sight import EVERYTHING, Sight
from lading.registry.tags import Tags
from lading.stores.blobs.base import BlobFile, BlobStore
from lading.stores.metadata.transaction import Metadata, Transaction

log = logging.getLogger(__name__)


class StoredManifest(msgspec.Struct, frozen=True):
    """A manifest as it came in. ``age``: seconds since the index said that this is it; None: it says so now."""

    digest: str
    media_type: str
    raw: bytes
    age: int | None = None


@dataclass(frozen=True)
class Elsewhere:
    """A blob of ``size`` bytes that the client is to fetch from ``url``, where anybody who has it may, for a while."""

    url: str
    size: int


class Pull:
    """Hands content out. ``outage``: for how many seconds it stands in for an index that is away."""

    def __init__(self, metadata: Metadata, store: BlobStore, outbox: Outbox, outage: float = 0) -> None:
        self._metadata = metadata
        self._store = store
        self._outbox = outbox
        self._contents = Contents()
        self._manifests: Answers[tuple[str, str], tuple[str, str]] = Answers(outage)
        self._sizes: Answers[tuple[str, str], int] = Answers(outage)

    async def manifest(self, repository: str, reference: str, *, by_digest: bool) -> StoredManifest:
        """A manifest by tag or digest: one statement, and one more for bytes that are not here yet."""
        asked = repository, reference
        try:
            row = await self._metadata.row(BY_DIGEST if by_digest else BY_TAG, name=repository, reference=reference)
            if row is not None:
                digest, media_type, blob = row
                raw = self._contents.get(digest) or await self._content(digest, blob)
                if raw is not None:
                    self._manifests.keep(asked, (digest, media_type))
                    return StoredManifest(digest, media_type, raw)
        except Unavailable as error:
            (digest, media_type), age = self._manifests.instead_of(error, asked)
            raw = self._contents.get(digest)
            if raw is None:
                raise
            return StoredManifest(digest, media_type, raw, age)
        self._manifests.forget(asked)
        await self._known(repository)
        what = "manifest" if by_digest else "tag"
        raise ManifestUnknown(f"{repository} has no {what} {reference}", detail={what: reference})

    async def blob_size(self, repository: str, digest: Digest) -> int:
        """The size of a blob in bytes. Whoever asks is about to rely on it, so the collector keeps away."""
        try:
            row = await self._metadata.row(VISIBLE, name=repository, digest=digest)
        except Unavailable as error:
            return self._sizes.instead_of(error, (repository, digest))[0]
        if row is not None and row[1] is not None and not await self._rescue(digest):
            row = None
        if row is None:
            self._sizes.forget((repository, digest))
            await self._known(repository)
            raise BlobUnknown(f"{repository} has no blob {digest}", detail={"digest": digest})
        size: int = row[0]
        self._sizes.keep((repository, digest), size)
        return size

    async def blob(self, repository: str, digest: Digest) -> BlobFile | Elsewhere:
        """A blob open for reading (close it), or where the client may fetch it itself."""
        size = await self.blob_size(repository, digest)
        url = await self._store.redirect(digest)
        if url is not None:
            return Elsewhere(url, size)
        return await self._open(repository, digest, size)

    async def file(self, repository: str, digest: Digest) -> BlobFile:
        """The same, always open here: for what reads without a client."""
        return await self._open(repository, digest, await self.blob_size(repository, digest))

    async def small(self, repository: str, digest: Digest, most: int) -> bytes:
        """All of a blob of ``most`` bytes at most, read here even where clients fetch theirs elsewhere."""
        size = await self.blob_size(repository, digest)
        if size > most:
            raise TooLarge(f"the blob {digest} has {size} bytes; {most} are read at most")
        file = await self.file(repository, digest)
        try:
            return b"".join([chunk async for chunk in file.chunks(0, size)])
        except EOFError:
            raise BlobUnknown(f"the bytes of blob {digest} are cut short; push it again") from None
        finally:
            file.close()

    async def _open(self, repository: str, digest: Digest, size: int) -> BlobFile:
        file = await self._store.open(digest)
        if file is not None and file.size == size:
            return file
        if file is None:
            found = "lost"
        else:
            found = f"damaged: {file.size} of {size} are there"
            file.close()
        log.error(
            "the bytes of blob %s of %s are %s; run lading verify --repair, and have it pushed again",
            digest,
            repository,
            found,
        )
        # a client that pushes asks whether the blob is here, and the index says so until it is repaired
        raise BlobUnknown(
            f"the bytes of blob {digest} are {found}; once the registry was repaired (lading verify --repair), push it again",
            detail={"digest": digest},
        )

    async def tags(self, repository: str, after: str, limit: int) -> tuple[list[str], bool]:
        """Up to ``limit`` tags behind ``after``, and whether there are more."""

        async def read(tx: Transaction) -> list[str] | None:
            own = await Repositories(tx).find(repository)
            return None if own is None else await Tags(tx).page(own, after, limit + 1)

        found = await self._metadata.read(read)
        if found is None:
            raise _unknown(repository)
        return found[:limit], len(found) > limit

    async def catalog(self, after: str, limit: int, sight: Sight = EVERYTHING) -> tuple[list[str], bool]:
        """Up to ``limit`` of the repositories seen behind ``after``, and whether there are more."""
        found = await self._metadata.read(lambda tx: Repositories(tx).page(after, limit + 1, sight))
        return found[:limit], len(found) > limit

    async def answers_for(self, registry: str, repository: str) -> bool:  # noqa: ARG002 - a mirror looks
        """Whether a repository here is one of another registry, by that one's host."""
        return False

    async def referrers(
        self, repository: str, subject: Digest, artifact_type: str, after: str, limit: int
    ) -> tuple[list[Referrer], bool]:
        """Up to ``limit`` referrers of a subject behind the digest ``after``, and whether there are more.

        The subject need not be there, nor the repository. What was pushed to a registry without this API counts as
        well: it names its subject, whatever the client wrote into the index under the fallback tag.
        """

        async def read(tx: Transaction) -> list[Referrer]:
            own = await Repositories(tx).find(repository)
            if own is None:
                return []
            return await Manifests(tx).referrers(own, subject, artifact_type, after, limit + 1)

        found = await self._metadata.read(read)
        return found[:limit], len(found) > limit

    @property
    def listening(self) -> bool:
        """Whether anybody wants to hear of pulls; if not, spare the work of telling."""
        return self._outbox.listening

    def manifest_pulled(self, repository: str, stored: StoredManifest, tag: str, by: By) -> None:
        """Tell whoever listens that a manifest was handed out."""
        target = Target(stored.digest, stored.media_type, len(stored.raw))
        named = references(parse(stored.raw, stored.media_type, most_depth=len(stored.raw)))
        self._outbox.emit_soon(ManifestPulled(repository=repository, by=by, target=target, tag=tag, references=named))

    def blob_pulled(self, repository: str, digest: Digest, size: int, by: By) -> None:
        """Tell whoever listens that a blob was handed out."""
        self._outbox.emit_soon(BlobPulled(repository=repository, by=by, target=Target(digest, OCTET_STREAM, size)))

    async def _content(self, digest: str, blob: int) -> bytes | None:
        row = await self._metadata.row(CONTENT, blob=blob)
        if row is None:
            return None  # collected since the name was looked up
        raw: bytes = row[0]
        self._contents.keep(digest, raw)
        return raw

    async def _rescue(self, digest: Digest) -> bool:
        return await self._metadata.write(lambda tx: Blobs(tx).rescue(digest), durable=False)

    async def _known(self, repository: str) -> None:
        if await self._metadata.read(lambda tx: Repositories(tx).find(repository)) is None:
            raise _unknown(repository)


def _unknown(repository: str) -> RepositoryUnknown:
    return RepositoryUnknown(f"there is no repository {repository}", detail={"name": repository})
