"""OCI image layouts (image spec, "OCI Image Layout"): a folder that is read and written, a tar archive that is read.

::

    oci-layout                       {"imageLayoutVersion": "1.0.0"}
    index.json                       the manifests that have a name here, or none
    blobs/<algorithm>/<hex>          every blob and manifest

A manifest's name is its annotation ``org.opencontainers.image.ref.name``, or ``io.containerd.image.name`` beside it. There is one repository in a layout: the
``repository`` of :class:`~lading.remotes.base.RegistryClient` has no meaning here.
"""

from __future__ import annotations

import json
import stat
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from lading.errors import (
    BlobUnknown,
    DigestInvalid,
    Invalid,
    LocalError,
    ManifestInvalid,
    ManifestUnknown,
    Unsupported,
)
from lading.oci import mediatypes
from lading.oci.digest import Digest
from lading.oci.manifest import Descriptor, Manifest, parse
from lading.remotes import files
from lading.remotes.base import MAX_MANIFEST, Chunks, Source
from lading.remotes.entries import NAME, WHOLE_NAME, Entries, more
from lading.remotes.verify import verified

if TYPE_CHECKING:
    import tarfile

AS_IT_CAME = "io.lading.image.as-it-came"
"""On the index of an archive of ours: what is in it is what a registry had, byte for byte, also where a layer is not compressed."""
LAYOUT_FILE = b'{"imageLayoutVersion": "1.0.0"}'
MAX_INDEX = 64 << 20
_LONGEST = 10.0
"""For how many seconds names that are written together wait at most: who is killed loses no more of them."""
_MAX_MEMBERS = 1_000_000


class Place(Protocol):
    """Where a layout's files are."""

    path: Path

    def find(self, name: str) -> tuple[Path, int, int] | None:
        """The file that has the bytes of ``name``, from which byte on, and how many; None when it is not there."""
        ...


class Folder:
    """A layout's files, as files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, name: str) -> tuple[Path, int, int] | None:
        file = self.path / name
        with files.told(f"read {file}"):
            try:
                there = file.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        if not stat.S_ISREG(there.st_mode):  # a pipe would be waited for
            raise LocalError(f"{file} is no file")
        return file, 0, there.st_size


class Tar:
    """A layout's files, in a tar archive that is not compressed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members = {
            member.name.removeprefix("./"): (member.offset_data, member.size)
            for member in members(path)
            if member.isreg() and not member.issparse()
        }

    def find(self, name: str) -> tuple[Path, int, int] | None:
        found = self._members.get(name)
        return (self.path, *found) if found else None


def members(path: Path) -> Iterator[tarfile.TarInfo]:
    """What is in a tar archive that is not compressed; nothing is extracted, and what leads astray is a :class:`LocalError`."""
    import tarfile  # noqa: PLC0415 - most layouts are folders, and compression comes with it

    count, place = 0, -1
    with files.told(f"read {path}"):
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    count += 1
                    if member.size < 0 or member.offset_data <= place:  # a size below zero leads round in circles
                        raise LocalError(f"{path} is no tar archive: a member has no size that can be")
                    if count > _MAX_MEMBERS:
                        raise LocalError(f"{path} has more than {_MAX_MEMBERS:,} members; that is taken for an attack")
                    place = member.offset_data
                    tar.members = []  # type: ignore[attr-defined]
                    yield member
        except (tarfile.TarError, ValueError, OverflowError, MemoryError, RecursionError) as error:
            raise LocalError(f"{path} is no tar archive: {error}") from None


class ReadableLayout:
    """A layout as it is; writing is refused."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.where = str(place.path)
        self._parsed: tuple[tuple[int, ...], Entries] | None = None

    async def resolve(self, repository: str, reference: str) -> Descriptor | None:
        if ":" in reference and _is_digest(reference):
            found = self.place.find(blob_path(reference))
            if found is None:
                return None
            manifest = await self._read(reference, found[2], "")
            return Descriptor(media_type=manifest.media_type, digest=reference, size=found[2])
        name = self.key(repository, reference)
        return self._named(name) if name else await self._only()

    def key(self, repository: str, reference: str) -> str:
        """What a manifest is called in ``index.json``."""
        return reference

    async def manifest(self, repository: str, reference: str) -> Manifest:
        found = await self.resolve(repository, reference)
        if found is None:
            there = ", ".join(self._entries().names[:10])
            raise ManifestUnknown(
                f"{self.where} has no {self.key(repository, reference) or 'image'}; it has {there or 'nothing with a name'}"
            )
        return await self._read(found.digest, found.size, found.media_type)

    async def has_blob(self, repository: str, blob: Descriptor) -> bool:
        found = self.place.find(blob_path(blob.digest))
        return found is not None and found[2] == blob.size

    def blob(self, repository: str, blob: Descriptor, start: int = 0) -> AbstractAsyncContextManager[Chunks]:
        return self._blob(blob, start)

    @asynccontextmanager
    async def _blob(self, blob: Descriptor, start: int) -> AsyncGenerator[Chunks]:
        found = self.place.find(blob_path(blob.digest))
        if found is None:
            raise BlobUnknown(f"{self.where} does not have the blob {blob.digest}")
        path, offset, size = found
        chunks = files.read(path, offset + start, size - start)
        try:
            yield chunks if start else verified(chunks, blob, self.where)
        finally:
            await chunks.aclose()

    async def put_manifest(self, repository: str, reference: str, manifest: Manifest) -> None:
        raise Unsupported(f"{self.where} can only be read")

    async def put_blob(self, repository: str, blob: Descriptor, source: Source) -> None:
        raise Unsupported(f"{self.where} can only be read")

    async def mount(self, repository: str, blob: Descriptor, origin: str) -> bool:
        return await self.has_blob(repository, blob)

    async def tags(self, repository: str) -> AsyncGenerator[str]:
        for name in self._entries().names:
            yield name

    async def referrers(self, repository: str, digest: str) -> AsyncIterator[Descriptor]:
        for entry in self.entries():
            try:
                manifest = await self._read(entry.digest, entry.size, entry.media_type)
            except (BlobUnknown, ManifestInvalid):
                continue
            if manifest.subject == digest:
                yield entry

    async def delete(self, repository: str, reference: str) -> None:
        raise Unsupported(f"{self.where} can only be read")

    def entries(self) -> list[Descriptor]:
        """What ``index.json`` lists."""
        return self._entries().all

    def _entries(self) -> Entries:
        """The same, read again only where it is another file: of many images, each is asked for by its name."""
        state = self._state()
        if self._parsed is None or self._parsed[0] != state:
            try:
                self._parsed = state, Entries(self._index()["manifests"])
            except msgspec.ValidationError as error:
                raise LocalError(f"{self.where}/index.json is not as the specification says: {error}") from None
        return self._parsed[1]

    def _state(self) -> tuple[int, ...]:
        """What changes with ``index.json``: whoever writes it puts another file in its place."""
        found = self.place.find("index.json")
        if found is None:
            return ()
        with files.told(f"read {found[0]}"):
            there = found[0].stat()
        return there.st_ino, there.st_size, there.st_mtime_ns, there.st_ctime_ns

    def _index(self) -> dict[str, Any]:
        found = self.place.find("index.json")
        if found is None:
            raise LocalError(f"{self.where} is no OCI image layout: it has no index.json")
        path, offset, size = found
        with files.told(f"read {path}"), path.open("rb") as file:
            file.seek(offset)
            raw = file.read(min(size, MAX_INDEX))
        try:
            index = json.loads(raw)
        except (ValueError, RecursionError):
            index = None
        if not isinstance(index, dict) or not isinstance(index.get("manifests", []), list):
            raise LocalError(f"{self.where}/index.json is no index of images")
        return {"manifests": [], **index}

    def _named(self, name: str) -> Descriptor | None:
        exact = self._entries().exactly(name)
        whole = {entry.digest: (entry.annotations or {}).get(WHOLE_NAME, "") for entry in exact}
        if len(whole) > 1 and all(whole.values()):
            raise Invalid(
                f"{self.where} has several images called {name}; name one: {', '.join(sorted(whole.values()))}"
            )
        return exact[0] if exact else self._entries().called(name)

    async def _only(self) -> Descriptor | None:
        """What is meant where no name is: the only entry, or the only one without a name that refers to no other."""
        entries = self.entries()
        if len(entries) == 1:
            return entries[0]
        nameless = {entry.digest: entry for entry in entries if not (entry.annotations or {}).get(NAME)}
        if len(nameless) > 1:
            nameless = {digest: entry for digest, entry in nameless.items() if not await self._refers(entry)}
        if len(nameless) > 1:
            raise Invalid(
                f"{self.where} has several images without a name; name one by its digest: {', '.join(nameless)}"
            )
        return next(iter(nameless.values()), None)

    async def _refers(self, entry: Descriptor) -> bool:
        try:
            return (await self._read(entry.digest, entry.size, entry.media_type)).subject is not None
        except (BlobUnknown, ManifestInvalid):
            return True  # it is no image in any case

    async def _read(self, digest: str, size: int, media_type: str) -> Manifest:
        if not 0 <= size <= MAX_MANIFEST:
            raise ManifestInvalid(
                f"{self.where}: the manifest {digest} has {size:,} bytes; at most {MAX_MANIFEST:,} are read"
            )
        raw = bytearray()
        async with self._blob(Descriptor(digest=digest, size=size), 0) as chunks:
            async for chunk in chunks:
                raw += chunk
        return parse(bytes(raw), media_type, Digest.parse(digest).algorithm)


class Layout(ReadableLayout):
    """A folder that is read and written; made when ``create`` is given. ``sync`` makes what is stored survive a crash."""

    def __init__(self, path: Path, *, create: bool = False, sync: bool = False) -> None:
        super().__init__(Folder(path))
        self.path = path
        self._sync = sync
        self._tidied = False
        self._waiting: list[dict[str, Any]] | None = None
        self._since = 0.0
        there = self.place.find("oci-layout")
        if create and there is None:
            self._create()
        elif there is None:
            raise LocalError(f"{path} is no OCI image layout: it has no file oci-layout")

    def _create(self) -> None:
        with files.told(f"make the folder {self.path}"):
            self.path.mkdir(parents=True, exist_ok=True)
            with files.locked(self.path):
                present = {one.name for one in self.path.iterdir()}
                if present and not present & {"oci-layout", "index.json"} and not self._is_ours(present):
                    raise LocalError(f"{self.path} has other things in it; name an empty folder, or a new one")
                if "index.json" not in present:
                    empty = {"schemaVersion": 2, "mediaType": mediatypes.OCI_INDEX, "manifests": []}
                    files.replace(self.path / "index.json", json.dumps(empty).encode(), sync=self._sync)
                files.replace(self.path / "oci-layout", LAYOUT_FILE, sync=self._sync)

    @staticmethod
    def _is_ours(present: set[str]) -> bool:
        return all(name.startswith((files.PARTIAL, ".in-use")) for name in present)

    async def put_blob(self, repository: str, blob: Descriptor, source: Source) -> None:
        target = self.path / blob_path(blob.digest)
        if not self._tidied:
            self._tidied = True
            files.tidy(target.parent)
        async with files.published(target, sync=self._sync) as handle, source(0) as chunks:
            await files.write(handle, chunks, 0, target)

    async def put_manifest(self, repository: str, reference: str, manifest: Manifest) -> None:
        target = self.path / blob_path(manifest.digest)
        if self.place.find(blob_path(manifest.digest)) is None:
            with files.told(f"write {target}"):
                target.parent.mkdir(parents=True, exist_ok=True)
            await files.aside(partial(files.replace, target, manifest.raw, sync=self._sync))
        if not _is_digest(reference):
            self.point(self.key(repository, reference), described(manifest))
        elif manifest.subject:
            self.point("", described(manifest))

    def point(self, name: str, entry: dict[str, Any]) -> None:
        """Give a name (or none) to a manifest that is there."""
        named = {**entry, "annotations": {**entry.get("annotations", {}), NAME: name}} if name else entry
        if self._waiting is None:
            self._write([named])
            return
        self._waiting.append(named)
        if time.monotonic() > self._since + _LONGEST:
            self._write_waiting()

    @contextmanager
    def together(self) -> Generator[None]:
        """Names that are given meanwhile are written once for all, in the end, or before somebody asks for one."""
        self._waiting, self._since = [], time.monotonic()
        try:
            yield
        finally:
            waiting, self._waiting = self._waiting, None
            self._write(waiting)

    def _write_waiting(self) -> None:
        if waiting := self._waiting:
            self._waiting, self._since = [], time.monotonic()
            self._write(waiting)

    def _write(self, entries: list[dict[str, Any]]) -> None:
        if entries:
            self._change(lambda listed: more(listed, entries))

    def _entries(self) -> Entries:
        self._write_waiting()
        return super()._entries()

    async def delete(self, repository: str, reference: str) -> None:
        """Take a name away, or every entry of a digest; the bytes stay."""
        name = reference if _is_digest(reference) else self.key(repository, reference)

        def changed(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
            kept = [one for one in listed if name not in {one.get("digest"), (one.get("annotations") or {}).get(NAME)}]
            if len(kept) == len(listed):
                raise ManifestUnknown(f"{self.where} has no {name}")
            return kept

        self._change(changed)

    def _change(self, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        self._write_waiting()
        with files.locked(self.path):
            index = self._index()
            index["manifests"] = change(index["manifests"])
            files.replace(self.path / "index.json", json.dumps(index).encode(), sync=self._sync)


def described(manifest: Manifest) -> dict[str, Any]:
    """A manifest's descriptor, as JSON."""
    return {"mediaType": manifest.media_type, "digest": manifest.digest, "size": manifest.size}


def blob_path(digest: str) -> str:
    """Where a blob is in a layout; a digest outside the grammar never becomes a path."""
    parsed = Digest.parse(digest)
    return f"blobs/{parsed.algorithm}/{parsed.hex}"


def _is_digest(text: str) -> bool:
    try:
        Digest.parse(text)
    except DigestInvalid:
        return False
    return True
