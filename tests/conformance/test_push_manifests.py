"""Distribution spec, "Pushing Manifests": bytes, types, references, tags in the query, limits."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conformance.conftest import Serve
from tests.conformance.content import (
    ALGORITHMS,
    EMPTY_TYPE,
    FOREIGN,
    NONDISTRIBUTABLE,
    Checked,
    Pushed,
    codes,
    describe,
    digest_of,
    image_document,
    index_document,
    manifest_of,
    refused,
    unknown,
)
from tests.support.images import CONFIG, DOCKER_LIST, DOCKER_MANIFEST, INDEX, LAYER, MANIFEST

LIMIT = 4 << 20


@pytest.fixture
def config(client: Checked, name: str) -> dict[str, Any]:
    """The descriptor of a config that is in the repository."""
    client.blob(name, b"{}")
    return describe(b"{}", EMPTY_TYPE)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_pushing_must_answer_201_with_a_pullable_location(
    client: Checked, name: str, algorithm: str, docker: bool
) -> None:
    """Pushing Manifests: 201, a Location to pull from, and the digest that the client knows it by."""
    pushed = client.image(name, "push", algorithm=algorithm, docker=docker)
    for reference in (pushed.digest, *(["a-tag"] if algorithm == "sha256" else [])):
        done = client.put_manifest(name, pushed, reference)
        assert done.status_code == 201
        assert done.headers["docker-content-digest"] == pushed.digest
        assert urlsplit(done.headers["location"]).path.startswith(f"/v2/{name}/manifests/")
        assert client.get(done.headers["location"]).content == pushed.data


@pytest.mark.parametrize(
    "form",
    [
        '{{"schemaVersion":2,"mediaType":"{t}","config":{c},"layers":[]}}',
        '\n\t {{ "layers" :[ ], "config":\r\n{c} ,"mediaType":"{t}","schemaVersion":2}}\n\n',
        '{{"schemaVersion":2,"mediaType":"{t}","config":{c},"layers":[],"annotations":{{"a":"\\u00e9\\/\\ud83d\\ude00"}}}}',
        '{{"schemaVersion":2,"mediaType":"{t}","config":{c},"layers":[],"annotations":{{"ä":"é€😀"}}}}',
        '{{"schemaVersion":2,"mediaType":"{t}","config":{c},"layers":[],"unheardOf":[1,2.50,null,{{"x":1e400}}]}}',
        '{{"schemaVersion":2,"schemaVersion":2,"mediaType":"{t}","config":{c},"layers":[]}}',
        '{{"schema\\u0056ersion":2,"mediaType":"{t}","config":{c},"layers":[]}}',
    ],
    ids=["compact", "spaced", "escaped", "utf-8", "unknown-fields", "twice", "escaped-key"],
)
def test_pushing_must_store_the_exact_bytes(client: Checked, name: str, config: dict[str, Any], form: str) -> None:
    """Pushing Manifests: stored in the exact byte representation: white space, order, escapes, unknown fields."""
    raw = form.format(t=MANIFEST, c=json.dumps(config)).encode()
    pushed = client.accepted(name, Pushed(raw, MANIFEST), "exact")
    for reference in ("exact", digest_of(raw)):
        answer = client.fetch(name, reference)
        assert answer.content == raw
        assert answer.headers["docker-content-digest"] == pushed.digest


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_pushing_the_digest_must_be_the_one_given(client: Checked, name: str, algorithm: str) -> None:
    """Pushing Manifests: what is pushed by another digest than its own is refused, and nothing of it is kept."""
    pushed = client.image(name, "wrong")
    wrong = unknown(name, algorithm)
    refused(client.put_manifest(name, pushed, wrong), 400, "DIGEST_INVALID")
    assert client.fetch(name, wrong).status_code == 404


@pytest.mark.parametrize("bad", ["sha256:abc", "md5:" + "a" * 32, "sha256:" + "A" * 64, "sha256:", ":", "a:b:c"])
def test_pushing_by_an_invalid_digest_is_400(client: Checked, name: str, bad: str) -> None:
    """Pushing Manifests: the reference is a tag or a digest."""
    pushed = client.image(name, "invalid")
    for answer in (client.put_manifest(name, pushed, bad), client.fetch(name, bad)):
        refused(answer, 400, "DIGEST_INVALID")


@pytest.mark.parametrize("media_type", [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST])
@pytest.mark.parametrize("parameters", ["", "; charset=utf-8", ";charset=utf-8;q=1"])
def test_pushing_parameters_should_be_ignored(
    client: Checked, name: str, config: dict[str, Any], media_type: str, parameters: str
) -> None:
    """Pushing Manifests: parameters on Content-Type are ignored."""
    indexes = media_type in (INDEX, DOCKER_LIST)
    document = index_document([], media_type) if indexes else image_document(config, [], media_type)
    done = client.put_manifest(name, manifest_of(document), "t", **{"content-type": media_type + parameters})
    assert done.status_code == 201
    assert client.fetch(name, "t").headers["content-type"] == media_type


def test_pushing_without_a_media_type_in_the_manifest(client: Checked, name: str, config: dict[str, Any]) -> None:
    """Pushing Manifests: mediaType should be there, and need not: then Content-Type says it."""
    image = {"schemaVersion": 2, "config": config, "layers": []}
    index = {"schemaVersion": 2, "manifests": []}
    for document, media_type in ((image, MANIFEST), (index, INDEX), (image, DOCKER_MANIFEST), (index, DOCKER_LIST)):
        pushed = client.accepted(name, manifest_of(document, media_type=media_type))
        assert client.fetch(name, pushed.digest).headers["content-type"] == media_type


@pytest.mark.parametrize("media_type", [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST])
def test_pushing_another_type_than_the_manifest_states_is_refused(
    client: Checked, name: str, config: dict[str, Any], media_type: str
) -> None:
    """Pushing Manifests: Content-Type is the value of mediaType; else two readers would read two things."""
    for other in {MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST} - {media_type}:
        both = (
            index_document if media_type in (INDEX, DOCKER_LIST) else lambda _, kind: image_document(config, [], kind)
        )
        pushed = Pushed(manifest_of(both([], media_type)).data, other)
        refused(client.put_manifest(name, pushed), 400, "MANIFEST_INVALID")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_pushing_the_list_of_blobs_may_be_empty(client: Checked, name: str, algorithm: str) -> None:
    """Pushing Manifests: a manifest may have no layers, and a layer of no bytes."""
    client.blob(name, b"{}", algorithm)
    client.blob(name, b"", algorithm)
    config = describe(b"{}", CONFIG, algorithm)
    for layers in ([], [describe(b"", LAYER, algorithm)]):
        client.accepted(name, manifest_of(image_document(config, layers), algorithm))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("missing", ["config", "layer"])
def test_pushing_what_names_unknown_blobs_must_be_manifest_blob_unknown(
    client: Checked, name: str, other: str, algorithm: str, missing: str
) -> None:
    """Push: a manifest refused for content that is not in the repository gets MANIFEST_BLOB_UNKNOWN."""
    for where in (name, other):
        client.blob(where, b"{}")
    elsewhere = f"only elsewhere {name}".encode()
    client.blob(other, elsewhere, algorithm)
    here = describe(b"{}", CONFIG)
    for data in (elsewhere, b"nowhere at all"):
        absent = describe(data, LAYER, algorithm)
        document = image_document(absent if missing == "config" else here, [here, absent] if missing == "layer" else [])
        pushed = manifest_of(document)
        refused(client.put_manifest(name, pushed, "t"), 400, "MANIFEST_BLOB_UNKNOWN")
        assert client.fetch(name, pushed.digest).status_code == 404
        assert client.fetch(name, "t").status_code == 404


@pytest.mark.parametrize("docker", [False, True], ids=["index", "list"])
def test_pushing_an_index_of_unknown_manifests_must_be_manifest_blob_unknown(
    client: Checked, name: str, other: str, docker: bool
) -> None:
    """Push: the same for manifests that an index names."""
    elsewhere = client.image(other, "child", docker=docker)
    here = client.image(name, "here", docker=docker)
    document = index_document([here.descriptor(), elsewhere.descriptor()], DOCKER_LIST if docker else INDEX)
    refused(client.put_manifest(name, manifest_of(document), "t"), 400, "MANIFEST_BLOB_UNKNOWN")
    assert client.fetch(name, "t").status_code == 404


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("docker", [False, True], ids=["index", "list"])
def test_pushing_nested_indexes(client: Checked, name: str, algorithm: str, docker: bool) -> None:
    """Definitions: an index lists manifests, which may be indexes again."""
    leaves = [client.image(name, f"leaf {number}", algorithm=algorithm, docker=docker) for number in range(3)]
    inner = client.index(name, leaves, algorithm=algorithm, docker=docker)
    middle = client.index(name, [inner, leaves[0]], algorithm=algorithm, docker=docker)
    outer = client.index(name, [middle], algorithm=algorithm, docker=docker)
    for one in (outer, middle, inner, *leaves):
        assert client.fetch(name, one.digest).content == one.data


def test_pushing_content_of_several_algorithms(client: Checked, name: str) -> None:
    """Pushing Manifests: a manifest and what it names may be known by different algorithms."""
    client.blob(name, b"{}", "sha512")
    client.blob(name, b"layer", "sha256")
    layers = [describe(b"layer", LAYER)]
    pushed = client.accepted(name, manifest_of(image_document(describe(b"{}", CONFIG, "sha512"), layers), "sha512"))
    index = client.index(name, [pushed], "both")
    assert client.fetch(name, "both").content == index.data


def test_pushing_artifacts(client: Checked, name: str) -> None:
    """Definitions: an image manifest may carry any content: a type of its own, the empty config."""
    pushed = client.artifact(name, "artifact", tag="a")
    assert client.fetch(name, "a").content == pushed.data


def test_pushing_any_config_and_layer_types(client: Checked, name: str) -> None:
    """Definitions: what config and layers are is not the registry's business."""
    client.blob(name, b"model")
    document = image_document(describe(b"model", "application/x.model"), [describe(b"model", "video/mp4")])
    client.accepted(name, manifest_of(document), "m")


@pytest.mark.parametrize("media_type", [FOREIGN, NONDISTRIBUTABLE])
def test_pushing_layers_that_lie_elsewhere(client: Checked, name: str, config: dict[str, Any], media_type: str) -> None:
    """Pushing Manifests: layers of a non-distributable type need not be in the registry."""
    layer = describe(b"not ours", media_type)
    kind = DOCKER_MANIFEST if media_type == FOREIGN else MANIFEST
    pushed = client.accepted(name, manifest_of(image_document(config, [layer], kind)), "foreign")
    assert client.fetch(name, "foreign").content == pushed.data


def test_pushing_data_in_descriptors(client: Checked, name: str) -> None:
    """Pushing Manifests: a descriptor may embed its content; it is still a blob like any other."""
    client.blob(name, b"{}")
    embedded = describe(b"{}", EMPTY_TYPE, data="e30=")
    pushed = client.accepted(name, manifest_of(image_document(embedded, [embedded])), "data")
    assert client.fetch(name, "data").content == pushed.data


def test_pushing_again_moves_the_tag_alone(client: Checked, name: str) -> None:
    """Definitions: a tag is a pointer; the manifest it pointed to before stays under its digest."""
    first, second = client.image(name, "first", "moving"), client.image(name, "second", "moving")
    assert client.fetch(name, "moving").content == second.data
    assert client.fetch(name, first.digest).content == first.data
    client.accepted(name, first, "moving")
    assert client.fetch(name, "moving").content == first.data


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_tags_in_the_query_must_be_named_in_oci_tag(client: Checked, name: str, algorithm: str) -> None:
    """Pushing Manifests: ten tags and more in one request, each accepted one named in OCI-Tag."""
    pushed = client.image(name, "tagged", algorithm=algorithm)
    tags = [f"v1.{number}" for number in range(12)]
    done = client.put_manifest(name, pushed, params={"tag": tags})
    assert done.status_code == 201
    told = [tag.strip() for value in done.headers.get_list("oci-tag") for tag in value.split(",")]
    assert sorted(told) == sorted(tags)
    assert client.tags(name) == sorted(tags)
    assert all(client.fetch(name, tag).content == pushed.data for tag in tags)


def test_tags_in_the_query_are_set_together_or_not_at_all(client: Checked, name: str) -> None:
    """Pushing Manifests: with a tag outside the grammar among them, the request is refused whole."""
    pushed = client.image(name, "tagged")
    refused(client.put_manifest(name, pushed, params={"tag": ["good", ".bad"]}), 400, "TAG_INVALID")
    assert client.tags(name) == []


def test_too_many_tags_may_be_refused(client: Checked, name: str) -> None:
    """Pushing Manifests: too many tags in one request may be refused, by 414 or by an error that says why."""
    pushed = client.image(name, "tagged")
    answer = client.put_manifest(name, pushed, params={"tag": [f"t{number}" for number in range(1000)]})
    assert answer.status_code in (400, 414, 431)
    assert client.tags(name) == []


@pytest.mark.parametrize("path", ["manifests/latest", "manifests/" + unknown(), "tags/list", "blobs/" + unknown()])
def test_pulling_from_a_nonexistent_repository_must_be_404(client: Checked, name: str, path: str) -> None:
    """Pushing Manifests: an attempt to pull from a repository that does not exist gets 404."""
    answer = client.get(f"/v2/{name}/{path}")
    assert answer.status_code == 404
    assert codes(answer) <= {"NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"}


def padded(config: dict[str, Any], size: int) -> Pushed:
    """A manifest of exactly so many bytes."""
    bare = manifest_of(image_document(config, [], annotations={"padding": ""}))
    document = image_document(config, [], annotations={"padding": "x" * (size - len(bare.data))})
    return manifest_of(document)


def test_pushing_should_support_four_megabytes(client: Checked, name: str, config: dict[str, Any]) -> None:
    """Pushing Manifests: manifests of 4 megabytes can be pushed, and pulled."""
    for size in (4_000_000, LIMIT):
        pushed = client.accepted(name, padded(config, size), "big")
        assert client.fetch(name, "big").content == pushed.data


def test_pushing_beyond_the_limit_should_be_413(client: Checked, name: str, config: dict[str, Any]) -> None:
    """Pushing Manifests: a manifest over the limit gets 413."""
    refused(client.put_manifest(name, padded(config, LIMIT + 1), "big"), 413, "SIZE_INVALID")
    assert client.fetch(name, "big").status_code == 404


def test_pushing_beyond_the_limit_that_is_configured(serve: Serve, name: str) -> None:
    """Pushing Manifests: the limit is the operator's to set."""
    client = serve(limits={"manifestsize": "65536"})
    client.blob(name, b"{}")
    config = describe(b"{}", EMPTY_TYPE)
    client.accepted(name, padded(config, 65536))
    refused(client.put_manifest(name, padded(config, 65537)), 413, "SIZE_INVALID")


def test_sparse_indexes_where_they_are_allowed(serve: Serve, name: str) -> None:
    """Push: a registry may take manifests that name content it has not; ours does so when told to."""
    client = serve(validation={"manifests": {"indexes": {"platforms": "none"}}})
    absent = describe(b"absent", MANIFEST)
    pushed = client.accepted(name, manifest_of(index_document([absent])), "sparse")
    assert client.fetch(name, "sparse").content == pushed.data
    client.blob(name, b"{}")
    document = image_document(describe(b"{}", CONFIG), [describe(b"absent", LAYER)])
    refused(client.put_manifest(name, manifest_of(document)), 400, "MANIFEST_BLOB_UNKNOWN")


def test_sparse_indexes_of_some_platforms(serve: Serve, name: str) -> None:
    """Push: or only for the platforms that are not listed."""
    listed = [{"os": "linux", "architecture": "amd64"}]
    client = serve(validation={"manifests": {"indexes": {"platforms": "list", "platformlist": listed}}})
    absent = describe(b"absent", MANIFEST, platform={"os": "linux", "architecture": "s390x"})
    client.accepted(name, manifest_of(index_document([absent])))
    wanted = describe(b"absent", MANIFEST, platform=listed[0])
    refused(client.put_manifest(name, manifest_of(index_document([absent, wanted]))), 400, "MANIFEST_BLOB_UNKNOWN")


def test_sparse_images_where_they_are_allowed(serve: Serve, name: str) -> None:
    """Push: the same for config and layers."""
    client = serve(validation={"manifests": {"layers": "none"}})
    document = image_document(describe(b"absent config", CONFIG), [describe(b"absent layer", LAYER)])
    pushed = client.accepted(name, manifest_of(document), "sparse")
    assert client.fetch(name, "sparse").content == pushed.data
    refused(client.get(f"/v2/{name}/blobs/{digest_of(b'absent layer')}"), 404, "BLOB_UNKNOWN")
    assert client.blob(name, b"absent layer") == digest_of(b"absent layer")
    assert client.get(f"/v2/{name}/blobs/{digest_of(b'absent layer')}").content == b"absent layer"
