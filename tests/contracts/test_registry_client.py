"""What every ``RegistryClient`` promises: registries over HTTP (ours and registry:2), our own from inside, a folder, this machine's store."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lading.errors import BlobUnknown, DigestInvalid, LadingError, ManifestUnknown, SizeInvalid
from lading.oci.digest import Digest
from lading.oci.manifest import Descriptor, parse
from lading.registry.local import Local
from lading.remotes import archive, unpack
from lading.remotes.base import RegistryClient, Source
from lading.remotes.copy import Copy, Side
from lading.remotes.credentials import Keyring
from lading.remotes.http import HttpRegistry
from lading.remotes.layout import Layout
from lading.remotes.session import Session
from lading.remotes.store import Store
from lading.remotes.transport import Policy
from tests.support import images
from tests.support.lading import Lading
from tests.support.peer import Peer
from tests.support.server import RegistryServer
from tests.unit.registry.world import BY, World

pytestmark = pytest.mark.anyio

KINDS = ["local", "lading", pytest.param("registry:2", marks=pytest.mark.peer), "layout", "store"]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RegistryServer]]:
    """Started when they are asked for."""
    started: dict[str, RegistryServer] = {}

    class Started(dict[str, RegistryServer]):
        def __missing__(self, kind: str) -> RegistryServer:
            make = Lading if kind == "lading" else Peer
            started[kind] = self[kind] = make(tmp_path_factory.mktemp("server")).start()
            return self[kind]

    yield Started()
    for server in started.values():
        server.stop()


@pytest.fixture(params=KINDS)
async def client(
    request: pytest.FixtureRequest, servers: dict[str, RegistryServer], tmp_path: Path
) -> AsyncIterator[RegistryClient]:
    if request.param in {"layout", "store"}:
        yield Store(tmp_path / "store") if request.param == "store" else Layout(tmp_path / "layout", create=True)
        return
    if request.param == "local":
        world = World(tmp_path / "registry")
        yield Local(world.pull, world.push, world.uploads, world.delete, BY)
        await world.close()
        return
    async with Session(servers[request.param].host, Keyring({}), Policy(attempts=2, backoff=0.01)) as session:
        yield HttpRegistry(session)


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    return f"r.lab/contract-{abs(hash(request.node.name)):x}"


def descriptor(blob: images.Blob) -> Descriptor:
    return Descriptor(media_type=blob.media_type, digest=blob.digest, size=blob.size)


def holding(data: bytes) -> Source:
    @asynccontextmanager
    async def opened(start: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async def chunks() -> AsyncIterator[bytes]:
            for place in range(start, len(data), 100_000):
                yield data[place : place + 100_000]

        yield chunks()

    return opened


async def put(client: RegistryClient, repository: str, content: images.Image, reference: str) -> None:
    for blob in content.blobs:
        await client.put_blob(repository, descriptor(blob), holding(blob.data))
    await client.put_manifest(repository, reference, parse(content.manifest.data, content.manifest.media_type))


async def content(client: RegistryClient, repository: str, blob: Descriptor, start: int = 0) -> bytes:
    async with client.blob(repository, blob, start) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_what_is_put_is_there(client: RegistryClient, repository: str) -> None:
    image = images.image(repository, (3000, 1_500_000))
    await put(client, repository, image, "v1")
    at = await client.resolve(repository, "v1")
    assert at is not None
    assert (at.digest, at.size, at.media_type) == (image.digest, image.manifest.size, images.MANIFEST)
    for reference in ("v1", image.digest):
        assert (await client.manifest(repository, reference)).raw == image.manifest.data
    for blob in image.blobs:
        assert await client.has_blob(repository, descriptor(blob))
        assert await content(client, repository, descriptor(blob)) == blob.data
        assert await content(client, repository, descriptor(blob), 17) == blob.data[17:]
    assert [tag async for tag in client.tags(repository)] == ["v1"]


async def test_what_is_not_there_is_told(client: RegistryClient, repository: str) -> None:
    nothing = images.Blob("text/plain", repository.encode())
    await put(client, repository, images.image("there"), "v1")
    assert await client.resolve(repository, "v2") is None
    assert await client.resolve(repository, nothing.digest) is None
    assert not await client.has_blob(repository, descriptor(nothing))
    for reference in ("v2", nothing.digest):
        with pytest.raises(ManifestUnknown):
            await client.manifest(repository, reference)
    with pytest.raises(BlobUnknown):
        await content(client, repository, descriptor(nothing))


async def test_a_tag_moves_and_goes(client: RegistryClient, repository: str) -> None:
    first, second = images.image("first"), images.image("second")
    await put(client, repository, first, "v1")
    await put(client, repository, second, "v1")
    at = await client.resolve(repository, "v1")
    assert at is not None
    assert at.digest == second.digest
    await client.delete(repository, second.digest)
    assert await client.resolve(repository, "v1") is None
    with pytest.raises(ManifestUnknown):
        await client.delete(repository, Digest.of(b"never there"))


async def test_a_source_that_breaks_leaves_nothing(client: RegistryClient, repository: str) -> None:
    data = repository.encode() * 100_000
    blob = Descriptor(media_type="text/plain", digest=Digest.of(data), size=len(data))

    @asynccontextmanager
    async def breaking(start: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async def chunks() -> AsyncIterator[bytes]:
            yield data[:100_000]
            raise DigestInvalid("the source lies")

        yield chunks()

    with pytest.raises(DigestInvalid, match="the source lies"):
        await client.put_blob(repository, blob, breaking)
    assert not await client.has_blob(repository, blob)
    if isinstance(client, Layout):
        assert [one for one in client.path.rglob("*") if one.name.startswith(".partial")] == []


async def test_an_index_is_copied_from_each_to_a_folder_and_back(
    client: RegistryClient, repository: str, tmp_path: Path
) -> None:
    index = images.index(repository, layers=(2000, 300_000))
    lay = Layout(images.write_layout(tmp_path / "in", {"all": index}))
    report = Copy(Side(lay), Side(client, repository))
    assert (await report.image("all", ["v1"])).digest == index.digest
    assert (report.report.moved, report.report.manifests) == (6, 3)
    again = Copy(Side(lay), Side(client, repository))
    await again.image("all", ["v2"])
    assert (again.report.moved, again.report.bytes) == (0, 0)
    async with archive.writing(tmp_path / "out.tar", []) as written:
        await Copy(Side(client, repository), Side(written)).image("v2", ["x"])
    read = await unpack.opened(tmp_path / "out.tar", tmp_path / "scratch")
    back = Layout(tmp_path / "back", create=True)
    await Copy(Side(read), Side(back)).image("x", ["y"])
    assert (await back.manifest("", "y")).raw == index.manifest.data
    for image in index.images:
        for blob in image.blobs:
            assert await content(back, "", descriptor(blob)) == blob.data


async def test_referrers_come_along(client: RegistryClient, repository: str, tmp_path: Path) -> None:
    image = images.image(repository)
    signature = images.artifact("signature", image.manifest.descriptor(), "application/vnd.test.signature")
    of_signature = images.artifact("sbom", signature.manifest.descriptor())
    await put(client, repository, image, "v1")
    for one in (signature, of_signature):
        await put(client, repository, one, one.digest)
    if isinstance(client, HttpRegistry) and not [one async for one in client.referrers(repository, image.digest)]:
        # registry:2 has no referrers API: clients keep the list under a tag
        for subject, one in ((image, signature), (signature, of_signature)):
            listed = {
                "schemaVersion": 2,
                "mediaType": images.INDEX,
                "manifests": [one.manifest.descriptor(artifactType="x")],
            }
            raw = json.dumps(listed).encode()
            await client.put_manifest(repository, subject.digest.replace(":", "-"), parse(raw, images.INDEX))
    found = [one.digest async for one in client.referrers(repository, image.digest)]
    assert found == [signature.digest]
    folder = Layout(tmp_path / "out", create=True)
    await Copy(Side(client, repository), Side(folder), referrers=True).image("v1", ["v1"])
    assert [one.digest async for one in folder.referrers("", image.digest)] == [signature.digest]
    assert [one.digest async for one in folder.referrers("", signature.digest)] == [of_signature.digest]


async def test_one_platform_of_many(client: RegistryClient, repository: str, tmp_path: Path) -> None:
    from lading.oci.platform import parse as platform

    index = images.index(repository)
    await Copy(Side(Layout(images.write_layout(tmp_path / "in", {"x": index}))), Side(client, repository)).image(
        "x", ["x"]
    )
    folder = Layout(tmp_path / "out", create=True)
    copied = await Copy(Side(client, repository), Side(folder), wanted=platform("arm64")).image("x", ["x"])
    assert copied.digest == index.images[1].digest
    assert not await folder.has_blob("", descriptor(index.images[0].config))


def damage(path: Path, change: Any) -> None:
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize("kind", ["layout", "archive"])
async def test_bytes_that_were_changed_on_disk_never_leave_it(
    client: RegistryClient, repository: str, tmp_path: Path, kind: str
) -> None:
    image = images.image(repository, (200_000,))
    folder = images.write_layout(tmp_path / "in", {"x": image})
    layer = folder / "blobs" / "sha256" / image.layers[0].digest[7:]
    damage(layer, lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]))
    read: Any = Layout(folder)
    if kind == "archive":
        import tarfile

        with tarfile.open(tmp_path / "in.tar", "w") as tar:
            for file in folder.rglob("*"):
                tar.add(file, file.relative_to(folder), recursive=False)
        read = await unpack.opened(tmp_path / "in.tar", tmp_path / "scratch")
    with pytest.raises((DigestInvalid, SizeInvalid)):
        await Copy(Side(read), Side(client, repository)).image("x", ["x"])
    assert await client.resolve(repository, "x") is None
    assert not await client.has_blob(repository, descriptor(image.layers[0]))


async def test_a_manifest_that_lacks_its_blobs_is_not_left_named(
    client: RegistryClient, repository: str, tmp_path: Path
) -> None:
    image = images.image(repository)
    folder = images.write_layout(tmp_path / "in", {"x": image})
    (folder / "blobs" / "sha256" / image.layers[0].digest[7:]).unlink()
    with pytest.raises(LadingError):
        await Copy(Side(Layout(folder)), Side(client, repository)).image("x", ["x"])
    assert await client.resolve(repository, "x") is None
