"""What a blob store can do. Blobs are immutable and known by their digest; the index knows who may see them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from lading.oci.digest import Digest


@dataclass(frozen=True)
class UploadState:
    """Where an upload stands, as it travels in the ``Location`` a client is given.

    ``hashed`` bytes went into ``hash_state`` (None: it cannot be saved here); bytes behind them are read again.
    """

    repository: str
    uuid: str
    algorithm: str
    hashed: int = 0
    hash_state: bytes | None = None


@dataclass(frozen=True)
class FoundUpload:
    """An unfinished upload that lies in the store; ``touched_at`` is when it last grew, ``size`` in bytes."""

    repository: str
    uuid: str
    touched_at: datetime
    size: int


class BlobFile(Protocol):
    """A blob open for reading; close it."""

    size: int

    def fileno(self) -> int:
        """The descriptor of a plain file that holds the blob, from its first byte."""
        ...

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes; blocks."""
        ...

    def close(self) -> None: ...


class UploadSession(Protocol):
    """One request's hold on an upload. Nobody else can append, finish or cancel while it is open.

    ``size`` is what the store holds so far. A session is left by ``close``, which is always safe.
    """

    size: int

    async def append(self, chunks: AsyncIterator[bytes], *, exact: int | None = None) -> None:
        """Add bytes to the end as they arrive; what arrived stays even if the sender breaks off.

        If they are not ``exact`` bytes, :class:`~lading.errors.SizeInvalid` is raised and none of them stay.
        """
        ...

    async def digest(self) -> Digest:
        """The digest of everything so far, in the session's algorithm."""
        ...

    async def digest_as(self, algorithm: str) -> Digest:
        """The same in another algorithm; reads the bytes again."""
        ...

    def state(self) -> UploadState: ...

    async def sync(self) -> None:
        """Return when what was appended survives power loss."""
        ...

    async def publish(self, digest: Digest) -> None:
        """Make the bytes the blob ``digest`` (which must be theirs) and end the upload; survives power loss."""
        ...

    async def cancel(self) -> None:
        """Forget the upload and its bytes."""
        ...

    async def close(self) -> None: ...


class BlobStore(Protocol):
    """Where the bytes are."""

    def open(self, digest: Digest) -> BlobFile | None:
        """A blob, or None if it is not there."""
        ...

    async def put(self, digest: Digest, content: bytes) -> None:
        """Store a small blob (a manifest) whose digest was checked; survives power loss."""
        ...

    def delete(self, digest: Digest) -> int:
        """Take a blob away; absent is success. How many bytes that freed. Blocks."""
        ...

    async def begin(self, repository: str, algorithm: str) -> UploadSession:
        """Start an upload."""
        ...

    async def resume(self, state: UploadState) -> UploadSession | None:
        """Take up an upload where it stands; None if there is none; ``Conflict`` while another request holds it."""
        ...

    def discard_upload(self, repository: str, uuid: str) -> bool:
        """Forget an upload unless a request holds it; whether it is gone. Blocks."""
        ...

    def uploads(self) -> Iterator[FoundUpload]:
        """Every unfinished upload. Blocks."""
        ...

    def walk(self) -> Iterator[tuple[Digest, int]]:
        """Every blob with its size. Blocks."""
        ...

    def probe(self) -> None:
        """Raise :class:`~lading.errors.StoreError` unless the store can be read and written. Blocks."""
        ...
