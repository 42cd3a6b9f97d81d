"""containerd's ctr: import, push, pull; one platform and all; a password; TLS that is checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import PASSWORD, USER
from tests.e2e.engine import Containerd
from tests.support import images
from tests.support.access import Certificates, certificates
from tests.support.http import Client
from tests.support.process import run
from tests.support.server import RegistryServer


def bring(containerd: Containerd, tmp_path: Path, image: images.Image, reference: str) -> None:
    """Import *image* under *reference*."""
    layout = images.write_layout(tmp_path / "layout", {"it": image})
    run(["tar", "--create", "--file", tmp_path / "layout.tar", "--directory", layout, "."])
    containerd.ctr("images", "import", "--no-unpack", "--base-name", "imported", tmp_path / "layout.tar")
    containerd.ctr("images", "tag", "--force", "imported:it", reference)


def target(containerd: Containerd, reference: str) -> str:
    """The digest *reference* stands for in containerd, or ""."""
    rows = [line.split() for line in containerd.ctr("images", "list", f"name=={reference}").stdout.splitlines()[1:]]
    return rows[0][2] if rows else ""


def forget(containerd: Containerd, *references: str) -> None:
    """Remove references and, synchronously, the content nothing else refers to."""
    everything = containerd.ctr("images", "list", "--quiet").stdout.split()
    containerd.ctr("images", "remove", "--sync", *references, *(one for one in everything if "imported" in one))


def holds(containerd: Containerd, digest: str) -> bool:
    return digest in containerd.ctr("content", "list", "--quiet").stdout


def test_push_then_pull_by_tag_and_by_digest(
    registry: RegistryServer, containerd: Containerd, name: str, tmp_path: Path
) -> None:
    image, remote = images.image(name, (5000, 80_000)), f"{registry.host}/{name}:1"
    bring(containerd, tmp_path, image, remote)
    containerd.ctr("images", "push", "--plain-http", remote)
    forget(containerd, remote)
    assert not holds(containerd, image.layers[0].digest)
    for reference in (remote, f"{registry.host}/{name}@{image.digest}"):
        containerd.ctr("images", "pull", "--plain-http", reference)
        assert target(containerd, reference) == image.digest
        assert holds(containerd, image.layers[1].digest)
        forget(containerd, reference)


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_all_platforms_are_pulled_and_pushed(
    registry: RegistryServer, containerd: Containerd, name: str, docker: bool
) -> None:
    index = images.index(name, ("linux/amd64", "linux/arm64/v8", "linux/arm/v7"), docker=docker)
    source, again = f"{registry.host}/{name}/from:multi", f"{registry.host}/{name}/to:multi"
    with Client(registry) as client:
        client.push(f"{name}/from", index, "multi")
        containerd.ctr("content", "fetch", "--plain-http", "--all-platforms", source)
        for one in index.images:
            assert holds(containerd, one.layers[0].digest)
        containerd.ctr("images", "tag", source, again)
        containerd.ctr("images", "push", "--plain-http", again)
        assert client.manifest(f"{name}/to", "multi").content == index.manifest.data
        for one in index.images:
            assert client.head(f"/v2/{name}/to/blobs/{one.layers[0].digest}").status_code == 200
    forget(containerd, source, again)


def test_an_index_is_pulled_for_one_platform(
    registry: RegistryServer, containerd: Containerd, name: str, tmp_path: Path
) -> None:
    index, remote = images.index(name), f"{registry.host}/{name}:multi"
    with Client(registry) as client:
        client.push(name, index, "multi")
    containerd.ctr("images", "pull", "--plain-http", "--platform=linux/arm64", remote)
    assert target(containerd, remote) == index.digest
    assert holds(containerd, index.images[1].layers[0].digest)
    assert not holds(containerd, index.images[0].layers[0].digest)
    forget(containerd, remote)


def test_a_second_push_sends_nothing(
    registry: RegistryServer, containerd: Containerd, name: str, tmp_path: Path
) -> None:
    image, remote = images.image(name), f"{registry.host}/{name}:1"
    bring(containerd, tmp_path, image, remote)
    containerd.ctr("images", "push", "--plain-http", remote)
    before = len(registry.access_log())
    containerd.ctr("images", "push", "--plain-http", remote)
    assert {line.method for line in registry.access_log()[before:]} == {"HEAD"}
    forget(containerd, remote)


def test_a_password_over_tls(
    secure: RegistryServer, containerd: Containerd, name: str, tmp_path: Path, authority: Certificates
) -> None:
    image, remote = images.image(name), f"{secure.host}/{name}:1"
    bring(containerd, tmp_path, image, remote)
    user = ("--user", f"{USER}:{PASSWORD}")
    trust = ("--hosts-dir", hosts_folder(tmp_path / "ours", secure, authority.ca))
    distrust = ("--hosts-dir", hosts_folder(tmp_path / "other", secure, certificates(tmp_path / "other").ca))
    stranger = containerd.ctr("images", "push", *distrust, *user, remote, check=False)
    assert "certificate signed by unknown authority" in stranger.stderr
    assert containerd.ctr("images", "push", *trust, remote, check=False).returncode != 0
    containerd.ctr("images", "push", *trust, *user, remote)
    forget(containerd, remote)
    wrong = containerd.ctr("images", "pull", *trust, "--user", f"{USER}:wrong", remote, check=False)
    assert wrong.returncode != 0
    containerd.ctr("images", "pull", *trust, *user, remote)
    assert target(containerd, remote) == image.digest
    forget(containerd, remote)


def hosts_folder(folder: Path, registry: RegistryServer, ca: Path) -> Path:
    """What Kubernetes nodes have in /etc/containerd/certs.d; on loopback ctr would speak plain HTTP without it."""
    host = folder / "certs.d" / registry.host
    host.mkdir(parents=True)
    (host / "hosts.toml").write_text(f'server = "{registry.url}"\n[host."{registry.url}"]\n  ca = "{ca}"\n')
    return host.parent
