"""What ``docker save`` wrote, as an image that can be pushed: layers compressed, digests known.

Nothing of the archive is ever extracted to a path it names: members are looked up by name, links only lead to other
members, and a layer's bytes go to a file we name by its digest. Every layer must be what the config says of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import posixpath
import stat
import tarfile
import threading
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from lading.errors import Invalid, LocalError, ManifestInvalid, NameInvalid
from lading.oci import mediatypes
from lading.oci.digest import Digest
from lading.oci.manifest import parse
from lading.oci.reference import Reference
from lading.remotes import files
from lading.remotes.layout import AS_IT_CAME, Layout, ReadableLayout, Tar, blob_path, members

_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_ZSTD_LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_PACKED = {"gzip": _GZIP, "bz2": b"BZh", "lzma": b"\xfd7zXZ\x00"}
"""How an archive that is compressed begins, by Python's module for it."""
_LONGEST = max(map(len, _PACKED.values()))
_PIECE = 1 << 20
_MAX_JSON = 32 << 20
_MAX_LINKS = 8
_BOMB = 200
_LEVEL = 5
_PARALLEL = 2


async def opened(path: Path, scratch: Path) -> ReadableLayout:
    """An archive as a layout. What ``docker save`` wrote is converted below the folder ``scratch``; OCI is read in place.

    An archive that is compressed as a whole (gzip, bzip2, xz) is unpacked there first.
    """
    with files.told(f"read {path}"):
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe cannot be read twice, and might be waited for
            raise LocalError(f"{path} is no file; an archive is read from one")
        with path.open("rb") as file:
            head = file.read(_LONGEST)
    if head.startswith(_ZSTD):
        raise LocalError(
            f"{path} is compressed with zstd, which is not unpacked here; do it first: zstd -d {path.name}"
        )
    kind = next((name for name, magic in _PACKED.items() if head.startswith(magic)), "")
    given_up = threading.Event()
    try:
        found = await _opened(path, scratch, given_up, kind)
        found.where = str(path)
        return found
    finally:
        given_up.set()  # a thread that is at it still, since somebody has had enough, ends soon


async def _opened(path: Path, scratch: Path, given_up: threading.Event, kind: str) -> ReadableLayout:
    if kind:
        path = await asyncio.to_thread(_unpacked, path, kind, scratch / "archive.tar", given_up)
    place = Tar(path)
    if place.find("manifest.json") is None:
        if place.find("oci-layout") is None and place.find("index.json") is None:
            raise LocalError(
                f"{path} is a tar archive, but none of images: it has neither manifest.json nor index.json"
            )
        return ReadableLayout(place)
    if place.find("index.json") is not None and (_is_ours(place) or _is_compressed(place)):
        return ReadableLayout(place)
    return await _Saved(path, given_up).convert(Layout(scratch / "layout", create=True))


def _is_ours(place: Tar) -> bool:
    """Whether this program wrote the archive: then it has what was pulled, and nothing is to be made of that."""
    found = place.find("index.json")
    assert found is not None
    try:
        annotations = json.loads(_content(*found))["annotations"]
        return isinstance(annotations, dict) and AS_IT_CAME in annotations
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def _is_compressed(place: Tar) -> bool:
    """Whether the layers of an archive that is both docker's and OCI are compressed, so that it can be used as it is."""
    found = place.find("manifest.json")
    assert found is not None
    listed = _images(_content(*found), place.path)
    heads = []
    for image in listed:
        for layer in image["Layers"]:
            if (member := place.find(layer)) is None or not layer.startswith("blobs/"):
                return False
            heads.append(_content(member[0], member[1], 4))
    return all(head.startswith((_GZIP, _ZSTD)) for head in heads)


def _content(path: Path, offset: int, size: int) -> bytes:
    if size > _MAX_JSON:
        raise LocalError(f"{path}: a list in it has {size:,} bytes; that is no archive of images")
    with files.told(f"read {path}"), path.open("rb") as file:
        file.seek(offset)
        return file.read(size)


def _unpacked(path: Path, kind: str, target: Path, given_up: threading.Event) -> Path:
    import importlib  # noqa: PLC0415 - few archives are compressed, and by one of these

    module = importlib.import_module(kind)
    most = _BOMB * path.stat().st_size + (1 << 20)
    written = 0
    with files.told(f"unpack {path}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with module.open(path, "rb") as packed, target.open("wb") as out:
                while (piece := packed.read(_PIECE)) and not given_up.is_set():
                    written += len(piece)
                    if written > most:
                        raise Invalid(
                            f"{path} unpacks to more than {_BOMB} times its size; that is taken for an attack"
                        )
                    out.write(piece)
        except (EOFError, zlib.error, getattr(module, "BadGzipFile", EOFError), getattr(module, "LZMAError", EOFError)):
            raise LocalError(f"{path} is cut off or damaged: its {kind} does not end as it should") from None
        except OSError as error:
            if error.errno is not None:
                raise
            raise LocalError(f"{path} is cut off or damaged: {error}") from None  # so says bz2
    return target


def _images(raw: bytes, path: Path) -> list[dict[str, Any]]:
    try:
        listed = json.loads(raw)
        if not isinstance(listed, list):
            raise TypeError
        for one in listed:
            if not isinstance(one["Config"], str) or not all(isinstance(layer, str) for layer in one["Layers"] or []):
                raise TypeError
            one["Layers"] = one["Layers"] or []
    except (ValueError, TypeError, KeyError, RecursionError):
        raise LocalError(f"{path}: its manifest.json is not what docker save writes") from None
    if not listed:
        raise LocalError(f"{path} has no image in it")
    return list(listed)


class _Saved:
    """An archive of ``docker save``."""

    def __init__(self, path: Path, given_up: threading.Event) -> None:
        self.path = path
        self._given_up = given_up
        self._members: dict[str, tarfile.TarInfo] = {}
        self._layers: dict[str, dict[str, Any]] = {}

    async def convert(self, layout: Layout) -> Layout:
        """Every image in it, by its names."""
        self._list()
        raw = self._json("manifest.json")
        for image in _images(raw, self.path):
            await self._image(image, layout)
        return layout

    async def _image(self, image: dict[str, Any], layout: Layout) -> None:
        config = self._json(image["Config"])
        try:
            diffs = json.loads(config)["rootfs"]["diff_ids"]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise LocalError(f"{self.path}: the configuration {image['Config']} is not that of an image") from None
        if not isinstance(diffs, list) or not all(isinstance(diff, str) for diff in diffs):
            raise LocalError(f"{self.path}: the configuration {image['Config']} does not say what its layers are")
        if len(diffs) != len(image["Layers"]):
            raise LocalError(
                f"{self.path}: an image has {len(image['Layers'])} layers where its configuration has {len(diffs)}"
            )
        await self._store(dict(zip(diffs, image["Layers"], strict=True)), layout)
        layers = [self._layers[diff] for diff in diffs]
        digest = Digest.of(config)
        target = layout.path / blob_path(digest)
        with files.told(f"write {target}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(config)
        kind = (
            mediatypes.OCI_MANIFEST
            if any(one["mediaType"] == _ZSTD_LAYER for one in layers)
            else mediatypes.DOCKER_MANIFEST
        )
        document = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": {
                "mediaType": mediatypes.OCI_CONFIG if kind == mediatypes.OCI_MANIFEST else mediatypes.DOCKER_CONFIG,
                "size": len(config),
                "digest": digest,
            },
            "layers": layers,
        }
        manifest = parse(msgspec.json.encode(document, enc_hook=str), kind)
        for name in _names(image.get("RepoTags")) or [""]:
            await layout.put_manifest("", name, manifest)

    async def _store(self, layers: dict[str, str], layout: Layout) -> None:
        """Store layers, members' names by their digests, a few at a time; every thread has ended when this has."""
        turns = asyncio.Semaphore(_PARALLEL)

        async def one(name: str, diff: str) -> None:
            async with turns:
                self._layers[diff] = await asyncio.to_thread(self._layer, name, diff, layout)

        missing = [one(name, diff) for diff, name in layers.items() if diff not in self._layers]
        for result in await asyncio.gather(*missing, return_exceptions=True):
            if result is not None:
                raise result

    def _layer(self, name: str, diff: str, layout: Layout) -> dict[str, Any]:
        """Store a layer, compressed; its descriptor. Runs in a thread."""
        folder = layout.path / "blobs" / "sha256"
        partial = folder / f"{files.PARTIAL}{Digest.parse(diff).hex}"
        with files.told(f"write below {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                head, stored = self._write(name, diff, partial)
                size = partial.stat().st_size
                partial.rename(folder / stored)
            finally:
                partial.unlink(missing_ok=True)
        kind = _ZSTD_LAYER if head.startswith(_ZSTD) else _LAYER
        return {"mediaType": kind, "size": size, "digest": f"sha256:{stored}"}

    def _write(self, name: str, diff: str, partial: Path) -> tuple[bytes, str]:
        """Copy a layer, compressing what is not; its first bytes, and the digest (hex) of what was written."""
        member = self._find(name)
        with self.path.open("rb") as archive, partial.open("wb") as out:
            archive.seek(member.offset_data)
            head = archive.read(min(4, member.size))
            archive.seek(member.offset_data)
            packed = head.startswith((_GZIP, _ZSTD))
            plain, stored = _copy(archive, out, member.size, self._given_up, pack=not packed)
        if not packed and f"sha256:{plain}" != diff:
            raise ManifestInvalid(f"{self.path}: the layer {name} is not the one its configuration names, {diff}")
        return head, stored

    def _json(self, name: str) -> bytes:
        member = self._find(name)
        return _content(self.path, member.offset_data, member.size)

    def _find(self, name: str) -> tarfile.TarInfo:
        """A member that is a file, along links within the archive."""
        place = posixpath.normpath(name)
        for _ in range(_MAX_LINKS):
            if place.startswith(("/", "../")) or place == "..":
                raise Invalid(f"{self.path}: {name!r} leads out of the archive; that is refused")
            member = self._members.get(place)
            if member is None:
                raise LocalError(f"{self.path} names {name!r}, and it is not in it")
            if member.issym():
                place = posixpath.normpath(posixpath.join(posixpath.dirname(place), member.linkname))
            elif member.islnk():
                place = posixpath.normpath(member.linkname)
            elif member.isreg() and not member.issparse():
                return member
            else:
                raise LocalError(f"{self.path}: {name!r} is no file")
        raise Invalid(f"{self.path}: {name!r} is a link to a link to a link …; that is refused")

    def _list(self) -> None:
        self._members = {posixpath.normpath(member.name): member for member in members(self.path)}


def _copy(archive: BinaryIO, out: BinaryIO, size: int, given_up: threading.Event, *, pack: bool) -> tuple[str, str]:
    """Copy ``size`` bytes, compressed if ``pack``; the digest (hex) of what was read and of what was written."""
    plain, stored = hashlib.sha256(), hashlib.sha256()
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31) if pack else None  # 31: with a gzip header, dated 1970
    left = size
    while left:
        piece = archive.read(min(_PIECE, left))
        if not piece or given_up.is_set():
            raise LocalError("the archive is cut off in the middle of a layer")
        left -= len(piece)
        plain.update(piece)
        if packer:
            piece = packer.compress(piece)
        stored.update(piece)
        out.write(piece)
    if packer:
        piece = packer.flush()
        stored.update(piece)
        out.write(piece)
    return plain.hexdigest(), stored.hexdigest()


def _names(tags: Any) -> list[str]:
    """The names of an image as a layout's: complete references."""
    found = []
    for text in filter(lambda one: isinstance(one, str), tags if isinstance(tags, list) else ()):
        try:
            reference = Reference.parse(text)
        except (NameInvalid, Invalid):
            continue
        found.append(f"{reference.name}:{reference.reference}")
    return found
