"""``python -m bench.indexsize``: how many bytes a row of each table takes, with its share of the table's indexes.

Fills the real schema with made-up content, table by table, in SQLite or (``--url postgresql+psycopg://…``) in an empty
PostgreSQL database, and looks how the database grew. What it prints is what ``bench.simulation`` extrapolates from.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, text

from lading.stores.metadata.schema import content, tables

Row = dict[str, Any]

REPOSITORY_OF = 10
"""Manifests in a repository."""
LAYERS, OWN_LAYERS = 8, 2
"""Layers of an image, and how many of them no other image has."""
_SHARED = 500
_MOMENT = 1_700_000_000_000
_STEP = 5_000
_KEPT_ALIKE = ("repositories", "blobs", "contents", "repository_blobs", "manifests", "manifest_blobs", "tags")


def digest(*words: object) -> str:
    """A digest nobody else has."""
    return "sha256:" + hashlib.sha256(repr(words).encode()).hexdigest()


def rows(manifests: int, seed: int = 1) -> Iterator[tuple[str, Iterator[Row]]]:
    """The rows of each table, in an order that foreign keys allow; of *manifests* images, ten to a repository."""
    chosen = random.Random(seed)
    own = OWN_LAYERS + 2  # the manifest itself and its config
    bases = [[chosen.randrange(_SHARED) for _ in range(LAYERS - OWN_LAYERS)] for _ in range(manifests // REPOSITORY_OF)]
    repositories = range(1, manifests // REPOSITORY_OF + 1)

    def repository(number: int) -> int:
        return number // REPOSITORY_OF + 1

    def blob(number: int, part: int) -> int:
        """Part 0 is the manifest, 1 its config, then its own layers."""
        return _SHARED + number * own + part + 1

    def shared(number: int) -> set[int]:
        return {base + 1 for base in bases[repository(number) - 1]}

    yield (
        "repositories",
        ({"id": one, "name": f"team-{one % 997}/service-{one}", "created_at": _MOMENT} for one in repositories),
    )
    yield (
        "blobs",
        (
            {"id": one, "digest": digest("blob", one), "size": one, "present": True, "touched_at": _MOMENT}
            for one in range(1, _SHARED + manifests * own + 1)
        ),
    )
    yield "contents", ({"blob_id": blob(one, 0), "bytes": _manifest(one, chosen)} for one in range(manifests))
    yield (
        "repository_blobs",
        (
            {"repository_id": one, "blob_id": each}
            for one in repositories
            for each in (
                *shared((one - 1) * REPOSITORY_OF),
                *(
                    blob(number, part)
                    for number in range((one - 1) * REPOSITORY_OF, one * REPOSITORY_OF)
                    for part in range(1, own)
                ),
            )
        ),
    )
    yield (
        "manifests",
        (
            {
                "id": one + 1,
                "repository_id": repository(one),
                "blob_id": blob(one, 0),
                "digest": digest("blob", blob(one, 0)),
                "media_type": "application/vnd.oci.image.manifest.v1+json",
                "size": 1500,
                "artifact_type": "application/vnd.oci.image.config.v1+json",
                "subject": None,
                "annotations": "{}",
                "pushed_at": _MOMENT,
                "touched_at": _MOMENT,
            }
            for one in range(manifests)
        ),
    )
    yield (
        "manifest_blobs",
        (
            {"manifest_id": one + 1, "blob_id": each}
            for one in range(manifests)
            for each in (*shared(one), *(blob(one, part) for part in range(1, own)))
        ),
    )
    yield (
        "tags",
        (
            {
                "repository_id": repository(one),
                "name": f"v1.{one % REPOSITORY_OF}",
                "manifest_id": one + 1,
                "moved_at": _MOMENT,
            }
            for one in range(manifests)
        ),
    )


def measure(engine: Engine, manifests: int) -> dict[str, Any]:
    """Fill the database behind *engine*; bytes a row, and rows a manifest, by table."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.execute(text("PRAGMA page_size = 4096"))
    tables.create_all(engine)
    found: dict[str, Mapping[str, float]] = {}
    for name, filling in rows(manifests):
        before = _size(engine, name)
        number = _fill(engine, name, filling)
        found[name] = {
            "bytes_a_row": round((_size(engine, name) - before) / number, 1),
            "rows_a_manifest": round(number / manifests, 3),
        }
    assert set(found) == set(_KEPT_ALIKE)
    return {"database": engine.dialect.name, "manifests": manifests, "tables": found}


def _fill(engine: Engine, name: str, filling: Iterator[Row]) -> int:
    table, number, part = getattr(content, name), 0, list[Row]()

    def write(connection: Connection) -> None:
        if part:
            connection.execute(table.insert(), part)
            part.clear()

    with engine.begin() as connection:
        for row in filling:
            part.append(row)
            number += 1
            if len(part) == _STEP:
                write(connection)
        write(connection)
    return number


def _size(engine: Engine, name: str) -> int:
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            pages = connection.execute(text("PRAGMA page_count")).scalar_one()
            return int(pages) * int(connection.execute(text("PRAGMA page_size")).scalar_one())
        return int(connection.execute(text("SELECT pg_total_relation_size(:name)"), {"name": name}).scalar_one())


def _manifest(number: int, chosen: random.Random) -> bytes:
    """What a client pushes: about 1.5 kB, most of it digests."""
    layers = [
        {
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": f"sha256:{chosen.getrandbits(256):064x}",
            "size": chosen.randrange(10**8),
        }
        for _ in range(LAYERS)
    ]
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest("config", number), "size": 7000}
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config}
    return json.dumps({**manifest, "layers": layers}).encode()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.indexsize", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--manifests", type=int, default=200_000, help="how many images to make up (default 200000)")
    parser.add_argument(
        "--url", help="an empty database, as SQLAlchemy writes it (default: SQLite in a temporary file)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write it to this file as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        engine = create_engine(arguments.url or f"sqlite:///{directory}/index.sqlite")
        found = measure(engine, arguments.manifests)
        engine.dispose()
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    whole = sum(table["bytes_a_row"] * table["rows_a_manifest"] for table in found["tables"].values())
    for name, table in found["tables"].items():
        print(f"{name:18} {table['bytes_a_row']:8.1f} B a row {table['rows_a_manifest']:8.3f} rows a manifest")
    print(f"{whole:.0f} B a manifest in {found['database']}, of {found['manifests']} manifests")
    return 0


if __name__ == "__main__":
    sys.exit(main())
