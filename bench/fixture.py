"""The volume pulled from: many repositories with many tags, in registry:2's layout, and the same bytes as files.

One tree serves all: registry:2 serves it as it is, Lading adopts it (its index lies beside, see :func:`adoptable`),
and nginx serves a second tree whose files are hard links into the first. Every tag has a manifest of its own; the
layers are shared, for a pull of a manifest never looks at them.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.servers import BenchmarkError

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
BLOB_REPOSITORY = "bench/blob"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
_LAYERS = 3
_REPOSITORIES_A_TEAM = 100
_FORMAT = 1


@dataclass(frozen=True)
class Shape:
    """How large the volume is; ``blob`` in bytes."""

    repositories: int
    tags_each: int
    blob: int
    format: int = _FORMAT


@dataclass(frozen=True)
class Fixture:
    """A volume on disk."""

    directory: Path
    shape: Shape
    blob_digest: str

    @property
    def volume(self) -> Path:
        """The root directory of registry:2."""
        return self.directory / "volume"

    @property
    def static(self) -> Path:
        """The document root of nginx."""
        return self.directory / "static"

    @property
    def blob_path(self) -> str:
        """The URL path of the large blob."""
        return f"/v2/{BLOB_REPOSITORY}/blobs/{self.blob_digest}"


def repository_name(index: int) -> str:
    """The name of a repository; ``requests.lua`` spells it the same way."""
    return f"team-{index // _REPOSITORIES_A_TEAM:03d}/app-{index:05d}"


def tag_name(index: int) -> str:
    """The name of a tag; ``requests.lua`` spells it the same way."""
    return f"v1.{index}"


def manifest_path(repository: int, tag: int) -> str:
    """The URL path of one manifest."""
    return f"/v2/{repository_name(repository)}/manifests/{tag_name(tag)}"


def prepare(directory: Path, shape: Shape) -> Fixture:
    """Return the volume in ``directory``, writing it when it is not there yet."""
    record = directory / "fixture.json"
    if record.exists():
        written = json.loads(record.read_text())
        if written["shape"] != asdict(shape):
            raise BenchmarkError(
                f"{directory} holds a volume of another shape ({written['shape']}); "
                "remove it, name another directory, or ask for the same shape"
            )
        return Fixture(directory, shape, written["blob_digest"])
    if directory.exists() and any(directory.iterdir()):
        raise BenchmarkError(f"{directory} is not empty and holds no volume of the benchmark; name another directory")
    directory.mkdir(parents=True, exist_ok=True)
    digest = _write(directory, shape)
    record.write_text(json.dumps({"shape": asdict(shape), "blob_digest": digest}))
    return Fixture(directory, shape, digest)


def adoptable(fixture: Fixture, root: Path) -> Path:
    """A root directory that shares the volume's content but has room for an index of its own."""
    root.mkdir(parents=True)
    (root / "docker").symlink_to((fixture.volume / "docker").resolve(), target_is_directory=True)
    return root


def adopt(words: Iterable[str], root: Path) -> float:
    """Let Lading take the volume at ``root`` over by ``… adopt``; return the seconds it took."""
    command = [*words, "adopt", str(root)]
    begin = time.monotonic()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"{' '.join(command)} failed ({done.returncode}):\n{(done.stdout + done.stderr)[-3000:]}")
    return time.monotonic() - begin


def _write(directory: Path, shape: Shape) -> str:
    volume = _Volume(directory)
    volume.prepare()
    blob = volume.large_blob(shape.blob)
    config = volume.blob(b'{"architecture": "amd64", "os": "linux"}')
    shared = [config, *(volume.blob(f"layer {index}".encode() * 100) for index in range(_LAYERS))]
    step = 250
    starts = range(0, shape.repositories, step)
    with ProcessPoolExecutor() as pool:
        writing = [
            pool.submit(_write_repositories, volume, shared, start, min(start + step, shape.repositories), shape)
            for start in starts
        ]
        for part in writing:
            part.result()
    return blob


def _write_repositories(volume: _Volume, shared: list[tuple[str, int]], start: int, stop: int, shape: Shape) -> None:
    config, *layers = shared
    for index in range(start, stop):
        manifests = {tag_name(tag): _manifest(config, layers, index, tag) for tag in range(shape.tags_each)}
        volume.repository(repository_name(index), manifests, [hexadecimal for hexadecimal, _ in shared])


def _manifest(config: tuple[str, int], layers: list[tuple[str, int]], repository: int, tag: int) -> bytes:
    """An image manifest of about a kilobyte that no other tag has."""

    def descriptor(media_type: str, content: tuple[str, int]) -> dict[str, object]:
        return {"mediaType": media_type, "digest": f"sha256:{content[0]}", "size": content[1]}

    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor(_CONFIG_TYPE, config),
        "layers": [descriptor(_LAYER_TYPE, layer) for layer in layers],
        "annotations": {
            "org.opencontainers.image.title": repository_name(repository),
            "org.opencontainers.image.version": tag_name(tag),
            "org.opencontainers.image.source": f"https://source.example/{repository_name(repository)}",
        },
    }
    return json.dumps(manifest, indent=2).encode()


@dataclass(frozen=True)
class _Volume:
    """Writes registry:2's layout, and the files for nginx."""

    directory: Path

    @property
    def blobs(self) -> Path:
        return self.directory / "volume/docker/registry/v2/blobs/sha256"

    @property
    def repositories(self) -> Path:
        return self.directory / "volume/docker/registry/v2/repositories"

    @property
    def files(self) -> Path:
        return self.directory / "static/v2"

    def prepare(self) -> None:
        self.blobs.mkdir(parents=True)
        for first in range(256):
            (self.blobs / f"{first:02x}").mkdir()

    def blob(self, content: bytes) -> tuple[str, int]:
        """Store ``content``; return its SHA-256 in hexadecimal and its size."""
        hexadecimal = hashlib.sha256(content).hexdigest()
        data = self._data(hexadecimal)
        data.parent.mkdir()
        data.write_bytes(content)
        return hexadecimal, len(content)

    def large_blob(self, size: int) -> str:
        """Store ``size`` random bytes in a repository of their own; return their digest."""
        hasher = hashlib.sha256()
        unnamed = self.directory / "blob"
        with unnamed.open("wb") as file:
            for start in range(0, size, 1 << 20):
                piece = os.urandom(min(1 << 20, size - start))
                hasher.update(piece)
                file.write(piece)
        hexadecimal = hasher.hexdigest()
        data = self._data(hexadecimal)
        data.parent.mkdir()
        unnamed.rename(data)
        config = self.blob(b"{}")
        manifest = _manifest(config, [(hexadecimal, size)], -1, 0)
        self.repository(BLOB_REPOSITORY, {"latest": manifest}, [config[0], hexadecimal])
        folder = self.files / BLOB_REPOSITORY / "blobs"
        folder.mkdir()
        (folder / f"sha256:{hexadecimal}").hardlink_to(data)
        return f"sha256:{hexadecimal}"

    def repository(self, name: str, manifests: dict[str, bytes], blobs: list[str]) -> None:
        """Write a repository whose tags point at ``manifests`` and which holds ``blobs``; and the files for nginx."""
        layers = self.repositories / name / "_layers/sha256"
        revisions = self.repositories / name / "_manifests/revisions/sha256"
        tags = self.repositories / name / "_manifests/tags"
        static = self.files / name / "manifests"
        for folder in (layers, revisions, tags, static, self.repositories / name / "_uploads"):
            folder.mkdir(parents=True)
        for hexadecimal in blobs:
            _link(layers / hexadecimal, hexadecimal)
        for tag, content in manifests.items():
            hexadecimal, _ = self.blob(content)
            (tags / tag / "index/sha256").mkdir(parents=True)
            _link(tags / tag / "index/sha256" / hexadecimal, hexadecimal)
            _link(tags / tag / "current", hexadecimal)
            _link(revisions / hexadecimal, hexadecimal)
            (static / tag).hardlink_to(self._data(hexadecimal))

    def _data(self, hexadecimal: str) -> Path:
        return self.blobs / hexadecimal[:2] / hexadecimal / "data"


def _link(folder: Path, hexadecimal: str) -> None:
    folder.mkdir()
    (folder / "link").write_bytes(f"sha256:{hexadecimal}".encode())
