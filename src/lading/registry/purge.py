"""Uploads that nobody finished are given up (``storage.maintenance.uploadpurging``)."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from lading.jobs.kinds import Task
from lading.stores.blobs.base import BlobStore, FoundUpload

log = logging.getLogger(__name__)


class Purge:
    """Deletes uploads that have lain still for ``age``; one that a request works on is left alone."""

    def __init__(self, store: BlobStore, *, age: timedelta, dry_run: bool = False) -> None:
        self._store = store
        self._age = age
        self._dry_run = dry_run

    async def run(self) -> list[FoundUpload]:
        """Purge once; what went, or would go."""
        before = datetime.now(UTC) - self._age
        old = [upload async for upload in self._store.uploads() if upload.touched_at < before]
        gone = [each for each in old if self._dry_run or await self._store.discard_upload(each.repository, each.uuid)]
        left = await self._store.clear(before, dry_run=self._dry_run)
        verb = "would be given up" if self._dry_run else "given up"
        if gone:
            log.info("%d unfinished uploads older than %s %s", len(gone), self._age, verb)
        if left:
            log.info("%d parts of uploads that broke off more than %s ago %s", left, self._age, verb)
        return gone

    async def work(self, task: Task) -> dict[str, int | bool]:
        """The job: purge once."""
        gone = await self.run()
        for upload in gone:
            task.log(f"{upload.uuid} in {upload.repository}, untouched since {upload.touched_at:%Y-%m-%d %H:%M:%S} UTC")
        task.progress(len(gone), len(gone))
        return {"uploads": len(gone), "dry_run": self._dry_run}
