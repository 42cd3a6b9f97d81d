"""One request's hold on an upload to an object store (``remote`` says how uploads lie there).

Bytes are gathered until a part is full; it is then hashed in a thread and stored while the next one is gathered. A
request has at most two parts on their way (one where parts are larger than 64 MiB) while it gathers a third, and all
requests of a process together hold what the :class:`Budget` allows.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol, TypeVar
from uuid import uuid4

import msgspec

from lading.errors import Conflict, LadingError, SizeInvalid, Unavailable
from lading.oci.digest import Digest
from lading.oci.hasher import Hasher, hasher, resume
from lading.stores.blobs.base import Inflow, UploadState, pieces
from lading.stores.blobs.download import RemoteFile
from lading.stores.blobs.objects import ChangedError, ObjectClient, UploadGoneError, joined, part_size

log = logging.getLogger(__name__)

T = TypeVar("T")

_FREE = 1 << 20
_HASHED_IN_THE_LOOP = 1 << 16
_SINGLE = 64 << 20
_MOST_PIECES = 16
_SAVE_SECONDS = 10.0
_CONFLICT = "another request wrote to this upload at the same time; ask for its status and go on from there"


class Record(msgspec.Struct, array_like=True):
    """What there is of an upload: ``size`` bytes, hashed into ``hash_state`` (None: cannot be saved here).

    ``parts`` of the multipart ``upload`` and ``pieces`` behind them, as etag or key and size. ``sealed``: the parts were
    put together already. ``written`` is another word each time.
    """

    repository: str
    uuid: str
    algorithm: str
    size: int = 0
    hash_state: bytes | None = None
    upload: str = ""
    parts: list[tuple[str, int]] = []
    pieces: list[tuple[str, int]] = []
    sealed: bool = False
    written: str = ""

    @classmethod
    def read(cls, raw: bytes) -> Record:
        """A record as it was written."""
        try:
            return msgspec.msgpack.decode(raw, type=cls)
        except msgspec.DecodeError as error:
            raise Unavailable("what the store says of this upload cannot be read; start a new one") from error


class Budget:
    """Bytes that may be held in memory at once; whoever wants more waits, and with it the client it reads from."""

    def __init__(self, size: int) -> None:
        self._left = self._size = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def claim(self, size: int) -> int:
        """Wait until ``size`` bytes (or all there are) are free, and take them; how many they are."""
        size = min(size, self._size)
        if self._waiting or self._left < size:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((size, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self.release(size)
                raise
        else:
            self._left -= size
        return size

    def release(self, size: int) -> None:
        """Give bytes back."""
        self._left += size
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._left):
            wanted, turn = self._waiting.popleft()
            if not turn.done():
                self._left -= wanted
                turn.set_result(None)


class Home(Protocol):
    """What a session needs of its store."""

    objects: ObjectClient
    part: int
    budget: Budget

    async def blocking(self, function: Callable[..., T], *arguments: object) -> T: ...
    def blob_key(self, digest: Digest) -> str: ...
    def record_key(self, repository: str, uuid: str) -> str: ...
    def data_key(self, repository: str, uuid: str) -> str: ...
    async def load(self, repository: str, uuid: str) -> tuple[Record, str] | None: ...
    def release(self, uuid: str) -> None: ...


class RemoteUpload:
    """An upload as a request works on it; ``record`` is what the store knows, ``etag`` that object's (empty: none)."""

    def __init__(self, store: Home, record: Record, etag: str) -> None:
        self._store = store
        self._objects = store.objects
        self._record = record
        self._etag = etag
        self._aim: Digest | None = None
        self._flying: deque[asyncio.Task[str]] = deque()
        self._claimed = 0
        self._spent: list[str] = []
        self._saved_at = time.monotonic()
        self._ended = False
        self._taking: asyncio.Task[None] | None = None
        self._restore()

    def _restore(self) -> None:
        """Be where the record is."""
        record = self._record
        self.size = record.size
        self._upload = record.upload
        self._sizes = [size for _, size in record.parts]
        self._landed = [etag for etag, _ in record.parts]
        self._pieces = list(record.pieces)
        self._sealed = record.sealed
        self._buffer: list[bytes] = []
        self._buffered = self._seen = 0
        self._marks: dict[int, bytes | None] = {}
        self._hasher: Hasher | None = None
        if record.hash_state is not None:
            self._hasher = resume(record.algorithm, record.hash_state)
        elif not record.size:
            self._hasher = hasher(record.algorithm)

    def aim(self, digest: Digest) -> None:
        self._aim = digest
        if not self.size and self._record.algorithm != digest.algorithm:
            self._record.algorithm = digest.algorithm
            self._hasher = hasher(digest.algorithm)

    def follow(self, grew: Callable[[int], None]) -> None:  # noqa: ARG002 - an object cannot be read before it is whole
        return None

    @property
    def _direct(self) -> bool:
        """Whether the parts go straight to the blob's place: all of it comes in this request."""
        return self._aim is not None and not self._record.size

    @property
    def _place(self) -> str:
        """The object the parts are put together to."""
        if self._direct and self._aim is not None:
            return self._store.blob_key(self._aim)
        return self._store.data_key(self._record.repository, self._record.uuid)

    # ---- bytes in

    async def append(self, chunks: AsyncIterator[bytes | Inflow], *, exact: int | None = None) -> None:
        total = 0
        try:
            async for chunk in pieces(chunks):
                total += len(chunk)
                if exact is not None and total > exact:
                    break
                small = self._claimed or self._buffered + len(chunk) <= _FREE
                if small and len(chunk) < self._room() and not self._sealed:
                    self._gather(chunk)
                else:
                    # to the end, even if this request is cancelled: half of it would leave nobody knowing what was hashed
                    self._taking = asyncio.create_task(self._take(chunk))
                    await asyncio.shield(self._taking)
                    self._taking = None
        except LadingError as error:
            # what arrived before the sender broke off stays; what the store did not take does not
            await (self._keep() if isinstance(error, SizeInvalid) else self._take_back())
            raise
        except BaseException:
            await self._keep()
            raise
        if exact is not None and total != exact:
            await self._take_back()
            raise SizeInvalid(f"the body is not the {exact} bytes it was said to be; nothing of it was kept")
        if self._aim is None and total:
            try:
                await self.save()
            except BaseException:
                await self._take_back()
                raise

    async def _keep(self) -> None:
        if self._aim is not None:
            return
        try:
            if self._taking is not None:
                await self._taking
            await self.save()
        except LadingError as error:
            log.warning("what arrived of upload %s could not be kept: %s", self._record.uuid, error.message)
            await self._take_back()

    async def _take(self, chunk: bytes) -> None:
        if self._sealed and chunk:
            raise Conflict("this upload is being finished and takes no more bytes; start a new one")
        while chunk:
            if not self._claimed and self._buffered + len(chunk) > _FREE:
                self._claimed = await self._store.budget.claim(part_size(len(self._sizes) + 1, self._store.part))
            room = self._room()
            head, chunk = (chunk, b"") if len(chunk) < room else (chunk[:room], chunk[room:])
            self._gather(head)
            if len(head) == room:
                await self._fly()

    def _room(self) -> int:
        """How many bytes fill the next part."""
        size = part_size(len(self._sizes) + 1, self._store.part)
        return size - self._buffered - sum(size for _, size in self._pieces)

    def _gather(self, chunk: bytes) -> None:
        self._buffer.append(chunk)
        self._buffered += len(chunk)
        self.size += len(chunk)

    async def _fly(self) -> None:
        """Send what was gathered on its way as a part."""
        while len(self._flying) >= (2 if self._buffered <= _SINGLE else 1):
            await self._land()
        before = [await self._piece(key) for key, _ in self._pieces]
        if not self._upload:
            self._upload = await self._objects.create(self._place)
        content, md5 = await self._store.blocking(_prepare, self._hasher, before, self._buffer, self._seen)
        self._sizes.append(len(content))
        number, claimed = len(self._sizes), self._claimed
        self._spent += [key for key, _ in self._pieces]
        self._pieces, self._buffer, self._buffered, self._seen, self._claimed = [], [], 0, 0, 0
        self._marks[number] = self._hasher.save() if self._hasher else None
        self._flying.append(asyncio.create_task(self._send(number, content, md5, claimed)))

    async def _send(self, number: int, content: bytes, md5: bytes, claimed: int) -> str:
        try:
            return await self._objects.put_part(self._place, self._upload, number, content, md5)
        except UploadGoneError:
            raise Conflict("this upload was finished or given up meanwhile; start a new one") from None
        finally:
            self._store.budget.release(claimed)

    async def _land(self) -> None:
        """Wait for the part that was sent first; now and then tell the record how far this came."""
        self._landed.append(await asyncio.shield(self._flying[0]))
        self._flying.popleft()
        mark = self._marks.pop(len(self._landed))
        if self._aim is None and time.monotonic() - self._saved_at > _SAVE_SECONDS:
            sizes = self._sizes[: len(self._landed)]
            await self._write(sum(sizes), mark, list(zip(self._landed, sizes, strict=True)), [])

    async def _settle(self) -> None:
        while self._flying:
            await self._land()

    async def _take_back(self) -> None:
        """Be where the record is, whatever was sent since."""
        await self._ground()
        await self._abort_unknown()
        self._restore()

    async def _ground(self) -> None:
        under_way = [*self._flying, *([self._taking] if self._taking else [])]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        self._flying.clear()
        self._taking = None
        self._store.budget.release(self._claimed)
        self._claimed = 0
        self._spent = []

    async def _abort_unknown(self) -> None:
        """Abort a multipart upload that no record knows, as nobody would ever go on with it."""
        if self._upload and self._upload != self._record.upload and not self._ended:
            try:
                await self._objects.abort(self._place, self._upload)
            except LadingError as error:
                log.warning("a multipart upload was left behind at %s: %s", self._place, error.message)
            self._upload = self._record.upload

    # ---- the record

    async def save(self) -> None:
        """Have the store keep all that arrived, and the record say so."""
        await self._settle()
        await self._hash_rest()
        if self._buffer:
            if len(self._pieces) >= _MOST_PIECES:
                self._buffer[:0] = [await self._piece(key) for key, _ in self._pieces]
                self._spent += [key for key, _ in self._pieces]
                self._pieces = []
            content = joined(self._buffer)
            folder = self._store.record_key(self._record.repository, self._record.uuid).rpartition("/")[0]
            key = f"{folder}/piece-{uuid4().hex[:12]}"
            await self._objects.put(key, content)
            self._pieces.append((key, len(content)))
        state = self._hasher.save() if self._hasher else None
        await self._write(self.size, state, list(zip(self._landed, self._sizes, strict=True)), self._pieces)
        self._buffer, self._buffered, self._seen = [], 0, 0
        self._store.budget.release(self._claimed)
        self._claimed = 0
        if self._spent:
            await self._tidy(self._spent)
            self._spent = []

    async def _write(
        self, size: int, hash_state: bytes | None, parts: list[tuple[str, int]], pieces: Sequence[tuple[str, int]]
    ) -> None:
        old = self._record
        new = Record(
            old.repository, old.uuid, old.algorithm, size, hash_state, self._upload, parts, list(pieces), self._sealed
        )
        new.written = uuid4().hex[:16]
        key = self._store.record_key(old.repository, old.uuid)
        try:
            self._etag = await self._objects.put(key, msgspec.msgpack.encode(new), replaces=self._etag)
        except ChangedError:
            # or it was ours, and the answer to the first try got lost
            found = await self._store.load(old.repository, old.uuid)
            if found is None or found[0].written != new.written:
                raise Conflict(_CONFLICT) from None
            self._etag = found[1]
        self._record = new
        self._saved_at = time.monotonic()

    def state(self) -> UploadState:
        record = self._record
        hashed = record.size if record.hash_state is not None else 0
        return UploadState(record.repository, record.uuid, record.algorithm, hashed, record.hash_state)

    # ---- the digest

    async def digest(self) -> Digest:
        if self._hasher is None:
            return await self._read_as(self._record.algorithm)
        await self._hash_rest()
        return self._hasher.digest()

    async def digest_as(self, algorithm: str) -> Digest:
        if algorithm == self._record.algorithm:
            return await self.digest()
        await self._hash_rest()
        return await self._read_as(algorithm)

    async def _hash_rest(self) -> None:
        if self._hasher is None or self._seen == len(self._buffer):
            return
        rest, self._seen = self._buffer[self._seen :], len(self._buffer)
        if sum(map(len, rest)) <= _HASHED_IN_THE_LOOP:
            _hash(self._hasher, rest)
        else:
            await self._store.blocking(_hash, self._hasher, rest)

    async def _read_as(self, algorithm: str) -> Digest:
        """The digest of bytes that have to be read again: of parts, once they are put together."""
        again = hasher(algorithm)
        if self._sizes:
            await self._seal()
            info = await self._objects.head(self._place)
            if info is None:
                raise Unavailable("the store lost what had arrived; push the blob again")
            async for data in RemoteFile(self._objects, info).chunks(0, info.size):
                await self._store.blocking(again.update, data)
        else:
            _hash(again, [await self._piece(key) for key, _ in self._pieces])
            _hash(again, self._buffer)
        return again.digest()

    async def _piece(self, key: str) -> bytes:
        found = await self._objects.read(key)
        if found is None:
            raise Conflict(_CONFLICT)
        return found[0]

    # ---- the end

    async def sync(self) -> None:
        """Nothing to wait for: what the store has answered for stays."""

    async def publish(self, digest: Digest) -> None:
        place = self._store.blob_key(digest)
        await self._settle()
        if self._sizes or self._sealed:
            direct = self._direct
            await self._seal()
            if not direct:
                await self._objects.copy(self._place, place, self.size)
        elif len(self._pieces) == 1 and not self._buffer:
            await self._objects.copy(self._pieces[0][0], place, self.size)
        else:
            before = [await self._piece(key) for key, _ in self._pieces]
            await self._objects.put(place, joined([*before, *self._buffer]))
            self._ended = True
        if not self._ended:
            info = await self._objects.head(place)
            if info is None or info.size != self.size:
                raise Unavailable(f"the store did not keep {digest} as it was written; push it again", retry_after=1)
        self._ended = True
        await self._forget()

    async def _seal(self) -> None:
        """Put the parts together, with what is behind them as the last one."""
        if self._sealed:
            return
        if self._pieces or self._buffer:
            await self._fly()
        await self._settle()
        try:
            await self._objects.complete(self._place, self._upload, self._landed)
        except UploadGoneError:
            # done already, by a try whose answer got lost; or someone else gave the upload up
            info = await self._objects.head(self._place)
            if info is None or info.size != self.size:
                raise Conflict(_CONFLICT) from None
        except ChangedError:
            raise Conflict(_CONFLICT) from None
        self._sealed = True
        if not self._direct:
            # whoever else is at this upload learns here, before anything is published, that they were not alone
            state = self._hasher.save() if self._hasher else None
            try:
                await self._write(self.size, state, list(zip(self._landed, self._sizes, strict=True)), [])
            except Conflict:
                if await self._store.load(self._record.repository, self._record.uuid) is None:
                    await self._tidy([self._place])  # given up meanwhile, by somebody who could not find this
                raise

    async def cancel(self) -> None:
        await self._ground()
        if self._ended:
            return
        if self._upload and not self._sealed:
            await self._objects.abort(self._place, self._upload)
        self._ended = True
        await self._forget()

    async def _forget(self) -> None:
        """Delete all there is of the upload; the record last, so that what a crash leaves can be found by it."""
        record = self._record
        if self._sealed and not self._direct:
            await self._tidy([self._store.data_key(record.repository, record.uuid)])
        left = [key for key, _ in (*record.pieces, *self._pieces)] + self._spent
        if self._etag:
            left.append(self._store.record_key(record.repository, record.uuid))
        await self._tidy(list(dict.fromkeys(left)))

    async def _tidy(self, keys: list[str]) -> None:
        if not keys:
            return
        try:
            failed = await self._objects.delete(keys)
        except LadingError as error:
            failed = dict.fromkeys(keys, error.message)
        for key, why in failed.items():
            log.warning("%s was left behind, to be purged later: %s", key, why)

    async def close(self) -> None:
        await self._ground()
        if self._aim is not None:
            await self._abort_unknown()
        self._store.release(self._record.uuid)


def _hash(into: Hasher, parts: Sequence[bytes]) -> None:
    for part in parts:
        into.update(part)


def _prepare(into: Hasher | None, before: list[bytes], parts: list[bytes], seen: int) -> tuple[bytes, bytes]:
    """The content of a part and its MD5, its bytes hashed from the chunk ``seen`` on."""
    if into is not None:
        _hash(into, parts[seen:])
    content = joined([*before, *parts])
    return content, hashlib.md5(content, usedforsecurity=False).digest()
