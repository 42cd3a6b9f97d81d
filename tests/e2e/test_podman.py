"""podman: push, pull, whole lists, search, passwords, and certificates that it does check."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import PASSWORD, USER, Shelf, not_in_the_peer
from tests.e2e.containers import HTTP, Tool
from tests.support import images
from tests.support.access import Certificates
from tests.support.http import Client
from tests.support.server import RegistryServer


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Tool:
    return Tool("podman", tmp_path_factory.mktemp("podman"))


@pytest.fixture
def image(name: str) -> images.Image:
    return images.image(name, (5000, 80_000), docker=True)


@pytest.fixture
def local(podman: Tool, name: str, tmp_path: Path, image: images.Image) -> str:
    """An image in podman's storage."""
    reference = f"localhost/{name}:1"
    podman("load", "--quiet", "--input", images.write_docker_archive(tmp_path / "in.tar", image, [reference]))
    return reference


def test_push_then_pull_by_tag_and_by_digest(
    registry: RegistryServer, podman: Tool, name: str, local: str, image: images.Image, tmp_path: Path
) -> None:
    remote = f"{registry.host}/{name}:1"
    podman("push", HTTP, "--digestfile", tmp_path / "digest", local, f"docker://{remote}")
    digest = (tmp_path / "digest").read_text().strip()
    podman("rmi", "--force", local)
    for reference in (remote, f"{registry.host}/{name}@{digest}"):
        podman("pull", "--quiet", HTTP, reference)
        assert podman.image_id(reference) == image.config.digest
        podman("rmi", "--force", reference)


@pytest.mark.parametrize(("form", "kind"), [("oci", images.MANIFEST), ("v2s2", images.DOCKER_MANIFEST)])
def test_both_formats_are_pushed(
    registry: RegistryServer, podman: Tool, name: str, local: str, form: str, kind: str
) -> None:
    podman("push", HTTP, "--format", form, local, f"docker://{registry.host}/{name}:{form}")
    with Client(registry) as client:
        assert client.manifest(name, form).headers["content-type"] == kind


def test_layers_compressed_with_zstd(registry: RegistryServer, podman: Tool, name: str, local: str) -> None:
    remote = f"{registry.host}/{name}:zstd"
    podman("push", HTTP, "--format=oci", "--compression-format=zstd", local, f"docker://{remote}")
    with Client(registry) as client:
        kinds = {layer["mediaType"] for layer in client.manifest(name, "zstd").json()["layers"]}
    assert kinds == {"application/vnd.oci.image.layer.v1.tar+zstd"}
    podman("rmi", "--force", local)
    podman("pull", "--quiet", HTTP, remote)


def test_a_manifest_list_goes_and_comes(registry: RegistryServer, podman: Tool, name: str) -> None:
    index = images.index(name)
    with Client(registry) as client:
        client.push(f"{name}/parts", index, "multi")
    remote, listed = f"{registry.host}/{name}:list", f"localhost/{name}:list"
    podman("manifest", "create", listed)
    podman("manifest", "add", HTTP, "--all", listed, f"docker://{registry.host}/{name}/parts:multi")
    podman("manifest", "push", HTTP, "--all", listed, f"docker://{remote}")
    with Client(registry) as client:
        stored = client.manifest(name, "list").json()
        assert sorted(one["digest"] for one in stored["manifests"]) == sorted(one.digest for one in index.images)
    podman("pull", "--quiet", HTTP, "--platform=linux/arm64", remote)
    assert podman.image_id(remote) == index.images[1].config.digest


def test_search_finds_a_repository_and_lists_its_tags(registry: RegistryServer, podman: Tool, name: str) -> None:
    with Client(registry) as client:
        for tag in ("1", "2"):
            client.push(name, images.image(name), tag)
    found = podman("search", HTTP, "--format={{.Name}}", f"{registry.host}/{name}").stdout.split()
    assert found == [f"{registry.host}/{name}"]
    rows = podman("search", HTTP, "--list-tags", "--format=json", f"{registry.host}/{name}").stdout
    assert sorted(json.loads(rows)[0]["Tags"]) == ["1", "2"]


@not_in_the_peer
def test_search_filters(registry: RegistryServer, podman: Tool, shelf: Shelf) -> None:
    def search(*options: str) -> list[str]:
        words = ("search", HTTP, "--format={{.Name}}", *options, f"{registry.host}/{shelf.term}")
        return [found.removeprefix(f"{registry.host}/") for found in podman(*words).stdout.split()]

    assert search() == [shelf.official, shelf.popular, shelf.plain]
    assert search("--filter=is-official=true") == [shelf.official]
    assert search("--filter=stars=3") == [shelf.official, shelf.popular]
    assert search("--limit=1") == [shelf.official]


def test_login_over_tls_that_is_checked(
    secure: RegistryServer, podman: Tool, name: str, local: str, image: images.Image, authority: Certificates
) -> None:
    remote = f"{secure.host}/{name}:1"
    trust = f"--cert-dir={authority.ca.parent / 'trusted'}"
    login = ("login", "--username", USER, "--password-stdin", secure.host)
    stranger = podman(*login, check=False, stdin=PASSWORD)
    assert "certificate signed by unknown authority" in stranger.stderr
    wrong = podman(*login, trust, check=False, stdin="wrong")
    assert "invalid username/password" in wrong.stderr

    podman(*login, trust, stdin=PASSWORD)
    podman("push", trust, local, f"docker://{remote}")
    podman("rmi", "--force", local)
    podman("pull", "--quiet", trust, remote)
    assert podman.image_id(remote) == image.config.digest
    podman("rmi", "--force", remote)
    podman("logout", secure.host)
    assert podman("pull", trust, remote, check=False).returncode != 0
