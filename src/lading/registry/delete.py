"""Delete tags, manifests and blobs (distribution spec, "Content Management").

Deleting only takes names away; the bytes go when the collector finds that nothing refers to them.
"""

from __future__ import annotations

from lading.errors import BlobUnknown, ManifestUnknown, RepositoryUnknown
from lading.jobs.events import BlobDeleted, By, ManifestDeleted, TagDeleted
from lading.jobs.outbox import Outbox
from lading.oci.digest import Digest
from lading.registry.admission import Admission, ManifestGoes, TagGoes
from lading.registry.blobs import Blobs
from lading.registry.manifests import Manifests
from lading.registry.repositories import Repositories
from lading.registry.tags import Tags
from lading.stores.metadata.transaction import Metadata, Transaction


class Delete:
    """Takes names away."""

    def __init__(self, metadata: Metadata, outbox: Outbox, admission: Admission | None = None) -> None:
        self._admission = admission or Admission()
        self._metadata = metadata
        self._outbox = outbox

    async def tag(self, repository: str, tag: str, by: By) -> None:
        """Delete one tag; the manifest and its other tags stay."""

        async def work(tx: Transaction) -> None:
            own = await _find(tx, repository)
            await self._admission.ask(tx, TagGoes(repository, own, tag, by))
            if await Tags(tx).delete(own, tag) is None:
                raise ManifestUnknown(f"{repository} has no tag {tag}", detail={"tag": tag})
            await self._outbox.emit(tx, TagDeleted(repository=repository, by=by, tag=tag))

        await self._metadata.write(work)

    async def manifest(self, repository: str, digest: Digest, by: By) -> None:
        """Delete a manifest and every tag that points to it."""

        async def work(tx: Transaction) -> None:
            own = await _find(tx, repository)
            manifests = Manifests(tx)
            tags = await manifests.tags_of(own, digest)
            await self._admission.ask(tx, ManifestGoes(repository, own, digest, tags, by))
            if not await manifests.delete(own, digest):
                raise ManifestUnknown(f"{repository} has no manifest {digest}", detail={"digest": digest})
            await self._outbox.emit(tx, ManifestDeleted(repository=repository, by=by, digest=digest))
            for tag in tags:
                await self._outbox.emit(tx, TagDeleted(repository=repository, by=by, tag=tag))

        await self._metadata.write(work)

    async def repository(self, repository: str, by: By) -> int:
        """Delete every manifest in a repository, each in its own transaction; how many there were."""

        async def everything(tx: Transaction) -> list[Digest]:
            own = await Repositories(tx).find(repository)
            return [Digest(digest) for digest in sorted(await Manifests(tx).of(own))] if own is not None else []

        found = await self._metadata.read(everything)
        for digest in found:
            try:
                await self.manifest(repository, digest, by)
            except ManifestUnknown:
                continue  # somebody else deleted it meanwhile
        return len(found)

    async def blob(self, repository: str, digest: Digest, by: By) -> None:
        """Make a blob invisible in a repository; other repositories keep it."""

        async def work(tx: Transaction) -> None:
            own = await _find(tx, repository)
            if not await Blobs(tx).unlink(own, digest):
                raise BlobUnknown(f"{repository} has no blob {digest}", detail={"digest": digest})
            await self._outbox.emit(tx, BlobDeleted(repository=repository, by=by, digest=digest))

        await self._metadata.write(work)


async def _find(tx: Transaction, repository: str) -> int:
    own = await Repositories(tx).hold(repository)
    if own is None:
        raise RepositoryUnknown(f"there is no repository {repository}", detail={"name": repository})
    return own
