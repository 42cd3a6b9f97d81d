"""The adoption that a server begins with, before it serves: a job, so that of many servers on one store one does it."""

from __future__ import annotations

import asyncio
import os
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import click

from lading.cli.server.volume import watching
from lading.errors import StoreError, StoreFull

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from lading.config.storage import Storage
    from lading.jobs.executions import Execution
    from lading.jobs.kinds import Task
    from lading.registry.adopt import Progress, Report, Watch
    from lading.stores.blobs.base import BlobStore
    from lading.stores.metadata.transaction import Metadata

_KIND = "adopt"
_LEASE_SECONDS = 8.0
_LOOK_SECONDS = 0.2
_PATIENCE_SECONDS = 1.0
_SECONDS_BETWEEN_LINES = 5.0


async def take_over(storage: Storage, root: Path | None, index: str) -> Report | None:
    """Check the store and make the index; if a registry:2 left a tree that the index does not know, have it adopted.

    The report where this process did it; ``StoreError`` where it cannot be done.
    """
    from lading.registry.adopt import adopt, adopt_bucket, bucket_has_links, has_links, needs_adoption
    from lading.stores.blobs.driver import open_store, where
    from lading.stores.blobs.layout import Layout
    from lading.stores.blobs.remote import RemoteStore
    from lading.stores.metadata.engine import open_index

    store = open_store(storage, root)
    try:
        try:
            await store.probe()
        except StoreFull as full:
            click.echo(f"lading: WARNING: {full.message}", err=True)
        linked: Callable[[], Awaitable[bool]]
        work: Callable[[Metadata, Watch], Awaitable[Report]]
        if isinstance(store, RemoteStore):
            linked, work = (
                partial(bucket_has_links, store),
                lambda metadata, watch: adopt_bucket(metadata, store, watch),
            )
        else:
            assert root is not None
            layout = Layout(root)
            linked, work = partial(has_links, layout), lambda metadata, watch: adopt(metadata, layout, watch)
        await _refuse_without_index(store, index, linked, where(storage, root))
        metadata = open_index(index)
        try:
            needed = partial(needs_adoption, metadata, linked)
            if not await needed():
                return None
            return await _Adoption(metadata, where(storage, root), needed, partial(work, metadata)).see_through()
        finally:
            await metadata.close()
    finally:
        await store.close()


async def _refuse_without_index(store: BlobStore, index: str, linked: Callable[[], Awaitable[bool]], name: str) -> None:
    """Raise ``StoreError`` where a new index would be made for blobs whose names only another one has.

    With it every tag would be gone, and nobody told. What a registry:2 left has its names in links (``linked``); but where
    an index has been before, they are of another time.
    """
    from lading.stores.blobs.filesystem import FilesystemStore
    from lading.stores.metadata.engine import file_of, version_of, was_made

    if await asyncio.to_thread(version_of, index) or (not was_made(index) and await linked()):
        return
    async for _ in store.walk():
        file, in_files = file_of(index), isinstance(store, FilesystemStore)
        backup = "a backup of it (lading restore)" if file and in_files else "a backup or dump of it"
        rebuild = "; lading verify --rebuild makes one from what the store has" if in_files else ""
        raise StoreError(
            f"there is no index at {file or 'database.url'}, but {name} has blobs. Their names and tags are in an index that "
            "is lost or lies elsewhere, and with a new one they would be gone. See that database.url, the storage and what is "
            f"mounted there are as they were, or put back {backup}{rebuild}. To begin anew, give it an empty store"
        )


class _Adoption:
    """``needed`` says whether the store called ``name`` is still to be adopted, ``work`` does it."""

    def __init__(
        self,
        metadata: Metadata,
        name: str,
        needed: Callable[[], Awaitable[bool]],
        work: Callable[[Watch], Awaitable[Report]],
    ) -> None:
        self._metadata = metadata
        self._name = name
        self._needed = needed
        self._work = work
        self._report: Report | None = None
        self._failure: Exception | None = None
        self._mine = False
        self._next = asyncio.get_running_loop().time() + _PATIENCE_SECONDS

    async def see_through(self) -> Report | None:
        """Have it done, here or by another server, and wait until it is."""
        from lading.jobs.kinds import Kind
        from lading.jobs.queue import JobQueue
        from lading.jobs.worker import Worker

        queue = JobQueue(self._metadata, f"{socket.gethostname()[:40]}-{os.getpid()}-{uuid4().hex[:8]}")
        # for ever as far as processes go that die of it, and once where it fails
        kind = Kind(self._do, attempts=0, hopeless=(Exception,), lease=_LEASE_SECONDS)
        worker = Worker(queue, {_KIND: kind})
        made = await self._metadata.write(lambda tx: queue.enqueue(tx, _KIND, key=_KIND))
        worker.start()
        try:
            ended = await self._wait(made.job)
        finally:
            await worker.stop()
        if self._failure is not None:
            raise self._failure
        if ended.state != "done":
            raise StoreError(f"{self._name} was not adopted (job {ended.id} {ended.state}): {ended.error}")
        return self._report

    async def _do(self, task: Task) -> dict[str, int]:
        self._mine = True
        if not await self._needed():
            return {}  # another server did it since this one looked
        try:
            with watching() as show:

                def watch(progress: Progress) -> None:
                    task.progress(progress.done, progress.total)
                    show(progress)

                self._report = await self._work(watch)
        except Exception as error:
            self._failure = error
            raise
        counts = self._report.counts
        for problem in self._report.problems:
            task.log(f"{problem.kind}: {problem.repository} {problem.what}: {problem.detail}")
        return {name: getattr(counts, name) for name in counts.__struct_fields__}

    async def _wait(self, job: int) -> Execution:
        from lading.jobs.executions import Executions

        while True:
            execution = await self._metadata.read(lambda tx: Executions(tx).one(job))
            if execution is None:
                raise StoreError(f"job {job}, which adopts {self._name}, is gone; start again")
            if execution.ended:
                return execution
            if not self._mine:
                self._tell(execution)
            await asyncio.sleep(_LOOK_SECONDS)

    def _tell(self, execution: Execution) -> None:
        time = asyncio.get_running_loop().time()
        if time < self._next:
            return
        self._next = time + _SECONDS_BETWEEN_LINES
        done = f"{execution.done:,} of {execution.total or 0:,} repositories"
        click.echo(f"waiting for {execution.process}, which adopts {self._name} or was ended: {done}", err=True)
