"""A registry without HTTP, whose pushes are asked about, with projects and their quotas."""

from __future__ import annotations

import asyncio
from pathlib import Path

from lading.access.sealing import Seal
from lading.app import COLLECTED, rules
from lading.control.accounts import Accounts, Settings
from lading.control.projects import Project, Projects
from lading.control.quotas import Quotas
from lading.jobs.events import By
from lading.jobs.outbox import Outbox
from lading.oci.digest import Digest
from lading.registry.admission import Admission
from lading.registry.collect import Collect
from lading.registry.delete import Delete
from lading.registry.push import Push, PushPolicy
from lading.registry.uploads import Uploads
from lading.stores.blobs.filesystem import FilesystemStore
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.transaction import Transaction
from tests.support.images import Image
from tests.unit.registry.world import stream

SEAL = Seal(b"a key for these tests, long enough")


class Yard:
    """Everything one process needs. Two of them on one ``root`` and ``url`` are two processes."""

    def __init__(self, root: Path, url: str, *, create: bool = False, shared: frozenset[str] = frozenset()) -> None:
        self.metadata = open_index(url)
        self.outbox = Outbox(self.metadata, listening=True)
        settings = Settings(password="Secret-word-1", create_on_push=create, shared=shared)
        self.settings = settings
        self.accounts = Accounts(self.metadata, self.outbox, SEAL, settings)
        self.accounts.quotas.loop = asyncio.get_running_loop()
        admission = Admission(rules(self.accounts))
        self.store = store = FilesystemStore(root, threads=2)
        self.uploads = Uploads(self.metadata, store, self.outbox, b"secret", admission)
        self.pushes = Push(self.metadata, store, self.outbox, PushPolicy(), admission)
        self.deletes = Delete(self.metadata, self.outbox, admission)
        self.collect = Collect(self.metadata, store, admission=Admission(COLLECTED))

    async def close(self) -> None:
        await self.accounts.close()
        await self.metadata.close()
        await self.store.close()

    async def push(self, repository: str, content: Image, by: By = By(actor="someone")) -> None:  # noqa: B008 - frozen
        for blob in content.blobs:
            await self.uploads.push(repository, Digest(blob.digest), stream(blob.data), by)
        digest = Digest(content.manifest.digest)
        await self.pushes.manifest(repository, digest, ["1"], content.manifest.media_type, content.manifest.data, by)

    async def project(self, name: str, most_bytes: int = -1, most_repositories: int = -1) -> int:
        async def add(tx: Transaction) -> Project:
            return await Projects(tx).add(name, None, most_bytes=most_bytes, most_repositories=most_repositories)

        return (await self.metadata.write(add)).id

    async def used(self, project: int) -> int:
        return await self.metadata.read(lambda tx: Quotas(tx).used(project))

    async def told(self) -> list[str]:
        await asyncio.sleep(0)  # what a thread was asked to tell is told
        await self.outbox.flush()
        return [type(event).__name__ for _, _, event in await self.outbox.after(0, 1000)]
