"""Notifications: registry:2's events, from the outbox to the endpoints that want them.

Every endpoint has a row among the outbox's consumers: how far it came. An event goes out in order, and again until it
is taken, so each arrives at least once and also after a crash; its id stays the same. Delivery is one standing job:
the process that has it serves all endpoints, and when it goes silent another takes over. An endpoint that stays away does not fill the disk: what is older than a week, or more than
100,000 events behind, is given up for it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID, uuid4

from sqlalchemy import bindparam, delete, func, select, text

from lading.config.notifications import Endpoint
from lading.control.delivery import Delivery, Refused
from lading.control.envelope import Sender, action, media_type
from lading.jobs.events import ContentEvent
from lading.jobs.kinds import Kind, Task
from lading.jobs.outbox import Outbox
from lading.jobs.queue import JobQueue
from lading.stores.metadata import facts
from lading.stores.metadata.schema.work import consumers, outbox
from lading.stores.metadata.transaction import Metadata, Statement, Transaction

log = logging.getLogger(__name__)

MOST_WAITING = 100_000
MOST_AGE = 7 * 86_400_000
"""Bounds for one endpoint: events, and milliseconds."""

JOB = "notify"
"""The kind of the standing job, and its key."""

_LEASE_SECONDS = 10.0
_AGAIN_SECONDS = 3.0
_PRIORITY = 100
_POLL_SECONDS = 0.3
_PAGE = 200
_SAVE_SECONDS = 0.1
_LEAST_PAUSE = 0.05
_STOP_SECONDS = 2.0
_FORGET_AT_ONCE = 2000
_FORGET_SECONDS = 3.0
_REMIND_SECONDS = 300.0
_PREFIX = "notify:"

_REGISTER = Statement(
    text(
        "INSERT INTO consumers (name, position, failures, next_at) VALUES"
        " (:name, (SELECT coalesce(max(id), 0) FROM outbox), 0, 0) ON CONFLICT (name) DO NOTHING"
    )
)
_ALL = Statement(
    select(consumers.c.name, consumers.c.position, consumers.c.failures, consumers.c.next_at).where(
        consumers.c.name.startswith(_PREFIX, autoescape=True)
    )
)
_STRIKE_OUT = Statement(delete(consumers).where(consumers.c.name == bindparam("name")))
_SAVE = Statement(
    text(
        "UPDATE consumers SET position = :position, failures = :failures, next_at = :next_at"
        " WHERE name = :name AND position <= :position"
    )
)
_LEAST = Statement(select(func.min(consumers.c.position)))
_BOUNDS = Statement(select(func.min(outbox.c.id), func.max(outbox.c.id)))
_OLD = Statement(select(func.max(outbox.c.id)).where(outbox.c.happened_at < bindparam("before")))


class Counting(Protocol):
    """Keeps count of deliveries."""

    def notified(self, endpoint: str, *, delivered: int = 0, failed: int = 0, dropped: int = 0) -> None:
        """Events taken, attempts that failed, events given up."""
        ...


@dataclass
class Consumer:
    """How far an endpoint came: the last event it is done with, failures in a row, when to try again (ms)."""

    position: int
    failures: int = 0
    next_at: int = 0


@dataclass(frozen=True)
class Address:
    """How this registry is called in events; see :class:`~lading.control.envelope.Sender`."""

    own: str
    external: str = ""
    prefix: str = ""
    relative: bool = False


class Notifications:
    """Delivers, in one process; every process may be asked to and one does it."""

    def __init__(
        self,
        metadata: Metadata,
        events: Outbox,
        queue: JobQueue,
        endpoints: Sequence[Endpoint],
        address: Address,
        *,
        references: bool = False,
        counting: Counting | None = None,
    ) -> None:
        self._metadata = metadata
        self._outbox = events
        self._queue = queue
        self._endpoints = [endpoint for endpoint in endpoints if not endpoint.disabled]
        self._address = address
        self._references = references
        self._counting = counting
        self._instance = str(uuid4())

    async def register(self) -> None:
        """Take note of endpoints that are new, from the newest event on, and forget those that are gone.

        Before the first request is answered: what happens from then on is theirs.
        """
        names = [_PREFIX + endpoint.name for endpoint in self._endpoints]

        async def take_note(tx: Transaction) -> None:
            known = {row[0] for row in await tx.rows(_ALL)}
            for name in known.difference(names):
                await tx.execute(_STRIKE_OUT, name=name)
            for name in names:
                await tx.execute(_REGISTER, name=name)
            if names:
                await self._queue.enqueue(tx, JOB, key=JOB, priority=_PRIORITY)

        await self._metadata.write(take_note)
        if not self._endpoints:
            await self._forget()

    @property
    def kind(self) -> Kind | None:
        """How the job is done; None where nobody wants events."""
        if not self._endpoints:
            return None
        return Kind(
            self.deliver,
            attempts=0,
            lease=_LEASE_SECONDS,
            backoff=_AGAIN_SECONDS,
            longest=_AGAIN_SECONDS,
            standing=True,
            patience=_STOP_SECONDS + 1.0,
        )

    async def waiting(self) -> Mapping[str, int]:
        """How many events each endpoint has not had yet, those it ignores among them."""

        async def read(tx: Transaction) -> dict[str, int]:
            _, newest = await tx.row(_BOUNDS) or (None, None)
            rows = await tx.rows(_ALL)
            return {row[0].removeprefix(_PREFIX): max(0, (newest or 0) - row[1]) for row in rows}

        return await self._metadata.read(read)

    # ---- all endpoints

    async def deliver(self, task: Task) -> None:
        """The job: serve every endpoint until the process stops; requests under way are finished if they are quick."""
        namespace = await self._namespace()
        address = self._address
        sender = Sender(
            address.own,
            self._instance,
            namespace,
            address.external,
            address.prefix,
            address.relative,
            self._references,
        )
        stopping = task.stopping
        lines = [asyncio.create_task(self._serve(endpoint, sender, task)) for endpoint in self._endpoints]
        patience = 0.0
        try:
            while not stopping.is_set() and not any(line.done() for line in lines):
                await _pause(stopping, _FORGET_SECONDS)
                await self._forget()
            patience = _STOP_SECONDS if stopping.is_set() else 0.0
        finally:
            await self._end(lines, patience)
        for line in lines:
            if line.done() and not line.cancelled():
                line.result()

    async def _end(self, lines: Sequence[asyncio.Task[None]], patience: float) -> None:
        if patience:
            await asyncio.wait(lines, timeout=patience)
        for line in lines:
            line.cancel()
        await asyncio.wait(lines)

    # ---- one endpoint

    async def _serve(self, endpoint: Endpoint, sender: Sender, task: Task) -> None:
        line = _Line(self._metadata, endpoint, await self._consumer(endpoint), self._counting)
        delivery = Delivery(endpoint)
        try:
            while not task.stopping.is_set():
                await line.trim()
                events = await self._outbox.after(line.consumer.position, _PAGE)
                for number, happened_at, event in events:
                    if not isinstance(event, ContentEvent) or not _wanted(endpoint, event):
                        line.consumer.position = number
                    elif not await _deliver(delivery, line, number, sender.envelope(number, happened_at, event), task):
                        break
                else:
                    await line.save()
                    if len(events) < _PAGE:
                        await _pause(task.stopping, _POLL_SECONDS)
        finally:
            await delivery.close()
            await line.save()

    async def _consumer(self, endpoint: Endpoint) -> Consumer:
        rows = {row[0]: row for row in await self._metadata.read(lambda tx: tx.rows(_ALL))}
        row = rows.get(_PREFIX + endpoint.name)
        if row is None:
            await self.register()
            return await self._consumer(endpoint)
        return Consumer(row[1], row[2], row[3])

    # ---- the outbox

    async def _forget(self) -> None:
        """Delete the events that every consumer is done with, a few thousand at a time.

        The newest stays: its number is where an endpoint begins that is added later.
        """
        while True:

            async def forget(tx: Transaction) -> bool:
                first, newest = await tx.row(_BOUNDS) or (None, None)
                if first is None:
                    return False
                least = await tx.value(_LEAST)
                done = newest - 1 if least is None else min(least, newest - 1)
                await self._outbox.forget(tx, min(done, first + _FORGET_AT_ONCE))
                return bool(done > first + _FORGET_AT_ONCE)

            first, newest = await self._metadata.row(_BOUNDS) or (None, None)
            least = (await self._metadata.row(_LEAST) or (None,))[0]
            if first is None or first == newest or (least is not None and least < first):
                return  # spares a write
            if not await self._metadata.write(forget, durable=False):
                return

    async def _namespace(self) -> UUID:
        async def keep(tx: Transaction) -> UUID:
            return UUID(await facts.first(tx, "events", str(uuid4())))

        return await self._metadata.write(keep)


class _Line:
    """What is remembered of one endpoint while its events go out."""

    def __init__(self, metadata: Metadata, endpoint: Endpoint, consumer: Consumer, counting: Counting | None) -> None:
        self.consumer = consumer
        self._metadata = metadata
        self._endpoint = endpoint
        self._counting = counting
        self._saved = (consumer.position, consumer.failures, consumer.next_at)
        self._saved_at = time.monotonic()
        self._told_at = float("-inf")
        self._redirected = False

    @property
    def rest(self) -> float:
        """Seconds for which it is left alone; never longer than the back-off, whatever the clock of who failed said."""
        return min((self.consumer.next_at - self._metadata.now()) / 1000, self._backoff)

    @property
    def _backoff(self) -> float:
        return max(self._endpoint.backoff.total_seconds(), _LEAST_PAUSE)

    async def delivered(self, number: int, status: int) -> None:
        """It took an event."""
        if self.consumer.failures:
            log.info("notifications: %s takes events again", self._endpoint.name)
            self._told_at = float("-inf")
        if status >= 300 and not self._redirected:
            self._redirected = True
            log.warning(
                "notifications: %s answered %d, which counts as taken but may mean that url should be another",
                self._endpoint.name,
                status,
            )
        self.consumer = Consumer(number)
        self._count(delivered=1)
        if time.monotonic() - self._saved_at > _SAVE_SECONDS:
            await self.save()

    async def failed(self, why: str) -> None:
        """It did not; from ``threshold`` failures in a row on it is left alone for ``backoff`` after each."""
        endpoint, consumer = self._endpoint, self.consumer
        consumer.failures += 1
        backoff = self._backoff
        resting = consumer.failures >= endpoint.threshold
        pause = backoff if resting else min(backoff, 0.1 * consumer.failures)
        consumer.next_at = self._metadata.now() + int(pause * 1000)
        self._count(failed=1)
        if time.monotonic() - self._told_at > _REMIND_SECONDS or consumer.failures == endpoint.threshold:
            self._told_at = time.monotonic()
            log.warning(
                "notifications: %s did not take an event (%d in a row): %s; tried again in %.1f s, none is lost yet",
                endpoint.name,
                consumer.failures,
                why,
                pause,
            )
        await self.save()

    async def trim(self) -> None:
        """Give up what is too much or too old."""
        position = self.consumer.position
        _, newest = await self._metadata.row(_BOUNDS) or (None, None)
        if newest is None or newest <= position:
            return
        old = (await self._metadata.row(_OLD, before=self._metadata.now() - MOST_AGE) or (None,))[0] or 0
        least = max(newest - MOST_WAITING, old)
        if least > position:
            log.error(
                "notifications: %s did not take events for too long; %d were given up, those from before event %d",
                self._endpoint.name,
                least - position,
                least,
            )
            self._count(dropped=least - position)
            self.consumer.position = least
            await self.save()

    async def save(self) -> None:
        """Remember how far it came."""
        consumer = self.consumer
        state = consumer.position, consumer.failures, consumer.next_at
        if state == self._saved:
            return

        async def save(tx: Transaction) -> None:
            await tx.execute(
                _SAVE, name=_PREFIX + self._endpoint.name, position=state[0], failures=state[1], next_at=state[2]
            )

        await self._metadata.write(save, durable=False)
        self._saved, self._saved_at = state, time.monotonic()

    def _count(self, *, delivered: int = 0, failed: int = 0, dropped: int = 0) -> None:
        if self._counting is not None:
            self._counting.notified(self._endpoint.name, delivered=delivered, failed=failed, dropped=dropped)


async def _deliver(delivery: Delivery, line: _Line, number: int, body: bytes, task: Task) -> bool:
    """Try once; False leaves the rest for later."""
    await _pause(task.stopping, line.rest)
    if task.stopping.is_set():
        return False
    try:
        status = await delivery.post(body)
    except Refused as error:
        await line.failed(str(error))
        return False
    await line.delivered(number, status)
    task.done += 1
    return True


async def _pause(stopping: asyncio.Event, seconds: float) -> None:
    if seconds > 0:
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), seconds)


def _wanted(endpoint: Endpoint, event: ContentEvent) -> bool:
    return not endpoint.ignores(action(event), media_type(event))
