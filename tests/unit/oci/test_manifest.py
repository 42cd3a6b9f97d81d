"""Manifests: what is taken, what each refusal says, and what cannot be read in two ways."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lading.errors import ManifestInvalid
from lading.oci import mediatypes
from lading.oci.digest import Digest
from lading.oci.manifest import MAX_REFERENCES, Platform, parse
from tests.support import images

DIGEST = "sha256:" + "1" * 64
OTHER = "sha256:" + "2" * 64


def descriptor(digest: str = DIGEST, **more: Any) -> dict[str, Any]:
    return {"mediaType": images.LAYER, "digest": digest, "size": 10, **more}


def image(**more: Any) -> dict[str, Any]:
    config = {"mediaType": images.CONFIG, "digest": OTHER, "size": 2}
    return {"schemaVersion": 2, "mediaType": images.MANIFEST, "config": config, "layers": [descriptor()], **more}


def index(*children: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": images.INDEX, "manifests": list(children), **more}


def without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}


def raw(document: Any) -> bytes:
    return json.dumps(document).encode()


def nested(depth: int) -> dict[str, Any]:
    """An image whose JSON is ``depth`` deep."""
    inner: Any = []
    for _ in range(depth - 2):
        inner = [inner]
    return image(unknown=inner)


@pytest.mark.parametrize("docker", [False, True])
def test_an_image(docker: bool) -> None:
    made = images.image("seed", (100, 200), docker=docker)
    found = parse(made.manifest.data, made.manifest.media_type)
    assert found.raw == made.manifest.data
    assert found.digest == made.digest
    assert found.size == len(made.manifest.data)
    assert found.media_type == made.manifest.media_type
    assert [d.digest for d in found.blobs()] == [blob.digest for blob in made.blobs]
    assert [d.size for d in found.layers] == [layer.size for layer in made.layers]
    assert found.children == ()
    assert found.subject is None
    assert found.artifact_type == made.config.media_type


@pytest.mark.parametrize("docker", [False, True])
def test_an_index(docker: bool) -> None:
    made = images.index("seed", docker=docker)
    found = parse(made.manifest.data, made.manifest.media_type)
    assert [d.digest for d in found.children] == [one.digest for one in made.images]
    assert found.blobs() == ()
    assert found.artifact_type == ""
    assert found.children[1].platform == Platform(architecture="arm64", os="linux", variant="v8")


def test_an_artifact_with_a_subject() -> None:
    made = images.artifact("seed", descriptor(OTHER), "application/vnd.example")
    found = parse(made.manifest.data, made.manifest.media_type)
    assert found.subject == OTHER
    assert found.artifact_type == "application/vnd.example"
    assert found.annotations == {"org.example.seed": "seed"}


def test_an_index_has_the_artifact_type_it_states() -> None:
    assert (
        parse(raw(index(artifactType="application/vnd.example")), images.INDEX).artifact_type
        == "application/vnd.example"
    )


def test_the_digest_is_in_the_algorithm_that_was_asked_for() -> None:
    content = raw(image())
    assert parse(content, images.MANIFEST, "sha512").digest == Digest.of(content, "sha512")


@pytest.mark.parametrize(
    "content_type", ["", "application/json", "application/octet-stream", "application/json; charset=utf-8"]
)
def test_the_bytes_say_what_the_request_does_not(content_type: str) -> None:
    assert parse(raw(image()), content_type).media_type == images.MANIFEST
    assert parse(raw(index()), content_type).media_type == images.INDEX
    assert parse(raw(without(image(), "mediaType")), content_type).media_type == images.MANIFEST
    assert parse(raw(without(index(), "mediaType")), content_type).media_type == images.INDEX


def test_a_content_type_may_have_parameters_and_capitals() -> None:
    assert (
        parse(raw(image()), "Application/vnd.OCI.image.manifest.v1+json; charset=utf-8").media_type == images.MANIFEST
    )


def test_an_empty_list_of_layers_will_do() -> None:
    assert parse(raw(image(layers=[])), images.MANIFEST).layers == ()
    assert parse(raw(without(image(), "layers")), images.MANIFEST).layers == ()


def test_foreign_layers_need_not_be_held() -> None:
    kinds = [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    ]
    layers = [descriptor(mediaType=kind, urls=[f"https://example.com/{n}"]) for n, kind in enumerate(kinds)]
    found = parse(raw(image(layers=[*layers, descriptor(OTHER)])), images.MANIFEST)
    assert len(found.layers) == 6
    assert [d.digest for d in found.blobs()] == [OTHER, OTHER]
    assert found.urls() == tuple(f"https://example.com/{n}" for n in range(5))


def test_every_url_is_named() -> None:
    found = parse(raw(index(descriptor(urls=["http://a", "http://b"]))), images.INDEX)
    assert found.urls() == ("http://a", "http://b")


def test_the_largest_size_there_is() -> None:
    assert parse(raw(image(layers=[descriptor(size=(1 << 63) - 1)])), images.MANIFEST).layers[0].size == (1 << 63) - 1


def test_data_and_unknown_fields_are_left_alone() -> None:
    found = parse(raw(image(layers=[descriptor(data="aGVsbG8=", more={"a": 1})], more=[None])), images.MANIFEST)
    assert found.layers[0].data == "aGVsbG8="


REFUSED: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", images.MANIFEST, "not JSON"),
    "no JSON": (b"hello", images.MANIFEST, "not JSON"),
    "cut off": (raw(image())[:-1], images.MANIFEST, "not JSON"),
    "two documents": (raw(image()) * 2, images.MANIFEST, "not JSON"),
    "trailing comma": (b'{"schemaVersion": 2,}', images.MANIFEST, "not JSON"),
    "a byte order mark": (b"\xef\xbb\xbf" + raw(image()), images.MANIFEST, "not JSON"),
    "UTF-16": (raw(image()).decode().encode("utf-16"), images.MANIFEST, "not JSON"),
    "no UTF-8": (raw(image(artifactType="X")).replace(b'"X"', b'"\xff"'), images.MANIFEST, "not JSON"),
    "half a surrogate": (raw(image(artifactType="X")).replace(b'"X"', b'"\\ud800"'), images.MANIFEST, "not JSON"),
    "NaN": (raw(image(more=float("nan"))), images.MANIFEST, "not JSON"),
    "a list": (b"[]", images.MANIFEST, "not a manifest"),
    "a number": (b"2", images.MANIFEST, "not a manifest"),
    "null": (b"null", images.MANIFEST, "not a manifest"),
    "layers is an object": (raw(image(layers={})), images.MANIFEST, r"not a manifest: .*\$\.layers"),
    "a layer is a string": (raw(image(layers=["x"])), images.MANIFEST, r"\$\.layers\[0\]"),
    "annotations of numbers": (raw(image(annotations={"a": 1})), images.MANIFEST, r"\$\.annotations"),
    "schemaVersion missing": (raw(without(image(), "schemaVersion")), images.MANIFEST, "schemaVersion is 0"),
    "schemaVersion 1": (raw(image(schemaVersion=1)), images.MANIFEST, "schemaVersion is 1"),
    "schemaVersion text": (raw(image(schemaVersion="2")), images.MANIFEST, "not a manifest"),
    "schemaVersion huge": (raw(image()).replace(b": 2,", b": 2" + b"0" * 4999 + b",", 1), images.MANIFEST, "not a manifest"),
    "docker schema 1": (raw({"schemaVersion": 1, "fsLayers": []}), mediatypes.DOCKER_SCHEMA1, "schema 1 is not supported"),
    "docker schema 1, signed": (raw({"schemaVersion": 1}), mediatypes.DOCKER_SCHEMA1_SIGNED, "schema 1 is not supported"),
    "docker schema 1, unnamed": (raw({"schemaVersion": 1, "fsLayers": []}), "", "schema 1 is not supported"),
    "an unknown type": (raw(without(image(), "mediaType")), "text/plain", "is not the type of a manifest"),
    "another type": (raw(image()), images.DOCKER_MANIFEST, "but the Content-Type"),
    "config missing": (raw(without(image(), "config")), images.MANIFEST, "needs a config"),
    "config null": (raw(image(config=None)), images.MANIFEST, "needs a config"),
    "manifests missing": (raw(without(index(), "manifests")), images.INDEX, "needs manifests"),
    "size missing": (raw(image(layers=[without(descriptor(), "size")])), images.MANIFEST, r"layers\[0\]\.size"),
    "size negative": (raw(image(layers=[descriptor(size=-1)])), images.MANIFEST, r"layers\[0\]\.size"),
    "size of 64 bits": (raw(image(layers=[descriptor(size=1 << 63)])), images.MANIFEST, r"layers\[0\]\.size"),
    "size of 65 bits": (raw(image(layers=[descriptor(size=1 << 65)])), images.MANIFEST, "not a manifest|size"),
    "size with a fraction": (raw(image(layers=[descriptor(size=1.5)])), images.MANIFEST, "not a manifest"),
    "type missing": (raw(image(layers=[without(descriptor(), "mediaType")])), images.MANIFEST, r"layers\[0\]\.mediaType"),
    "digest missing": (raw(image(layers=[without(descriptor(), "digest")])), images.MANIFEST, r"layers\[0\]\.digest"),
    "digest of md5": (raw(image(layers=[descriptor("md5:" + "1" * 32)])), images.MANIFEST, r"layers\[0\]\.digest.*md5"),
    "digest of a path": (raw(image(layers=[descriptor("sha256:../../x")])), images.MANIFEST, r"layers\[0\]\.digest"),
    "second layer": (raw(image(layers=[descriptor(), descriptor("x")])), images.MANIFEST, r"layers\[1\]\.digest"),
    "config digest": (raw(image(config=descriptor("x"))), images.MANIFEST, r"config\.digest"),
    "subject digest": (raw(image(subject=descriptor("x"))), images.MANIFEST, r"subject\.digest"),
    "subject without size": (raw(image(subject=without(descriptor(), "size"))), images.MANIFEST, r"subject\.size"),
    "child digest": (raw(index(descriptor("x"))), images.INDEX, r"manifests\[0\]\.digest"),
    "urls of numbers": (raw(image(layers=[descriptor(urls=[1])])), images.MANIFEST, r"urls"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "content_type", "complaint"), REFUSED.values(), ids=REFUSED)
def test_refused(content: bytes, content_type: str, complaint: str) -> None:
    with pytest.raises(ManifestInvalid, match=complaint) as found:
        parse(content, content_type)
    assert len(found.value.message) < 1000


class TestTwoReadings:
    """Bytes that one client reads as an image and another as an index (CVE-2021-41190)."""

    @pytest.mark.parametrize(
        "content_type", [images.MANIFEST, images.DOCKER_MANIFEST, images.INDEX, images.DOCKER_LIST, ""]
    )
    def test_an_image_that_is_an_index_too(self, content_type: str) -> None:
        both = without(image(manifests=[descriptor()]), "mediaType")
        with pytest.raises(ManifestInvalid, match=r"neither config nor layers|no manifests"):
            parse(raw(both), content_type)

    @pytest.mark.parametrize("more", [{"layers": []}, {"config": descriptor()}])
    def test_an_index_with_something_of_an_image(self, more: dict[str, Any]) -> None:
        with pytest.raises(ManifestInvalid, match="neither config nor layers"):
            parse(raw(index(**more)), images.INDEX)

    def test_an_image_with_an_empty_list_of_manifests(self) -> None:
        with pytest.raises(ManifestInvalid, match="no manifests"):
            parse(raw(image(manifests=[])), images.MANIFEST)

    def test_what_the_bytes_state_is_what_the_request_states(self) -> None:
        with pytest.raises(ManifestInvalid, match="but the Content-Type"):
            parse(raw(image(mediaType=images.INDEX)), images.MANIFEST)
        with pytest.raises(ManifestInvalid, match="but the Content-Type"):
            parse(raw(index(mediaType=images.DOCKER_LIST)), images.INDEX)

    def test_of_a_field_given_twice_the_last_counts(self) -> None:
        """As in Go, JavaScript and Python: what the registry keeps is what those clients will ask for."""
        twice = raw(image())[:-1] + b', "layers": [' + raw(descriptor(OTHER)) + b"]}"
        assert [d.digest for d in parse(twice, images.MANIFEST).layers] == [OTHER]
        assert [d["digest"] for d in json.loads(twice)["layers"]] == [OTHER]

    def test_a_second_list_of_manifests_does_not_slip_in(self) -> None:
        with pytest.raises(ManifestInvalid, match="no manifests"):
            parse(raw(image())[:-1] + b', "manifests": [' + raw(descriptor()) + b"]}", images.MANIFEST)


class TestDepth:
    def test_the_edge(self) -> None:
        parse(raw(nested(32)), images.MANIFEST)
        with pytest.raises(ManifestInvalid, match="nested 33 deep; at most 32"):
            parse(raw(nested(33)), images.MANIFEST)

    def test_the_bound_is_the_callers(self) -> None:
        parse(raw(nested(100)), images.MANIFEST, most_depth=100)
        with pytest.raises(ManifestInvalid, match="nested 9 deep"):
            parse(raw(nested(9)), images.MANIFEST, most_depth=8)

    def test_brackets_in_strings_do_not_count(self) -> None:
        parse(raw(image(annotations={"a": "[{" * 500, 'b"]': '\\"[[['})), images.MANIFEST)

    def test_siblings_do_not_count(self) -> None:
        parse(raw(image(layers=[descriptor() for _ in range(200)])), images.MANIFEST)

    @pytest.mark.parametrize("bracket", [b"[", b'{"a":'])
    def test_a_million_brackets_are_refused_and_not_followed(self, bracket: bytes) -> None:
        with pytest.raises(ManifestInvalid):
            parse(b'{"schemaVersion": 2, "x":' + bracket * 500_000, images.MANIFEST)


def test_too_many_references() -> None:
    short = {"mediaType": "a", "digest": DIGEST, "size": 0}
    parse(raw(index(*[short] * MAX_REFERENCES)), images.INDEX)
    with pytest.raises(ManifestInvalid, match=f"at most {MAX_REFERENCES}"):
        parse(raw(index(*[short] * (MAX_REFERENCES + 1))), images.INDEX)
