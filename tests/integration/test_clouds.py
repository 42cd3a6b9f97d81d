"""Azure Blob Storage and Google Cloud Storage under a server: pushes, redirects, and stores that fail for a while."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx2
import jwt
import pytest
import trustme
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from lading.config.storage import GCS, Azure
from lading.errors import Conflict, StoreError, Unavailable
from lading.oci.digest import Digest
from lading.stores.blobs import web
from lading.stores.blobs.azure import AzureClient
from lading.stores.blobs.gcs import GCSClient
from lading.stores.blobs.objects import ChangedError
from lading.stores.blobs.remote import RemoteStore
from tests.support import images
from tests.support.clouds import Azurite, FakeGCS
from tests.support.faulty import Call, Fault, Faulty
from tests.support.http import Client
from tests.support.lading import Lading

pytestmark = pytest.mark.xdist_group("clouds")

Cloud = Azurite | FakeGCS


@pytest.fixture(scope="module", params=[Azurite, FakeGCS], ids=["azure", "gcs"])
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with request.param(tmp_path_factory.mktemp("cloud")) as server:
        yield server


def opened(cloud: Cloud, url: str, prefix: str, part: int = 1 << 20) -> RemoteStore:
    """A store whose requests go to ``url``."""
    if isinstance(cloud, Azurite):
        given = {**cloud.settings, "serviceurl": cloud.settings["serviceurl"].replace(cloud.url, url)}
        return RemoteStore(AzureClient(Azure.model_validate(given)), prefix, where="the test", part=part)
    given = {**cloud.settings, "endpoint": url, "rootdirectory": prefix}
    return RemoteStore(GCSClient(GCS.model_validate(given)), prefix, where="the test", part=part)


async def stream(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def content(store: RemoteStore, digest: Digest) -> bytes:
    file = await store.open(digest)
    assert file is not None
    return b"".join([data async for data in file.chunks(0, file.size)])


def test_push_and_pull(cloud: Cloud, tmp_path: Path) -> None:
    driver = "azure" if isinstance(cloud, Azurite) else "gcs"
    image = images.image(driver, (3000, 20_000_000))
    settings = {
        "storage": {"filesystem": None, driver: {**cloud.settings, "rootdirectory": f"/{uuid4().hex}"}},
        "database": {"url": f"sqlite:///{tmp_path}/index.sqlite"},
        "health": {"storagedriver": {"enabled": False}},
    }
    with Lading(tmp_path / "server", settings) as server, Client(server) as client:
        client.push("a/b", image, "t")
        for blob in image.blobs:
            answer = client.get(f"/v2/a/b/blobs/{blob.digest}")
            assert (answer.status_code, answer.headers["docker-content-digest"]) == (307, blob.digest)
            url = answer.headers["location"]
            assert httpx2.get(url, trust_env=False, timeout=60).content == blob.data
            part = httpx2.get(url, headers={"range": "bytes=5-9"}, trust_env=False)
            assert (part.status_code, part.content) == (206, blob.data[5:10])
            if driver == "azure":
                forged = url.replace(blob.digest[7:], "0" * 64)
                assert httpx2.get(forged, trust_env=False).status_code == 403


@pytest.mark.anyio
async def test_more_parts_than_one_call_takes(cloud: Cloud) -> None:
    """Gathered over two processes; nothing but the blob is left."""
    data = random.Random("parts").randbytes(70 * 20_000 + 5)
    digest, prefix = Digest.of(data), uuid4().hex
    stores = [opened(cloud, cloud.url, prefix, part=20_000) for _ in range(2)]
    session = await stores[0].begin("a/b", "sha256")
    await session.append(stream(data[:700_001], 9000))
    await session.close()
    again = await stores[1].resume(session.state())
    assert again is not None
    await again.append(stream(data[700_001:], 9000))
    assert await again.digest() == digest
    await again.publish(digest)
    await again.close()
    assert await content(stores[0], digest) == data
    assert [each.key async for each in stores[0].objects.list(f"{prefix}/")] == [stores[0].blob_key(digest)]
    for store in stores:
        await store.close()


@pytest.mark.anyio
async def test_the_same_blob_by_two_clients_at_once(cloud: Cloud) -> None:
    """Both bring it in one request, so that its parts go straight to its place; both are told that it is there."""
    prefix, data = uuid4().hex, random.Random(8).randbytes(2_300_000)
    digest = Digest.of(data)
    stores = [opened(cloud, cloud.url, prefix) for _ in range(2)]
    sessions = [await store.begin("a/b", "sha256", aim=digest) for store in stores]
    for session in sessions:
        await session.append(stream(data, 9000))
    for session in sessions:
        assert await session.digest() == digest
        await session.publish(digest)
        await session.close()
    assert await content(stores[0], digest) == data
    assert [each.key async for each in stores[0].objects.list(f"{prefix}/")] == [stores[0].blob_key(digest)]
    for store in stores:
        await store.close()


@pytest.mark.anyio
async def test_of_an_upload_that_is_given_up_while_it_is_finished_nothing_stays(cloud: Cloud) -> None:
    prefix, data = uuid4().hex, random.Random(9).randbytes(2_300_000)
    stores = [opened(cloud, cloud.url, prefix) for _ in range(2)]
    session = await stores[0].begin("a/b", "sha256")
    await session.append(stream(data, 9000))
    assert await stores[1].discard_upload("a/b", session.state().uuid)
    with pytest.raises(Conflict):
        await session.publish(Digest.of(data))
    await session.close()
    assert [each.key async for each in stores[0].objects.list(f"{prefix}/")] == []
    for store in stores:
        await store.close()


@pytest.mark.anyio
async def test_of_two_writes_one_is_refused(cloud: Cloud) -> None:
    store = opened(cloud, cloud.url, uuid4().hex)
    key = f"{store.layout.root}/x"
    first = await store.objects.put(key, b"1")
    done = await asyncio.gather(
        *(store.objects.put(key, content, replaces=first) for content in (b"2", b"3")), return_exceptions=True
    )
    assert [type(each) for each in done].count(ChangedError) == 1
    await store.close()


@pytest.mark.anyio
@pytest.mark.parametrize("status", [429, 500, 503])
async def test_what_passes_is_waited_for_and_what_does_not_is_told(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(web, "_PAUSE", 0.01)
    data = random.Random("faults").randbytes(2_700_000)
    digest = Digest.of(data)
    with Faulty(cloud.url) as proxy:
        store = opened(cloud, proxy.url, uuid4().hex)

        def every_other(call: Call) -> Fault | None:
            """Half of the calls fail, a quarter is made and its answer lost."""
            if call.number % 4 == 1:
                return Fault("reset", passed=True)
            return Fault("status", status) if call.number % 2 else None

        proxy.script = every_other
        session = await store.begin("a/b", "sha256")
        await session.append(stream(data, 300_000))
        await session.publish(digest)
        await session.close()
        assert await content(store, digest) == data
        proxy.script = lambda call: Fault("status", status)
        with pytest.raises(Unavailable):
            await store.put(digest, data)
        with pytest.raises(StoreError):
            await store.probe()
        assert (await store.delete([digest])).failed
        proxy.script = lambda call: Fault("status", 403)
        with pytest.raises(Unavailable, match="give it the role"):
            await store.put(digest, data)
        proxy.script = lambda call: None
        assert not (await store.delete([digest])).failed
        assert await store.open(digest) is None
        await store.close()


@pytest.mark.anyio
@pytest.mark.parametrize("refused", [False, True], ids=["taken", "refused"])
async def test_blobs_are_deleted_by_batches_where_the_store_takes_them(cloud: Cloud, *, refused: bool) -> None:
    blobs = {Digest.of(data): data for data in (b"blob %d" % number for number in range(30))}
    absent = [Digest.of(b"absent %d" % number) for number in range(3)]
    with Faulty(cloud.url) as proxy:
        store = opened(cloud, proxy.url, f"/{uuid4().hex}")
        await asyncio.gather(*(store.put(digest, data) for digest, data in blobs.items()))
        if refused:
            proxy.script = lambda call: Fault("status", 501) if "batch" in call.path else None
        before = len(proxy.calls)
        done = await store.delete([*blobs, *absent])
        asked = [call.method for call in proxy.calls[before:]]
        left = [digest async for digest, _ in store.walk()]
        await store.close()
    assert (done.failed, left) == ({}, [])
    assert set(done.freed) == {*blobs, *absent}
    assert (asked.count("POST"), asked.count("DELETE")) == ((1, 33) if refused else (1, 0))


@pytest.mark.anyio
async def test_bytes_that_change_on_the_way_are_refused(cloud: Cloud) -> None:
    """The store compares what arrives with the MD5 that was sent along."""
    store = opened(cloud, cloud.url, uuid4().hex)
    wrong = hashlib.md5(b"other").digest()
    upload = await store.objects.create("x")
    with pytest.raises(Unavailable):
        await store.objects.put_part("x", upload, 1, b"these", wrong)
    await store.close()


@pytest.mark.anyio
async def test_googles_signature_is_that_of_the_key(tmp_path: Path) -> None:
    """fake-gcs-server looks at no signature, so what is signed is put together again here as Google says (V4)."""
    with FakeGCS(tmp_path) as cloud:
        client = cloud.client("")
        url = await client.sign("a b/data", 1200)
        await client.close()
        assert url is not None
        parts = urlsplit(url)
        given, _, signature = parts.query.partition("&X-Goog-Signature=")
        values = {name: value for name, [value] in parse_qs(given).items()}
        assert values["X-Goog-Credential"].startswith(f"{cloud.tokens.EMAIL}/{values['X-Goog-Date'][:8]}/auto/storage/")
        request = f"GET\n/lading/a%20b/data\n{given}\nhost:{parts.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
        scope = values["X-Goog-Credential"].partition("/")[2]
        hashed = hashlib.sha256(request.encode()).hexdigest()
        text = f"GOOG4-RSA-SHA256\n{values['X-Goog-Date']}\n{scope}\n{hashed}".encode()
        cloud.tokens.key.public_key().verify(bytes.fromhex(signature), text, padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.anyio
async def test_an_identity_of_azure_in_place_of_the_key(tmp_path: Path) -> None:
    """Calls with a token, which Azurite takes over TLS alone, and URLs signed by the key Azure lends for it."""

    class Tokens:
        async def get_token(self, scope: str) -> SimpleNamespace:
            assert scope == "https://storage.azure.com/.default"
            now = int(time.time())
            claims = {"iss": f"https://sts.windows.net/{tenant}/", "aud": scope.removesuffix("/.default")}
            times = {"nbf": now - 60, "iat": now - 60, "exp": now + 3600}
            return SimpleNamespace(token=jwt.encode({**claims, **times, "oid": str(uuid4()), "tid": tenant}, "x" * 32))

        async def close(self) -> None: ...

    tenant = str(uuid4())
    made = trustme.CA().issue_cert("127.0.0.1")
    made.private_key_pem.write_to_path(tmp_path / "key.pem")
    made.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    with Azurite(tmp_path, tls=(tmp_path / "cert.pem", tmp_path / "key.pem")) as cloud:
        application = {"type": "client_secret", "clientid": "c", "tenantid": tenant, "secret": "s"}
        client = AzureClient(Azure.model_validate({**cloud.settings, "credentials": application}))
        assert client._tokens is not None
        await client._tokens.close()
        client._tokens = Tokens()
        await client.put("a/b", b"hello")
        await client.copy("a/b", "c/d", 5)
        copied = await client.read("c/d")
        assert copied is not None
        assert copied[0] == b"hello"
        url = await client.sign("a/b", 600)
        assert url is not None
        with httpx2.Client(verify=False, trust_env=False) as http:
            assert http.get(url).text == "hello"
            assert http.get(url.replace("/a/b", "/c/d")).status_code == 403
        await client.close()
