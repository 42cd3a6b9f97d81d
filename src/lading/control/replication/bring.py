"""What a task does to one repository: see what is missing there, and bring that alone.

A tag that is the same on both sides costs no more than the question. Signatures and the like go along with what they
speak of, also when they came later, by the referrers API or by the tag that stands for it where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from lading import errors
from lading.control.replication import filters
from lading.control.replication.far import Far
from lading.control.replication.filters import Held, renamed, subject_of, takes, takes_repository
from lading.control.replication.here import Here
from lading.control.replication.policies import Terms
from lading.control.replication.progress import Progress
from lading.control.replication.runs import Task
from lading.control.replication.standin import STAND_IN
from lading.oci.manifest import Descriptor
from lading.oci.reference import is_name
from lading.remotes import referrers
from lading.remotes.copy import Copy, Pace, Side, together
from lading.telemetry.secrets import redacted

Place = Here | Far
Log = Callable[[str], None]

_MOUNT_FROM = 64 << 10
"""Bytes from which it is worth asking for a mount."""
_MOST_ORIGINS = 2
_MOST_REFUSED = 20
LATER = (errors.Unavailable, errors.Unreachable, errors.TooMany)
"""What goes by, so that it is worth trying again."""


class Bring:
    """From ``source`` to ``target``, by a policy's terms."""

    def __init__(self, source: Place, target: Place, terms: Terms) -> None:
        self._source = source
        self._target = target
        self._terms = terms
        self._pace = Pace(terms.speed) if terms.speed else None

    async def copy(self, task: Task, log: Log) -> str:
        """Bring what is missing; image or artifact, by what was there."""
        wanted = await self._wanted(task)
        if not wanted:
            log("nothing is there that the policy takes")
            return task.kind
        if not is_name(task.target):
            raise errors.NameInvalid(f"{task.target[:300]} cannot be the name of a repository: it is too long")
        await self._target.prepare(task.target)
        there = {one.tag: one for one in await self._target.held(task.target, [one.tag for one in wanted])}
        same, missing = await self._compared(task, wanted, there, log)
        progress = Progress(log)
        moved, refused = await self._move_all(task, missing, log, progress)
        await self._refer(task, await self._copier(task, progress), [*same, *moved], there, log)
        if same:
            log(f"{len(same)} tags are there already")
        if refused:
            raise errors.RemoteError(
                f"{len(refused)} of {len(missing)} tags were not brought: {', '.join(refused[:10])}"
            )
        return next((one.kind for one in wanted if one.kind), task.kind)

    async def delete(self, task: Task, log: Log) -> str:
        """Take away there what is not here any more."""
        for tag in task.tags:
            if await self._source.digest(task.source, tag):
                log(f"{tag} is here again, and stays there")
            elif not (digest := await self._target.digest(task.target, tag)):
                log(f"{tag} is not there")
            elif not await self._meant(task.target, tag, digest):
                log(f"{tag} is there something that the policy does not take, and stays")
            else:
                await self._target.delete_tag(task.target, tag)
                log(f"{tag} was deleted")
        return task.kind

    async def _meant(self, repository: str, tag: str, digest: str) -> bool:
        """Whether what is there under a tag is of the kind that the policy takes; what belongs to an image goes with it."""
        if not filters.wants(self._terms.filters, filters.RESOURCE) or subject_of(tag) or digest == STAND_IN.digest:
            return True
        kind = await self._target.kind(repository, digest)
        return takes(self._terms.filters, Held(tag, digest, kind))

    async def survey(self, tasks: Sequence[Task]) -> None:
        """See much at once, before many tasks."""
        await self._source.survey([one.source for one in tasks])
        await self._target.survey([one.target for one in tasks])

    # ---- what is missing

    async def _wanted(self, task: Task) -> list[Held]:
        """The tags that the policy takes, those of signatures among them; each with its digest."""
        conditions = self._terms.filters
        alone = bool(task.tags) and not any(":" in tag or subject_of(tag) for tag in task.tags)
        held = await self._source.held(task.source, task.tags if alone else None)
        taken = await self._known(task, [one for one in held if takes(conditions, one)])
        taken = [one for one in taken if takes(conditions, one)]
        digests, tags = {one.digest for one in taken}, {one.tag for one in taken}
        taken += await self._known(
            task, [one for one in held if one.tag not in tags and subject_of(one.tag) in digests]
        )
        if not task.tags:
            return taken
        asked = set(task.tags)  # a digest among them is that of what a referrer speaks of
        return [one for one in taken if one.tag in asked or one.digest in asked]

    async def _known(self, task: Task, held: Sequence[Held]) -> list[Held]:
        judged = filters.wants(self._terms.filters, filters.RESOURCE)

        async def look(one: Held) -> Held:
            digest = one.digest or await self._source.digest(task.source, one.tag)
            kind = one.kind or (await self._source.kind(task.source, digest) if judged and digest else "")
            return replace(one, digest=digest, kind=kind)

        return [one for one in await together([look(one) for one in held]) if one.digest]

    async def _compared(
        self, task: Task, wanted: Sequence[Held], there: Mapping[str, Held], log: Log
    ) -> tuple[list[Held], list[Held]]:
        """Those that are the same there, and those to bring."""

        async def look(tag: str) -> str:
            # what a list lacks is asked for: the list may be older, or cut
            return (there[tag].digest if tag in there else "") or await self._target.digest(task.target, tag)

        same, missing = [], []
        for one, found in zip(wanted, await together([look(one.tag) for one in wanted]), strict=True):
            if found == one.digest:
                same.append(one)
            elif found and not self._terms.override:
                log(f"{one.tag} is another image there ({found}) and stays: the policy does not override")
            else:
                missing.append(one)
        return same, missing

    # ---- what is brought

    async def _copier(self, task: Task, progress: Progress) -> Copy:
        source = Side(self._source.client, await self._source.stored(task.source))
        target = Side(self._target.client, await self._target.stored(task.target))
        watch = _Watch(progress, self._target if isinstance(self._target, Far) else None, target.repository)
        mounts = partial(self._origins, task)
        return Copy(source, target, referrers=True, pace=self._pace, mounts=mounts, watch=watch)

    async def _origins(self, task: Task, blob: Descriptor) -> Sequence[str]:
        if blob.size < _MOUNT_FROM:
            return ()
        found = list(await self._target.origins(blob, task.target))
        if not found and isinstance(self._source, Here):
            terms = self._terms
            for name in await self._source.holders(blob.digest, 10):
                there = renamed(name, terms.namespace, terms.replace)
                if there != task.target and takes_repository(terms.filters, name):
                    found.append(there)
        return found[:_MOST_ORIGINS]

    async def _move_all(
        self, task: Task, missing: Sequence[Held], log: Log, progress: Progress
    ) -> tuple[list[Held], list[str]]:
        """Bring tags; those that were, and those that were refused, which keep no other from coming."""
        moved: list[Held] = []
        refused: list[str] = []
        copier = await self._copier(task, progress)
        for one in missing:
            try:
                await self._move(copier, one.tag, log)
                moved.append(one)
            except LATER:
                raise
            except errors.LadingError as error:
                refused.append(one.tag)
                progress.broken()
                log(f"{one.tag} was not brought: {redacted(error.message)}")
                copier = await self._copier(
                    task, progress
                )  # the other one knows of blobs that were broken off with this
                if len(refused) >= _MOST_REFUSED:
                    raise errors.RemoteError(
                        f"{len(refused)} tags were not brought; the others were not tried"
                    ) from None
        return moved, refused

    async def _move(self, copier: Copy, reference: str, log: Log) -> None:
        report = copier.report
        before = replace(report)
        manifest = await copier.image(reference, [reference])
        log(
            f"{reference} was brought, {manifest.digest}: {report.moved - before.moved} blobs moved "
            f"({report.bytes - before.bytes} bytes), {report.mounted - before.mounted} mounted, "
            f"{report.there - before.there} there already"
        )

    # ---- what refers to it

    async def _refer(self, task: Task, copier: Copy, held: Sequence[Held], there: Mapping[str, Held], log: Log) -> None:
        source, target = copier.source, copier.target
        known = {digest for one in there.values() for digest in one.referrers or ()}
        digests = sorted(await self._source.referred(task.source, held))

        async def listed(digest: str) -> list[Descriptor]:
            return [one async for one in source.client.referrers(source.repository, digest)]

        for digest, found in zip(digests, await together([listed(digest) for digest in digests]), strict=True):
            for one in found:
                if one.digest in known:
                    continue
                if await target.client.resolve(target.repository, one.digest) is None:
                    await self._move(copier, one.digest, log)
            if found and not await self._target.refers(target.repository, digest):
                await referrers.note(target.client, target.repository, digest, found)


class _Watch:
    """Tells how far a task is, and remembers where a registry has which blob, so that it can be mounted elsewhere there."""

    def __init__(self, progress: Progress, far: Far | None, repository: str) -> None:
        self._progress = progress
        self._far = far
        self._repository = repository

    def begin(self, blob: Descriptor) -> None: ...

    def reads(self, blob: Descriptor, start: int) -> None:
        self._progress.reads(blob, start)

    def moved(self, blob: Descriptor, count: int) -> None:
        self._progress.moved(blob, count)

    def end(self, blob: Descriptor, how: str) -> None:  # noqa: ARG002 - as copies tell it
        self._progress.end(blob)
        if self._far is not None:
            self._far.saw(blob, self._repository)
