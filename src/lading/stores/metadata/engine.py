"""Which database the index is in: the only file that asks."""

from __future__ import annotations

from pathlib import Path

from lading.errors import ConfigurationError
from lading.stores.metadata.sqlite import SqliteMetadata
from lading.stores.metadata.transaction import Metadata

_SQLITE = "sqlite:///"


def open_index(url: str) -> Metadata:
    """Open, and create where it is not there yet, the index at ``sqlite:///<path>``."""
    if url.startswith(_SQLITE):
        return SqliteMetadata(Path(url.removeprefix(_SQLITE)))
    raise ConfigurationError(
        f"database.url {url.partition(':')[0]!r} is not a database Lading knows; use {_SQLITE}<path>"
    )
