"""Blobs and uploads in an object store, under the keys that registry:2 gives them.

A blob is an object that is written once. An upload is a *record*, a small object that says what there is of it:

- the parts of a multipart upload that were stored, each full;
- *pieces*: objects with the bytes behind the parts, too few for one;
- the state of the hash over all of these, so that whoever goes on reads nothing again.

The record is the truth about how much arrived, and is written after what it tells of: a crash between any two steps
leaves bytes that no record knows, which are found later (:meth:`RemoteStore.uploads`, :meth:`RemoteStore.clear`). It
is replaced only by whoever saw its last version, so of two requests that write to one upload at the same time, one is
refused. A finished upload's parts are put together by the etags in the record, so that bytes of a request that was
refused cannot be among them.

A blob that comes in one request goes straight to its place and is put together there only if its digest is right.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from lading.errors import Conflict, LadingError, StoreError
from lading.oci.digest import Digest
from lading.oci.reference import is_name
from lading.stores.blobs.base import Deleted, FoundUpload, UploadState, is_uuid
from lading.stores.blobs.download import RemoteFile
from lading.stores.blobs.layout import Layout
from lading.stores.blobs.objects import ObjectClient
from lading.stores.blobs.session import Budget, Record, RemoteUpload

log = logging.getLogger(__name__)

T = TypeVar("T")

_BUFFERED = 512 << 20
_HOLD_SECONDS = 5.0
_DELETE_SECONDS = 60.0
_SIGNED_SECONDS = 1200
_SIGNED_REUSED = 300.0
_SIGNED_KEPT = 10_000


class RemoteStore:
    """Blobs in one bucket; see the module. ``root`` is the prefix of all keys, ``part`` the size of parts in bytes.

    ``redirects``: send clients to the store for blobs. ``where`` names the store in messages.
    """

    def __init__(self, objects: ObjectClient, root: str, *, where: str, part: int, redirects: bool = True) -> None:
        self.objects = objects
        self.layout = Layout(Path(root.strip("/")))
        self.part = part
        self.budget = Budget(_BUFFERED)
        self._where = where
        self._redirects = redirects
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="blobs")
        self._loop = _running_loop()
        self._held: set[str] = set()
        self._signed: OrderedDict[Digest, tuple[float, str]] = OrderedDict()
        self._probed = False

    async def blocking(self, function: Callable[..., T], *arguments: object) -> T:
        """Run what takes the processor for long in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def blob_key(self, digest: Digest) -> str:
        """Where a blob lies."""
        return self.layout.blob(digest)

    # ---- blobs

    async def open(self, digest: Digest) -> RemoteFile | None:
        info = await self.objects.head(self.blob_key(digest))
        return None if info is None else RemoteFile(self.objects, info)

    async def redirect(self, digest: Digest) -> str | None:
        if not self._redirects:
            return None
        moment = time.monotonic()
        kept = self._signed.get(digest)
        if kept is not None and kept[0] > moment:
            return kept[1]
        url = await self.objects.sign(self.blob_key(digest), _SIGNED_SECONDS)
        if url is not None:
            self._signed[digest] = moment + _SIGNED_REUSED, url
            self._signed.move_to_end(digest)
            if len(self._signed) > _SIGNED_KEPT:
                self._signed.popitem(last=False)
        return url

    async def put(self, digest: Digest, content: bytes) -> None:
        await self.objects.put(self.blob_key(digest), content)

    async def delete(self, digests: Sequence[Digest]) -> Deleted:
        if _running_loop() is not None:
            return await self._delete(digests)
        # a transaction of the index, in the thread that writes it: the work is the loop's, the thread waits
        assert self._loop is not None, "the store was made outside of the loop it is used on"
        return asyncio.run_coroutine_threadsafe(self._delete(digests), self._loop).result(_DELETE_SECONDS)

    async def _delete(self, digests: Sequence[Digest]) -> Deleted:
        keys = {self.blob_key(digest): digest for digest in digests}
        try:
            async with asyncio.timeout(_DELETE_SECONDS / 2):
                failed = await self.objects.delete(list(keys))
        except (LadingError, TimeoutError) as error:
            why = error.message if isinstance(error, LadingError) else "the store did not answer in time"
            return Deleted(failed=dict.fromkeys(digests, why))
        freed: dict[Digest, int | None] = {digest: None for key, digest in keys.items() if key not in failed}
        return Deleted(freed, {keys[key]: why for key, why in failed.items()})

    async def walk(self) -> AsyncIterator[tuple[Digest, int]]:
        base = str(self.layout.blobs)
        async for found in self.objects.list(f"{base}/"):
            parts = found.key[len(base) + 1 :].split("/")
            if len(parts) == 4 and parts[3] == "data":
                try:
                    digest = Digest.parse(f"{parts[0]}:{parts[2]}")
                except LadingError:
                    continue
                yield digest, found.size

    async def probe(self) -> None:
        """The first time by writing, then by asking for what is not there: writes cost, and this is asked for ever."""
        self._loop = _running_loop()
        sample = f"{self.layout.own}/.probe-{uuid4().hex[:8]}"
        try:
            if self._probed:
                await self.objects.head(sample)
                return
            await self.objects.put(sample, b"lading")
            failed = await self.objects.delete([sample])
        except LadingError as error:
            raise StoreError(f"cannot use the store {self._where}: {error.message}") from error
        if failed:
            raise StoreError(f"cannot delete in the store {self._where}: {failed[sample]}")
        self._probed = True

    async def close(self) -> None:
        self._threads.shutdown(wait=False)
        await self.objects.close()

    # ---- uploads

    def record_key(self, repository: str, uuid: str) -> str:
        """Where an upload's record lies; its pieces lie beside it."""
        return f"{self.layout.session(repository, uuid)}/record"

    def data_key(self, repository: str, uuid: str) -> str:
        """Where an upload's parts are put together."""
        return f"{self.layout.upload(repository, uuid)}/data"

    async def begin(self, repository: str, algorithm: str, *, aim: Digest | None = None) -> RemoteUpload:
        record = Record(repository, str(uuid4()), algorithm)
        self._held.add(record.uuid)
        session = RemoteUpload(self, record, "")
        try:
            if aim is not None:
                session.aim(aim)
            else:
                await session.save()
        except BaseException:
            self._held.discard(record.uuid)
            raise
        return session

    async def resume(self, state: UploadState) -> RemoteUpload | None:
        if not is_uuid(state.uuid):
            return None
        await self._hold(state.uuid)
        try:
            found = await self.load(state.repository, state.uuid)
        except BaseException:
            self.release(state.uuid)
            raise
        if found is None:
            self.release(state.uuid)
            return None
        return RemoteUpload(self, *found)

    async def load(self, repository: str, uuid: str) -> tuple[Record, str] | None:
        """An upload's record and its etag."""
        found = await self.objects.read(self.record_key(repository, uuid))
        return None if found is None else (Record.read(found[0]), found[1])

    async def _hold(self, uuid: str) -> None:
        """Requests of this process take turns; those of others are told apart when they write the record."""
        deadline = time.monotonic() + _HOLD_SECONDS
        while uuid in self._held:
            if time.monotonic() > deadline:
                raise Conflict("another request is writing to this upload; wait for it, then ask for its status")
            await asyncio.sleep(0.05)
        self._held.add(uuid)

    def release(self, uuid: str) -> None:
        """Let the next request have an upload."""
        self._held.discard(uuid)

    async def discard_upload(self, repository: str, uuid: str) -> bool:
        if uuid in self._held:
            return False
        found = await self.load(repository, uuid)
        if found is not None and found[0].upload:
            await self.objects.abort(self.data_key(repository, uuid), found[0].upload)
        left = [self.data_key(repository, uuid)]
        left += [each.key async for each in self.objects.list(f"{self.layout.session(repository, uuid)}/")]
        failed = await self.objects.delete(left[:1]) or await self.objects.delete(left[1:])
        return not failed

    async def uploads(self) -> AsyncIterator[FoundUpload]:
        base = f"{self.layout.sessions}/"
        last: FoundUpload | None = None
        async for found in self.objects.list(base):
            repository, _, uuid = found.key[len(base) :].rpartition("/")[0].rpartition("/")
            if not is_name(repository) or not is_uuid(uuid):
                continue
            touched = found.modified
            if last is not None and last.uuid == uuid:
                touched = max(touched, last.touched_at)
            elif last is not None:
                yield last
            last = FoundUpload(repository, uuid, touched, None)
        if last is not None:
            yield last

    async def clear(self, before: datetime, *, dry_run: bool = False) -> int:
        """Abort multipart uploads that no record knows; those of a registry:2 that wrote here before as well."""
        samples = [each.key async for each in self.objects.list(f"{self.layout.own}/.probe-") if each.modified < before]
        if samples and not dry_run:
            await self.objects.delete(samples)
        cleared = len(samples)
        async for found in self.objects.multiparts(f"{self.layout.base}/"):
            if found.begun >= before or await self._is_open(found.key):
                continue
            if not dry_run:
                await self.objects.abort(found.key, found.upload)
            cleared += 1
        return cleared

    async def _is_open(self, key: str) -> bool:
        """Whether an object's key is that of an upload that has a record."""
        folder, _, uuid = key.removesuffix("/data").rpartition("/_uploads/")
        repository = folder.removeprefix(f"{self.layout.repositories}/")
        if not is_uuid(uuid) or not is_name(repository):
            return False
        return uuid in self._held or await self.objects.head(self.record_key(repository, uuid)) is not None


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
