"""Names, digests, tickets and manifests, whatever is written in them."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lading.errors import DigestInvalid, ManifestInvalid, NameInvalid, TagInvalid
from lading.oci import mediatypes, reference
from lading.oci.digest import ALGORITHMS, Digest
from lading.oci.hasher import hasher, resume
from lading.oci.manifest import Manifest, parse
from lading.registry.uploads import Tickets, UploadInvalid
from lading.stores.blobs.base import UploadState

NAMES = st.from_regex(
    r"[a-z0-9]{1,9}((\.|_|__|-{1,3})[a-z0-9]{1,9}){0,3}(/[a-z0-9]{1,9}((\.|_|__|-)[a-z0-9]{1,9}){0,2}){0,4}",
    fullmatch=True,
)
TAGS = st.from_regex(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", fullmatch=True)
DIGESTS = st.builds(Digest.of, st.binary(max_size=20), st.sampled_from(ALGORITHMS))
TYPES = st.sampled_from(sorted(mediatypes.MANIFESTS | mediatypes.SCHEMA1 | {"", "application/json", "text/plain"}))

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    [
        "schemaVersion",
        "mediaType",
        "artifactType",
        "config",
        "layers",
        "manifests",
        "subject",
        "annotations",
        "fsLayers",
    ]
)
DESCRIPTORS = st.fixed_dictionaries(
    {},
    optional={
        "mediaType": st.sampled_from(["a/b", mediatypes.OCI_CONFIG]) | JSON,
        "digest": DIGESTS | JSON,
        "size": st.integers() | JSON,
        "urls": st.lists(st.text()) | JSON,
        "annotations": JSON,
        "data": JSON,
        "platform": st.fixed_dictionaries({}, optional={"os": st.text(), "os.features": JSON}) | JSON,
    },
)
DOCUMENTS = st.dictionaries(FIELDS, JSON | DESCRIPTORS | st.lists(DESCRIPTORS, max_size=3) | st.just(2) | TYPES)


@given(NAMES)
def test_a_name_is_taken_as_it_is(name: str) -> None:
    assert reference.repository(name) == name


@given(TAGS)
def test_a_tag_is_taken_as_it_is(tag: str) -> None:
    assert reference.tag(tag) == tag


@given(NAMES, TAGS, DIGESTS)
def test_a_reference_is_taken_apart_as_it_was_put_together(name: str, tag: str, digest: Digest) -> None:
    """No part can hold the character that ends it, so paths and references have one reading."""
    path = f"/v2/{name}/manifests/{tag}"
    before, _, after = path.removeprefix("/v2/").rpartition("/manifests/")
    assert (reference.repository(before), reference.tag(after)) == (name, tag)
    assert f"{name}:{tag}@{digest}".partition("@")[2] == digest
    assert ":" not in tag
    assert Digest.parse(str(digest)) == digest
    assert f"{digest.algorithm}:{digest.hex}" == digest


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_whatever_is_taken_is_harmless_in_a_path(text: str) -> None:
    with contextlib.suppress(NameInvalid):
        assert not {"", ".", ".."} & set(reference.repository(text).split("/"))
        assert text.isascii()
        assert text.isprintable()
    with contextlib.suppress(TagInvalid):
        assert "/" not in reference.tag(text)
        assert text not in (".", "..")
        assert text.isprintable()
    with contextlib.suppress(DigestInvalid):
        assert Digest.parse(text).hex.isalnum()


@given(st.lists(st.binary(max_size=300), max_size=12), st.sampled_from(ALGORITHMS))
def test_a_hash_taken_up_after_every_chunk(chunks: list[bytes], name: str) -> None:
    hashing = hasher(name)
    for chunk in chunks:
        hashing.update(chunk)
        state = hashing.save()
        assert state is not None
        taken_up = resume(name, state)
        assert taken_up is not None
        hashing = taken_up
    assert hashing.digest() == Digest.of(b"".join(chunks), name)


@given(NAMES, st.uuids().map(str), st.sampled_from(ALGORITHMS), st.integers(0, 1 << 62), st.none() | st.binary())
def test_a_ticket_comes_back_as_it_went(name: str, uuid: str, algorithm: str, hashed: int, state: bytes | None) -> None:
    told = UploadState(name, uuid, algorithm, hashed, state)
    assert Tickets(b"secret").read(name, uuid, Tickets(b"secret").write(told)) == told


@given(st.text(min_size=1))
def test_nobody_makes_up_a_ticket(text: str) -> None:
    with pytest.raises(UploadInvalid):
        Tickets(b"secret").read("a", "b", text)


def parsed(raw: bytes, content_type: str) -> Manifest | ManifestInvalid:
    try:
        return parse(raw, content_type)
    except ManifestInvalid as error:
        return error


def sound(raw: bytes, content_type: str) -> Manifest | None:
    """What ``parse`` makes of it; nothing but ``ManifestInvalid`` may be raised, with a message one can show."""
    found = parsed(raw, content_type)
    if isinstance(found, ManifestInvalid):
        found.message.encode()
        assert 0 < len(found.message) < 2000
        return None
    assert found.raw == raw
    assert found.digest == Digest.of(raw)
    assert found.media_type in mediatypes.MANIFESTS
    assert bool(found.children) <= (found.media_type in mediatypes.INDEXES)
    for each in (*found.blobs(), *found.children):
        Digest.parse(each.digest)
        assert 0 <= each.size < 1 << 63
    found.urls()
    return found


@settings(max_examples=300)
@given(st.binary(), TYPES)
def test_any_bytes(raw: bytes, content_type: str) -> None:
    sound(raw, content_type)


@settings(max_examples=500)
@given(DOCUMENTS, TYPES)
def test_any_document(document: dict[str, Any], content_type: str) -> None:
    sound(json.dumps(document).encode(), content_type)


@settings(max_examples=500)
@given(st.data(), TYPES)
def test_a_good_manifest_with_bytes_changed(data: st.DataObject, content_type: str) -> None:
    config = {"mediaType": mediatypes.OCI_CONFIG, "digest": Digest.of(b"{}"), "size": 2}
    layer = {"mediaType": "a/b", "digest": Digest.of(b"x"), "size": 1, "urls": ["http://a/b"]}
    good = {"schemaVersion": 2, "config": config, "layers": [layer], "annotations": {"a": "\N{ANCHOR}"}}
    raw = bytearray(json.dumps(good, ensure_ascii=False).encode())
    assert sound(bytes(raw), "") is not None
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    sound(bytes(raw), content_type)
