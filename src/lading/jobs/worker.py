"""Does the jobs of one process: claims what it has room for, says that it is alive, and writes down how it ended.

A process that cannot say so for as long as its lease lasts ends its task *before* another may take the job over. A
process that is told to stop leaves its jobs to the others.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

from lading.errors import LadingError, Unavailable
from lading.jobs.kinds import Claim, Kind, Reason, Task
from lading.jobs.queue import JobQueue, State
from lading.telemetry.logs import expected
from lading.telemetry.secrets import redacted

log = logging.getLogger(__name__)

_POLL_SECONDS = 1.0
_COMMIT_SECONDS = (0.02, 0.1, 0.3)
_UNAVAILABLE_SECONDS = 2.0
_STOP_SECONDS = 5.0
_BEATS = 5
_MARGIN = 0.8


class Counting(Protocol):
    """Keeps count of how attempts end."""

    def job(self, kind: str, outcome: str, seconds: float) -> None:
        """One did; ``outcome`` is done, failed, cancelled, retried, returned or lost."""
        ...


class Worker:
    """Does jobs of these ``kinds``, up to ``slots`` at once; standing ones, and those done beside others, take no slot."""

    def __init__(
        self, queue: JobQueue, kinds: Mapping[str, Kind], *, slots: int = 4, counting: Counting | None = None
    ) -> None:
        self._queue = queue
        self._kinds = dict(kinds)
        self._slots = slots
        self._counting = counting
        self._attempts: dict[asyncio.Task[None], _Attempt] = {}
        self._wake = asyncio.Event()
        self._stopping = False
        self._keeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin; on the running event loop."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody is there to be woken
                loop.call_soon_threadsafe(self._wake.set)

        if self._kinds:
            self._queue.on_enqueued = wake
            self._keeping = asyncio.create_task(self._keep(), name="jobs")

    async def stop(self) -> None:
        """Take no more, and give back what is not done."""
        self._stopping = True
        self._wake.set()
        if self._keeping is not None:
            # not cut off: a claim that is on its way would be nobody's until its lease ran out
            _, late = await asyncio.wait({self._keeping}, timeout=_STOP_SECONDS)
            for keeping in late:
                keeping.cancel()
        attempts = dict(self._attempts)
        for attempt in attempts.values():
            attempt.drain()
        if attempts:
            await asyncio.wait(attempts)

    # ---- taking jobs

    async def _keep(self) -> None:
        while not self._stopping:
            pause = random.uniform(0.75, 1.25) * _POLL_SECONDS  # noqa: S311 - not a secret
            try:
                await self._fill()
            except Unavailable as error:
                log.warning("jobs wait: %s", error.message)
                pause += _UNAVAILABLE_SECONDS
            except Exception:
                log.exception("jobs could not be claimed; it is tried again")
                pause += _UNAVAILABLE_SECONDS
            await self._rest(pause)

    async def _rest(self, seconds: float) -> None:
        """Wait for a time, or until something was enqueued here and had time to be committed."""
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            return
        self._wake.clear()
        for pause in _COMMIT_SECONDS:
            if self._stopping:
                return
            await asyncio.sleep(pause)
            with suppress(LadingError):
                if await self._queue.anything(self._claimable()):
                    return

    async def _fill(self) -> None:
        while not self._stopping and (kinds := self._claimable()) and await self._queue.anything(kinds):
            asked = time.monotonic()
            claim = await self._queue.claim(kinds)
            if claim is None:
                return
            attempt = _Attempt(self._queue, self._kinds[claim.kind], claim, asked, self._counting)
            doing = asyncio.create_task(attempt.run(), name=f"job {claim.job} {claim.kind}")
            self._attempts[doing] = attempt
            doing.add_done_callback(self._ended)

    def _claimable(self) -> Mapping[str, Kind]:
        at_work = Counter(attempt.claim.kind for attempt in self._attempts.values())
        taken = sum(
            count for name, count in at_work.items() if not (kind := self._kinds[name]).standing and not kind.beside
        )

        def room(name: str, kind: Kind) -> bool:
            return kind.standing or (at_work[name] < kind.beside if kind.beside else taken < self._slots)

        return {name: kind for name, kind in self._kinds.items() if room(name, kind)}

    def _ended(self, doing: asyncio.Task[None]) -> None:
        del self._attempts[doing]
        self._wake.set()
        if not doing.cancelled() and (error := doing.exception()) is not None:
            log.error("a job's end could not be written down", exc_info=error)


class _Attempt:
    """One claim, from its beginning to its end."""

    def __init__(self, queue: JobQueue, kind: Kind, claim: Claim, asked: float, counting: Counting | None) -> None:
        self.kind = kind
        self._queue = queue
        self.claim = claim
        self._counting = counting
        self._task = Task(claim)
        self._began = time.monotonic()
        self._until = asked + kind.lease * _MARGIN
        self._reason: Reason | None = None
        self._doing: asyncio.Task[Any] | None = None
        self._cut: asyncio.TimerHandle | None = None
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Do it, and write down how it ended."""
        claim, kind = self.claim, self.kind
        if kind.attempts and claim.attempt > kind.attempts:
            await self._settle(None, LadingError(f"given up: its process ended {kind.attempts} times in the middle"))
            return
        self._doing = asyncio.ensure_future(kind.run(self._task))
        if self._reason is not None:
            self._end(self._reason)
        beating = asyncio.create_task(self._beat())
        await asyncio.wait({self._doing})
        self._over.set()
        await beating
        if self._cut is not None:
            self._cut.cancel()
        if self._doing.cancelled():
            await self._settle(None, asyncio.CancelledError())
        else:
            error = self._doing.exception()
            await self._settle(None if error else self._doing.result(), error)

    def drain(self) -> None:
        """The process stops: let it end within the kind's patience."""
        self._task.stopping.set()
        if self.kind.patience and self._doing is not None:
            loop = asyncio.get_running_loop()
            self._cut = loop.call_later(self.kind.patience, self._end, Reason.DRAIN)
        else:
            self._end(Reason.DRAIN)

    def _end(self, reason: Reason) -> None:
        self._reason = self._reason or reason
        if self._doing is not None:
            self._doing.cancel(reason.value)

    # ---- while it runs

    async def _beat(self) -> None:
        while not await self._over_within(self.kind.lease / _BEATS) and self._reason is not Reason.LOST:
            asked = time.monotonic()
            lines = self._task.take_lines()
            try:
                async with asyncio.timeout(max(0.0, self._until - asked)):
                    told = await self._queue.beat(self.claim, self.kind.lease, self._state(lines))
            except (LadingError, TimeoutError) as error:
                for line in lines:
                    self._task.log(line)
                self._not_renewed(error)
                continue
            self._until = asked + self.kind.lease * _MARGIN
            if not told.held:
                log.warning("job %d (%s) stops: another process took it over", self.claim.job, self.claim.kind)
                self._end(Reason.LOST)
            elif told.cancelling and self._reason is None:
                self._end(Reason.CANCEL)

    async def _over_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)
        return self._over.is_set()

    def _not_renewed(self, error: Exception) -> None:
        what = error.message if isinstance(error, LadingError) else "no answer in time"
        log.warning("job %d (%s): its lease was not renewed: %s", self.claim.job, self.claim.kind, what)
        if time.monotonic() >= self._until:
            log.warning("job %d (%s) stops: another process may take it over", self.claim.job, self.claim.kind)
            self._end(Reason.LOST)

    def _state(self, lines: list[str]) -> State:
        return State(self._task.done, self._task.total, self._task.message, lines)

    # ---- how it ended

    async def _settle(self, result: Any, error: BaseException | None) -> None:
        state = self._state(self._task.take_lines())
        outcome = "lost"
        while self._reason is not Reason.LOST:
            try:
                outcome = await self._write_down(state, result, error)
                break
            except Unavailable as away:
                log.warning("how job %d ended cannot be written down yet: %s", self.claim.job, away.message)
                await asyncio.sleep(_UNAVAILABLE_SECONDS)
                if time.monotonic() >= self._until:
                    self._reason = Reason.LOST  # another does it again
        if self._counting is not None:
            self._counting.job(self.claim.kind, outcome, time.monotonic() - self._began)

    async def _write_down(self, state: State, result: Any, error: BaseException | None) -> str:
        queue, claim, kind = self._queue, self.claim, self.kind
        stopped = isinstance(error, asyncio.CancelledError) or (kind.standing and error is None)
        if stopped and self._reason is Reason.CANCEL:
            return "cancelled" if await queue.cancelled(claim, state) else "lost"
        if stopped and self._task.stopping.is_set():
            return "returned" if await queue.give_back(claim, state) else "lost"
        if error is None and not kind.standing:
            return "done" if await queue.finish(claim, state, result) else "lost"
        why = "it ended, and nobody had told it to" if error is None or stopped else _in_words(error)
        if kind.tired(claim.attempt, error):
            log.error("job %d (%s) failed: %s", claim.job, claim.kind, why, exc_info=_traceback(error))
            return "failed" if await queue.fail(claim, state, why) else "lost"
        pause = kind.pause(claim.attempt)
        log.error(
            "%s failed (job %d, attempt %d); it is tried again in %.1f s",
            claim.kind,
            claim.job,
            claim.attempt,
            pause,
            exc_info=_traceback(error),
        )
        return "retried" if await queue.fail(claim, state, why, pause) else "lost"


def _in_words(error: BaseException) -> str:
    return redacted(error.message) if isinstance(error, LadingError) else expected(error)


def _traceback(error: BaseException | None) -> BaseException | None:
    """What of an error goes to the log in full: nothing of one that says in words what is wrong."""
    return None if isinstance(error, LadingError | asyncio.CancelledError) else error
