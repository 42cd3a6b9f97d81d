"""Distribution spec, "Content Management": deleting tags, manifests and blobs, and refusing to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.conftest import Serve
from tests.conformance.content import ALGORITHMS, Checked, codes, refused, unknown
from tests.support.lading import Lading


def test_deleting_tags_must_answer_202(client: Checked, name: str) -> None:
    """Deleting tags: 202, and then 404; the manifest and its other tags stay."""
    pushed = client.image(name, "tagged", "one")
    client.accepted(name, pushed, "two")
    assert client.delete(f"/v2/{name}/manifests/one").status_code == 202
    refused(client.fetch(name, "one"), 404, "MANIFEST_UNKNOWN")
    assert client.fetch(name, "two").content == pushed.data
    assert client.fetch(name, pushed.digest).content == pushed.data
    assert client.tags(name) == ["two"]


def test_deleting_the_last_tag_leaves_the_manifest(client: Checked, name: str) -> None:
    """Deleting tags: only the tag is deleted."""
    pushed = client.image(name, "tagged", "only")
    assert client.delete(f"/v2/{name}/manifests/only").status_code == 202
    assert client.fetch(name, pushed.digest).content == pushed.data
    assert client.tags(name) == []


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_deleting_manifests_must_answer_202(client: Checked, name: str, algorithm: str) -> None:
    """Deleting Manifests: 202, and then 404 for the digest and for every tag on it."""
    pushed, other = client.image(name, "goes", algorithm=algorithm), client.image(name, "stays", "stays")
    client.put_manifest(name, pushed, params={"tag": ["a", "b"]})
    assert client.delete(f"/v2/{name}/manifests/{pushed.digest}").status_code == 202
    for reference in (pushed.digest, "a", "b"):
        refused(client.fetch(name, reference), 404, "MANIFEST_UNKNOWN")
    assert client.tags(name) == ["stays"]
    assert client.fetch(name, "stays").content == other.data


def test_deleting_a_manifest_in_one_repository(client: Checked, name: str, other: str) -> None:
    """Deleting Manifests: the same manifest in another repository stays."""
    pushed = client.image(name, "both")
    client.image(other, "both", "kept")
    assert client.delete(f"/v2/{name}/manifests/{pushed.digest}").status_code == 202
    assert client.fetch(other, pushed.digest).content == pushed.data
    assert client.fetch(other, "kept").content == pushed.data


def test_deleted_manifests_can_be_pushed_again(client: Checked, name: str) -> None:
    """Deleting Manifests: deleting is no ban."""
    pushed = client.image(name, "again", "t")
    client.delete(f"/v2/{name}/manifests/{pushed.digest}")
    client.accepted(name, pushed, "t")
    assert client.fetch(name, "t").content == pushed.data


@pytest.mark.parametrize("reference", ["nothere", unknown(), unknown(algorithm="sha512")])
def test_deleting_what_is_not_there_must_be_404(client: Checked, name: str, reference: str) -> None:
    """Deleting Manifests: 404 in a repository that does not exist, and for what is not in one that does."""
    client.image(name, "here", "here")
    refused(client.delete(f"/v2/{name}/manifests/{reference}"), 404, "MANIFEST_UNKNOWN")
    refused(client.delete(f"/v2/{name}/never/manifests/{reference}"), 404, "NAME_UNKNOWN")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_deleting_blobs_must_answer_202(client: Checked, name: str, algorithm: str) -> None:
    """Deleting Blobs: 202, and then 404; it may be pushed again."""
    data = f"to be deleted {name}".encode()
    digest = client.blob(name, data, algorithm)
    assert client.delete(f"/v2/{name}/blobs/{digest}").status_code == 202
    refused(client.get(f"/v2/{name}/blobs/{digest}"), 404, "BLOB_UNKNOWN")
    client.blob(name, data, algorithm)
    assert client.get(f"/v2/{name}/blobs/{digest}").content == data


def test_deleting_an_unknown_blob_must_be_404(client: Checked, name: str) -> None:
    """Deleting Blobs: 404 for a blob, or a repository, that is not there."""
    client.blob(name, b"something")
    refused(client.delete(f"/v2/{name}/blobs/{unknown()}"), 404, "BLOB_UNKNOWN")
    assert client.delete(f"/v2/{name}/never/blobs/{unknown()}").status_code == 404


@pytest.mark.parametrize("kind", ["manifests/a-tag", "manifests/{}", "blobs/{}"])
@pytest.mark.parametrize("how", ["delete", "readonly"])
def test_deleting_where_it_is_disabled_must_be_400_or_405(serve: Serve, name: str, kind: str, how: str) -> None:
    """Deleting tags, manifests, blobs: where it is disabled, 400 or 405, whether the content is there or not."""
    storage = {"delete": {"enabled": False}} if how == "delete" else {"maintenance": {"readonly": {"enabled": True}}}
    client = serve(storage=storage)
    refused(client.delete(f"/v2/{name}/{kind.format(unknown())}"), 405, "UNSUPPORTED")


def test_deleting_is_disabled_unless_it_is_enabled(tmp_path: Path) -> None:
    """Content Management: as in registry:2, nothing can be deleted unless the configuration says so, and what is there stays."""
    with Lading(tmp_path, {"storage": {"delete": None}}) as server, Checked(server) as client:
        pushed = client.image("kept", "kept", "t")
        blob = client.blob("kept", b"kept")
        for path in ("manifests/t", f"manifests/{pushed.digest}", f"blobs/{blob}"):
            refused(client.delete(f"/v2/kept/{path}"), 405, "UNSUPPORTED")
        assert client.fetch("kept", "t").content == pushed.data


def test_read_only_refuses_pushes_and_serves_pulls(tmp_path: Path) -> None:
    """Content Management, as registry:2 has it: a read-only registry takes nothing, by 405, and hands out all."""
    server = Lading(tmp_path, {})
    with server, Checked(server) as client:
        pushed = client.image("kept", "kept", "t")
        location = client.session("kept")
    server.configure({"storage": {"maintenance": {"readonly": {"enabled": True}}}})
    with server, Checked(server) as client:
        for answer in (
            client.start("kept"),
            client.chunk(location, b"more"),
            client.finish(location, unknown()),
            client.put_manifest("kept", pushed),
            client.put_manifest("kept", pushed, "new"),
        ):
            assert answer.status_code == 405
            assert codes(answer) == {"UNSUPPORTED"}
        assert client.fetch("kept", "t").content == pushed.data
        assert client.tags("kept") == ["t"]
