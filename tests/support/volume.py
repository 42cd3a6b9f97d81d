"""A registry:2 volume written by hand, link by link, for what no registry:2 would write itself."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.support.images import Blob, Image, Index


class Volume:
    """The tree below *root*; every path as registry:2 has it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.base = root / "docker" / "registry" / "v2"
        (self.base / "repositories").mkdir(parents=True, exist_ok=True)
        (self.base / "blobs").mkdir(exist_ok=True)

    def data(self, digest: str) -> Path:
        algorithm, _, encoded = digest.partition(":")
        return self.base / "blobs" / algorithm / encoded[:2] / encoded / "data"

    def layer(self, repository: str, digest: str) -> Path:
        return self._link(repository, "_layers", digest)

    def revision(self, repository: str, digest: str) -> Path:
        return self._link(repository, "_manifests/revisions", digest)

    def tag(self, repository: str, tag: str) -> Path:
        return self.base / "repositories" / repository / "_manifests" / "tags" / tag / "current" / "link"

    def store(self, data: bytes, digest: str) -> None:
        _write(self.data(digest), data)

    def link(self, path: Path, digest: str, at: float | None = None) -> None:
        """Write a link, as if at *at* (seconds since 1970)."""
        _write(path, digest.encode())
        if at is not None:
            os.utime(path, (at, at))

    def push_blob(self, repository: str, blob: Blob, at: float | None = None) -> None:
        self.store(blob.data, blob.digest)
        self.link(self.layer(repository, blob.digest), blob.digest, at)

    def push_manifest(self, repository: str, manifest: Blob, *tags: str, at: float | None = None) -> str:
        self.store(manifest.data, manifest.digest)
        self.link(self.revision(repository, manifest.digest), manifest.digest, at)
        for tag in tags:
            self.point(repository, tag, manifest.digest, at)
        return manifest.digest

    def point(self, repository: str, tag: str, digest: str, at: float | None = None) -> None:
        current = self.tag(repository, tag)
        self.link(current, digest, at)
        algorithm, _, encoded = digest.partition(":")
        self.link(current.parents[1] / "index" / algorithm / encoded / "link", digest, at)

    def push(self, repository: str, content: Image | Index, *tags: str, at: float | None = None) -> str:
        """Everything of an image or an index; the manifest's digest."""
        if isinstance(content, Index):
            for one in content.images:
                self.push(repository, one, at=at)
        else:
            for blob in content.blobs:
                self.push_blob(repository, blob, at)
        return self.push_manifest(repository, content.manifest, *tags, at=at)

    def remove_tag(self, repository: str, tag: str) -> None:
        shutil.rmtree(self.tag(repository, tag).parents[1])

    def links(self) -> dict[str, str]:
        """Every link below the tree and what it holds, without the tags' histories."""
        repositories = self.base / "repositories"
        found = (path for path in repositories.rglob("link") if "index" not in path.relative_to(repositories).parts)
        return {str(path.relative_to(repositories)): path.read_text() for path in found}

    def _link(self, repository: str, kind: str, digest: str) -> Path:
        algorithm, _, encoded = digest.partition(":")
        return self.base / "repositories" / repository / kind / algorithm / encoded / "link"


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
