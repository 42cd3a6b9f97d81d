"""What a blob store can do. Blobs are immutable and known by their digest; the index knows who may see them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from lading.oci.digest import Digest

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


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


def is_uuid(text: str) -> bool:
    """Whether this may be the name of an upload."""
    return _UUID.fullmatch(text) is not None


@dataclass(frozen=True)
class FoundUpload:
    """An unfinished upload that lies in the store; ``touched_at`` is when it last grew.

    ``size`` in bytes; None where that would have to be asked for.
    """

    repository: str
    uuid: str
    touched_at: datetime
    size: int | None


@dataclass
class Deleted:
    """What came of deleting blobs: the bytes each freed (None: not known), and why others could not be deleted."""

    freed: dict[Digest, int | None] = field(default_factory=dict)
    failed: dict[Digest, str] = field(default_factory=dict)


class BlobFile(Protocol):
    """A blob open for reading; close it."""

    size: int

    def fileno(self) -> int | None:
        """The descriptor of a plain file that holds the blob, from its first byte; None: there is no such file."""
        ...

    async def reach(self, offset: int, end: int) -> int:
        """Up to where, ``end`` at most, it can be read from ``offset``, as soon as that is a byte or more.

        Only a blob that still arrives is ever shorter; ``EOFError`` where no more of it comes. To be asked before
        ``fileno``, which may be another one afterwards.
        """
        ...

    def chunks(self, offset: int, count: int) -> AsyncIterator[bytes]:
        """``count`` bytes from ``offset``, in pieces; raises ``EOFError`` where they cannot be had to the end."""
        ...

    def close(self) -> None: ...


class Inflow(Protocol):
    """A large part of what is appended, still to be read from where it comes: in pieces, or in a thread by ``read_into``.

    ``left`` bytes of it are to come. That there are fewer is no error here: whoever gave it out looks.
    """

    left: int

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def read_into(self, buffer: memoryview) -> int:
        """Wait for the next bytes; how many they are, 0 at the end."""
        ...

    def stop(self) -> None:
        """End it; a thread that waits in ``read_into`` returns soon."""
        ...


async def pieces(chunks: AsyncIterator[bytes | Inflow]) -> AsyncIterator[bytes]:
    """All of it in pieces, for who has no thread to read in."""
    async for chunk in chunks:
        if isinstance(chunk, bytes | bytearray):
            yield chunk
        else:
            async for piece in chunk:
                yield piece


class UploadSession(Protocol):
    """One request's hold on an upload. Nobody else can append, finish or cancel while it is open.

    ``size`` is what the store holds so far. A session is left by ``close``, which is always safe.
    """

    size: int

    def aim(self, digest: Digest) -> None:
        """Say that what is appended next is the rest of this blob, which the store may then bring straight there.

        The bytes appended after this need not stay unless they are published.
        """
        ...

    def follow(self, grew: Callable[[int], None]) -> BlobFile | None:
        """The file that bytes go into, to be read (and closed) by others as far as ``grew`` has told in the loop.

        From now on each piece is written as it comes. None: there is no such file, and nothing is told.
        """
        ...

    async def append(self, chunks: AsyncIterator[bytes | Inflow], *, exact: int | None = None) -> None:
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
    """Where the bytes are. A store that cannot be reached raises :class:`~lading.errors.Unavailable`."""

    async def open(self, digest: Digest) -> BlobFile | None:
        """A blob, or None if it is not there."""
        ...

    async def redirect(self, digest: Digest) -> str | None:
        """A URL that whoever has it may fetch the blob from for some minutes; None: hand the bytes out yourself."""
        ...

    async def put(self, digest: Digest, content: bytes) -> None:
        """Store a small blob (a manifest) whose digest was checked; survives power loss."""
        ...

    async def delete(self, digests: Sequence[Digest]) -> Deleted:
        """Take blobs away; absent is success. Runs within a transaction of the index: it never suspends there."""
        ...

    async def begin(self, repository: str, algorithm: str, *, aim: Digest | None = None) -> UploadSession:
        """Start an upload. ``aim``: it is this blob and comes in one go, so nobody will :meth:`resume` it."""
        ...

    async def resume(self, state: UploadState) -> UploadSession | None:
        """Take up an upload where it stands; None if there is none; ``Conflict`` while another request holds it."""
        ...

    async def discard_upload(self, repository: str, uuid: str) -> bool:
        """Forget an upload unless a request holds it; whether it is gone."""
        ...

    def uploads(self) -> AsyncIterator[FoundUpload]:
        """Every unfinished upload."""
        ...

    async def clear(self, before: datetime, *, dry_run: bool = False) -> int:
        """Remove what uploads that broke off before then left beside those that ``uploads`` finds; how many."""
        ...

    def walk(self) -> AsyncIterator[tuple[Digest, int]]:
        """Every blob with its size."""
        ...

    async def probe(self) -> None:
        """Raise :class:`~lading.errors.StoreError` unless the store can be read and written.

        ``StoreFull`` where all that is missing is room.
        """
        ...

    async def close(self) -> None:
        """Let go of what the store holds."""
        ...
