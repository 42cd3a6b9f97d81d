"""registry:2's link files in a bucket (``links`` says what they mean), for taking them over.

One listing of all keys tells nearly everything: which links there are, since when, and how large each blob is. Only what a
tag points to has to be read, and manifests. The methods block and belong into threads; the bucket is asked on the loop.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from lading.errors import LadingError
from lading.oci.digest import CANONICAL, Digest
from lading.stores.blobs.links import Link
from lading.stores.blobs.remote import RemoteStore

T = TypeVar("T")


class _Found:
    """The links of one repository: ``layers`` and ``revisions`` by digest, ``tags`` by name; when they were written."""

    def __init__(self) -> None:
        self.layers: dict[str, int] = {}
        self.revisions: dict[str, int] = {}
        self.tags: dict[str, int] = {}


class RemoteTree:
    """The links below a store's root, as they were when :meth:`load` looked."""

    def __init__(self, store: RemoteStore) -> None:
        self._store = store
        self._loop = asyncio.get_running_loop()
        self._found: defaultdict[str, _Found] = defaultdict(_Found)
        self._sizes: dict[str, int] = {}

    @classmethod
    async def load(cls, store: RemoteStore) -> RemoteTree:
        """List what there is."""
        tree = cls(store)
        async for digest, size in store.walk():
            tree._sizes[digest] = size
        base = f"{store.layout.repositories}/"
        async for each in store.objects.list(base):
            name, _, rest = each.key[len(base) :].partition("/_")
            tree._note(name, rest.split("/"), int(each.modified.timestamp() * 1000))
        return tree

    def _note(self, name: str, path: list[str], written_at: int) -> None:
        match path:
            case ["layers", algorithm, encoded, "link"]:
                self._found[name].layers[f"{algorithm}:{encoded}"] = written_at
            case ["manifests", "revisions", algorithm, encoded, "link"]:
                self._found[name].revisions[f"{algorithm}:{encoded}"] = written_at
            case ["manifests", "tags", tag, "current", "link"]:
                self._found[name].tags[tag] = written_at
            case _:
                return

    def repositories(self) -> Iterator[str]:
        """The names, sorted by their components."""
        yield from sorted(self._found, key=lambda name: name.split("/"))

    def layers(self, repository: str) -> Iterator[Link]:
        """The blobs visible in a repository. Only one of another algorithm can hold another digest than its name."""
        folder = f"{self._store.layout.repository(repository)}/_layers"
        for name, written_at in self._found[repository].layers.items():
            if name.startswith(f"{CANONICAL}:"):
                yield Link(name, name, written_at)
            else:
                yield self._read(name, f"{folder}/{name.replace(':', '/')}/link", written_at)

    def revisions(self, repository: str) -> Iterator[Link]:
        """The manifests of a repository."""
        for name, written_at in self._found[repository].revisions.items():
            yield Link(name, name, written_at)

    def tags(self, repository: str) -> Iterator[Link]:
        """The tags of a repository; ``name`` is the tag."""
        for tag, written_at in self._found[repository].tags.items():
            yield self._read(tag, f"{self._store.layout.tag(repository, tag)}/current/link", written_at)

    def size(self, digest: str) -> int | None:
        """The length of a blob's bytes; None if they are not there."""
        return self._sizes.get(digest)

    def content(self, digest: str, most: int) -> bytes | None:
        """The bytes of a blob, one more than ``most`` of them where it is longer; None if they are not there."""
        size = self._sizes.get(digest)
        return None if size is None else self._ask(self._content(Digest(digest), min(size, most + 1)))

    async def _content(self, digest: Digest, count: int) -> bytes | None:
        file = await self._store.open(digest)
        return None if file is None else b"".join([data async for data in file.chunks(0, count)])

    def alias(self, digest: Digest, target: Digest) -> None:
        """Have the bytes of ``target`` under another digest as well."""
        size = self._sizes[target]
        self._ask(self._store.objects.copy(self._store.blob_key(target), self._store.blob_key(digest), size))
        self._sizes[digest] = size

    def _read(self, name: str, key: str, written_at: int) -> Link:
        try:
            found = self._ask(self._store.objects.read(key))
        except LadingError as error:
            return Link(name, "", 0, error.message)
        return Link(name, found[0][:256].decode("ascii", "replace") if found else "", written_at)

    def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
