"""Deadlines without timers: what is past its own is closed, once a second."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Expiring(Protocol):
    """What has a deadline, in the loop's time."""

    deadline: float

    def expire(self) -> None:
        """The deadline has passed."""


class Sweeper:
    """Closes the connections that are past their deadline, once a second."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.connections: set[Expiring] = set()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, connection: Expiring) -> None:
        self.connections.add(connection)
        if self._timer is None:
            self._timer = self.loop.call_later(1.0, self._sweep)

    def _sweep(self) -> None:
        moment = self.loop.time()
        for connection in [each for each in self.connections if each.deadline < moment]:
            connection.expire()
        self._timer = self.loop.call_later(1.0, self._sweep) if self.connections else None
