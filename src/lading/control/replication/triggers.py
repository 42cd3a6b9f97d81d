"""What begins a run besides people: a push or a deletion, and the clock; and what is looked after meanwhile."""

from __future__ import annotations

import logging
from datetime import timedelta

from lading import errors
from lading.control.projects import shown_name
from lading.control.replication.endpoints import Endpoint, Endpoints
from lading.control.replication.filters import (
    ARTIFACT,
    IMAGE,
    LABEL,
    renamed,
    subject_of,
    takes_repository,
    takes_tag,
    wants,
)
from lading.control.replication.here import subject_of as referred
from lading.control.replication.policies import SCHEDULED, Policies, Policy
from lading.control.replication.run import Replicate
from lading.control.replication.runs import COPY, DELETION, Planned, Runs
from lading.jobs.events import Event, ManifestPushed, TagDeleted
from lading.jobs.kinds import Task
from lading.jobs.queue import JobQueue
from lading.jobs.schedule import Schedules
from lading.remotes.failures import configured
from lading.stores.metadata.transaction import Metadata, Transaction
from lading.telemetry.secrets import redacted

log = logging.getLogger(__name__)

JOB = "replicate-scheduled"


class Triggers:
    """See the module. ``age`` and ``keep`` say how long and how many runs are remembered."""

    def __init__(self, metadata: Metadata, queue: JobQueue, replicate: Replicate, *, age: timedelta, keep: int) -> None:
        self._metadata = metadata
        self._queue = queue
        self._replicate = replicate
        self._age = int(age.total_seconds() * 1000)
        self._keep = keep

    async def react(self, tx: Transaction, event: Event, at: int) -> None:  # noqa: ARG002 - every reaction is called alike
        """What follows from an event, in its transaction."""
        if not isinstance(event, ManifestPushed | TagDeleted):
            return
        name = shown_name(event.repository)
        policies = [one for one in await Policies(tx).eager() if takes_repository(one.terms.filters, name)]
        if policies and await self._replicate.own.has(tx, event.repository):
            for policy in policies:
                one = await _planned(tx, policy, event, name)
                if one is not None:
                    await Runs(tx).happened(policy, one, self._queue)

    async def scheduled(self, task: Task) -> int | None:
        """The job: it is time for a policy. The run that begins."""

        async def start(tx: Transaction) -> int | None:
            policy = await Policies(tx).find(task.payload["policy"])
            return await Runs(tx).start(policy, SCHEDULED, self._queue) if policy and policy.timing else None

        return await self._metadata.write(start)

    async def tend(self, task: Task) -> dict[str, int]:
        """The job done every few minutes: endpoints looked at, runs ended whose job is gone, old ones forgotten."""
        endpoints = await self._metadata.read(lambda tx: Endpoints(tx).all())
        for endpoint in endpoints:
            trouble = await look(self._replicate, endpoint)
            if trouble != endpoint.trouble:
                task.log(f"{endpoint.name}: {trouble or 'well'}")
                await self._metadata.write(lambda tx, one=endpoint, why=trouble: Endpoints(tx).note(one.id, why))  # type: ignore[misc]
        for policy in await self._metadata.read(lambda tx: Runs(tx).unsettled()):
            await self._metadata.write(lambda tx, policy=policy: _settle(tx, policy, self._queue))  # type: ignore[misc]
        gone = await self._metadata.write(lambda tx: Runs(tx).forget(tx.now - self._age, self._keep))
        return {"endpoints": len(endpoints), "forgotten": gone}


async def schedule(tx: Transaction, policy: Policy) -> None:
    """Bring the schedules to what a policy says."""
    if policy.timing:
        await Schedules(tx).put(policy.schedule, JOB, policy.timing, {"policy": policy.id})
    else:
        await Schedules(tx).remove(policy.schedule)


async def look(replicate: Replicate, endpoint: Endpoint, password: str | None = None) -> str:
    """What is wrong with an endpoint, empty if nothing is."""
    try:
        async with replicate.far(endpoint, password) as far:
            await far.check()
    except errors.LadingError as error:
        return redacted(
            configured(error.message, ', or into ca_certificate; "insecure": true goes on without checking')
        )
    return ""


async def _settle(tx: Transaction, policy: int, queue: JobQueue) -> None:
    await Policies(tx).hold(policy)
    await Runs(tx).settle(policy, queue)


async def _planned(tx: Transaction, policy: Policy, event: ManifestPushed | TagDeleted, name: str) -> Planned | None:
    terms = policy.terms
    target = renamed(name, terms.namespace, terms.replace)
    tag = event.tag
    if isinstance(event, TagDeleted):
        # which labels it had nobody knows any more, and what is there may have come otherwise
        known = terms.deletion and not wants(terms.filters, LABEL)
        wanted = known and (takes_tag(terms.filters, tag) or subject_of(tag))
        return Planned(DELETION, IMAGE, name, target, (tag,)) if wanted else None
    if tag:
        taken = takes_tag(terms.filters, tag) or subject_of(tag)
        return Planned(COPY, IMAGE, name, target, (tag,)) if taken else None
    subject = await referred(tx, event.repository, event.target.digest)
    return Planned(COPY, ARTIFACT, name, target, (subject,)) if subject else None
