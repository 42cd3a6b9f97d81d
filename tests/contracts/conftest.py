"""Every implementation of the stores' protocols. A suite here runs over all of them, so a new one joins by a line.

The stores must leave nothing behind: what lies below the root when a test is over is counted, and whatever is no
blob, no unfinished upload and no file of the index fails the test.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from lading.stores.blobs.base import BlobStore
from lading.stores.blobs.filesystem import FilesystemStore
from lading.stores.blobs.remote import RemoteStore
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.transaction import Metadata
from tests.support.clouds import Azurite, FakeGCS
from tests.support.objects import Moto, Swift

BLOB_STORES = ("filesystem", "moto")

_EXPECTED = re.compile(
    r"docker/registry/v2/(?:blobs/(?:sha256/([0-9a-f]{2})/\1[0-9a-f]{62}|sha512/([0-9a-f]{2})/\2[0-9a-f]{126})/data"
    r"|repositories/.+/_uploads/[0-9a-f-]{36})|lading/uploads/.+/[0-9a-f-]{36}/(?:record|piece-.+)"
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Over every store; over the slow one, which is a real one, and over the clouds' emulators what is marked ``real``."""
    if "open_store" in metafunc.fixturenames:
        real = metafunc.definition.get_closest_marker("real") is not None
        metafunc.parametrize(
            "open_store", [*BLOB_STORES, *(["swift", "azurite", "gcs"] if real else [])], indirect=True
        )


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    with Moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    with Swift(tmp_path_factory.mktemp("swift")) as server:
        yield server


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with Azurite(tmp_path_factory.mktemp("azurite")) as server:
        yield server


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGCS]:
    with FakeGCS(tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable[[], BlobStore]]:
    """Opens the store; twice, as two processes do."""
    made: list[BlobStore] = []
    server = None if request.param == "filesystem" else request.getfixturevalue(request.param)
    prefix = f"/{uuid4().hex}"

    def make() -> BlobStore:
        if server is None:
            made.append(FilesystemStore(tmp_path / "store", threads=4))
        else:
            made.append(RemoteStore(server.client(prefix), prefix, where="the test", part=1 << 20))
        return made[-1]

    yield make
    for store in made:
        await store.close()


@pytest.fixture
async def store(open_store: Callable[[], BlobStore], tmp_path: Path) -> AsyncIterator[BlobStore]:
    made = open_store()
    yield made
    if isinstance(made, RemoteStore):
        assert await made.clear(datetime.now(UTC) + timedelta(days=1)) == 0, "a multipart upload was left behind"
        prefix = str(made.layout.root)
        files = [each.key.removeprefix(f"{prefix}/") async for each in made.objects.list(f"{prefix}/")]
    else:
        root = tmp_path / "store"
        files = [path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()]
    assert [name for name in files if not _EXPECTED.fullmatch(name)] == [], "left behind"


@pytest.fixture
def open_metadata(index_url: str) -> Callable[[], Metadata]:
    """Opens the index; twice, as two processes do."""
    return lambda: open_index(index_url, wait=60)


@pytest.fixture
async def metadata(open_metadata: Callable[[], Metadata], tmp_path: Path) -> AsyncIterator[Metadata]:
    made = open_metadata()
    yield made
    await made.close()
    names = {path.name for path in tmp_path.iterdir()}
    assert names <= {"index.sqlite", "index.sqlite-wal", "index.sqlite-shm", "index.sqlite.lock"}, "left behind"
