"""One tar archive for everyone: ``docker load`` and ``podman load`` read it, and it is an OCI image layout, too.

::

    blobs/<algorithm>/<hex>     every blob and manifest, as it came
    manifest.json               what docker reads: config, layers and names of each image
    index.json                  what OCI tools read
    oci-layout

A blob's place is taken when its bytes begin to come, since its size is known: several are written at the same time.
The file takes its name when everything is in it.
"""

from __future__ import annotations

import asyncio
import json
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from lading.errors import ManifestUnknown, Unsupported
from lading.oci import mediatypes
from lading.oci.manifest import Descriptor, Manifest
from lading.oci.reference import Reference, is_tag
from lading.remotes import files
from lading.remotes.base import Chunks, Source
from lading.remotes.entries import NAME
from lading.remotes.layout import AS_IT_CAME, LAYOUT_FILE, blob_path, described

_BLOCK = 512


class ArchiveWriter:
    """An archive in the making. What is stored in it cannot be read back before it is done."""

    def __init__(self, path: Path, handle: int, names: Sequence[Reference]) -> None:
        self.path = path
        self._handle = handle
        self._names = names
        self._end = 0
        self._blobs: dict[str, asyncio.Event] = {}
        self._manifests: dict[str, Manifest] = {}
        self._tops: list[tuple[str, Manifest]] = []

    async def resolve(self, repository: str, reference: str) -> Descriptor | None:
        found = self._manifests.get(reference)
        return Descriptor(media_type=found.media_type, digest=found.digest, size=found.size) if found else None

    async def manifest(self, repository: str, reference: str) -> Manifest:
        if reference in self._manifests:
            return self._manifests[reference]
        raise ManifestUnknown(f"{self.path} does not have {reference} (yet)")

    async def put_manifest(self, repository: str, reference: str, manifest: Manifest) -> None:
        if manifest.digest not in self._manifests:
            self._manifests[manifest.digest] = manifest
            await self._member(blob_path(manifest.digest), manifest.raw)
        if reference != manifest.digest:
            self._tops.append((reference, manifest))
        elif manifest.subject:
            self._tops.append(("", manifest))

    async def has_blob(self, repository: str, blob: Descriptor) -> bool:
        if blob.digest in self._blobs:
            await self._blobs[blob.digest].wait()
            return True
        return False

    def blob(self, repository: str, blob: Descriptor, start: int = 0) -> AbstractAsyncContextManager[Chunks]:
        raise Unsupported(f"{self.path} is being written")

    async def put_blob(self, repository: str, blob: Descriptor, source: Source) -> None:
        if blob.digest in self._blobs:
            return
        done = self._blobs[blob.digest] = asyncio.Event()
        offset = self._take(blob_path(blob.digest), blob.size)
        async with source(0) as chunks:
            await files.write(self._handle, chunks, offset, self.path)
        done.set()

    async def mount(self, repository: str, blob: Descriptor, origin: str) -> bool:
        return await self.has_blob(repository, blob)

    async def tags(self, repository: str) -> AsyncIterator[str]:
        for name, _ in self._tops:
            yield name

    async def referrers(self, repository: str, digest: str) -> AsyncIterator[Descriptor]:
        for found in self._manifests.values():
            if found.subject == digest:
                yield Descriptor(media_type=found.media_type, digest=found.digest, size=found.size)

    async def delete(self, repository: str, reference: str) -> None:
        raise Unsupported(f"{self.path} is being written")

    async def finish(self) -> None:
        """Write what comes last: the lists of what is in it."""
        listed = []
        for name, manifest in self._tops:
            entry = described(manifest)
            if name:
                full = next((str(one.name) for one in self._names), "")
                entry["annotations"] = {NAME: name, **({"io.containerd.image.name": f"{full}:{name}"} if full else {})}
            listed.append(entry)
        index = {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_INDEX,
            "manifests": listed,
            "annotations": {AS_IT_CAME: "true"},
        }
        await self._member("manifest.json", json.dumps(self._for_docker()).encode())
        await self._member("index.json", json.dumps(index).encode())
        await self._member("oci-layout", LAYOUT_FILE)
        await self._write(bytes(2 * _BLOCK), self._end)

    def _for_docker(self) -> list[dict[str, Any]]:
        """The list of images that docker reads; what an index is called is the name of its first image there."""
        names: dict[str, list[str]] = {}
        for name, manifest in self._tops:
            image = self._image(manifest)
            if image is not None and self._names and is_tag(name):
                names.setdefault(image.digest, []).append(str(self._names[0].tagged(name)))
        return [
            {
                "Config": blob_path(image.config.digest),
                "RepoTags": names.get(image.digest, []),
                "Layers": [blob_path(layer.digest) for layer in image.layers],
            }
            for image in self._manifests.values()
            if image.config and _runs(image)
        ]

    def _image(self, manifest: Manifest) -> Manifest | None:
        """The manifest if an engine can run it; of an index, the first such."""
        if manifest.config is not None:
            return manifest if _runs(manifest) else None
        below = (self._manifests.get(child.digest) for child in manifest.children)
        return next(filter(None, (self._image(child) for child in below if child)), None)

    async def _member(self, name: str, content: bytes) -> None:
        offset = self._take(name, len(content))
        await self._write(content, offset)

    def _take(self, name: str, size: int) -> int:
        """Write the header of a member at the end and leave room for its bytes; where those go."""
        member = tarfile.TarInfo(name)
        member.size, member.mode = size, 0o644
        header = member.tobuf(tarfile.GNU_FORMAT)
        start = self._end
        self._end += len(header) + -(-size // _BLOCK) * _BLOCK
        with files.told(f"write {self.path}"):
            files.write_all(self._handle, header, start)
        return start + len(header)

    async def _write(self, content: bytes, offset: int) -> None:
        with files.told(f"write {self.path}"):
            await asyncio.to_thread(files.write_all, self._handle, content, offset)


def _runs(image: Manifest) -> bool:
    """Whether an engine can run it; attestations and signatures have an image's configuration, and layers of another kind."""
    runnable = image.config is not None and image.config.media_type in mediatypes.RUNNABLE
    return runnable and all(mediatypes.is_layer(layer.media_type) for layer in image.layers)


@asynccontextmanager
async def writing(path: Path, names: Sequence[Reference]) -> AsyncGenerator[ArchiveWriter]:
    """An archive that is there, whole, when the block ends well; ``names`` has the repository that its tags are of."""
    files.tidy(path.parent)
    async with files.published(path, sync=False) as handle:
        writer = ArchiveWriter(path, handle, names)
        yield writer
        await writer.finish()
