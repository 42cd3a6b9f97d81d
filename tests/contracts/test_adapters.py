"""What every vendor's registry comes to for who uses it: the same verbs, each login its documentation knows, clear refusals.

The vendors are scripts (``support/vendors.py``), reached by their own names, over verified TLS, through a proxy.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lading import errors
from lading.oci.digest import Digest
from lading.oci.manifest import Descriptor, parse
from lading.remotes.adapters import vendors
from lading.remotes.adapters.base import Adapter
from lading.remotes.credentials import Credential, Keyring
from lading.remotes.http import HttpRegistry
from lading.remotes.session import Session
from lading.remotes.transport import Policy
from tests.support.vendor import Vendor
from tests.support.vendors import (
    VENDORS,
    Artifact,
    Azure,
    GitHub,
    GoHarbor,
    Google,
    Hub,
    RedHatQuay,
    SomeGitLab,
)
from tests.support.world import World

pytestmark = pytest.mark.anyio

NOWHERE = {"HOME": "/nonexistent"}
LOGINS = [pytest.param(vendor, login, id=f"{vendor.host}-{login}") for vendor in VENDORS for login in vendor.logins]


@pytest.fixture(params=VENDORS, ids=lambda vendor: vendor.host)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    made = request.param()
    assert isinstance(made, Vendor)
    return made


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[Vendor], World]]:
    """Leads this process to a vendor."""
    opened: list[World] = []

    def lead(vendor: Vendor) -> World:
        world = World(vendor.hosts, tmp_path).__enter__()
        opened.append(world)
        for name, value in world.environment.items():
            monkeypatch.setenv(name, value)
        # aiohttp, by which Azure's library asks, looks at these variables once, when the process imports it
        monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", ssl.create_default_context())
        return world

    yield lead
    for world in opened:
        world.__exit__(None, None, None)


@asynccontextmanager
async def client(vendor: Vendor, login: str = "") -> AsyncIterator[Adapter]:
    """The adapter for a vendor, with one of its logins."""
    host = vendor.name or vendor.host
    known = {host: Credential(*vendor.logins[login])} if login else {}
    policy = Policy(attempts=2, backoff=0.01, patience=2, connect=30, silence=30)
    async with Session(host, Keyring(NOWHERE, known), policy) as session:
        yield await vendors.adapter(HttpRegistry(session))


def any_login(vendor: Vendor) -> str:
    return next(iter(vendor.logins))


async def test_the_adapter_is_chosen(vendor: Vendor, world: Callable[[Vendor], World]) -> None:
    world(vendor)
    async with client(vendor) as adapter:
        assert type(adapter).__name__ == vendor.adapter


@pytest.mark.parametrize(("kind", "login"), LOGINS)
async def test_each_login_is_taken(kind: type[Vendor], login: str, world: Callable[[Vendor], World]) -> None:
    vendor = kind()
    world(vendor)
    async with client(vendor) as adapter:
        assert await adapter.registry.session.login(Credential(*vendor.logins[login])) == Credential(
            *vendor.logins[login]
        )
        assert vendor.scopes == [], "a login asks for nothing that it might be refused"
    async with client(vendor, login) as adapter:
        assert await adapter.registry.resolve(vendor.private, "v1")


async def test_a_login_that_is_none_is_refused(vendor: Vendor, world: Callable[[Vendor], World]) -> None:
    world(vendor)
    user, _ = vendor.logins[any_login(vendor)]
    async with client(vendor) as adapter:
        with pytest.raises(errors.Unauthenticated) as found:
            await adapter.registry.session.login(Credential(user, "not-the-password"))
    assert "not-the-password" not in found.value.message


async def test_nobody_in_particular(vendor: Vendor, world: Callable[[Vendor], World]) -> None:
    world(vendor)
    async with client(vendor) as adapter:
        if vendor.anonymous:
            manifest = await adapter.registry.manifest(vendor.public, "latest")
            blob = manifest.blobs()[-1]
            async with adapter.registry.blob(vendor.public, blob) as chunks:
                assert b"".join([chunk async for chunk in chunks]) == b"two"
        with pytest.raises((errors.Unauthenticated, errors.Denied)):
            await adapter.registry.manifest(vendor.private, "latest")


async def test_an_image_is_pushed_and_pulled(vendor: Vendor, world: Callable[[Vendor], World]) -> None:
    world(vendor)
    name = f"{vendor.namespace}/new"
    data = b"a layer"
    blob = Descriptor(media_type="application/octet-stream", digest=Digest.of(data), size=len(data))
    part = {"mediaType": blob.media_type, "digest": str(blob.digest), "size": blob.size}
    kind = "application/vnd.oci.image.manifest.v1+json"
    document = {"schemaVersion": 2, "mediaType": kind, "config": part, "layers": [part]}

    @asynccontextmanager
    async def source(start: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async def chunks() -> AsyncIterator[bytes]:
            yield data[start:]

        yield chunks()

    async with client(vendor, any_login(vendor)) as adapter:
        registry = adapter.registry
        assert not await registry.has_blob(name, blob)
        await registry.put_blob(name, blob, source)
        manifest = parse(json.dumps(document).encode(), kind)
        await registry.put_manifest(name, "1.0", manifest)
        assert (await registry.manifest(name, "1.0")).digest == manifest.digest
        assert [tag async for tag in registry.tags(name)] == ["1.0"]


async def test_tags_and_repositories_are_listed(vendor: Vendor, world: Callable[[Vendor], World]) -> None:
    world(vendor)
    vendor.put(f"{vendor.namespace}/third", "v1", b"three")
    names = [vendor.private, vendor.public, f"{vendor.namespace}/third"]
    async with client(vendor, any_login(vendor)) as adapter:
        assert [tag async for tag in adapter.registry.tags(vendor.private)] == ["latest", "v1", "v2"]
        assert sorted([name async for name in adapter.repositories(vendor.namespace)]) == names
        if vendor.lists_all:
            assert sorted([name async for name in adapter.repositories()]) == names
        else:
            with pytest.raises(errors.Invalid, match=r"does not list all there is; name an? "):
                await anext(adapter.repositories())


async def test_a_search(vendor: Vendor, world: Callable[[Vendor], World]) -> None:
    world(vendor)
    async with client(vendor, any_login(vendor)) as adapter:
        if vendor.searches:
            assert [one["name"] for one in await adapter.search("publ", 5)] == [vendor.public]
        else:
            with pytest.raises(errors.LadingError, match=r"cannot be searched|name a"):
                await adapter.search("publ", 5)


async def test_a_tag_goes_and_the_others_stay(vendor: Vendor, world: Callable[[Vendor], World]) -> None:
    world(vendor)
    name = vendor.private
    async with client(vendor, any_login(vendor)) as adapter:
        if vendor.untags:
            await adapter.delete_tag(name, "latest")
            assert set(vendor.tags[name]) == {"v1", "v2"}
            assert vendor.tags[name]["v2"] in vendor.manifests[name]
        else:
            with pytest.raises(errors.Unsupported, match="is also v2"):
                await adapter.delete_tag(name, "latest")
        await adapter.delete_tag(name, "v1")
        assert "v1" not in vendor.tags[name]
        with pytest.raises(errors.ManifestUnknown):
            await adapter.delete_tag(name, "v1")


async def test_a_manifest_goes_with_its_tags(vendor: Vendor, world: Callable[[Vendor], World]) -> None:
    world(vendor)
    name, digest = vendor.private, vendor.tags[vendor.private]["latest"]
    async with client(vendor, any_login(vendor)) as adapter:
        if not vendor.deletes_manifests:
            with pytest.raises(errors.Unsupported):
                await adapter.delete_manifest(name, digest)
            return
        await adapter.delete_manifest(name, digest)
        assert set(vendor.tags[name]) == {"v1"}
        assert digest not in vendor.manifests[name]
        with pytest.raises(errors.ManifestUnknown):
            await adapter.delete_manifest(name, digest)


async def test_nobody_deletes_without_a_login(vendor: Vendor, world: Callable[[Vendor], World]) -> None:
    world(vendor)
    async with client(vendor) as adapter:
        with pytest.raises((errors.Unauthenticated, errors.Denied)):
            await adapter.delete_tag(vendor.public, "v1")
    assert "v1" in vendor.tags[vendor.public]


async def test_what_is_not_there(vendor: Vendor, world: Callable[[Vendor], World]) -> None:
    world(vendor)
    async with client(vendor, any_login(vendor)) as adapter:
        assert await adapter.registry.resolve(vendor.private, "v9") is None
        with pytest.raises(errors.ManifestUnknown):
            await adapter.registry.manifest(vendor.private, "v9")
        with pytest.raises(errors.RepositoryUnknown):
            await anext(adapter.registry.tags(f"{vendor.namespace}/nothing"))


async def test_too_many_requests_are_told(vendor: Vendor, world: Callable[[Vendor], World]) -> None:
    world(vendor)
    vendor.limited = True
    async with client(vendor, any_login(vendor)) as adapter:
        with pytest.raises(errors.TooMany, match="slow down") as found:
            await adapter.registry.manifest(vendor.private, "v1")
    assert found.value.retry_after == 3600


# ---- what one of them alone has


async def test_a_login_of_the_environment(
    vendor: Vendor, world: Callable[[Vendor], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found where nobody logged in, made once, and sent to the vendor it is for alone."""
    world(vendor)
    host = vendor.name or vendor.host
    for name, value in vendor.variables.items():
        monkeypatch.setenv(name, value)
    environment = {**NOWHERE, **vendor.variables}
    keyring = Keyring(environment, ambient=vendors.ambient)
    async with Session(host, keyring, Policy(attempts=2, backoff=0.01)) as session:
        adapter = await vendors.adapter(HttpRegistry(session))
        if not vendor.variables:
            assert not await keyring.find(host, vendor.private)
            return
        assert await adapter.registry.resolve(vendor.private, "v1")
        assert await adapter.registry.resolve(vendor.public, "v1")
    assert not await Keyring(environment, ambient=vendors.ambient).find("registry.lab")


async def test_entra_id_is_asked_once_and_its_token_exchanged(
    world: Callable[[Vendor], World], monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor = Azure()
    far_side = world(vendor)
    for name, value in vendor.variables.items():
        monkeypatch.setenv(name, value)
    keyring = Keyring({**NOWHERE, **vendor.variables}, ambient=vendors.ambient)
    async with Session(vendor.host, keyring) as session:
        adapter = await vendors.adapter(HttpRegistry(session))
        for name in (vendor.private, vendor.public):
            assert [tag async for tag in adapter.registry.tags(name)] == ["latest", "v1", "v2"]
    tenant = vendor.variables["AZURE_TENANT_ID"]
    asked = {"grant_type": "access_token", "service": vendor.host, "tenant": tenant, "access_token": "entra-token"}
    assert vendor.exchanged == [asked]
    assert far_side.paths("POST").count(f"/{tenant}/oauth2/v2.0/token") == 1
    kept = await keyring.find(vendor.host)
    assert kept.identity_token == vendor.refresh
    assert kept.until == json.loads(base64.urlsafe_b64decode(vendor.refresh.split(".")[1] + "=="))["exp"]


async def test_entra_id_refuses_in_one_line(world: Callable[[Vendor], World], monkeypatch: pytest.MonkeyPatch) -> None:
    vendor = Azure()
    world(vendor)
    wrong = {**vendor.variables, "AZURE_CLIENT_SECRET": "not-the-secret"}
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(errors.CredentialsError) as found:
        await vendors.ambient(vendor.host, {**NOWHERE, **wrong})
    assert "\n" not in found.value.message
    assert "not-the-secret" not in found.value.message


@pytest.mark.parametrize("kind", [Google, Artifact])
async def test_google_by_the_key_of_a_service_account(
    kind: type[Google], world: Callable[[Vendor], World], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    vendor = kind()
    far_side = world(vendor)
    file = tmp_path / "key.json"
    file.write_text(json.dumps(service_account()))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    environment = {**NOWHERE, "GOOGLE_APPLICATION_CREDENTIALS": str(file)}
    async with Session(vendor.host, Keyring(environment, ambient=vendors.ambient)) as session:
        adapter = await vendors.adapter(HttpRegistry(session))
        assert await adapter.registry.resolve(vendor.private, "v1")
        assert await adapter.registry.resolve(vendor.public, "v1")
    assert far_side.paths("POST") == ["/token"], "one token for all that was asked"


async def test_google_takes_no_post_and_a_refresh_token_goes_the_other_way(world: Callable[[Vendor], World]) -> None:
    vendor = Google()
    far_side = world(vendor)
    known = {vendor.host: Credential("oauth2accesstoken", identity_token="ya29.x")}
    async with Session(vendor.host, Keyring(NOWHERE, known)) as session:
        assert await HttpRegistry(session).resolve(vendor.private, "v1")
    assert [one.method for one in far_side.asked if one.path == "/v2/token"] == ["POST", "GET"]


async def test_googles_repositories_lie_in_each_other(world: Callable[[Vendor], World]) -> None:
    vendor = Google()
    world(vendor)
    vendor.put("a-project/private/deep/er", "v1", b"three")
    async with client(vendor, "key") as adapter:
        below = [name async for name in adapter.repositories("a-project")]
        assert below == ["a-project/private", "a-project/private/deep/er", "a-project/public"]
        assert [one["name"] for one in await adapter.search("a-project/publ", 5)] == ["a-project/public"]


async def test_a_version_of_a_user_and_the_last_one(world: Callable[[Vendor], World]) -> None:
    vendor = GitHub()
    vendor.owners = {vendor.namespace: "User"}
    world(vendor)
    async with client(vendor, "personal access token") as adapter:
        await adapter.delete_tag(vendor.private, "v1")
        with pytest.raises(errors.Invalid, match="You must delete the package instead"):
            await adapter.delete_manifest(vendor.private, vendor.tags[vendor.private]["v2"])
        with pytest.raises(errors.RepositoryUnknown):
            await anext(adapter.repositories("nobody"))
    async with client(vendor) as adapter:
        with pytest.raises(errors.Unauthenticated, match=r"lading login ghcr\.io"):
            await anext(adapter.repositories(vendor.namespace))


async def test_the_hub_tells_how_many_pulls_are_left(world: Callable[[Vendor], World]) -> None:
    vendor = Hub()
    world(vendor)
    async with client(vendor) as adapter:
        assert await adapter.registry.resolve(vendor.public, "v1")
        assert adapter.registry.session.limits["ratelimit-remaining"] == "76;w=21600"


async def test_a_project_of_harbors_is_made_once(world: Callable[[Vendor], World]) -> None:
    vendor = GoHarbor()
    world(vendor)
    async with client(vendor, "robot") as adapter:
        assert adapter.makes
        assert not await adapter.prepare("team/app")
        assert await adapter.prepare("new/app/deep")
        assert vendor.projects == {"team", "new"}
        with pytest.raises(errors.Invalid, match="PROJECT/NAME"):
            await adapter.prepare("app")
        vendor.put("team/app/deep", "v1", b"deep")
        await adapter.delete_tag("team/app/deep", "v1")
        assert vendor.tags["team/app/deep"] == {}


@pytest.mark.parametrize("login", ["", *RedHatQuay.logins])
async def test_quay_lists_what_each_may_see(login: str, world: Callable[[Vendor], World]) -> None:
    vendor = RedHatQuay()
    world(vendor)
    async with client(vendor, login) as adapter:
        listed = [name async for name in adapter.repositories("team")]
        assert sorted(listed) == ([vendor.private, vendor.public] if login else [vendor.public])
        if login in {"", "OAuth token"}:
            with pytest.raises(errors.Invalid, match="name a namespace"):
                await anext(adapter.repositories())


async def test_gitlabs_api_is_asked_as_who_one_is(world: Callable[[Vendor], World]) -> None:
    vendor = SomeGitLab()
    far_side = world(vendor)
    for login in vendor.logins:
        async with client(vendor, login) as adapter:
            if login == "deploy token":
                with pytest.raises(errors.Denied, match="access token"):
                    await adapter.delete_tag(vendor.private, "v1")
            else:
                assert [name async for name in adapter.repositories(vendor.private)] == [vendor.private]
                with pytest.raises(errors.RepositoryUnknown):
                    await adapter.delete_tag("group/other/app", "v1")
                with pytest.raises(errors.RepositoryUnknown):
                    await anext(adapter.repositories("nobody"))
    secrets = ("glpat", "job-token", "deploy")
    assert not [one for one in far_side.asked if any(word in str(one.query) for word in secrets)]


async def test_a_job_of_gitlab_is_known_at_its_own_registry_alone() -> None:
    environment = {**NOWHERE, **SomeGitLab.variables}
    assert await vendors.ambient("registry.gitlab.com", environment) is None
    assert await vendors.ambient(SomeGitLab.host, environment) == Credential("gitlab-ci-token", "job-token")


def service_account() -> dict[str, str]:
    """The JSON that Google gives for a service account."""
    key = rsa.generate_private_key(65537, 2048)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return {
        "type": "service_account",
        "project_id": "a-project",
        "private_key_id": "1",
        "private_key": key.private_bytes(*form).decode(),
        "client_email": "robot@a-project.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
