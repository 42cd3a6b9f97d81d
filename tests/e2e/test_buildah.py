"""buildah: an image from nothing, pushed and pulled; a manifest list; a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import PASSWORD, USER
from tests.e2e.containers import HTTP, Tool
from tests.support import images
from tests.support.access import Certificates
from tests.support.http import Client
from tests.support.server import RegistryServer


@pytest.fixture(scope="module")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Tool:
    return Tool("buildah", tmp_path_factory.mktemp("buildah"))


@pytest.fixture
def built(buildah: Tool, name: str, tmp_path: Path) -> str:
    """An image built from scratch, as a script does it."""
    (tmp_path / "file").write_bytes(b"".join(images.noise(name, 50_000)))
    container = buildah("from", "scratch").stdout.strip()
    buildah("copy", container, tmp_path / "file", "/file")
    buildah("config", "--cmd", "/file", "--label", "made=here", container)
    buildah("commit", "--rm", container, f"localhost/{name}:1")
    return f"localhost/{name}:1"


@pytest.mark.parametrize(("form", "kind"), [("oci", images.MANIFEST), ("v2s2", images.DOCKER_MANIFEST)])
def test_an_image_from_scratch_is_pushed_and_pulled(
    registry: RegistryServer, buildah: Tool, name: str, built: str, tmp_path: Path, form: str, kind: str
) -> None:
    remote = f"{registry.host}/{name}:1"
    buildah("push", "--quiet", HTTP, "--format", form, "--digestfile", tmp_path / "digest", built, f"docker://{remote}")
    digest = (tmp_path / "digest").read_text().strip()
    with Client(registry) as client:
        stored = client.manifest(name, "1")
    assert stored.headers["docker-content-digest"] == digest
    assert stored.headers["content-type"] == kind
    buildah("rmi", "--force", built)
    for reference in (remote, f"{registry.host}/{name}@{digest}"):
        buildah("pull", "--quiet", HTTP, reference)
        assert buildah.image_id(reference) == stored.json()["config"]["digest"]
        buildah("rmi", "--force", reference)


def test_a_manifest_list_is_made_pushed_and_pulled(
    registry: RegistryServer, buildah: Tool, name: str, built: str
) -> None:
    listed, remote = f"localhost/{name}:list", f"{registry.host}/{name}:list"
    arm = images.image(name, platform="linux/arm64")
    with Client(registry) as client:
        client.push(f"{name}/arm", arm, "1")
    buildah("manifest", "create", listed, built)
    buildah("manifest", "add", HTTP, listed, f"docker://{registry.host}/{name}/arm:1")
    buildah("manifest", "push", "--quiet", HTTP, "--all", listed, f"docker://{remote}")
    with Client(registry) as client:
        stored = client.manifest(name, "list").json()
    assert [one["platform"]["architecture"] for one in stored["manifests"]][1:] == ["arm64"]
    buildah("pull", "--quiet", HTTP, "--arch=arm64", remote)
    assert buildah.image_id(remote) == arm.config.digest


def test_a_container_starts_from_the_registry_and_layers_are_mounted(
    registry: RegistryServer, buildah: Tool, name: str, built: str
) -> None:
    base, derived = f"{registry.host}/{name}/base:1", f"{registry.host}/{name}/derived:1"
    buildah("push", "--quiet", HTTP, built, f"docker://{base}")
    container = buildah("from", HTTP, base).stdout.strip()
    buildah("config", "--env", "A=b", container)
    buildah("commit", "--rm", container, derived)
    buildah("push", "--quiet", HTTP, derived)
    with Client(registry) as client:
        below = client.manifest(f"{name}/base", "1").json()["layers"]
        above = client.manifest(f"{name}/derived", "1").json()["layers"]
    assert above[: len(below)] == below


def test_a_password_over_tls(
    secure: RegistryServer, buildah: Tool, name: str, built: str, authority: Certificates
) -> None:
    remote = f"{secure.host}/{name}:1"
    trust = f"--cert-dir={authority.ca.parent / 'trusted'}"
    credentials = f"--creds={USER}:{PASSWORD}"
    buildah("push", "--quiet", trust, credentials, built, f"docker://{remote}")
    buildah("rmi", "--force", built)
    assert buildah("pull", "--quiet", trust, f"--creds={USER}:wrong", remote, check=False).returncode != 0
    buildah("pull", "--quiet", trust, credentials, remote)
