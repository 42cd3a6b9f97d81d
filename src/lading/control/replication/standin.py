"""Taking one tag away where only manifests are deleted, with all their tags, as by registry:2.

The tag is moved to a stand-in, an image of nothing, and that is deleted. First it is tried without a tag: where nothing may
be deleted at all, nothing has changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lading import errors
from lading.oci import mediatypes
from lading.oci.digest import Digest
from lading.oci.manifest import Descriptor, parse
from lading.remotes.base import Chunks, RegistryClient

_CONFIG = b'{"architecture":"","os":"","config":{},"rootfs":{"type":"layers","diff_ids":[]}}'
_BLOB = Descriptor(media_type=mediatypes.DOCKER_CONFIG, digest=Digest.of(_CONFIG), size=len(_CONFIG))
STAND_IN = parse(
    b'{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"%s","size":%d,"digest":"%s"},"layers":[]}'
    % (mediatypes.DOCKER_MANIFEST.encode(), mediatypes.DOCKER_CONFIG.encode(), _BLOB.size, _BLOB.digest.encode()),
    mediatypes.DOCKER_MANIFEST,
)
"""An image of nothing. Found under a tag, it is on its way out."""


async def untag(registry: RegistryClient, repository: str, tag: str) -> None:
    """Take a tag away, and leave what it stood for."""
    if not await registry.has_blob(repository, _BLOB):
        await registry.put_blob(repository, _BLOB, _config)
    for reference in (STAND_IN.digest, tag):
        await registry.put_manifest(repository, reference, STAND_IN)
        try:
            await registry.delete(repository, STAND_IN.digest)
        except errors.Missing:
            continue  # another tag of the repository was taken away at the same moment


@asynccontextmanager
async def _config(start: int) -> AsyncIterator[Chunks]:
    async def chunks() -> AsyncIterator[bytes]:
        yield _CONFIG[start:]

    yield chunks()
