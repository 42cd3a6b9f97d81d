"""Real images, built without a network: deterministic from a seed, with layers of the sizes asked for.

Everything is a :class:`Blob`; an :class:`Image` and an :class:`Index` say how blobs hang together. ``write_layout``
puts them into an OCI layout directory, ``write_docker_archive`` into what ``docker load`` reads.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

_DOCKER_TYPE = {MANIFEST: DOCKER_MANIFEST, INDEX: DOCKER_LIST, CONFIG: DOCKER_CONFIG, LAYER: DOCKER_LAYER}
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Blob:
    """Bytes with their media type; manifests, configurations and layers alike."""

    media_type: str
    data: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        return digest_of(self.data)

    @property
    def size(self) -> int:
        return len(self.data)

    def descriptor(self, **more: Any) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size, **more}


@dataclass(frozen=True)
class Image:
    """One platform's image; ``layers`` are compressed, ``diffs`` are the same layers as plain tar files."""

    platform: Mapping[str, str]
    config: Blob
    layers: tuple[Blob, ...]
    diffs: tuple[bytes, ...] = field(repr=False)
    manifest: Blob

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """What must be there before the manifest is pushed."""
        return (self.config, *self.layers)


@dataclass(frozen=True)
class Index:
    """Several platforms' images under one manifest."""

    images: tuple[Image, ...]
    manifest: Blob

    @property
    def digest(self) -> str:
        return self.manifest.digest


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def encode(document: Mapping[str, Any]) -> bytes:
    """JSON as Docker writes it: indented by three, so that nobody may re-serialise it unnoticed."""
    return json.dumps(document, indent=3).encode()


def noise(seed: object, size: int) -> Iterator[bytes]:
    """*size* bytes that do not compress, in blocks; a megabyte of randomness repeated, which gzip's window misses."""
    block = random.Random(str(seed)).randbytes(_BLOCK)
    for start in range(0, size, _BLOCK):
        yield block[: size - start]


def layer_tar(seed: object, size: int, name: str = "data.bin") -> bytes:
    """A layer as a plain tar: a directory and one file of *size* incompressible bytes in it, dated 1970."""
    data = b"".join(noise(seed, size))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        folder = tarfile.TarInfo("content")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
        member = tarfile.TarInfo(f"content/{name}")
        member.size, member.mode = len(data), 0o644
        tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def image(
    seed: object,
    layers: Sequence[int] = (2000,),
    *,
    platform: str = "linux/amd64",
    docker: bool = False,
    subject: Mapping[str, Any] | None = None,
) -> Image:
    """An image with one layer for each of *layers* (bytes before compression), as OCI or (*docker*) schema 2.

    *platform* is ``os/architecture[/variant]``; *subject* a descriptor.
    """
    diffs = tuple(layer_tar(f"{seed}/{number}", size, f"{number}.bin") for number, size in enumerate(layers))
    blobs = tuple(_blob(LAYER, gzip.compress(diff, 1, mtime=0), docker) for diff in diffs)
    kind = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
    config = _blob(
        CONFIG,
        encode(
            {
                **kind,
                "created": "2024-01-01T00:00:00Z",
                "config": {"Cmd": ["/hello"], "Labels": {"seed": str(seed)}},
                "rootfs": {"type": "layers", "diff_ids": [digest_of(diff) for diff in diffs]},
                "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "test"} for _ in diffs],
            }
        ),
        docker,
    )
    return Image(kind, config, blobs, diffs, image_manifest(config, blobs, docker=docker, subject=subject))


def image_manifest(
    config: Blob, layers: Sequence[Blob], *, docker: bool = False, subject: Mapping[str, Any] | None = None
) -> Blob:
    """The manifest of these blobs."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST if docker else MANIFEST,
        "config": config.descriptor(),
        "layers": [layer.descriptor() for layer in layers],
    }
    if subject is not None:
        document["subject"] = dict(subject)
    return Blob(document["mediaType"], encode(document))


def foreign(seed: object) -> Image:
    """An image as Windows has them: its first layer need not be in a registry."""
    plain = image(seed, (3000, 3000), docker=True)
    base = Blob("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", plain.layers[0].data)
    document = json.loads(plain.manifest.data)
    document["layers"][0] = base.descriptor(urls=["https://layers.example/base"])
    return Image(
        plain.platform, plain.config, (base, plain.layers[1]), plain.diffs, Blob(DOCKER_MANIFEST, encode(document))
    )


def index(
    seed: object,
    platforms: Sequence[str] = ("linux/amd64", "linux/arm64/v8"),
    layers: Sequence[int] = (2000,),
    *,
    docker: bool = False,
) -> Index:
    """An OCI index, or a Docker manifest list, of one image for each platform."""
    images = tuple(image(f"{seed}/{one}", layers, platform=one, docker=docker) for one in platforms)
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_LIST if docker else INDEX,
        "manifests": [one.manifest.descriptor(platform=dict(one.platform)) for one in images],
    }
    return Index(images, Blob(str(document["mediaType"]), encode(document)))


def artifact(seed: object, subject: Mapping[str, Any] | None = None, kind: str = "application/vnd.test.sbom") -> Image:
    """An artifact as ORAS pushes it: an empty configuration, ``artifactType``, perhaps a subject; not runnable."""
    config = Blob("application/vnd.oci.empty.v1+json", b"{}")
    layer = Blob("text/plain", f"artifact {seed}\n".encode())
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": kind,
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
        "annotations": {"org.example.seed": str(seed)},
    }
    if subject is not None:
        document["subject"] = dict(subject)
    return Image({}, config, (layer,), (), Blob(MANIFEST, encode(document)))


def attestation(seed: object) -> Image:
    """What BuildKit says of an image, beside it in its index: a configuration as an image has it, and no file system."""
    statement = Blob(
        "application/vnd.in-toto+json", encode({"_type": "https://in-toto.io/Statement/v0.1", "of": str(seed)})
    )
    rootfs = {"type": "layers", "diff_ids": [statement.digest]}
    config = Blob(CONFIG, encode({"os": "unknown", "architecture": "unknown", "config": {}, "rootfs": rootfs}))
    kind = {"os": "unknown", "architecture": "unknown"}
    return Image(kind, config, (statement,), (statement.data,), image_manifest(config, (statement,)))


def _blob(media_type: str, data: bytes, docker: bool) -> Blob:
    return Blob(_DOCKER_TYPE[media_type] if docker else media_type, data)


def write_layout(directory: Path, content: Mapping[str, Image | Index]) -> Path:
    """An OCI layout directory that holds *content* by tag."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    entries = []
    for tag, one in content.items():
        images = one.images if isinstance(one, Index) else (one,)
        for blob in (one.manifest, *(blob for each in images for blob in (each.manifest, *each.blobs))):
            (blobs / blob.digest.removeprefix("sha256:")).write_bytes(blob.data)
        entries.append(one.manifest.descriptor(annotations={"org.opencontainers.image.ref.name": tag}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (directory / "index.json").write_bytes(encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}))
    return directory


def write_docker_archive(path: Path, content: Image, tags: Sequence[str]) -> Path:
    """A tar file for ``docker load`` that names *content* by each of *tags* (``repository:tag``)."""
    files = [(f"{number}/layer.tar", diff) for number, diff in enumerate(content.diffs)]
    config = f"{content.config.digest.removeprefix('sha256:')}.json"
    listing = [{"Config": config, "RepoTags": list(tags), "Layers": [name for name, _ in files]}]
    with tarfile.open(path, "w") as tar:
        for name, data in [*files, (config, content.config.data), ("manifest.json", json.dumps(listing).encode())]:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def write_big_layout(directory: Path, seed: object, size: int, tag: str = "latest") -> str:
    """An OCI layout with one layer of *size* bytes (gzip without compression), written in small memory.

    Its manifest's digest.
    """
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    layer, diff, length = _write_big_layer(blobs, seed, size)
    kind = {"os": "linux", "architecture": "amd64"}
    config = Blob(CONFIG, encode({**kind, "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff]}}))
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(),
        "layers": [{"mediaType": LAYER, "digest": layer, "size": length}],
    }
    small = Image(kind, config, (), (), Blob(MANIFEST, encode(document)))
    write_layout(directory, {tag: small})
    return small.digest


def _write_big_layer(blobs: Path, seed: object, size: int) -> tuple[str, str, int]:
    """Write the layer under its digest; that digest, the digest of its tar, and its length."""
    plain, packed = hashlib.sha256(), hashlib.sha256()
    member = tarfile.TarInfo("big.bin")
    member.size = size
    partial = blobs / "partial"
    with partial.open("wb") as out, gzip.GzipFile("", "wb", 0, _Tee(out, packed), mtime=0) as zipped:
        for piece in (member.tobuf(tarfile.USTAR_FORMAT), *noise(seed, size), bytes(-size % 512 + 1024)):
            plain.update(piece)
            zipped.write(piece)
    partial.rename(blobs / packed.hexdigest())
    return f"sha256:{packed.hexdigest()}", f"sha256:{plain.hexdigest()}", (blobs / packed.hexdigest()).stat().st_size


class _Tee(io.RawIOBase):
    """A file that is hashed as it is written."""

    def __init__(self, out: io.BufferedWriter, hasher: hashlib._Hash) -> None:
        self._out, self._hasher = out, hasher

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._hasher.update(data)
        return self._out.write(data)
