"""skopeo: copies between folders, archives and the registry, whole indexes, inspection, deletion, sync, tokens."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import PASSWORD, USER
from tests.support import images
from tests.support.access import Certificates, TokenServer
from tests.support.http import Client
from tests.support.packages import program
from tests.support.process import run
from tests.support.server import RegistryServer


def skopeo(*words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    return run([program("skopeo"), *words], check=check)


def copy(source: str, target: str, *options: str | Path) -> None:
    """``skopeo copy`` over plain HTTP."""
    skopeo("copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false", *options, source, target)


def inspect(reference: str, *options: str) -> dict[str, Any]:
    printed = skopeo("inspect", "--tls-verify=false", *options, reference).stdout
    return dict(json.loads(printed))


@pytest.fixture
def image() -> images.Image:
    return images.image("skopeo", (3000, 70_000))


@pytest.fixture
def layout(tmp_path: Path, image: images.Image) -> str:
    return f"oci:{images.write_layout(tmp_path / 'layout', {'v1': image})}:v1"


@pytest.mark.parametrize("via", ["oci", "dir", "oci-archive"])
def test_what_is_copied_out_is_what_was_copied_in(
    registry: RegistryServer, name: str, tmp_path: Path, image: images.Image, layout: str, via: str
) -> None:
    remote = f"docker://{registry.host}/{name}:v1"
    copy(layout, remote)
    out = {"oci": f"oci:{tmp_path}/out:v1", "dir": f"dir:{tmp_path}/out", "oci-archive": f"oci-archive:{tmp_path}/out"}
    copy(remote, out[via])
    copied = skopeo("inspect", "--raw", out[via]).stdout
    assert copied.encode() == image.manifest.data
    copy(out[via], f"docker://{registry.host}/{name}:v2")
    assert inspect(f"docker://{registry.host}/{name}:v2")["Digest"] == image.digest


def test_a_docker_archive_goes_in_and_comes_out(registry: RegistryServer, name: str, tmp_path: Path) -> None:
    image = images.image("archive", (3000, 70_000), docker=True)
    archive = images.write_docker_archive(tmp_path / "in.tar", image, ["local/app:1"])
    copy(f"docker-archive:{archive}", f"docker://{registry.host}/{name}:1")
    raw = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{registry.host}/{name}:1").stdout)
    assert raw["mediaType"] == images.DOCKER_MANIFEST
    assert raw["config"]["digest"] == image.config.digest
    copy(f"docker://{registry.host}/{name}:1", f"docker-archive:{tmp_path}/out.tar:local/app:1")
    out = skopeo("inspect", "--config", "--raw", f"docker-archive:{tmp_path}/out.tar").stdout
    assert out.encode() == image.config.data


@pytest.mark.parametrize(("form", "kind"), [("oci", images.MANIFEST), ("v2s2", images.DOCKER_MANIFEST)])
def test_a_format_asked_for_is_the_format_stored(
    registry: RegistryServer, name: str, layout: str, form: str, kind: str
) -> None:
    copy(layout, f"docker://{registry.host}/{name}:{form}", "--format", form)
    with Client(registry) as client:
        stored = client.manifest(name, form)
    assert stored.headers["content-type"] == kind
    assert json.loads(stored.content)["mediaType"] == kind


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_an_index_is_copied_whole(registry: RegistryServer, name: str, tmp_path: Path, docker: bool) -> None:
    index = images.index("whole", ("linux/amd64", "linux/arm64/v8", "windows/amd64"), docker=docker)
    with Client(registry) as client:
        client.push(f"{name}/from", index, "multi")
    copy(f"docker://{registry.host}/{name}/from:multi", f"dir:{tmp_path}", "--all", "--preserve-digests")
    assert (tmp_path / "manifest.json").read_bytes() == index.manifest.data
    copy(f"dir:{tmp_path}", f"docker://{registry.host}/{name}/to:multi", "--all", "--preserve-digests")
    contents: list[images.Image | images.Index] = [index, *index.images]
    for one in contents:
        child = f"docker://{registry.host}/{name}/to@{one.digest}"
        raw = skopeo("inspect", "--raw", "--tls-verify=false", child).stdout
        assert raw.encode() == one.manifest.data


def test_one_platform_is_taken_from_an_index(registry: RegistryServer, name: str, tmp_path: Path) -> None:
    index = images.index("one")
    with Client(registry) as client:
        client.push(name, index, "multi")
    reference = f"docker://{registry.host}/{name}:multi"
    skopeo("--override-arch=arm64", "copy", "--quiet", "--src-tls-verify=false", reference, f"oci:{tmp_path}/arm:1")
    assert skopeo("inspect", "--raw", f"oci:{tmp_path}/arm:1").stdout.encode() == index.images[1].manifest.data


def test_inspect_and_list_tags(registry: RegistryServer, name: str, layout: str, image: images.Image) -> None:
    tags = ["1.0", "1.1", "Latest_x"]
    for tag in tags:
        copy(layout, f"docker://{registry.host}/{name}:{tag}")
    seen = inspect(f"docker://{registry.host}/{name}:1.1")
    assert seen["Digest"] == image.digest
    assert sorted(seen["RepoTags"]) == tags
    assert seen["Layers"] == [layer.digest for layer in image.layers]
    listed = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{registry.host}/{name}").stdout)
    assert sorted(listed["Tags"]) == tags


def test_delete_removes_the_manifest_for_every_tag(registry: RegistryServer, name: str, layout: str) -> None:
    for tag in ("a", "b"):
        copy(layout, f"docker://{registry.host}/{name}:{tag}")
    skopeo("delete", "--tls-verify=false", f"docker://{registry.host}/{name}:a")
    for tag in ("a", "b"):
        gone = skopeo("inspect", "--tls-verify=false", f"docker://{registry.host}/{name}:{tag}", check=False)
        assert gone.returncode != 0
        assert "manifest unknown" in gone.stderr.lower()


def test_sync_between_two_repositories(registry: RegistryServer, name: str, tmp_path: Path) -> None:
    index, image = images.index("sync"), images.image("sync")
    with Client(registry) as client:
        client.push(f"{name}/app", index, "multi")
        client.push(f"{name}/app", image, "one")
        options = ("--all", "--src-tls-verify=false", "--dest-tls-verify=false", "--src", "docker", "--dest", "docker")
        skopeo("sync", *options, f"{registry.host}/{name}/app", f"{registry.host}/{name}/mirror")
        assert sorted(client.tags(f"{name}/mirror/app")) == ["multi", "one"]
        assert client.manifest(f"{name}/mirror/app", "multi").content == index.manifest.data
        assert client.manifest(f"{name}/mirror/app", "one").content == image.manifest.data


def test_a_copy_to_another_repository_mounts_its_layers(registry: RegistryServer, name: str, layout: str) -> None:
    copy(layout, f"docker://{registry.host}/{name}/from:1")
    copy(f"docker://{registry.host}/{name}/from:1", f"docker://{registry.host}/{name}/to:1")
    sent = [line for line in registry.access_log() if line.path.startswith(f"/v2/{name}/to/blobs/uploads/")]
    assert {line.status for line in sent if "mount=" in line.path} == {201}
    assert [line.method for line in sent].count("PUT") == 1, "more than the configuration was uploaded again"


def test_tls_with_our_authority_and_a_password(
    secure: RegistryServer, name: str, layout: str, authority: Certificates
) -> None:
    remote = f"docker://{secure.host}/{name}:v1"
    folder = authority.ca.parent / "trusted"
    trusted = ("--dest-cert-dir", folder)
    skopeo("copy", "--quiet", "--dest-creds", f"{USER}:{PASSWORD}", *trusted, layout, remote)
    skopeo("inspect", "--creds", f"{USER}:{PASSWORD}", "--cert-dir", folder, remote)
    stranger = skopeo("inspect", "--creds", f"{USER}:{PASSWORD}", remote, check=False)
    assert "certificate signed by unknown authority" in stranger.stderr
    wrong = skopeo("inspect", "--creds", f"{USER}:wrong", "--cert-dir", folder, remote, check=False)
    assert wrong.returncode != 0
    assert "unauthorized" in wrong.stderr
    nobody = skopeo("copy", "--quiet", *trusted, layout, remote, check=False)
    assert nobody.returncode != 0


def test_login_keeps_the_password_and_logout_drops_it(
    guarded: RegistryServer, name: str, layout: str, tmp_path: Path
) -> None:
    remote = f"docker://{guarded.host}/{name}:v1"
    kept = ("--authfile", tmp_path / "auth.json")
    skopeo("login", *kept, "--tls-verify=false", "-u", USER, "-p", PASSWORD, guarded.host)
    skopeo("copy", "--quiet", *kept, "--dest-tls-verify=false", layout, remote)
    skopeo("logout", *kept, guarded.host)
    assert skopeo("inspect", *kept, "--tls-verify=false", remote, check=False).returncode != 0
    wrong = skopeo("login", *kept, "--tls-verify=false", "-u", USER, "-p", "x", guarded.host, check=False)
    assert wrong.returncode != 0


def test_an_outside_token_server(
    tokened: RegistryServer, tokens: TokenServer, name: str, layout: str, tmp_path: Path
) -> None:
    source, target = f"docker://{tokened.host}/{name}/a:1", f"docker://{tokened.host}/{name}/b:1"
    copy(layout, source, "--dest-creds", f"{USER}:{PASSWORD}")
    assert (USER, f"repository:{name}/a:pull,push") in tokens.asked
    copy(source, f"oci:{tmp_path}/anonymous:1")
    assert ("", f"repository:{name}/a:pull") in tokens.asked
    copy(source, target, "--src-creds", f"{USER}:{PASSWORD}", "--dest-creds", f"{USER}:{PASSWORD}")
    denied = skopeo("copy", "--quiet", "--dest-tls-verify=false", layout, target, check=False)
    assert denied.returncode != 0
    wrong = skopeo("inspect", "--tls-verify=false", "--creds", f"{USER}:no", source, check=False)
    assert wrong.returncode != 0
    skopeo("delete", "--tls-verify=false", "--creds", f"{USER}:{PASSWORD}", target)
