"""This registry as a side of replication: names as Harbor's clients know them, with a project in front."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, select

from lading.access.members import namespace
from lading.control.projects import Projects, shown_name, stored_name
from lading.control.replication.filters import ARTIFACT, IMAGE, Filter, Held, takes_repository
from lading.errors import Conflict
from lading.oci import mediatypes
from lading.oci.digest import Digest
from lading.oci.manifest import Descriptor
from lading.registry.local import ANYWHERE, Local
from lading.registry.repositories import Repositories
from lading.stores.metadata.schema.content import blobs, manifests, repositories, repository_blobs, tags
from lading.stores.metadata.schema.control import artifact_labels, labels
from lading.stores.metadata.transaction import Metadata, Statement, Transaction

_PAGE = 1000
_IMAGES = frozenset({mediatypes.OCI_CONFIG, mediatypes.DOCKER_CONFIG})
_HELD = Statement(
    select(tags.c.name, manifests.c.digest, manifests.c.media_type, manifests.c.artifact_type)
    .select_from(repositories)
    .join(tags, tags.c.repository_id == repositories.c.id)
    .join(manifests, manifests.c.id == tags.c.manifest_id)
    .where(repositories.c.name == bindparam("name"))
    .order_by(tags.c.name)
)
_LABELS = Statement(
    select(manifests.c.digest, labels.c.name)
    .select_from(repositories)
    .join(manifests, manifests.c.repository_id == repositories.c.id)
    .join(artifact_labels, artifact_labels.c.manifest_id == manifests.c.id)
    .join(labels, labels.c.id == artifact_labels.c.label_id)
    .where(repositories.c.name == bindparam("name"))
)
_SUBJECT = Statement(
    select(manifests.c.subject)
    .select_from(repositories)
    .join(manifests, manifests.c.repository_id == repositories.c.id)
    .where(repositories.c.name == bindparam("name"), manifests.c.digest == bindparam("digest"))
)
_WITH_SUBJECT = Statement(
    select(manifests.c.subject)
    .select_from(repositories)
    .join(manifests, manifests.c.repository_id == repositories.c.id)
    .where(repositories.c.name == bindparam("name"), manifests.c.subject.is_not(None))
    .distinct()
)
_HOLDERS = Statement(
    select(repositories.c.name)
    .join(repository_blobs, repository_blobs.c.repository_id == repositories.c.id)
    .join(blobs, blobs.c.id == repository_blobs.c.blob_id)
    .where(blobs.c.digest == bindparam("digest"), blobs.c.present)
    .order_by(repositories.c.name)
    .limit(bindparam("most"))
)


@dataclass(frozen=True)
class Own:
    """Which repositories are this registry's own: not below ``prefixes`` of mirrors, nor in a proxy project.

    What mirrors keep is some of another registry's images, and of those some layers. It is replicated from here by no
    policy: what is missing would have to be fetched, and whoever wants it there mirrors that registry there.
    """

    prefixes: tuple[str, ...] = ()

    async def has(self, tx: Transaction, name: str) -> bool:
        """Whether the repository stored as ``name`` is."""
        if name.startswith(self.prefixes):
            return False
        project = await Projects(tx).named(namespace(name))
        return project is None or project.registry is None


class Here:
    """See the module. ``left`` counts repositories that were meant and are not this registry's own."""

    host = "this registry"

    def __init__(self, metadata: Metadata, client: Local, own: Own) -> None:
        self._metadata = metadata
        self._own = own
        self.client = client
        self.left = 0

    async def repositories(self, filters: Sequence[Filter]) -> AsyncGenerator[str]:
        """The repositories that are meant."""
        after = ""
        while True:
            found = await self._metadata.read(lambda tx, after=after: Repositories(tx).page(after, _PAGE))  # type: ignore[misc]
            if not found:
                return
            meant = [name for name in found if takes_repository(filters, shown_name(name))]
            mine = await self._metadata.read(lambda tx, meant=meant: self._mine(tx, meant))  # type: ignore[misc]
            self.left += len(meant) - len(mine)
            for name in mine:
                yield shown_name(name)
            after = found[-1]

    async def _mine(self, tx: Transaction, names: Sequence[str]) -> list[str]:
        return [name for name in names if await self._own.has(tx, name)]

    async def survey(self, repositories: Sequence[str]) -> None:
        """Nothing is saved by asking for many at once."""

    async def held(self, repository: str, tags: Sequence[str] | None = None) -> list[Held]:  # noqa: ARG002 - all cost the same
        """The tags of a repository, with all that is to be known of them."""

        async def read(tx: Transaction) -> list[Held]:
            name = await stored(tx, repository)
            if not await self._own.has(tx, name):
                return []  # it was when the run was planned
            on: dict[str, set[str]] = {}
            for digest, label in await tx.rows(_LABELS, name=name):
                on.setdefault(digest, set()).add(label)
            return [
                Held(tag, digest, kind_of(media_type, artifact_type), frozenset(on.get(digest, ())))
                for tag, digest, media_type, artifact_type in await tx.rows(_HELD, name=name)
            ]

        return await self._metadata.read(read)

    async def stored(self, repository: str) -> str:
        """The name a repository has here."""
        return await self._metadata.read(lambda tx: stored(tx, repository))

    async def referred(self, repository: str, held: Sequence[Held]) -> set[str]:
        """The digests, of those held, that something may refer to."""

        async def read(tx: Transaction) -> set[str]:
            return {row[0] for row in await tx.rows(_WITH_SUBJECT, name=await stored(tx, repository))}

        return (await self._metadata.read(read)) & {one.digest for one in held}

    async def digest(self, repository: str, tag: str) -> str:
        """What a tag stands for; empty if it is not there."""
        found = await self.client.resolve(await self.stored(repository), tag)
        return found.digest if found else ""

    async def kind(self, repository: str, digest: str) -> str:
        """Whether a manifest is an image or something else."""
        found = await self.client.manifest(await self.stored(repository), digest)
        return kind_of(found.media_type, found.artifact_type)

    async def refers(self, repository: str, digest: str) -> bool:  # noqa: ARG002 - as another registry is asked
        """It has the referrers API."""
        return True

    async def origins(self, blob: Descriptor, repository: str) -> Sequence[str]:  # noqa: ARG002 - from anywhere
        """Where else a blob may be taken over from."""
        return (ANYWHERE,)

    async def holders(self, digest: str, most: int) -> list[str]:
        """Some repositories in which a blob is visible."""

        async def read(tx: Transaction) -> list[str]:
            return [shown_name(row[0]) for row in await tx.rows(_HOLDERS, digest=Digest(digest), most=most)]

        return await self._metadata.read(read)

    async def prepare(self, repository: str) -> None:
        """Make the project of a repository, private, where it is not there."""
        project = namespace(repository)

        async def make(tx: Transaction) -> None:
            if await Projects(tx).named(project) is None:
                await Projects(tx).add(project, None, public=False)

        if await self._metadata.read(lambda tx: Projects(tx).named(project)) is None:
            try:
                await self._metadata.write(make)
            except Conflict:
                return  # somebody else was first

    async def delete_tag(self, repository: str, tag: str) -> None:
        """Take a tag away."""
        await self.client.delete(await self.stored(repository), tag)

    async def close(self) -> None:
        """There is nothing to close."""


async def subject_of(tx: Transaction, name: str, digest: str) -> str:
    """What a manifest of the repository stored as ``name`` refers to; empty if nothing, or if it is not there."""
    return str(await tx.value(_SUBJECT, name=name, digest=digest) or "")


async def stored(tx: Transaction, repository: str) -> str:
    """The name a repository has here, by the one that clients of Harbor know."""
    project, slash, rest = repository.partition("/")
    return await stored_name(tx, project, rest) if slash else repository


def kind_of(media_type: str, artifact_type: str) -> str:
    """Whether a manifest is an image (or some for several platforms), or something else."""
    image = media_type in (mediatypes.DOCKER_MANIFEST, *mediatypes.INDEXES) or artifact_type in _IMAGES
    return IMAGE if image else ARTIFACT
