"""Which image is meant where there are several: in archives and folders, by platform, by name and by ID."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support import images
from tests.support.client import User
from tests.support.http import Client
from tests.support.lading import Lading
from tests.support.scripted import Answer, Asked, Scripted, json_answer

NAME = "org.opencontainers.image.ref.name"
WHOLE_NAME = "io.containerd.image.name"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lading]:
    with Lading(tmp_path_factory.mktemp("registry")) as server:
        yield server


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


def test_a_lone_image_for_another_platform_than_was_named(user: User, name: str, tmp_path: Path) -> None:
    """docker refuses it, too. Without --platform it is taken, as docker does; what says of no platform is for any."""
    image = layout(tmp_path / "image", (images.image("arm", platform="linux/arm64"), {}))
    artifact = layout(tmp_path / "artifact", (images.artifact("any"), {}))
    user("push", image, name)
    user("push", artifact, f"{name}-artifact")
    user("pull", name)
    for words in (["pull", name], ["inspect", name], ["manifest", name], ["copy", name, f"oci:{tmp_path}/copied"]):
        said = user(*words, "--platform", "linux/amd64", status=3)
        assert "there is no image for linux/amd64; it is one for linux/arm64" in said
    user("pull", name, "--platform", "linux/arm64/v8")
    user("pull", f"{name}-artifact", "--platform", "linux/amd64")


def test_an_image_of_an_index_in_an_index(user: User, name: str, tmp_path: Path) -> None:
    inner = images.index("inner")
    folder = images.write_layout(tmp_path / "folder", {"inner": inner})
    document = {"schemaVersion": 2, "mediaType": images.INDEX, "manifests": [inner.manifest.descriptor()]}
    outer = images.Blob(images.INDEX, images.encode(document))
    (folder / "blobs" / "sha256" / outer.digest[7:]).write_bytes(outer.data)
    (folder / "index.json").write_bytes(images.encode({"schemaVersion": 2, "manifests": [outer.descriptor()]}))
    user("push", folder, name)
    arm = inner.images[1]
    found = json.loads(user("inspect", name, "--platform", "linux/arm64"))
    assert found["Platforms"] == ["linux/amd64", "linux/arm64/v8"]
    assert found["ImageDigest"] == arm.digest
    assert found["Size"] == sum(blob.size for blob in arm.blobs)
    user("pull", name, "--platform", "linux/arm64", "--output", tmp_path / "arm")
    assert digest(user, f"oci:{tmp_path}/arm") == arm.digest
    assert "there is linux/amd64, linux/arm64/v8" in user("pull", name, "--platform", "linux/s390x", status=3)


def test_an_image_that_is_damaged_here(user: User, name: str, tmp_path: Path) -> None:
    """It hides no other, can be removed, and comes again with a pull."""
    image, other = images.image("damaged"), images.image("other")
    user("push", layout(tmp_path / "image", (image, {})), name)
    user("push", layout(tmp_path / "other", (other, {})), f"{name}-other")
    user("pull", f"{name}-other")
    for part in (image.manifest, image.layers[0]):
        user("pull", name)
        (user.store / "blobs" / "sha256" / part.digest[7:]).unlink()
        found = user.run("images", "--format", "{{.Repository}}")
        assert found.stdout.split() == [name, f"{name}-other"]
        assert ("is damaged here" in found.stderr) == (part is image.manifest)
        user("rmi", other.config.digest[7:19])
        user("pull", f"{name}-other")
        assert "Downloaded newer" in user("pull", name)
        assert "up to date" in user("pull", name)


def test_images_as_docker_has_them_named(user: User, name: str, tmp_path: Path) -> None:
    """By pattern, by ID, and forgiving when forced."""
    one = images.image("one")
    user("push", layout(tmp_path / "one", (one, {})), name)
    user("pull", name)
    ident = user("images", "--quiet").strip()
    for made in ("team/app:1", "team/api:1", "team/app/deep:1"):
        user("tag", ident, made)
    listed = [
        user("images", "--all", "--format", "{{.Repository}}", like) for like in ("team/a*", "team/*:2", "*/*/deep")
    ]
    assert listed == ["team/api\nteam/app\n", "", "team/app/deep\n"]
    assert "no image nothing" in user("rmi", "team/app:1", "nothing", status=3)
    user("rmi", "--force", "team/api:1", "nothing")
    assert user("images", "--quiet", "team/*") == ""
    other = images.image_manifest(one.config, one.layers, docker=True)
    two = images.Image(one.platform, one.config, one.layers, one.diffs, other)
    user("copy", f"oci:{layout(tmp_path / 'two', (two, {}))}", "local:two")
    assert "the ID of several images" in user("tag", ident, "three", status=1)


def test_what_was_copied_before_something_failed_is_told(user: User, name: str, tmp_path: Path) -> None:
    one, two = images.image("one"), images.image("two")
    folder = layout(tmp_path / "folder", (one, {NAME: "a"}), (two, {NAME: "b"}))
    (folder / "blobs" / "sha256" / two.layers[0].digest[7:]).unlink()
    done = user.run("copy", "--all-tags", "--quiet", f"oci:{folder}", name)
    assert (done.returncode, done.stdout) == (3, f"a: {one.digest}\n")
    assert "does not have the blob" in done.stderr


def test_many_tags_are_looked_at_together(user: User) -> None:
    """Where each answer takes as long as the way is, a thousand of them one after the other are a coffee."""
    together = threading.Barrier(4)
    image = images.image("same")

    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("/tags/list"):
            return json_answer({"tags": ["a", "b", "c", "d"]})
        if asked.method == "HEAD":
            together.wait(30)
            said = {"content-type": images.MANIFEST, "docker-content-digest": image.digest}
            return Answer(200, image.manifest.data, said)
        return Answer(200, b"{}")

    with Scripted(answer) as far_side:
        found = user("tags", "--digests", f"{far_side.host}/x").splitlines()
    assert found == [f"{tag}  {image.digest}" for tag in "abcd"]


def test_an_archive_of_ours_has_what_was_pulled(user: User, name: str, tmp_path: Path) -> None:
    """Also where a layer is not compressed, as docker save leaves all of them."""
    compressed = images.image("plain", (3000, 3000))
    plain = images.Blob("application/vnd.oci.image.layer.v1.tar", compressed.diffs[1])
    layers = (compressed.layers[0], plain)
    manifest = images.image_manifest(compressed.config, layers)
    image = images.Image(compressed.platform, compressed.config, layers, compressed.diffs, manifest)
    user("push", layout(tmp_path / "in", (image, {})), f"{name}:1")
    user("pull", f"{name}:1", "--output", tmp_path / "image.tar")
    user("push", tmp_path / "image.tar", f"{name}:2")
    assert digest(user, f"{name}:2") == image.digest


def test_an_index_that_is_damaged_here(user: User, name: str, tmp_path: Path) -> None:
    """A manifest in it is here, and a layer of that is not, as when somebody was killed who removed an image."""
    index = images.index("damaged")
    user("push", images.write_layout(tmp_path / "index", {"x": index}), name)
    user("pull", "--all-platforms", name)
    gone = user.store / "blobs" / "sha256" / index.images[1].layers[0].digest[7:]
    gone.unlink()
    assert "Downloaded newer" in user("pull", "--all-platforms", name)
    assert gone.exists()


def test_many_tags_are_copied_together(user: User, tmp_path: Path) -> None:
    together = threading.Barrier(4)
    content = {tag: images.image(tag) for tag in "abcd"}
    known = {blob.digest: blob.data for image in content.values() for blob in image.blobs}

    def answer(asked: Asked) -> Answer:
        place = asked.path.rpartition("/")[2]
        if place == "list":
            return json_answer({"tags": sorted(content)})
        if place in content:
            together.wait(30)
            return Answer(200, content[place].manifest.data, {"content-type": images.MANIFEST})
        return Answer(200, known.get(place, b"{}"))

    with Scripted(answer) as far_side:
        said = user("copy", "--all-tags", f"{far_side.host}/x", f"oci:{tmp_path}/folder").splitlines()
    assert said[:4] == [f"{tag}: {image.digest}" for tag, image in content.items()]
    assert said[4].startswith("4 of 4 tags copied")
    assert user("tags", f"oci:{tmp_path}/folder").split() == list("abcd")


def test_what_one_tag_lacks_keeps_no_other_that_was_begun_from_coming(user: User, name: str, tmp_path: Path) -> None:
    """Also where they have a layer in common, and what was told is in the list that is written in the end."""
    one, two = images.image("one", (3000, 3000)), images.image("two")
    lacking = images.image_manifest(one.config, (two.layers[0], one.layers[1]))
    both = images.Image(one.platform, one.config, (two.layers[0], one.layers[1]), one.diffs, lacking)
    folder = layout(tmp_path / "folder", *((one, {NAME: tag}) for tag in ("a", "c")), (both, {NAME: "b"}))
    (folder / "blobs" / "sha256" / two.layers[0].digest[7:]).unlink()
    for target in (f"oci:{tmp_path}/copied", f"local:{name}", f"{name}-copy"):
        done = user.run("copy", "--all-tags", "--quiet", f"oci:{folder}", target)
        assert (done.returncode, done.stdout) == (3, f"a: {one.digest}\nc: {one.digest}\n")
        assert "does not have the blob" in done.stderr
        assert user("tags", target).split() == ["a", "c"]


def test_a_foreign_layer_is_in_an_archive_or_there_is_none(
    user: User, registry: Lading, name: str, tmp_path: Path
) -> None:
    image, repository = images.foreign("windows"), name.partition("/")[2]
    with Client(registry) as client:
        for blob in (image.config, image.layers[1]):
            client.push_blob(repository, blob)
        client.push_manifest(repository, image.manifest, "v1")
        for words in (["pull", f"{name}:v1", "-o"], ["copy", f"{name}:v1"]):
            path = tmp_path / f"{words[0]}.tar"
            said = user(*words, path if words[0] == "pull" else f"archive:{path}", status=3)
            assert f"does not have {repository}@{image.layers[0].digest}" in said
            assert "lies only at https://layers.example/base" in said
            assert not path.exists()
        user("copy", f"{name}:v1", f"oci:{tmp_path}/folder:v1")
        assert "docker load" in user("copy", f"oci:{tmp_path}/folder", f"archive:{tmp_path}/x.tar", status=3)
        client.push_blob(repository, image.layers[0])
    user("pull", f"{name}:v1", "--output", tmp_path / "whole.tar")
    with tarfile.open(tmp_path / "whole.tar") as tar:
        [listed] = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert set(listed["Layers"]) <= set(tar.getnames())
    user("push", tmp_path / "whole.tar", f"{name}:v2")
    assert digest(user, f"{name}:v2") == image.digest


def test_an_image_without_a_tag_is_called_latest_everywhere(user: User, name: str, tmp_path: Path) -> None:
    image = images.image("one")
    user("push", layout(tmp_path / "in", (image, {})), name)
    user("pull", name, "--output", tmp_path / "pulled")
    user("copy", name, f"oci:{tmp_path}/copied")
    user("pull", name, "--output", tmp_path / "pulled.tar")
    user("pull", f"{name}@{image.digest}", "--output", tmp_path / "by-digest")
    for place in (f"oci:{tmp_path}/pulled", f"oci:{tmp_path}/copied", f"archive:{tmp_path}/pulled.tar"):
        assert digest(user, f"{place}:latest") == digest(user, place) == image.digest
    assert user("tags", f"oci:{tmp_path}/by-digest") == ""
