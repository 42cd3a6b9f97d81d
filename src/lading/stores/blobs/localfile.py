"""A blob that is a plain file, open for reading."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from lading.stores.blobs.disk import at_hand, let_go

_CHUNK = 1 << 18


class LocalFile:
    """A blob open for reading."""

    __slots__ = ("_descriptor", "size")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def fileno(self) -> int:
        return self._descriptor

    async def reach(self, offset: int, end: int) -> int:  # noqa: ARG002 - all of it is here
        return end

    async def chunks(self, offset: int, count: int) -> AsyncIterator[bytes]:
        loop, end = asyncio.get_running_loop(), offset + count
        while offset < end:
            size = min(_CHUNK, end - offset)
            data = at_hand(self._descriptor, size, offset)
            if data is not None:
                await asyncio.sleep(0)  # a reader that takes all at once is not to have the loop for itself
            else:
                data = await loop.run_in_executor(None, os.pread, self._descriptor, size, offset)
            if not data:
                raise EOFError("the file is shorter than it was")
            offset += len(data)
            yield data

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            let_go(descriptor)
