"""Distribution spec, "Pushing a blob in chunks": POST, PATCH …, PUT, and asking where one was."""

from __future__ import annotations

import re

import httpx2
import pytest

from tests.conformance.content import ALGORITHMS, OCTETS, Checked, digest_of, refused

FIRST, SECOND, LAST = b"the first chunk, ", b"the second one, ", b"and the last"
WHOLE = FIRST + SECOND + LAST


def progressed(answer: httpx2.Response, arrived: int, status: int = 202) -> str:
    """A chunk was taken; the next location."""
    assert answer.status_code == status, answer.text
    assert answer.headers["range"] == f"0-{max(0, arrived - 1)}"
    return answer.headers["location"]


@pytest.mark.parametrize("ranges", [True, False], ids=["content-range", "no-range"])
@pytest.mark.parametrize("last_in_put", [True, False], ids=["put", "patch"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_chunks_must_answer_202_with_location_and_range(
    client: Checked, name: str, algorithm: str, ranges: bool, last_in_put: bool
) -> None:
    """In chunks: each PATCH answers 202 with Location and Range; the last chunk may come with PATCH or PUT."""
    location, arrived = client.session(name, **{"digest-algorithm": algorithm}), 0
    for chunk in (FIRST, SECOND) if last_in_put else (FIRST, SECOND, LAST):
        answer = client.chunk(location, chunk, arrived if ranges else None)
        arrived += len(chunk)
        location = progressed(answer, arrived)
    digest = digest_of(WHOLE, algorithm)
    rest = LAST if last_in_put else b""
    done = client.finish(location, digest, rest, arrived if ranges and rest else None)
    assert done.status_code == 201
    assert client.get(done.headers["location"]).content == WHOLE


def test_chunks_the_closing_put_may_have_no_length(client: Checked, name: str) -> None:
    """In chunks: the body of the closing PUT is optional."""
    location = progressed(client.chunk(client.session(name), WHOLE, 0), len(WHOLE))
    url = httpx2.URL(location).copy_merge_params({"digest": digest_of(WHOLE)})
    assert client.send(client.build_request("PUT", url)).status_code == 201


def test_chunks_may_be_sent_without_a_length(client: Checked, name: str) -> None:
    """In chunks: a PATCH in HTTP's chunked coding, with and without Content-Range."""
    answer = client.patch(client.session(name), content=iter([FIRST, SECOND]), headers=OCTETS)
    location = progressed(answer, len(FIRST + SECOND))
    answer = client.patch(
        location,
        content=iter([LAST[:4], LAST[4:]]),
        headers={**OCTETS, "content-range": f"{len(FIRST + SECOND)}-{len(WHOLE) - 1}"},
    )
    location = progressed(answer, len(WHOLE))
    assert client.finish(location, digest_of(WHOLE)).status_code == 201


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_chunks_digest_algorithm_is_a_hint(client: Checked, name: str, algorithm: str) -> None:
    """In chunks: clients should name the algorithm at POST; one that did not is served all the same."""
    other = next(one for one in ALGORITHMS if one != algorithm)
    for hint in ({}, {"digest-algorithm": other}):
        location = progressed(client.chunk(client.session(name, **hint), FIRST, 0), len(FIRST))
        done = client.finish(location, digest_of(FIRST + SECOND, algorithm), SECOND)
        assert done.status_code == 201
        assert client.get(done.headers["location"]).content == FIRST + SECOND


def test_chunks_min_length_is_a_number_if_it_is_told(client: Checked, name: str) -> None:
    """In chunks: OCI-Chunk-Min-Length is a size in bytes; without it, any size will do."""
    begun = client.start(name)
    assert re.fullmatch(r"\d*", begun.headers.get("oci-chunk-min-length", ""))
    location = begun.headers["location"]
    for place, byte in enumerate(FIRST):
        location = progressed(client.chunk(location, bytes([byte]), place), place + 1)
    assert client.finish(location, digest_of(FIRST)).status_code == 201


@pytest.mark.parametrize("first", [0, 1, len(FIRST) - 1, len(FIRST) + 1, 10**9])
def test_chunks_out_of_order_must_be_416(client: Checked, name: str, first: int) -> None:
    """In chunks: a PATCH that does not continue gets 416, and the upload goes on from where it was."""
    location = progressed(client.chunk(client.session(name), FIRST, 0), len(FIRST))
    refused(client.chunk(location, SECOND, first), 416, "RANGE_INVALID")
    location = progressed(client.get(location), len(FIRST), 204)
    location = progressed(client.chunk(location, SECOND, len(FIRST)), len(FIRST + SECOND))
    assert client.finish(location, digest_of(WHOLE), LAST).status_code == 201


def test_chunks_the_first_must_begin_with_zero(client: Checked, name: str) -> None:
    """In chunks: the first chunk's range begins with 0."""
    location = client.session(name)
    refused(client.chunk(location, FIRST, 1), 416, "RANGE_INVALID")
    progressed(client.chunk(location, FIRST, 0), len(FIRST))


def test_chunks_the_last_out_of_order_must_be_416(client: Checked, name: str) -> None:
    """In chunks: a last chunk in the closing PUT that does not continue gets 416, and may be sent again."""
    location = progressed(client.chunk(client.session(name), FIRST, 0), len(FIRST))
    for first in (0, len(FIRST) - 1, len(FIRST) + 1):
        refused(client.finish(location, digest_of(FIRST + LAST), LAST, first), 416, "RANGE_INVALID")
    assert client.finish(location, digest_of(FIRST + LAST), LAST, len(FIRST)).status_code == 201


@pytest.mark.parametrize("bad", ["", "abc", "1", "-5", "5-", "0-", "a-b", "0-5-9", "items 0-16", "-1--1", "0x0-0x10"])
def test_chunks_the_range_must_match_the_grammar(client: Checked, name: str, bad: str) -> None:
    """In chunks: a Content-Range that is not two numbers is refused, and nothing of the chunk is kept."""
    location = client.session(name)
    answer = client.patch(location, content=FIRST, headers={**OCTETS, "content-range": bad})
    assert answer.status_code in (400, 416)
    progressed(client.get(location), 0, 204)


@pytest.mark.parametrize("form", ["{}-{}", "bytes {}-{}/*", "bytes={}-{}"])
def test_chunks_the_range_may_be_written_as_http_does(client: Checked, name: str, form: str) -> None:
    """In chunks: clients that write Content-Range with its unit, as RFC 9110 has it, are understood."""
    answer = client.patch(
        client.session(name), content=FIRST, headers={**OCTETS, "content-range": form.format(0, len(FIRST) - 1)}
    )
    progressed(answer, len(FIRST))


@pytest.mark.parametrize("arrived", [0, 1, len(FIRST)])
def test_status_must_be_204_with_location_and_range(client: Checked, name: str, arrived: int) -> None:
    """In chunks: GET of the location answers 204 with Location and the last byte that arrived."""
    location = client.session(name)
    if arrived:
        location = progressed(client.chunk(location, FIRST[:arrived], 0), arrived)
    answer = client.get(location)
    location = progressed(answer, arrived, 204)
    assert answer.content == b""
    rest = WHOLE[arrived:]
    assert client.finish(location, digest_of(WHOLE), rest, arrived).status_code == 201


def test_status_by_any_earlier_location(client: Checked, name: str) -> None:
    """In chunks: the status may be asked at the location of any earlier POST or PATCH."""
    begun = client.session(name)
    second = progressed(client.chunk(begun, FIRST), len(FIRST))
    third = progressed(client.chunk(second, SECOND), len(FIRST + SECOND))
    for location in (begun, second, third):
        progressed(client.get(location), len(FIRST + SECOND), 204)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_chunks_may_go_on_at_an_earlier_location(client: Checked, name: str, algorithm: str) -> None:
    """In chunks: clients should use the newest location; one that keeps the first is not handed other bytes."""
    begun = client.session(name, **{"digest-algorithm": algorithm})
    progressed(client.chunk(begun, FIRST), len(FIRST))
    progressed(client.chunk(begun, SECOND), len(FIRST + SECOND))
    done = client.finish(begun, digest_of(WHOLE, algorithm), LAST)
    assert done.status_code == 201
    assert client.get(done.headers["location"]).content == WHOLE


def test_chunks_of_nothing(client: Checked, name: str) -> None:
    """In chunks: a PATCH without bytes changes nothing."""
    location = progressed(client.chunk(client.session(name), b""), 0)
    location = progressed(client.chunk(location, FIRST), len(FIRST))
    location = progressed(client.chunk(location, b""), len(FIRST))
    assert client.finish(location, digest_of(FIRST)).status_code == 201


def test_a_finished_session_is_gone(client: Checked, name: str) -> None:
    """In chunks: PUT closes the session; nothing can be added to it."""
    location = client.session(name)
    assert client.finish(location, digest_of(WHOLE), WHOLE).status_code == 201
    refused(client.get(location), 404, "BLOB_UPLOAD_UNKNOWN")
    refused(client.chunk(location, FIRST), 404, "BLOB_UPLOAD_UNKNOWN")


def test_chunks_that_make_another_digest_are_refused(client: Checked, name: str) -> None:
    """In chunks: the digest is that of the whole blob, not of the last chunk."""
    location = progressed(client.chunk(client.session(name), FIRST), len(FIRST))
    refused(client.finish(location, digest_of(LAST), LAST), 400, "DIGEST_INVALID")
    assert client.head(f"/v2/{name}/blobs/{digest_of(LAST)}").status_code == 404
