"""``lading`` as a client beside the others: what it writes they read, and the other way round."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.engine import Engine
from tests.support import images
from tests.support.client import User
from tests.support.http import Client
from tests.support.packages import program
from tests.support.process import run
from tests.support.server import RegistryServer


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path / "home")


def skopeo(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return run([program("skopeo"), *words])


@pytest.mark.parametrize("docker", [True, False], ids=["docker", "oci"])
def test_docker_loads_what_was_pulled(
    registry: RegistryServer, engine: Engine, user: User, name: str, tmp_path: Path, docker: bool
) -> None:
    image = images.image(name, (3000, 70_000), docker=docker)
    with Client(registry) as client:
        client.push(name, image, "v1")
    remote = f"{registry.host}/{name}:v1"
    user("pull", remote, "--output", tmp_path / "image.tar")
    assert f"Loaded image: {remote}" in engine.docker("load", "--input", tmp_path / "image.tar").stdout
    assert engine.image_id(remote) == image.config.digest
    engine.forget(remote)


def test_docker_loads_an_image_that_buildx_pushed(
    registry: RegistryServer, engine: Engine, user: User, name: str, tmp_path: Path
) -> None:
    """Its index has an attestation beside the image, which no engine runs."""
    image, attestation = images.image(name), images.attestation(name)
    listed = [one.manifest.descriptor(platform=dict(one.platform)) for one in (image, attestation)]
    document = {"schemaVersion": 2, "mediaType": images.INDEX, "manifests": listed}
    index = images.Index((image, attestation), images.Blob(images.INDEX, images.encode(document)))
    remote = f"{registry.host}/{name}:v1"
    with Client(registry) as client:
        client.push(name, index, "v1")
    user("copy", remote, f"archive:{tmp_path}/image.tar")
    assert f"Loaded image: {remote}" in engine.docker("load", "--input", tmp_path / "image.tar").stdout
    assert engine.image_id(remote) == image.config.digest
    engine.forget(remote)
    user("push", tmp_path / "image.tar", f"{registry.host}/{name}:v2")
    assert user("manifest", "--digest", f"{registry.host}/{name}:v2").strip() == index.digest


def test_docker_loads_an_image_with_a_foreign_layer(
    registry: RegistryServer, engine: Engine, user: User, name: str, tmp_path: Path
) -> None:
    image = images.foreign(name)
    remote = f"{registry.host}/{name}:v1"
    with Client(registry) as client:
        client.push(name, image, "v1")
    user("pull", remote, "--output", tmp_path / "image.tar")
    assert f"Loaded image: {remote}" in engine.docker("load", "--input", tmp_path / "image.tar").stdout
    assert engine.image_id(remote) == image.config.digest
    engine.forget(remote)


def test_an_image_of_the_engine_is_pushed(
    registry: RegistryServer, engine: Engine, user: User, name: str, tmp_path: Path
) -> None:
    image = images.image(name, (3000, 70_000), docker=True)
    remote = f"{registry.host}/{name}:v1"
    archive = images.write_docker_archive(tmp_path / "in.tar", image, [remote])
    engine.docker("load", "--input", archive)
    user.environment["DOCKER_HOST"] = engine.host
    assert user("push", remote).startswith("v1: digest: sha256:")
    assert user("copy", f"engine:{remote}", f"{registry.host}/{name}:v2")
    assert user("inspect", "--config", remote).encode() == image.config.data
    engine.docker("tag", remote, f"{remote}-again")
    engine.docker("tag", remote, f"{registry.host}/{name}-other:v9")
    said = user("push", "--all-tags", remote.removesuffix(":v1")).splitlines()
    assert [line.partition(": digest: ")[0] for line in said] == ["v1", "v1-again"]
    assert user("tags", remote.removesuffix(":v1")).split() == ["v1", "v1-again", "v2"]
    for made in (remote, f"{remote}-again", f"{registry.host}/{name}-other:v9"):
        engine.forget(made)
    assert "does not have it either" in user("push", f"{remote}-nothing", status=3)
    assert "does not have any either" in user("push", "-A", f"{registry.host}/{name}", status=3)
    engine.docker("pull", remote)
    assert engine.image_id(remote) == image.config.digest
    engine.forget(remote)


def test_podman_loads_what_was_pulled(registry: RegistryServer, user: User, name: str, tmp_path: Path) -> None:
    index = images.index(name)
    with Client(registry) as client:
        client.push(name, index, "v1")
    user("pull", f"{registry.host}/{name}:v1", "--platform", "linux/amd64", "--output", tmp_path / "image.tar")
    for transport in ("docker-archive", "oci-archive"):
        found = json.loads(skopeo("inspect", "--config", "--raw", f"{transport}:{tmp_path}/image.tar").stdout)
        assert found == json.loads(index.images[0].config.data)


def test_a_folder_goes_to_skopeo_and_comes_from_it(
    registry: RegistryServer, user: User, name: str, tmp_path: Path
) -> None:
    index = images.index(name, layers=(3000, 70_000))
    remote = f"{registry.host}/{name}"
    with Client(registry) as client:
        client.push(name, index, "v1")
    user("copy", f"{remote}:v1", f"oci:{tmp_path}/ours:here")
    skopeo("copy", "--all", "--quiet", "--dest-tls-verify=false", f"oci:{tmp_path}/ours:here", f"docker://{remote}:v2")
    skopeo(
        "copy", "--all", "--quiet", "--src-tls-verify=false", f"docker://{remote}:v2", f"oci:{tmp_path}/theirs:there"
    )
    skopeo("copy", "--all", "--quiet", f"oci:{tmp_path}/theirs:there", f"oci-archive:{tmp_path}/theirs.tar:there")
    user("push", tmp_path / "theirs", f"{remote}:v3")
    user("push", tmp_path / "theirs.tar", f"{remote}:v4")
    with Client(registry) as client:
        assert {client.manifest(name, tag).content for tag in ("v2", "v3", "v4")} == {index.manifest.data}


def test_a_login_is_docker_s_and_podman_s(guarded: RegistryServer, user: User, name: str, tmp_path: Path) -> None:
    from tests.e2e.conftest import PASSWORD, USER

    layout = images.write_layout(tmp_path / "in", {"x": images.image(name)})
    user("login", "-u", USER, "--password-stdin", guarded.host, stdin=PASSWORD)
    auth = user.home / ".docker" / "config.json"
    out = f"docker://{guarded.host}/{name}:1"
    skopeo("copy", "--quiet", "--dest-tls-verify=false", "--authfile", auth, f"oci:{layout}:x", out)
    user("logout", guarded.host)
    podman = tmp_path / "auth.json"
    run(
        [
            program("skopeo"),
            "login",
            "--tls-verify=false",
            "--authfile",
            podman,
            "-u",
            USER,
            "--password-stdin",
            guarded.host,
        ],
        stdin=PASSWORD,
    )
    user.environment["REGISTRY_AUTH_FILE"] = str(podman)
    assert user("tags", f"{guarded.host}/{name}") == "1\n"


def test_a_token_server_s_registry(tokened: RegistryServer, user: User, name: str, tmp_path: Path) -> None:
    from tests.e2e.conftest import PASSWORD, USER

    layout = images.write_layout(tmp_path / "in", {"x": images.image(name)})
    remote = f"{tokened.host}/{name}:1"
    user("push", layout, remote, status=4)
    user("login", "-u", USER, "--password-stdin", tokened.host, stdin=PASSWORD)
    user("push", layout, remote)
    assert "0 blobs copied" in user("copy", remote, f"{tokened.host}/{name}-copy:1")
    user("logout", tokened.host)
    user("pull", remote)
