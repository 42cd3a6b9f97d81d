"""What refers to an image goes along with it, to registries with a referrers API and without, and comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import images
from tests.support.client import User
from tests.support.http import Client
from tests.support.lading import Lading
from tests.support.peer import Peer
from tests.support.server import RegistryServer

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lading]:
    with Lading(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryServer]:
    """registry:2, which has no referrers API."""
    with Peer(tmp_path_factory.mktemp("peer")) as server:
        yield server


def referrers(registry: Lading, repository: str, digest: str) -> list[dict[str, object]]:
    with Client(registry) as client:
        listed: list[dict[str, object]] = client.get(f"/v2/{repository}/referrers/{digest}").json()["manifests"]
    return sorted(listed, key=lambda one: str(one["digest"]))


def test_there_and_back(registry: Lading, peer: RegistryServer, tmp_path: Path) -> None:
    user = User(tmp_path / "home")
    index = images.index("signed")
    arm = index.images[1]
    about = [images.artifact(what, subject=index.manifest.descriptor()) for what in ("sbom", "signature")]
    beside = {f"{index.digest}.sig": images.artifact("sig"), f"{arm.digest}.att": images.artifact("att")}
    tags = {name.replace(":", "-"): one for name, one in beside.items()}
    with Client(registry) as client:
        client.push("signed", index, "v1")
        for one in about:
            client.push("signed", one)
        for tag, one in tags.items():
            client.push("signed", one, tag)
    before = referrers(registry, "signed", index.digest)
    assert len(before) == 2

    user("copy", "--referrers", f"{registry.host}/signed:v1", f"{peer.host}/signed:v1")
    fallback = index.digest.replace(":", "-")
    assert set(user("tags", f"{peer.host}/signed").split()) == {"v1", fallback, *tags}
    user("copy", "--referrers", f"{peer.host}/signed:v1", f"{registry.host}/back:v1")
    assert referrers(registry, "back", index.digest) == before
    for tag, one in tags.items():
        assert user("manifest", "--digest", f"{registry.host}/back:{tag}").strip() == one.digest
    assert set(user("tags", f"{registry.host}/back").split()) == {"v1", *tags}

    user("copy", "--referrers", f"{registry.host}/signed:v1", f"oci:{tmp_path}/folder:v1")
    user("copy", "--referrers", f"oci:{tmp_path}/folder:v1", f"{registry.host}/folder:v1")
    assert referrers(registry, "folder", index.digest) == before
    assert set(user("tags", f"{registry.host}/folder").split()) == {"v1", *tags}


def test_many_that_refer_to_one_image_come_together(registry: Lading, peer: RegistryServer, tmp_path: Path) -> None:
    """Where there is no referrers API, each is added to one list, and none is lost from it."""
    user = User(tmp_path / "home")
    image = images.image("subject")
    about = {f"about-{number}": images.artifact(number, image.manifest.descriptor()) for number in range(8)}
    with Client(registry) as client:
        client.push("many", image, "v1")
        for tag, one in about.items():
            client.push("many", one, tag)
    user("copy", "--all-tags", "--referrers", f"{registry.host}/many", f"{peer.host}/many")
    listed = json.loads(user("manifest", f"{peer.host}/many:{image.digest.replace(':', '-')}"))["manifests"]
    assert {entry["digest"] for entry in listed} == {one.digest for one in about.values()}
