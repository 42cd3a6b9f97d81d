"""Which image is meant where there are several: in archives and folders, by platform, by name and by ID."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support import images
from tests.support.client import User
from tests.support.lading import Lading

NAME = "org.opencontainers.image.ref.name"
WHOLE_NAME = "io.containerd.image.name"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lading]:
    with Lading(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path / "home")


@pytest.fixture
def name(registry: Lading, request: pytest.FixtureRequest) -> str:
    return f"{registry.host}/{re.sub('[^a-z0-9]+', '-', request.node.name).strip('-')}"


def digest(user: User, place: str) -> str:
    return user("manifest", "--digest", place).strip()


def layout(folder: Path, *content: tuple[images.Image, Mapping[str, str]]) -> Path:
    """An OCI layout whose entries have these annotations, be it none."""
    images.write_layout(folder, {str(place): image for place, (image, _) in enumerate(content)})
    entries = [image.manifest.descriptor(**({"annotations": said} if said else {})) for image, said in content]
    (folder / "index.json").write_bytes(images.encode({"schemaVersion": 2, "manifests": entries}))
    return folder


def saved_by_containerd(path: Path, content: Mapping[str, images.Image]) -> Path:
    """What ``docker save`` writes of images in containerd's store: all are called by their tags, and wholly beside it."""
    annotated = [(one, {NAME: whole.rpartition(":")[2], WHOLE_NAME: whole}) for whole, one in content.items()]
    folder = layout(path.parent / f"{path.name}-folder", *annotated)
    listing = [
        {
            "Config": f"blobs/sha256/{one.config.digest[7:]}",
            "RepoTags": [whole.removeprefix("docker.io/library/")],
            "Layers": [f"blobs/sha256/{layer.digest[7:]}" for layer in one.layers],
        }
        for whole, one in content.items()
    ]
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("manifest.json")
        member.size = len(data := json.dumps(listing).encode())
        tar.addfile(member, io.BytesIO(data))
        for file in filter(Path.is_file, sorted(folder.rglob("*"))):
            tar.add(file, str(file.relative_to(folder)))
    return path


def test_two_images_of_an_archive_with_the_same_tag(user: User, name: str, tmp_path: Path) -> None:
    one, two = images.image("one"), images.image("two")
    whole = {"docker.io/library/one:latest": one, "docker.io/library/two:latest": two}
    path = saved_by_containerd(tmp_path / "saved.tar", whole)
    assert user("tags", f"archive:{path}").split() == list(whole)
    said = user("push", path, name, status=1)
    assert f"name one, as in archive:{path}:docker.io/library/one:latest" in said
    for written, image in (("one", one), ("two:latest", two), ("docker.io/library/two:latest", two)):
        user("push", f"{path}:{written}", f"{name}:pushed")
        assert digest(user, f"{name}:pushed") == digest(user, f"archive:{path}:{written}") == image.digest
    assert "several images called latest" in user("copy", f"archive:{path}:latest", name, status=1)
    assert "would both become latest" in user("copy", "--all-tags", f"archive:{path}", f"{name}-all", status=1)
    assert f"{path} has no three" in user("push", f"{path}:three", name, status=3)


def test_an_archive_with_the_image_that_is_pushed(user: User, name: str, tmp_path: Path) -> None:
    """Of several, the one with the very name; and two names of one image are no question."""
    image = images.image("app", docker=True)
    path = images.write_docker_archive(tmp_path / "app.tar", image, ["local/app:1", "local/app:2"])
    user("push", path, f"{name}:1")
    assert user("inspect", "--config", f"{name}:1").encode() == image.config.data
    user("push", f"{path}:local/app:2", f"{name}:2")
    assert digest(user, f"{name}:1") == digest(user, f"{name}:2") == digest(user, f"archive:{path}:local/app:1")
    said = user("inspect", f"archive:{path}:local/app:3", status=3)
    assert said.startswith(f"lading: {path} has no local/app:3; it has docker.io/local/app:1, docker.io/local/app:2")

    one, two = images.image("one"), images.image("two")
    both = saved_by_containerd(tmp_path / "both.tar", {f"{name}:one": one, f"{name}:two": two})
    user("push", both, f"{name}:two")
    assert digest(user, f"{name}:two") == two.digest


def test_a_folder_with_several_images(user: User, name: str, tmp_path: Path) -> None:
    one, two = images.image("one"), images.image("two", platform="linux/arm64")
    named = layout(tmp_path / "named", (one, {NAME: "a"}), (one, {NAME: "b"}), (two, {NAME: "c"}))
    user("push", f"{named}:c", f"{name}:c")
    assert digest(user, f"{name}:c") == two.digest
    nameless = layout(tmp_path / "nameless", (one, {}), (two, {}))
    assert f"name one by its digest: {one.digest}, {two.digest}" in user("push", nameless, name, status=1)
    user("push", f"{nameless}:{two.digest}", name)
    assert digest(user, name) == two.digest
    assert "lading copy" in user("push", f"{name}:c", f"{name}:d", status=1)


def test_a_folder_with_an_image_without_a_name_and_what_refers_to_it(user: User, tmp_path: Path) -> None:
    image = images.image("one")
    about: list[tuple[images.Image, dict[str, str]]] = [
        (images.artifact(kind, subject=image.manifest.descriptor()), {}) for kind in ("sbom", "signature")
    ]
    folder = layout(tmp_path / "folder", about[0], (image, {}), about[1])
    assert digest(user, f"oci:{folder}") == image.digest
