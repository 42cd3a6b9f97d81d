"""Distribution spec, "Mounting a blob from another repository"."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests.conformance.content import ALGORITHMS, Checked, refused, unknown

DATA = b"a blob to be mounted elsewhere"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_mounting_must_answer_201_with_a_location(client: Checked, name: str, other: str, algorithm: str) -> None:
    """Mounting: 201 with the Location of the blob in the other repository, from where it can be pulled."""
    digest = client.blob(other, DATA + name.encode(), algorithm)
    answer = client.start(name, mount=digest, **{"from": other})
    assert answer.status_code == 201
    assert urlsplit(answer.headers["location"]).path == f"/v2/{name}/blobs/{digest}"
    assert answer.headers["docker-content-digest"] == digest
    assert client.get(answer.headers["location"]).content == DATA + name.encode()


def test_mounting_may_leave_out_from(client: Checked, name: str, other: str) -> None:
    """Mounting: without ``from``, a blob that is anywhere is mounted."""
    digest = client.blob(other, b"anywhere " + name.encode())
    answer = client.start(name, mount=digest)
    assert answer.status_code == 201
    assert client.head(f"/v2/{name}/blobs/{digest}").status_code == 200


@pytest.mark.parametrize("source", ["", "there-is-no/such-repository", "empty"])
def test_mounting_what_is_not_there_should_begin_an_upload(client: Checked, name: str, other: str, source: str) -> None:
    """Mounting: a blob that cannot be mounted gets 202, and the upload that was begun may go on."""
    client.blob(other, b"nothing that is wanted")
    data = f"never pushed {name}".encode()
    digest = unknown(name) if source else ""
    arguments = {"from": other if source == "empty" else source} if source else {}
    begun = client.start(name, mount=digest or unknown(name), **arguments)
    assert begun.status_code == 202
    from_here = client.blob(name, data)
    assert client.finish(begun.headers["location"], from_here, data).status_code == 201


def test_mounting_from_itself(client: Checked, name: str) -> None:
    """Mounting: from the repository where it is already."""
    digest = client.blob(name, DATA)
    assert client.start(name, mount=digest, **{"from": name}).status_code == 201


def test_mounting_looks_where_it_is_told_to(client: Checked, name: str, other: str) -> None:
    """Mounting: a blob is taken from the repository that was named, not from another one."""
    digest = client.blob(f"{name}/third", b"elsewhere " + name.encode())
    assert client.start(name, mount=digest, **{"from": other}).status_code == 202
    assert client.head(f"/v2/{name}/blobs/{digest}").status_code == 404


def test_mounting_from_a_name_outside_the_grammar(client: Checked, name: str) -> None:
    """Mounting: ``from`` is a repository's name."""
    refused(client.start(name, mount=unknown(), **{"from": "../Other"}), 400, "NAME_INVALID")


def test_a_mounted_blob_outlives_its_source(client: Checked, name: str, other: str) -> None:
    """Mounting: the blob is the second repository's own; deleting it in the first changes nothing there."""
    digest = client.blob(other, DATA + b" that stays")
    client.start(name, mount=digest, **{"from": other})
    assert client.delete(f"/v2/{other}/blobs/{digest}").status_code == 202
    assert client.head(f"/v2/{other}/blobs/{digest}").status_code == 404
    assert client.get(f"/v2/{name}/blobs/{digest}").content == DATA + b" that stays"
