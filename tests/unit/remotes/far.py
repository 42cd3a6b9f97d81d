"""What the tests of the HTTP client share: an impatient client for a scripted registry, and blobs to move."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from lading.oci.digest import Digest
from lading.oci.manifest import Descriptor
from lading.remotes.base import Source
from lading.remotes.credentials import Credential, Keyring
from lading.remotes.http import HttpRegistry
from lading.remotes.session import Session
from lading.remotes.transport import Policy
from tests.support.scripted import Answer, Asked, Scripted

DATA = random.Random("far").randbytes(3_000_000)
BLOB = Descriptor(media_type="application/octet-stream", digest=Digest.of(DATA), size=len(DATA))
HURRIED = Policy(attempts=4, backoff=0.01, patience=2, connect=2, silence=2)


@asynccontextmanager
async def registry(
    far_side: Scripted, *, user: str = "", password: str = "", policy: Policy = HURRIED, **more: Any
) -> AsyncIterator[HttpRegistry]:
    """A client that knows this login at this far side and nothing else."""
    credential = Credential(user, password, **more)
    async with Session(
        far_side.host, Keyring({"HOME": "/nonexistent"}, {far_side.host: credential}), policy
    ) as session:
        yield HttpRegistry(session)


def of(data: bytes, size: int = 1 << 16) -> Source:
    """A source that reads from memory, as often as it is asked."""

    @asynccontextmanager
    async def opened(start: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async def chunks() -> AsyncIterator[bytes]:
            for place in range(start, len(data), size):
                yield data[place : place + size]

        yield chunks()

    return opened


def routes(**answers: Answer | Callable[[Asked], Answer]) -> Callable[[Asked], Answer]:
    """By the method and the last word of the path, such as ``GET_list``; ``/v2/`` itself answers 200."""

    def answer(asked: Asked) -> Answer:
        if asked.path == "/v2/":
            return Answer()
        found = answers.get(f"{asked.method}_{asked.path.rstrip('/').rpartition('/')[2]}", answers.get(asked.method))
        assert found is not None, f"nobody wrote what {asked.method} {asked.path} is answered with"
        return found(asked) if callable(found) else found

    return answer


async def read(client: HttpRegistry, blob: Descriptor = BLOB, start: int = 0) -> bytes:
    """All of a blob."""
    async with client.blob("a", blob, start) as chunks:
        return b"".join([chunk async for chunk in chunks])
