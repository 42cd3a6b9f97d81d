"""Bytes against the descriptor that names them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

from lading.errors import DigestInvalid, SizeInvalid
from lading.oci.digest import Digest
from lading.oci.manifest import Descriptor
from lading.remotes import files
from lading.remotes.base import Chunks

_IN_THREAD = 64 << 10
"""From this many bytes on, hashing is worth the way to a thread and back."""


class Verifier:
    """Counts and hashes what passes; complains as soon as there is too much, and at the end about the rest."""

    def __init__(self, blob: Descriptor, where: str) -> None:
        self._expected = Digest.parse(blob.digest)
        self._hash = hashlib.new(self._expected.algorithm)
        self._size = blob.size
        self._where = where
        self.seen = 0

    async def update(self, chunk: bytes) -> None:
        self.seen += len(chunk)
        if self.seen > self._size >= 0:
            raise SizeInvalid(f"{self._where} sends more than the {self._size} bytes that {self._expected} has")
        if len(chunk) >= _IN_THREAD:
            await files.aside(self._hash.update, chunk)
        else:
            self._hash.update(chunk)

    def finish(self) -> None:
        """Say whether it was all there and all right."""
        if self.seen < self._size:
            raise SizeInvalid(
                f"{self._where} ends after {self.seen} of the {self._size} bytes that {self._expected} has"
            )
        if self._hash.hexdigest() != self._expected.hex:
            raise DigestInvalid(f"what {self._where} sends as {self._expected} is something else: its digest differs")


async def verified(chunks: Chunks, blob: Descriptor, where: str) -> AsyncIterator[bytes]:
    """The same chunks; an error at the end (or earlier) unless they are that blob's."""
    check = Verifier(blob, where)
    async for chunk in chunks:
        await check.update(chunk)
        yield chunk
    check.finish()
