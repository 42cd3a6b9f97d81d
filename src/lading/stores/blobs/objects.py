"""What an object store can do, as far as blobs and uploads need it. Each vendor's file speaks its calls and no rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class ObjectInfo:
    """An object: ``size`` in bytes, ``etag`` as the store gives it."""

    key: str
    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True)
class MultipartInfo:
    """A multipart upload that nobody completed."""

    key: str
    upload: str
    begun: datetime


class ChangedError(Exception):
    """Somebody else has written what was to be replaced, or the parts that were to be put together."""


class UploadGoneError(Exception):
    """The multipart upload is not there: it was completed, aborted or never was."""


async def apart(call: Coroutine[Any, Any, T]) -> T:
    """Await a call over aiohttp; in a task of its own where this one was cancelled, and only keeps or clears up what it did.

    aiohttp cancels its own sending when the store answers before it has read a body (as MinIO refuses a condition), and in
    a task that was ever cancelled takes that for one more cancellation of the task.
    """
    task = asyncio.current_task()
    return await (asyncio.create_task(call) if task is not None and task.cancelling() else call)


class ObjectClient(Protocol):
    """One bucket. Calls are tried again a few times; then :class:`~lading.errors.Unavailable` is raised.

    Bytes that go in are verified: the store gets their MD5, or what it says it kept is compared with it.
    """

    async def head(self, key: str) -> ObjectInfo | None: ...

    async def read(self, key: str) -> tuple[bytes, str] | None:
        """A small object, whole, and its etag."""
        ...

    def get(self, key: str, start: int, stop: int) -> AsyncIterator[bytes]:
        """The bytes from ``start`` before ``stop``; may end early, which the caller notices."""
        ...

    async def put(self, key: str, content: bytes, *, replaces: str = "") -> str:
        """Store an object; its etag. ``replaces``: only over the one with this etag, else :class:`ChangedError`."""
        ...

    async def copy(self, source: str, target: str, size: int) -> None:
        """Copy an object of ``size`` bytes within the store, whatever its size."""
        ...

    async def delete(self, keys: Sequence[str]) -> dict[str, str]:
        """Delete objects; absent is success. Those that could not be deleted, and why."""
        ...

    def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """Every object whose key begins with ``prefix``, in the order of keys."""
        ...

    async def create(self, key: str) -> str:
        """Begin a multipart upload; its id."""
        ...

    async def put_part(self, key: str, upload: str, number: int, content: bytes, md5: bytes) -> str:
        """Store a part, numbered from 1 on, in place of one of the same number; its etag."""
        ...

    async def complete(self, key: str, upload: str, parts: Sequence[str]) -> None:
        """Make the object from the parts with these etags, in order; :class:`ChangedError` if one is another now."""
        ...

    async def abort(self, key: str, upload: str) -> None:
        """Forget a multipart upload; absent is success."""
        ...

    def multiparts(self, prefix: str) -> AsyncIterator[MultipartInfo]:
        """The multipart uploads under a prefix that nobody completed."""
        ...

    async def sign(self, key: str, seconds: int) -> str | None:
        """A URL to get an object by, for anybody who has it, for so long."""
        ...

    async def close(self) -> None: ...


_GROWTH = ((2000, 1), (4000, 4), (6000, 16))
_LATE = 128
_LEAST_GROWN = 10 << 20


def part_size(number: int, first: int) -> int:
    """How large the part ``number`` (from 1 on) is, where the first ones have ``first`` bytes.

    Equal parts as long as possible, which some stores insist on; then larger ones, so that 5 TB fit in 10,000 parts.
    """
    for up_to, factor in _GROWTH:
        if number <= up_to:
            return first if factor == 1 else factor * max(first, _LEAST_GROWN)
    return min(_LATE * max(first, _LEAST_GROWN), 5 << 30)


def joined(parts: Iterable[bytes]) -> bytes:
    """The parts as one; without a copy where there is one alone."""
    listed = list(parts)
    return listed[0] if len(listed) == 1 else b"".join(listed)
