"""Distribution spec, "Pushing Manifests with Subject"."""

from __future__ import annotations

import pytest

from tests.conformance.content import ALGORITHMS, Checked, index_document, manifest_of, refused, unknown
from tests.support.images import INDEX, MANIFEST


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_subject_must_be_answered_with_oci_subject(client: Checked, name: str, algorithm: str) -> None:
    """With Subject: a push whose manifest has a subject is answered with OCI-Subject and its digest."""
    subject = client.image(name, "subject", algorithm=algorithm)
    referrer = client.image(name, "referrer", subject=subject.descriptor())
    for reference in (referrer.digest, "by-tag"):
        done = client.put_manifest(name, referrer, reference)
        assert done.headers["oci-subject"] == subject.digest


def test_subject_of_an_index_must_be_answered_too(client: Checked, name: str) -> None:
    """Listing Referrers: an index may have a subject as well."""
    subject = client.image(name, "subject")
    referrer = manifest_of(index_document([], subject=subject.descriptor()))
    assert client.put_manifest(name, referrer).headers["oci-subject"] == subject.digest
    assert [one["digest"] for one in client.referrers(name, subject.digest)] == [referrer.digest]


def test_no_subject_no_header(client: Checked, name: str) -> None:
    """With Subject: the header says that a subject was processed, so it is not there without one."""
    assert "oci-subject" not in client.put_manifest(name, client.image(name, "plain")).headers


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_subject_must_be_accepted_before_it_is_there(client: Checked, name: str, algorithm: str) -> None:
    """Push: a manifest whose subject does not exist is accepted, and listed before and after the subject comes."""
    later = client.image(f"{name}/elsewhere", "later", algorithm=algorithm)
    referrer = client.image(name, "early", subject=later.descriptor())
    assert client.put_manifest(name, referrer).headers["oci-subject"] == later.digest
    assert [one["digest"] for one in client.referrers(name, later.digest)] == [referrer.digest]
    client.image(name, "later", algorithm=algorithm)
    assert [one["digest"] for one in client.referrers(name, later.digest)] == [referrer.digest]


def test_subject_need_not_be_in_any_repository(client: Checked, name: str) -> None:
    """Push: the first push to a repository may have a subject that is nowhere."""
    subject = {"mediaType": INDEX, "digest": unknown(name), "size": 5}
    client.artifact(name, "lonely", subject=subject)
    assert len(client.referrers(name, unknown(name))) == 1


def test_subject_that_is_no_descriptor_is_refused(client: Checked, name: str) -> None:
    """With Subject: a subject is a descriptor."""
    client.blob(name, b"{}")
    for bad in ({}, {"digest": "sha256:abc", "size": 1, "mediaType": MANIFEST}, {"digest": unknown()}, "sha256", [1]):
        pushed = manifest_of(index_document([], subject=bad))
        refused(client.put_manifest(name, pushed), 400, "MANIFEST_INVALID")


def test_subject_does_not_make_the_subject_a_child(client: Checked, name: str) -> None:
    """With Subject: deleting the referrer leaves the subject, and the list is empty again."""
    subject = client.image(name, "subject")
    referrer = client.artifact(name, "gone soon", subject=subject.descriptor())
    assert client.delete(f"/v2/{name}/manifests/{referrer.digest}").status_code == 202
    assert client.referrers(name, subject.digest) == []
    assert client.fetch(name, subject.digest).content == subject.data


def test_subject_deleted_before_its_referrer(client: Checked, name: str) -> None:
    """Deleting Manifests: the referrers of what was deleted are still there, and still listed."""
    subject = client.image(name, "subject")
    referrer = client.artifact(name, "stays", subject=subject.descriptor())
    assert client.delete(f"/v2/{name}/manifests/{subject.digest}").status_code == 202
    assert [one["digest"] for one in client.referrers(name, subject.digest)] == [referrer.digest]
