"""Holds: while one is out, the collector deletes no bytes, so that what a backup has listed stays until it is copied.

A hold lapses two minutes after whoever took it went silent.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

from sqlalchemy import bindparam, exists, select

from lading.jobs.leases import Leases
from lading.stores.metadata.schema.work import leases
from lading.stores.metadata.transaction import Metadata, Statement, Transaction

_NAME = "hold:"
_SECONDS = 120.0
_RENEW_SECONDS = 20.0

_HELD = Statement(
    select(exists().where(leases.c.name >= _NAME, leases.c.name < _NAME + "~", leases.c.expires_at > bindparam("now")))
)


async def held(tx: Transaction) -> bool:
    """Whether anybody holds the bytes now."""
    return bool(await tx.value(_HELD, now=tx.now))


@asynccontextmanager
async def hold(metadata: Metadata, what: str) -> AsyncGenerator[None]:
    """Keep the collector from deleting bytes for as long as the block runs; ``what`` names the work."""
    name = f"{_NAME}{what}:{uuid4().hex}"
    mine = Leases(metadata, f"{socket.gethostname()[:20]}-{os.getpid()}-{uuid4().hex[:8]}")
    await mine.take(name, _SECONDS)
    renewing = asyncio.create_task(_renew(mine, name))
    try:
        yield
    finally:
        renewing.cancel()
        with suppress(asyncio.CancelledError):
            await renewing
        await mine.give_back(name)


async def _renew(mine: Leases, name: str) -> None:
    while True:
        await asyncio.sleep(_RENEW_SECONDS)
        await mine.take(name, _SECONDS)
