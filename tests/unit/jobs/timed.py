"""An index whose clock a test moves, whichever database it is in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from lading.errors import Unavailable
from lading.stores.metadata.transaction import Metadata, Transaction
from tests.unit.registry.world import Clock


class _Transaction:
    def __init__(self, inner: Transaction, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock

    @property
    def now(self) -> int:
        return self._clock.milliseconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Timed:
    """The index with ``clock`` for the database's, and a connection to it that can be cut."""

    def __init__(self, inner: Metadata, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.cut = False
        self._inner = inner

    @property
    def metadata(self) -> Metadata:
        return cast("Metadata", self)

    async def read(self, work: Callable[[Transaction], Any]) -> Any:
        return await self._run(self._inner.read, work)

    async def scan(self, work: Callable[[Transaction], Any]) -> Any:
        return await self._run(self._inner.scan, work)

    async def write(self, work: Callable[[Transaction], Any], *, durable: bool = True) -> Any:
        return await self._run(self._inner.write, work, durable=durable)

    async def _run(self, run: Any, work: Callable[[Transaction], Any], **options: Any) -> Any:
        if self.cut:
            raise Unavailable("the database is away")
        return await run(lambda tx: work(cast("Transaction", _Transaction(tx, self.clock))), **options)
