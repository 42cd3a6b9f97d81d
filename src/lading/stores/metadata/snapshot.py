"""A SQLite index as a file: a copy of it while it is in use, its way into its place, and what SQLite finds wrong with it.

Everything here blocks.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from lading.errors import StoreError
from lading.stores.blobs.disk import sync_folder

_MOST_TOLD = 20


def snapshot(index: Path, target: Path) -> None:
    """Write one consistent view of ``index`` into the new file ``target``; survives power loss.

    Writers go on meanwhile, and what they commit after the start is not in it.
    """
    try:
        with contextlib.closing(_read(index)) as connection:
            connection.execute("VACUUM INTO ?", (str(target),))
    except sqlite3.Error as error:
        raise StoreError(f"cannot copy the index {index} to {target}: {error}") from error
    descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def put_in_place(made: Path, index: Path) -> None:
    """Make the index in the file ``made``, which nobody has open, the one at ``index``, in one step; survives power loss.

    Raises :class:`StoreError` where somebody made one there meanwhile.
    """
    with contextlib.closing(sqlite3.connect(made)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    descriptor = os.open(made, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if index.exists():
        raise StoreError(
            f"meanwhile somebody made an index at {index}, a server perhaps: stop it, move that index and its -wal and "
            "-shm away, and run this again"
        )
    # a log that another index left must not be taken for this one's
    for path in (made, index):
        for rest in ("-wal", "-shm"):
            path.with_name(path.name + rest).unlink(missing_ok=True)
    made.rename(index)
    for folder in (index.parent, index.parent.parent):
        sync_folder(folder)


def integrity(index: Path) -> list[str]:
    """What SQLite finds wrong with an index, in its own words."""
    try:
        with contextlib.closing(_read(index)) as connection:
            said = [row[0] for row in connection.execute(f"PRAGMA integrity_check({_MOST_TOLD})")]
            dangling = connection.execute("PRAGMA foreign_key_check").fetchmany(_MOST_TOLD)
    except sqlite3.Error as error:
        return [str(error)]
    return [line for line in said if line != "ok"] + [
        f"a row of {table} refers to a row of {parent} that is not there" for table, _, parent, _ in dangling
    ]


def without_leases(index: Path) -> None:
    """Let go of all leases in a copy: whoever held them holds them elsewhere."""
    with contextlib.closing(sqlite3.connect(index)) as connection, connection:
        connection.execute("DELETE FROM leases")


def counts(index: Path) -> tuple[int, int, int, int, int]:
    """Repositories, manifests, tags, present blobs and the bytes of these."""
    with contextlib.closing(_read(index)) as connection:
        found = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - names of ours
            for table in ("repositories", "manifests", "tags")
        ]
        stored = connection.execute("SELECT count(*), coalesce(sum(size), 0) FROM blobs WHERE present").fetchone()
    return found[0], found[1], found[2], stored[0], stored[1]


def contents(index: Path) -> Iterator[tuple[str, int]]:
    """Digest and size of every blob that an index relies on."""
    with contextlib.closing(_read(index)) as connection:
        yield from connection.execute("SELECT digest, size FROM blobs WHERE present ORDER BY digest")


def _read(index: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{index.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
