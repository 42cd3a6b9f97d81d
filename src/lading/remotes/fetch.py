"""A small blob as a whole: a configuration, a signature."""

from __future__ import annotations

from lading.errors import TooLarge
from lading.oci.manifest import Descriptor
from lading.remotes.base import RegistryClient

MAX_SIZE = 32 << 20


async def content(client: RegistryClient, repository: str, blob: Descriptor, most: int = MAX_SIZE) -> bytes:
    """The blob's bytes, verified; :class:`TooLarge` when there are more than ``most``."""
    if blob.size > most:
        raise TooLarge(f"{blob.digest} has {blob.size:,} bytes, where at most {most:,} are expected")
    raw = bytearray()
    async with client.blob(repository, blob) as chunks:
        async for chunk in chunks:
            raw += chunk
    return bytes(raw)
