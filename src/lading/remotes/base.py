"""The seam: whatever images are kept in, seen as a registry.

====================  ==================================================================
``http``              a registry, over the distribution protocol
``layout``            an OCI image layout: a folder, or a tar archive that is read
``archive``           a tar archive that is written, for ``docker load`` and for OCI tools
``store``             the images of this machine: a layout with names
====================  ==================================================================

**Who reads, verifies**: :meth:`RegistryClient.blob` raises when the bytes are not those of the descriptor, so whoever
writes may rely on what was read to its end, and publishes nothing before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from lading.oci.manifest import Descriptor, Manifest

Chunks = AsyncIterator[bytes]

Source = Callable[[int], AbstractAsyncContextManager[Chunks]]
"""Opens a blob from a byte on; called again where an upload has to go on from the middle."""

MAX_MANIFEST = 4 << 20
"""Longest manifest that is read, in bytes; clients and registries agree on about that."""


class RegistryClient(Protocol):
    """What is done with a registry. ``reference`` is a tag or a digest; ``repository`` has no host."""

    async def resolve(self, repository: str, reference: str) -> Descriptor | None:
        """Type, digest and size of a manifest, without its bytes; None when it is not there."""
        ...

    async def manifest(self, repository: str, reference: str) -> Manifest:
        """A manifest, verified; :class:`~lading.errors.ManifestUnknown` when it is not there."""
        ...

    async def put_manifest(self, repository: str, reference: str, manifest: Manifest) -> None:
        """Store a manifest under a tag or its digest; what it refers to must be there."""
        ...

    async def has_blob(self, repository: str, blob: Descriptor) -> bool: ...

    def blob(self, repository: str, blob: Descriptor, start: int = 0) -> AbstractAsyncContextManager[Chunks]:
        """The bytes from ``start`` on. Read from 0 they are verified: ``DigestInvalid`` or ``SizeInvalid`` at the end."""
        ...

    async def put_blob(self, repository: str, blob: Descriptor, source: Source) -> None:
        """Store a blob; nothing of it is there when this fails."""
        ...

    async def mount(self, repository: str, blob: Descriptor, origin: str) -> bool:
        """Take a blob over from another repository of the same registry, without moving it; whether that went."""
        ...

    def tags(self, repository: str) -> AsyncIterator[str]: ...

    def referrers(self, repository: str, digest: str) -> AsyncIterator[Descriptor]: ...

    async def delete(self, repository: str, reference: str) -> None: ...
