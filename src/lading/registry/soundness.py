"""Whether a blob's bytes are what its digest says, and what becomes of a blob whose bytes are not.

Reading goes at a :class:`Pace`, so that a check of all there is leaves the disk to those who pull.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import bindparam, select, update

from lading.errors import Unavailable
from lading.oci.digest import Digest
from lading.stores.blobs.base import BlobFile, BlobStore
from lading.stores.metadata.schema.content import blobs
from lading.stores.metadata.transaction import Metadata, Row, Statement, Transaction

T = TypeVar("T")

_AT_ONCE = 8

PRESENT = Statement(
    select(blobs.c.id, blobs.c.digest, blobs.c.size, blobs.c.touched_at)
    .where(blobs.c.id > bindparam("after"), blobs.c.present)
    .order_by(blobs.c.id)
    .limit(bindparam("limit"))
)
"""A page of the blobs whose bytes the index relies on; the next begins behind the last id."""
_STILL = Statement(
    select(blobs.c.id).where(
        blobs.c.digest == bindparam("digest"), blobs.c.present, blobs.c.touched_at == bindparam("seen")
    )
)
_LOSE = Statement(
    update(blobs)
    .where(blobs.c.digest == bindparam("wanted"), blobs.c.present, blobs.c.touched_at == bindparam("seen"))
    .values(present=False)
)


@dataclass(frozen=True)
class Damage:
    """What is wrong with a blob's bytes.

    ``kind`` is ``no-data``, ``damaged``, ``wrong-size``, ``unreadable`` or, if it says nothing of them, ``unavailable``.
    """

    kind: str
    detail: str

    @property
    def lasting(self) -> bool:
        """Whether the bytes are lost, and not only out of reach for now."""
        return self.kind != "unavailable"


class Pace:
    """Holds all readers together to ``rate`` bytes a second; None lets them read as fast as they can."""

    def __init__(self, rate: int | None = None) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = time.monotonic()

    def wait(self, count: int) -> None:
        """Return when ``count`` more bytes may be read. Blocks."""
        if self._rate is None:
            return
        with self._lock:
            moment = time.monotonic()
            start = max(self._free_at, moment)
            self._free_at = start + count / self._rate
        time.sleep(start - moment)


class Soundness:
    """Reads blobs, a few at once, and compares them with their digests in ``threads``; ``quick`` compares sizes alone."""

    def __init__(self, store: BlobStore, threads: ThreadPoolExecutor, pace: Pace, *, quick: bool = False) -> None:
        self._store = store
        self._threads = threads
        self._pace = pace
        self._quick = quick
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Run what blocks."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    async def damage(self, digest: Digest, size: int | None = None) -> Damage | None:
        """What is wrong with a blob that should have ``size`` bytes (None: any number); None if nothing is."""
        async with self._turns:
            return await self._damage(digest, size)

    async def _damage(self, digest: Digest, size: int | None) -> Damage | None:
        try:
            file = await self._store.open(digest)
            if file is None:
                return Damage("no-data", "its bytes are not in the store; push an image that has it to mend it")
            try:
                return await self._examine(file, digest, size)
            finally:
                file.close()
        except Unavailable as error:
            return Damage("unavailable", f"{error.message}; look at it again when it can be read")
        except PermissionError:
            return Damage("unavailable", "this user may not read it; run this as the user of the server")
        except (OSError, EOFError) as error:
            return Damage("unreadable", f"{_why(error)}; push an image that has it to mend it")

    async def content(self, digest: Digest, most: int) -> bytes | None:
        """A blob's bytes if there are no more than ``most`` and they have their digest, else None."""
        try:
            file = await self._store.open(digest)
            if file is None:
                return None
            try:
                if file.size > most:
                    return None
                await self.in_thread(lambda: self._pace.wait(file.size))
                raw = b"".join([chunk async for chunk in file.chunks(0, file.size)])
            finally:
                file.close()
        except (Unavailable, OSError, EOFError):
            return None
        return raw if Digest.of(raw, digest.algorithm) == digest else None

    async def _examine(self, file: BlobFile, digest: Digest, size: int | None) -> Damage | None:
        differs = size is not None and file.size != size
        read = digest.hex if self._quick and not differs else "" if self._quick else await self._read(file, digest)
        told = f"it has {file.size} bytes in the store and {size} in the index"
        if read == digest.hex:
            return Damage("wrong-size", told) if differs else None
        what = told if differs else f"its bytes have the digest {read}"
        return Damage("damaged", f"{what}; push an image that has it to mend it")

    async def _read(self, file: BlobFile, digest: Digest) -> str:
        hashing = hashlib.new(digest.algorithm)

        def take(chunk: bytes) -> None:
            self._pace.wait(len(chunk))
            hashing.update(chunk)

        async for chunk in file.chunks(0, file.size):
            await self.in_thread(functools.partial(take, chunk))
        return hashing.hexdigest()


def _why(error: OSError | EOFError) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or "its bytes end too early"


async def lose(metadata: Metadata, row: Row) -> bool:
    """Make a blob absent whose ``row`` of :data:`PRESENT` was seen before its bytes were, so that a push mends it.

    False if somebody brought or touched it since. Who is about to bring it makes it present again afterwards.
    """

    async def work(tx: Transaction) -> bool:
        return bool(await tx.execute(_LOSE, wanted=row[1], seen=row[3]))

    return await metadata.write(work)


async def still(metadata: Metadata, row: Row) -> bool:
    """Whether nobody brought, touched or collected a blob since its ``row`` was seen."""
    return await metadata.read(lambda tx: tx.value(_STILL, digest=row[1], seen=row[3])) is not None
