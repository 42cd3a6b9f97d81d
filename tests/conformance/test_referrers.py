"""Distribution spec, "Listing Referrers", "Referrers Tag Schema" and "Enabling the Referrers API"."""

from __future__ import annotations

import pytest

from tests.conformance.content import (
    ALGORITHMS,
    EMPTY_TYPE,
    Checked,
    Pushed,
    describe,
    image_document,
    index_document,
    manifest_of,
    refused,
    unknown,
)
from tests.support.images import CONFIG, INDEX, MANIFEST

SBOM, SIGNATURE = "application/vnd.test.sbom", "application/vnd.test.signature"


def fallback_tag(digest: str) -> str:
    """The tag of the referrers tag schema: algorithm and encoded part, cut to 32 and 64 characters."""
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm[:32]}-{encoded[:64]}"


@pytest.fixture
def subject(client: Checked, name: str) -> Pushed:
    return client.image(name, "the subject")


def test_referrers_must_be_200_with_an_index(client: Checked, name: str, subject: Pushed) -> None:
    """Listing Referrers: 200 and an OCI index, also of nothing, and of what is not there at all."""
    for digest in (subject.digest, unknown(), unknown(algorithm="sha512")):
        answer = client.get(f"/v2/{name}/referrers/{digest}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == INDEX
        assert answer.json() == {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
        assert "oci-filters-applied" not in answer.headers


def test_referrers_must_not_be_404_in_an_unknown_repository(client: Checked, name: str) -> None:
    """Listing Referrers: a registry that has the API does not answer 404."""
    answer = client.get(f"/v2/{name}/never/referrers/{unknown()}")
    assert (answer.status_code, answer.json()["manifests"]) == (200, [])


@pytest.mark.parametrize("bad", ["sha256:abc", "latest", "md5:" + "a" * 32, "sha256:" + "Z" * 64, "sha256"])
def test_referrers_of_an_invalid_digest_must_be_400(client: Checked, name: str, bad: str) -> None:
    """Listing Referrers: a digest with an invalid syntax gets 400."""
    refused(client.get(f"/v2/{name}/referrers/{bad}"), 400, "DIGEST_INVALID")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_referrers_must_be_described(client: Checked, name: str, algorithm: str) -> None:
    """Listing Referrers: type, digest, size, artifactType and annotations of every manifest with that subject."""
    subject = client.image(name, "described", algorithm=algorithm)
    sbom = client.artifact(name, "sbom", SBOM, subject=subject.descriptor())
    image = client.image(name, "image", subject=subject.descriptor(), annotations={"a": "b", "ü": "→"})
    typed = manifest_of(
        index_document([], artifactType=SIGNATURE, subject=subject.descriptor(), annotations={"i": "1"})
    )
    plain = manifest_of(index_document([], subject=subject.descriptor()))
    for index in (typed, plain):
        client.accepted(name, index)
    expected = [
        sbom.descriptor(artifactType=SBOM, annotations={"seed": "sbom"}),
        image.descriptor(artifactType=CONFIG, annotations={"a": "b", "ü": "→"}),
        typed.descriptor(artifactType=SIGNATURE, annotations={"i": "1"}),
        plain.descriptor(),
    ]
    found = client.referrers(name, subject.digest)
    assert sorted(found, key=lambda one: one["digest"]) == sorted(expected, key=lambda one: one["digest"])


@pytest.mark.parametrize("empty", [{}, {"artifactType": ""}])
def test_referrers_artifact_type_must_be_the_configs_where_it_is_empty(
    client: Checked, name: str, subject: Pushed, empty: dict[str, str]
) -> None:
    """Listing Referrers: an image without artifactType has its config's type there; an index has none."""
    client.blob(name, b"{}")
    image = image_document(describe(b"{}", SBOM), [], subject=subject.descriptor(), **empty)
    client.accepted(name, manifest_of(image))
    client.accepted(name, manifest_of(index_document([], subject=subject.descriptor(), **empty)))
    found = {one["mediaType"]: one for one in client.referrers(name, subject.digest)}
    assert found[MANIFEST]["artifactType"] == SBOM
    assert "artifactType" not in found[INDEX]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_referrers_of_every_algorithm(client: Checked, name: str, subject: Pushed, algorithm: str) -> None:
    """Listing Referrers: a referrer is listed by the digest it was pushed by."""
    client.blob(name, b"{}")
    document = image_document(describe(b"{}", EMPTY_TYPE), [], artifactType=SBOM, subject=subject.descriptor())
    referrer = client.accepted(name, manifest_of(document, algorithm))
    assert [one["digest"] for one in client.referrers(name, subject.digest)] == [referrer.digest]


def test_referrers_should_be_filtered(client: Checked, name: str, subject: Pushed) -> None:
    """Listing Referrers: filtered by artifactType, and said so in OCI-Filters-Applied."""
    sbom = client.artifact(name, "sbom", SBOM, subject=subject.descriptor())
    client.artifact(name, "signature", SIGNATURE, subject=subject.descriptor())
    for kind, expected in ((SBOM, [sbom.digest]), ("application/vnd.none", [])):
        answer = client.get(f"/v2/{name}/referrers/{subject.digest}", params={"artifactType": kind})
        assert answer.headers["oci-filters-applied"] == "artifactType"
        assert [one["digest"] for one in answer.json()["manifests"]] == expected


def test_referrers_should_be_filtered_by_the_type_of_a_config(client: Checked, name: str, subject: Pushed) -> None:
    """Listing Referrers: the filter sees the artifactType the descriptor shows."""
    image = client.image(name, "image", subject=subject.descriptor())
    assert [one["digest"] for one in client.referrers(name, subject.digest, artifactType=CONFIG)] == [image.digest]


@pytest.mark.parametrize("filtered", [False, True], ids=["all", "filtered"])
def test_referrers_link_must_lead_to_the_rest(client: Checked, name: str, subject: Pushed, filtered: bool) -> None:
    """Listing Referrers: what does not fit one answer is reached by Link, each descriptor once, the filter kept."""
    pushed = [client.artifact(name, number, SBOM, subject=subject.descriptor()).digest for number in range(7)]
    client.artifact(name, "other", SIGNATURE, subject=subject.descriptor())
    arguments = {"artifactType": SBOM} if filtered else {}
    first = client.get(f"/v2/{name}/referrers/{subject.digest}", params={"n": "3", **arguments})
    assert len(first.json()["manifests"]) == 3
    assert first.headers["link"].endswith('>; rel="next"')
    second = client.get(first.links["next"]["url"])
    assert ("oci-filters-applied" in second.headers) == filtered
    found = [one["digest"] for one in client.referrers(name, subject.digest, n="3", **arguments)]
    assert len(found) == len(set(found)) == (7 if filtered else 8)
    assert set(pushed) <= set(found)


def test_referrers_must_be_paged_where_they_exceed_a_manifest(client: Checked, name: str, subject: Pushed) -> None:
    """Listing Referrers: an answer is no larger than a manifest may be; a Link leads to the rest."""
    for number in range(4):
        client.blob(name, b"{}")
        document = image_document(
            describe(b"{}", EMPTY_TYPE), [], subject=subject.descriptor(), annotations={str(number): "x" * 1_500_000}
        )
        client.accepted(name, manifest_of(document))
    first = client.get(f"/v2/{name}/referrers/{subject.digest}")
    assert len(first.content) <= 4 << 20
    assert "link" in first.headers
    assert len({one["digest"] for one in client.referrers(name, subject.digest)}) == 4


def test_referrers_belong_to_a_repository(client: Checked, name: str, other: str, subject: Pushed) -> None:
    """Listing Referrers: only manifests of the same repository are listed."""
    client.artifact(other, "elsewhere", subject=subject.descriptor())
    assert client.referrers(name, subject.digest) == []
    assert len(client.referrers(other, subject.digest)) == 1


def test_referrers_pushed_by_tag_are_listed_once(client: Checked, name: str, subject: Pushed) -> None:
    """Listing Referrers: a manifest is one referrer however many tags it has."""
    referrer = client.artifact(name, "tagged", tag="one", subject=subject.descriptor())
    client.accepted(name, referrer, "two")
    assert len(client.referrers(name, subject.digest)) == 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_enabling_must_include_what_the_tag_schema_lists(client: Checked, name: str, algorithm: str) -> None:
    """Enabling the Referrers API: manifests listed under the fallback tag count, and each of them once."""
    subject = client.image(name, "subject", algorithm=algorithm)
    listed = client.artifact(name, "listed", SBOM, subject=subject.descriptor())
    new = client.artifact(name, "new", SIGNATURE, subject=subject.descriptor())
    entry = listed.descriptor(artifactType=SBOM, annotations={"seed": "listed"})
    client.accepted(name, manifest_of(index_document([entry])), fallback_tag(subject.digest))
    found = client.referrers(name, subject.digest)
    assert sorted(one["digest"] for one in found) == sorted([listed.digest, new.digest])
    assert entry in found
    assert [one["digest"] for one in client.referrers(name, subject.digest, artifactType=SBOM)] == [listed.digest]


def test_enabling_the_fallback_tag_is_a_tag_like_any_other(client: Checked, name: str, subject: Pushed) -> None:
    """Referrers Tag Schema: clients that know nothing of the API keep their index under its tag, and read it."""
    listed = client.artifact(name, "listed", subject=subject.descriptor())
    index = client.accepted(name, manifest_of(index_document([listed.descriptor()])), fallback_tag(subject.digest))
    assert client.fetch(name, fallback_tag(subject.digest)).content == index.data
    assert fallback_tag(subject.digest) in client.tags(name)


def test_enabling_a_fallback_tag_that_is_no_index_is_ignored(client: Checked, name: str, subject: Pushed) -> None:
    """Referrers Tag Schema: whatever else is tagged that way does not disturb the API."""
    client.image(name, "an image", fallback_tag(subject.digest))
    assert client.referrers(name, subject.digest) == []


def test_listed_manifests_must_have_the_subject(client: Checked, name: str, subject: Pushed) -> None:
    """Enabling the Referrers API: what is listed has a valid subject field; what merely claims so is left out."""
    without = client.artifact(name, "no subject at all")
    other = client.artifact(name, "another subject", subject=without.descriptor())
    entries = [without.descriptor(artifactType=SBOM), other.descriptor(artifactType=SBOM)]
    client.accepted(name, manifest_of(index_document(entries)), fallback_tag(subject.digest))
    assert client.referrers(name, subject.digest) == []
