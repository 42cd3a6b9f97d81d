"""This registry itself as a :class:`~lading.remotes.base.RegistryClient`: the verbs of this folder, without HTTP.

Rules are asked as for any push. Events say who did it (``by``).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from lading.errors import BlobUnknown, ManifestUnknown, RepositoryUnknown
from lading.jobs.events import By
from lading.oci.digest import Digest
from lading.oci.manifest import Descriptor, Manifest, parse
from lading.registry.delete import Delete
from lading.registry.pull import Pull
from lading.registry.push import Push
from lading.registry.uploads import Uploads
from lading.remotes.base import Chunks, Source
from lading.remotes.verify import verified

ANYWHERE = ""
"""In place of a repository's name: a mount may come from any."""
_PAGE = 1000


@dataclass(frozen=True)
class Local:
    """See the module."""

    pull: Pull
    push: Push
    uploads: Uploads
    deletes: Delete
    by: By

    async def resolve(self, repository: str, reference: str) -> Descriptor | None:
        try:
            found = await self.pull.manifest(repository, reference, by_digest=":" in reference)
        except (ManifestUnknown, RepositoryUnknown):
            return None
        return Descriptor(media_type=found.media_type, digest=found.digest, size=len(found.raw))

    async def manifest(self, repository: str, reference: str) -> Manifest:
        try:
            found = await self.pull.manifest(repository, reference, by_digest=":" in reference)
        except RepositoryUnknown as error:
            raise ManifestUnknown(error.message) from None
        return parse(found.raw, found.media_type, Digest(found.digest).algorithm, most_depth=len(found.raw))

    async def put_manifest(self, repository: str, reference: str, manifest: Manifest) -> None:
        tags = () if ":" in reference else (reference,)
        await self.push.manifest(repository, manifest.digest, tags, manifest.media_type, manifest.raw, self.by)

    async def has_blob(self, repository: str, blob: Descriptor) -> bool:
        try:
            await self.pull.blob_size(repository, Digest.parse(blob.digest))
        except (BlobUnknown, RepositoryUnknown):
            return False
        return True

    def blob(self, repository: str, blob: Descriptor, start: int = 0) -> AbstractAsyncContextManager[Chunks]:
        return self._blob(repository, blob, start)

    @asynccontextmanager
    async def _blob(self, repository: str, blob: Descriptor, start: int) -> AsyncGenerator[Chunks]:
        try:
            file = await self.pull.file(repository, Digest.parse(blob.digest))
        except RepositoryUnknown as error:
            raise BlobUnknown(error.message) from None
        try:
            chunks = file.chunks(start, file.size - start)
            yield chunks if start else verified(chunks, blob, "this registry")
        finally:
            file.close()

    async def put_blob(self, repository: str, blob: Descriptor, source: Source) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            async with source(0) as opened:
                async for chunk in opened:
                    yield chunk

        await self.uploads.push(repository, Digest.parse(blob.digest), chunks(), self.by)

    async def mount(self, repository: str, blob: Descriptor, origin: str) -> bool:
        return await self.uploads.mount(repository, Digest.parse(blob.digest), origin or None, self.by)

    async def tags(self, repository: str) -> AsyncGenerator[str]:
        after, more = "", True
        while more:
            try:
                page, more = await self.pull.tags(repository, after, _PAGE)
            except RepositoryUnknown:
                return
            for tag in page:
                yield tag
            after = page[-1] if page else after

    async def referrers(self, repository: str, digest: str) -> AsyncGenerator[Descriptor]:
        after, more = "", True
        while more:
            page, more = await self.pull.referrers(repository, Digest.parse(digest), "", after, _PAGE)
            for one in page:
                yield Descriptor(
                    media_type=one.media_type,
                    digest=one.digest,
                    size=one.size,
                    artifact_type=one.artifact_type or None,
                    annotations=one.annotations or None,
                )
            after = page[-1].digest if page else after

    async def delete(self, repository: str, reference: str) -> None:
        if ":" in reference:
            await self.deletes.manifest(repository, Digest.parse(reference), self.by)
        else:
            await self.deletes.tag(repository, reference, self.by)
