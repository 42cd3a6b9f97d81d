"""A blob of an object store on its way out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from lading.errors import LadingError
from lading.stores.blobs.objects import ObjectClient, ObjectInfo

log = logging.getLogger(__name__)

_TRIES = 5


class RemoteFile:
    """A blob in the store. A transfer that breaks off goes on behind the last byte that arrived."""

    __slots__ = ("_info", "_objects", "size")

    def __init__(self, objects: ObjectClient, info: ObjectInfo) -> None:
        self._objects = objects
        self._info = info
        self.size = info.size

    def fileno(self) -> int | None:
        return None

    async def reach(self, offset: int, end: int) -> int:  # noqa: ARG002 - all of it is there
        return end

    async def chunks(self, offset: int, count: int) -> AsyncIterator[bytes]:
        end, tries = offset + count, 0
        while offset < end:
            wrong = "the store ended the transfer early"
            try:
                async for data in self._objects.get(self._info.key, offset, end):
                    yield data
                    offset, tries = offset + len(data), 0
            except LadingError as error:
                wrong = error.message
            if offset < end:
                tries += 1
                log.warning("%s: %d bytes are missing: %s (try %d)", self._info.key, end - offset, wrong, tries)
                if tries == _TRIES:
                    raise EOFError(wrong)
                await asyncio.sleep(0.1 * 2**tries)

    def close(self) -> None:
        """Nothing is held."""
