"""Mirrors of other registries beside the repositories of this one: which name belongs to which.

All that is below a mirror's prefix is that upstream's and nobody else's: it is pulled through the mirror, and not
pushed. Everything else is pulled as without mirrors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lading.errors import Denied, Unsupported
from lading.jobs.outbox import Outbox
from lading.oci.digest import Digest
from lading.registry.admission import BlobArrives, ManifestArrives, Question, UploadBegins
from lading.registry.manifests import Referrer
from lading.registry.mirror import Mirror
from lading.registry.mirrored import Uses
from lading.registry.pull import Elsewhere, Pull, StoredManifest
from lading.registry.upstream import Upstream
from lading.stores.blobs.base import BlobFile, BlobStore
from lading.stores.metadata.transaction import Metadata, Transaction


@dataclass(frozen=True)
class Branch:
    """One mirror, and which of its upstream's repositories it hands out, by their names there."""

    mirror: Mirror
    upstream: Upstream
    allowed: Sequence[re.Pattern[str]] = ()
    denied: Sequence[re.Pattern[str]] = ()

    def check(self, repository: str) -> None:
        """Raise ``Denied`` for a repository that is not handed out, whatever of it is here."""
        name = self.upstream.named(repository)
        fits = any(pattern.fullmatch(name) for pattern in self.allowed) or not self.allowed
        if not fits or any(pattern.fullmatch(name) for pattern in self.denied):
            raise Denied(f"{name} of {self.upstream.host} is not handed out here (allow and deny of the mirror)")


class Others(Protocol):
    """Who knows of mirrors that are set while the registry runs."""

    async def branch(self, repository: str) -> Branch | None:
        """The mirror a repository belongs to; None: to none."""
        ...


def patterns(texts: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    """Patterns in which ``*`` is any text, slashes too."""
    return tuple(re.compile(".*".join(map(re.escape, text.split("*")))) for text in texts)


class Mirrors(Pull):
    """Hands out what is here, and below each prefix what its mirror has; ``others``, once set, may know of more."""

    def __init__(self, metadata: Metadata, store: BlobStore, outbox: Outbox, outage: float = 0) -> None:
        super().__init__(metadata, store, outbox, outage)
        self.contents = self._contents
        self.others: Others | None = None
        self._branches: tuple[Branch, ...] = ()
        self._uses = Uses(metadata)

    def here(self) -> Pull:
        """What is here and nothing else, for what must ask no upstream."""
        made = Pull(self._metadata, self._store, self._outbox)
        made._contents = self._contents
        return made

    def add(self, branch: Branch) -> None:
        """From now on everything below its prefix is this mirror's."""
        self._branches = (*self._branches, branch)

    async def close(self) -> None:
        """Break off what is being fetched."""
        for each in self._branches:
            await each.mirror.close()
        await self._uses.close()

    async def refuse(self, tx: Transaction, question: Question) -> None:  # noqa: ARG002 - every rule is asked alike
        """The rule that nothing is pushed into a mirror."""
        assert isinstance(question, UploadBegins | BlobArrives | ManifestArrives)
        for each in self._branches:
            if question.name.startswith(each.upstream.prefix):
                raise Unsupported(f"{question.name} is a mirror of a repository of {each.upstream.host}; push there")

    async def manifest(self, repository: str, reference: str, *, by_digest: bool) -> StoredManifest:
        mirror, place = await self._place(repository)
        if mirror is None:
            return await super().manifest(repository, reference, by_digest=by_digest)
        found = await mirror.manifest(place, reference, by_digest=by_digest)
        self._uses.note(place, found.digest)
        return found

    async def blob_size(self, repository: str, digest: Digest) -> int:
        mirror, place = await self._place(repository)
        return await (super().blob_size(repository, digest) if mirror is None else mirror.blob_size(place, digest))

    async def blob(self, repository: str, digest: Digest) -> BlobFile | Elsewhere:
        mirror, place = await self._place(repository)
        return await (super().blob(repository, digest) if mirror is None else mirror.blob(place, digest))

    async def file(self, repository: str, digest: Digest) -> BlobFile:
        mirror, place = await self._place(repository)
        return await (super().file(repository, digest) if mirror is None else mirror.file(place, digest))

    async def tags(self, repository: str, after: str, limit: int) -> tuple[list[str], bool]:
        mirror, place = await self._place(repository)
        return await (super().tags(repository, after, limit) if mirror is None else mirror.tags(place, after, limit))

    async def referrers(
        self, repository: str, subject: Digest, artifact_type: str, after: str, limit: int
    ) -> tuple[list[Referrer], bool]:
        mirror, place = await self._place(repository)
        if mirror is None:
            return await super().referrers(place, subject, artifact_type, after, limit)
        return await mirror.referrers(place, subject, artifact_type, after, limit)

    async def answers_for(self, registry: str, repository: str) -> bool:
        branch = await self._branch(repository)
        return branch is not None and branch.upstream.is_called(registry)

    async def _branch(self, repository: str) -> Branch | None:
        branch = next((each for each in self._branches if repository.startswith(each.upstream.prefix)), None)
        if branch is None and self.others is not None:
            branch = await self.others.branch(repository)
        return branch

    async def _place(self, repository: str) -> tuple[Mirror | None, str]:
        branch = await self._branch(repository)
        if branch is None:
            return None, repository
        branch.check(repository)
        return branch.mirror, branch.upstream.place(repository)
