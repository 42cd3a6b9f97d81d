"""The images of this machine: an OCI layout whose names are whole references, ``docker.io/library/busybox:latest``.

What is stored there is content-addressed and appears in one step; ``index.json`` changes under a lock. Writers hold a
shared lock while they work, and what nothing refers to is swept by whoever removes an image when no one else writes.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lading.errors import BlobUnknown, LadingError, ManifestInvalid, ManifestUnknown
from lading.oci import mediatypes
from lading.oci.manifest import Descriptor, Manifest
from lading.oci.reference import Reference
from lading.remotes import files
from lading.remotes.entries import NAME
from lading.remotes.layout import Layout, described

_IN_USE = ".in-use"
_ORIGIN = "io.lading.image.origin"


def place(environment: Mapping[str, str]) -> Path:
    """Where the store is: ``LADING_IMAGES``, else ``lading/images`` below the user's data."""
    if named := environment.get("LADING_IMAGES"):
        return Path(named)
    home = Path(environment.get("HOME") or Path.home())
    return Path(environment.get("XDG_DATA_HOME") or home / ".local" / "share") / "lading" / "images"


class Store(Layout):
    """The local store. ``repository`` is a reference's :attr:`~lading.oci.reference.Reference.name`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, create=True, sync=True)
        self.where = f"the local store ({path})"

    def key(self, repository: str, reference: str) -> str:
        return f"{repository}:{reference}"

    async def tags(self, repository: str) -> AsyncGenerator[str]:
        for reference, _ in self.images():
            if reference.tag and reference.name == repository:
                yield reference.tag

    @staticmethod
    def named(reference: Reference) -> str:
        """The name of an image that was pulled or tagged so: with its digest where it was pulled by that."""
        return f"{reference.name}@{reference.digest}" if reference.digest else f"{reference.name}:{reference.reference}"

    def keep(self, reference: Reference, manifest: Manifest, origin: str) -> None:
        """Name an image that is there; ``origin`` tells what it was pulled as (see :meth:`origin`)."""
        self.point(self.named(reference), {**described(manifest), "annotations": {_ORIGIN: origin}})

    def origin(self, reference: Reference) -> str:
        """What :meth:`keep` noted about an image; empty when it is not here or came another way."""
        name = self.named(reference)
        for entry in self.entries():
            if entry.annotations and entry.annotations.get(NAME) == name:
                return entry.annotations.get(_ORIGIN, "")
        return ""

    async def whole(self, reference: Reference) -> Manifest | None:
        """The image of this name, if nothing that its manifest names is missing here."""
        try:
            found = await self._exact(self.named(reference))
            return found if found and await self._has_all(found) else None
        except (BlobUnknown, ManifestInvalid):
            return None

    async def _exact(self, name: str) -> Manifest | None:
        for entry in self.entries():
            if (entry.annotations or {}).get(NAME) == name:
                return await self._read(entry.digest, entry.size, entry.media_type)
        return None

    async def _has_all(self, manifest: Manifest) -> bool:
        for blob in manifest.blobs():
            if not await self.has_blob("", blob):
                return False
        for child in manifest.children:
            if child.media_type not in mediatypes.MANIFESTS:
                below = await self.has_blob("", child)
            else:
                below = await self._has_all(await self._read(child.digest, child.size, child.media_type))
            if not below:
                return False
        return True

    def forget(self, reference: Reference) -> None:
        """Take one name away; :meth:`sweep` deletes what it was the last one of."""
        name = self.named(reference)
        self._change(lambda listed: [one for one in listed if (one.get("annotations") or {}).get(NAME) != name])

    @contextmanager
    def writing(self) -> Generator[None]:
        """While this lasts, nobody sweeps."""
        with files.locked(self.path / _IN_USE, fcntl.LOCK_SH):
            yield

    def images(self) -> list[tuple[Reference, Descriptor]]:
        """Every name, and the manifest it stands for; names that are none are left out."""
        found = []
        for entry in self.entries():
            name = (entry.annotations or {}).get(NAME, "")
            try:
                found.append((Reference.parse(name), entry))
            except LadingError:
                continue
        return sorted(found, key=lambda one: (one[0].name, one[0].tag))

    async def pulled(self, host: str) -> dict[str, set[str]]:
        """The digests that came from each repository of a registry, all that their images lead to."""
        found: dict[str, set[str]] = {}
        for reference, entry in self.images():
            if reference.host == host and (entry.annotations or {}).get(_ORIGIN):
                await self._mark(entry, found.setdefault(reference.repository, set()))
        return found

    async def sweep(self) -> int:
        """Delete what no name leads to; how many bytes that gave back. Does nothing while somebody writes."""
        with files.locked(self.path / _IN_USE, fcntl.LOCK_EX | fcntl.LOCK_NB) as alone:
            if not alone:
                return 0
            keep: set[str] = set()
            for entry in self.entries():
                await self._mark(entry, keep)
            freed = 0
            for file in (self.path / "blobs").glob("*/*"):
                if f"{file.parent.name}:{file.name}" not in keep and not _is_being_written(file):
                    freed += file.stat().st_size
                    file.unlink(missing_ok=True)
            return freed

    async def _mark(self, entry: Descriptor, keep: set[str]) -> None:
        if entry.digest in keep:
            return
        keep.add(entry.digest)
        try:
            manifest = await self._read(entry.digest, entry.size, entry.media_type)
        except (BlobUnknown, ManifestUnknown, ManifestInvalid):
            return  # a blob, or one that is not here: an index is kept with some of its platforms
        keep.update(blob.digest for blob in manifest.blobs())
        for child in manifest.children:
            await self._mark(child, keep)


def _is_being_written(file: Path) -> bool:
    if not file.name.startswith(files.PARTIAL):
        return False
    handle = os.open(file, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
