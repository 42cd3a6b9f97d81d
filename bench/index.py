"""An index filled in bulk: the rows that pushes would have left, straight in the tables of SQLite.

Tags are named as the fixture names them, so that ``requests.lua`` finds them; each points at a manifest of its own,
whose bytes the index holds. Blobs have no files: who measures manifests and lists asks for none.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from typing import Any

from bench.fixture import MANIFEST_TYPE, repository_name, tag_name
from bench.servers import Lading

Row = tuple[Any, ...]
_AT_ONCE = 10_000


class Filler:
    """Writes rows into the index of a Lading that is not running."""

    def __init__(self, server: Lading) -> None:
        self._index = sqlite3.connect(server.root / "lading/index.sqlite")

    def next(self, table: str) -> int:
        """The first id that is free."""
        return int(self._index.execute(f"SELECT coalesce(max(id), 0) + 1 FROM {table}").fetchone()[0])

    def insert(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Insert rows."""
        marks = ", ".join("?" * len(columns))
        self._index.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)

    def close(self) -> None:
        """Keep what was written, with the planner's statistics up to date."""
        self._index.execute("ANALYZE")
        self._index.commit()
        self._index.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._index.close()


def fill(server: Lading, repositories: int, tags_each: int) -> None:
    """Make tables, and fill them with images named as the fixture's."""
    server.start()  # it makes its tables
    server.stop()
    filler = Filler(server)
    now = int(time.time() * 1000)
    repository, manifest, blob = (filler.next(table) for table in ("repositories", "manifests", "blobs"))
    step = max(1, _AT_ONCE // tags_each)
    for first in range(0, repositories, step):
        names = [repository_name(one) for one in range(first, min(first + step, repositories))]
        numbered = list(enumerate(names, repository))
        filler.insert("repositories", ("id", "name", "created_at"), ((one, name, now) for one, name in numbered))
        images = [(one, name, tag) for one, name in numbered for tag in range(tags_each)]
        raw = [_manifest(name, tag) for _, name, tag in images]
        digests = [f"sha256:{hashlib.sha256(each).hexdigest()}" for each in raw]
        blobs, manifests = range(blob, blob + len(raw)), range(manifest, manifest + len(raw))
        filler.insert(
            "blobs",
            ("id", "digest", "size", "present", "touched_at"),
            ((one, digest, len(each), True, now) for one, digest, each in zip(blobs, digests, raw, strict=True)),
        )
        filler.insert("contents", ("blob_id", "bytes"), zip(blobs, raw, strict=True))
        filler.insert(
            "manifests",
            ("id", "repository_id", "blob_id", "digest", "media_type", "size", "artifact_type", "annotations",
             "pushed_at", "touched_at"),
            (
                (one, image[0], own, digest, MANIFEST_TYPE, len(each), "", "{}", now, now)
                for one, image, own, digest, each in zip(manifests, images, blobs, digests, raw, strict=True)
            ),
        )  # fmt: skip
        filler.insert(
            "tags",
            ("repository_id", "name", "manifest_id", "moved_at"),
            ((image[0], tag_name(image[2]), one, now) for one, image in zip(manifests, images, strict=True)),
        )
        repository, manifest, blob = repository + len(names), manifest + len(raw), blob + len(raw)
    filler.close()


def _manifest(name: str, tag: int) -> bytes:
    """About as long as the fixture's."""
    layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "sha256:" + "0" * 64, "size": 1100}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {**layer, "mediaType": "application/vnd.oci.image.config.v1+json"},
        "layers": [layer] * 3,
        "annotations": {"org.opencontainers.image.title": name, "org.opencontainers.image.version": tag_name(tag)},
    }
    return json.dumps(manifest, indent=2).encode()
