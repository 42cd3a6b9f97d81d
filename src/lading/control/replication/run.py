"""The job that does a run: list what is meant, once, then a few repositories at a time.

A process that is killed leaves a run to the next, which goes on with the tasks that have not ended. What fails because
the other side is away, or busy, is tried again after a pause, a few times.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from lading import errors
from lading.access.sealing import Seal
from lading.control.replication.bring import LATER, Bring, Place
from lading.control.replication.endpoints import Endpoint, Endpoints
from lading.control.replication.far import Far
from lading.control.replication.filters import IMAGE, renamed
from lading.control.replication.here import Here, Own
from lading.control.replication.policies import EVENT, Policies, Policy
from lading.control.replication.runs import COPY, DONE, FAILED, PENDING, Planned, Run, Runs
from lading.control.replication.runs import Task as Piece
from lading.jobs.events import By
from lading.jobs.kinds import Kind, Task
from lading.jobs.queue import JobQueue
from lading.registry.local import Local
from lading.stores.metadata.transaction import Metadata, Transaction
from lading.telemetry.secrets import redacted

log = logging.getLogger(__name__)

ATTEMPTS = 20
"""How often the job is tried, those counted whose process was killed."""
TRIES = 4
"""How often one repository, or listing them all, is tried."""
EVENT_TRIES = 10
"""The same for what a push or a deletion asks for, which nobody does again: over about a quarter of an hour."""
AT_ONCE = 16
"""Runs that a process does at the same time, each another policy's, besides all other jobs."""
_LONGEST_PAUSE = 300.0
_TOGETHER = 4
_TELL_SECONDS = 2.0
_BATCH = 500


class Replicate:
    """See the module. ``networks`` are those that may be reached besides public addresses."""

    def __init__(self, metadata: Metadata, queue: JobQueue, networks: Sequence[str], own: Own) -> None:
        self.own = own
        self._metadata = metadata
        self._queue = queue
        self._networks = tuple(networks)
        self._local: Callable[[By], Local] | None = None
        self._seal: Seal | None = None

    def open(self, local: Callable[[By], Local], seal: Seal) -> None:
        """Where accounts are on: ``local`` makes this registry's side, ``seal`` opens passwords."""
        self._local, self._seal = local, seal

    @property
    def seal(self) -> Seal:
        """What passwords are sealed with."""
        if self._seal is None:
            raise errors.Unsupported("replication needs accounts, and they are off")
        return self._seal

    @property
    def kind(self) -> Kind:
        """How the job is done."""
        return Kind(self.work, attempts=ATTEMPTS, longest=_LONGEST_PAUSE, beside=AT_ONCE)

    def far(self, endpoint: Endpoint, password: str | None = None) -> Far:
        """Another registry, to be closed; with the password that is kept, unless one is given."""
        known = endpoint.password(self.seal) if password is None else password
        return Far(endpoint, known, self._networks)

    async def work(self, task: Task) -> dict[str, int] | None:
        """The job."""
        number = task.payload["run"]

        async def read(tx: Transaction) -> tuple[Run, Policy, Endpoint] | None:
            run = await Runs(tx).find(number)
            policy = await Policies(tx).find(run.policy) if run is not None else None
            endpoint = await Endpoints(tx).find(policy.source or policy.target or 0) if policy is not None else None
            return (run, policy, endpoint) if run and policy and endpoint and run.ended_at is None else None

        found = await self._metadata.read(read)
        if found is None:
            return None  # it was stopped, or done by a process that was killed before it could say so
        run, policy, endpoint = found
        try:
            far = self.far(endpoint)
        except errors.LadingError as error:
            await self._failed(task, run, error)
            return None
        async with far:
            assert self._local is not None, "it is given together with the seal"
            by = By(actor=f"replication {policy.name}", user_agent="replication")
            here = Here(self._metadata, self._local(by), self.own)
            source, target = (here, far) if policy.source is None else (far, here)
            try:
                await self._plan(run, policy, source)
                bring = Bring(source, target, policy.terms)
                await bring.survey(await self._metadata.read(lambda tx: Runs(tx).open_tasks(run.id)))
            except errors.LadingError as error:
                await self._failed(task, run, error)
                return None
            return await self._work(task, run, bring, _left_out(here.left))

    async def _failed(self, task: Task, run: Run, error: errors.LadingError) -> None:
        """Planning did not work: later again, or never."""
        words = redacted(error.message)
        if isinstance(error, LATER) and task.claim.attempt < _tries(run):
            await self._metadata.write(lambda tx: Runs(tx).tell(run.id, f"{words}; it is tried again"))
            raise error
        task.log(words)
        await self._metadata.write(lambda tx: Runs(tx).end(run, FAILED, words, self._queue))

    # ---- the plan

    async def _plan(self, run: Run, policy: Policy, source: Place) -> None:
        if run.planned:
            return
        terms = policy.terms
        known = {one.source for one in await self._metadata.read(lambda tx: Runs(tx).open_tasks(run.id))}
        planned: list[Planned] = []
        async for name in source.repositories(terms.filters):
            if name not in known:
                target = renamed(name, terms.namespace, terms.replace)
                planned.append(Planned(COPY, IMAGE, name, target))
            if len(planned) >= _BATCH:
                await self._metadata.write(lambda tx, batch=tuple(planned): Runs(tx).plan(run.id, batch))  # type: ignore[misc]
                planned = []
        await self._metadata.write(lambda tx: Runs(tx).plan(run.id, planned, whole=True))

    # ---- the work

    async def _work(self, task: Task, run: Run, bring: Bring, words: str) -> dict[str, int] | None:
        pieces = list(await self._metadata.read(lambda tx: Runs(tx).open_tasks(run.id)))
        counts = await self._metadata.read(lambda tx: Runs(tx).counts(run.id))
        total = sum(counts.values())
        waiting = list(reversed(pieces))
        done = total - len(pieces)
        task.progress(done, total)

        async def worker() -> None:
            nonlocal done
            while waiting:
                await self._piece(waiting.pop(), bring, _tries(run))
                done += 1
                task.progress(done, total)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(_TOGETHER, len(pieces))):
                group.create_task(worker())
        return await self._end(run, words)

    async def _end(self, run: Run, words: str) -> dict[str, int] | None:
        counts = await self._metadata.read(lambda tx: Runs(tx).counts(run.id))
        left, failed = counts.get(PENDING, 0), counts.get(FAILED, 0)
        if left:
            words = f"{left} of {sum(counts.values())} repositories are tried again"
            await self._metadata.write(lambda tx: Runs(tx).tell(run.id, words))
            raise errors.Unavailable(words)
        if failed:
            words = f"{failed} of {sum(counts.values())} repositories failed; their logs say why"
        await self._metadata.write(lambda tx: Runs(tx).end(run, FAILED if failed else DONE, words, self._queue))
        return dict(counts)

    async def _piece(self, piece: Piece, bring: Bring, tries: int) -> None:
        """One repository; whatever is wrong with it is its own."""
        if not await self._metadata.write(lambda tx: Runs(tx).begin(piece.id), durable=False):
            return  # it was stopped
        lines: list[str] = []

        def tell(words: str) -> None:
            lines.append(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {words}\n")

        tell(f"{piece.action} {piece.source} to {piece.target}")
        state, kind = DONE, piece.kind
        try:
            async with self._telling(piece, lines):
                kind = await (bring.copy if piece.action == COPY else bring.delete)(piece, tell)
        except errors.LadingError as error:
            state = PENDING if isinstance(error, LATER) and piece.attempts + 1 < tries else FAILED
            tell(redacted(error.message) + ("; it is tried again" if state == PENDING else ""))
        except (OSError, ValueError) as error:
            state = FAILED
            log.exception("replication of %s failed", piece.source)
            tell(f"this registry failed ({type(error).__name__}); its log says more")
        await self._metadata.write(lambda tx: Runs(tx).note(piece, state, kind, "".join(lines)), durable=False)

    @asynccontextmanager
    async def _telling(self, piece: Piece, lines: list[str]) -> AsyncIterator[None]:
        """Write down meanwhile what there is to say: people look while it goes on, and a process may be killed."""
        over = asyncio.Event()

        async def write() -> None:
            told = list(lines)
            await self._metadata.write(lambda tx: Runs(tx).tell_task(piece, "".join(told)), durable=False)
            del lines[: len(told)]

        async def tell() -> None:
            while not over.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_TELL_SECONDS):
                        await over.wait()
                if lines and not over.is_set():
                    with suppress(errors.LadingError):
                        await write()

        telling = asyncio.create_task(tell())
        try:
            yield
        except asyncio.CancelledError:
            over.set()
            await telling
            lines.append(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} it was broken off here\n")
            with suppress(errors.Unavailable):
                await write()
            raise
        finally:
            over.set()
            await telling


def _left_out(count: int) -> str:
    """What is said of repositories that were meant and are another registry's."""
    if not count:
        return ""
    return (
        f"{count} repositories were left out: a mirror keeps them for another registry; let the other side mirror that"
    )


def _tries(run: Run) -> int:
    return EVENT_TRIES if run.cause == EVENT else TRIES
