"""Which database the index is in: the only file that asks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from lading.errors import ConfigurationError, StoreError
from lading.stores.metadata import sqlite
from lading.stores.metadata.migrations.steps import Step
from lading.stores.metadata.schema import OLDEST
from lading.stores.metadata.sqlite import SqliteMetadata
from lading.stores.metadata.transaction import Metadata

SQLITE = "sqlite:///"
_POSTGRESQL = ("postgresql://", "postgres://")


def open_index(url: str, *, connections: int = 8, wait: float = 5.0, prepared: bool | None = None) -> Metadata:
    """Open, and create where it is not there yet, the index at ``sqlite:///<path>`` or ``postgresql://…``.

    For PostgreSQL (made on the event loop, and connected to when it is first asked): at most ``connections`` of this
    process, ``wait`` seconds for a free one; ``prepared`` statements, None where no pooler stands between.
    """
    if url.startswith(SQLITE):
        return SqliteMetadata(Path(url.removeprefix(SQLITE)))
    if is_remote(url):
        # psycopg and the dialect take a while to import, and few need them
        from lading.stores.metadata.connections import Limits  # noqa: PLC0415
        from lading.stores.metadata.postgresql import PostgresMetadata  # noqa: PLC0415

        return PostgresMetadata(url, Limits(connections, wait, prepared))
    raise ConfigurationError(
        f"database.url {url.partition(':')[0]!r} is not a database Lading knows; use {SQLITE}<path> or "
        "postgresql://user@host/database"
    )


def version_of(url: str) -> int:
    """The version of the schema of the index at ``url``; 0 where there is none yet."""
    if is_remote(url):
        from lading.stores.metadata import definition  # noqa: PLC0415

        version, least = definition.state(url)
        if version:
            definition.check(max(version, OLDEST), least)
        return version
    return sqlite.state(Path(url.removeprefix(SQLITE)))


def was_made(url: str) -> bool:
    """Whether an index was made there once, though there may be none now; not known (False) of PostgreSQL."""
    file = file_of(url)
    return file is not None and sqlite.was_made(file)


def migrate(url: str, chosen: Sequence[Step]) -> Iterator[Step]:
    """Bring an index that is there to a newer schema; tells each step when it is done."""
    if is_remote(url):
        from lading.stores.metadata import definition  # noqa: PLC0415

        yield from definition.migrate(url, chosen)
    else:
        os.close(sqlite.prepare(Path(url.removeprefix(SQLITE))))  # as whenever it is opened
        yield from chosen


def is_remote(url: str) -> bool:
    """Whether the index is in a database across the network, which may be away."""
    return url.startswith(_POSTGRESQL)


def file_of(url: str) -> Path | None:
    """The file of an index that is one; None for a database across the network."""
    return Path(url.removeprefix(SQLITE)) if url.startswith(SQLITE) else None


def require_index(url: str) -> None:
    """Raise :class:`~lading.errors.StoreError` where there is no index yet, rather than make an empty one."""
    if url.startswith(SQLITE) and not Path(url.removeprefix(SQLITE)).exists():
        raise StoreError(
            f"there is no index at {url.removeprefix(SQLITE)}; is it the store of a Lading that has run? If it was moved away, "
            "put it back together with its -wal; if it was lost, restore a backup (lading restore)"
        )
