"""Every implementation of the stores' protocols. A suite here runs over all of them, so a new one joins by a line.

The stores must leave nothing behind: what lies below the root when a test is over is counted, and whatever is no
blob, no unfinished upload and no file of the index fails the test.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from lading.stores.blobs.base import BlobStore
from lading.stores.blobs.filesystem import FilesystemStore
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.transaction import Metadata

BLOB_STORES: dict[str, Callable[[Path], BlobStore]] = {"filesystem": lambda root: FilesystemStore(root, threads=4)}

_EXPECTED = re.compile(
    r"docker/registry/v2/(?:blobs/(?:sha256/([0-9a-f]{2})/\1[0-9a-f]{62}|sha512/([0-9a-f]{2})/\2[0-9a-f]{126})/data"
    r"|repositories/.+/_uploads/[0-9a-f-]{36}/(?:data|startedat))"
)


@pytest.fixture(params=BLOB_STORES)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], BlobStore]:
    """Opens the store; twice, as two processes do."""
    return lambda: BLOB_STORES[request.param](tmp_path / "store")


@pytest.fixture
def store(open_store: Callable[[], BlobStore], tmp_path: Path) -> Iterator[BlobStore]:
    yield open_store()
    root = tmp_path / "store"
    files = [path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()]
    assert [name for name in files if not _EXPECTED.fullmatch(name)] == [], "left behind"


@pytest.fixture
def open_metadata(index_url: str) -> Callable[[], Metadata]:
    """Opens the index; twice, as two processes do."""
    return lambda: open_index(index_url)


@pytest.fixture
async def metadata(open_metadata: Callable[[], Metadata], tmp_path: Path) -> AsyncIterator[Metadata]:
    made = open_metadata()
    yield made
    await made.close()
    names = {path.name for path in tmp_path.iterdir()}
    assert names <= {"index.sqlite", "index.sqlite-wal", "index.sqlite-shm", "index.sqlite.lock"}, "left behind"
