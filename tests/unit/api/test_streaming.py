"""Ranges and conditions of a download (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

from typing import Any

import pytest

from lading.api.request import Request
from lading.api.streaming import RangeUnsatisfiable, byte_range, not_modified
from lading.errors import Invalid

ETAG = '"sha256:abc"'


def request(query: bytes = b"", **headers: str) -> Request:
    pairs = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope: dict[str, Any] = {"method": "GET", "headers": pairs, "query_string": query, "scheme": "http", "client": None}

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    return Request(scope, receive)


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-9", (0, 10)),
        ("bytes=5-", (5, 5)),
        ("bytes=9-9", (9, 1)),
        ("bytes=0-100", (0, 10)),
        ("bytes=-1", (9, 1)),
        ("bytes=-10", (0, 10)),
        ("bytes=-11", (0, 10)),
        ("Bytes = 2-3", (2, 2)),
        ("bytes=0-9999999999999999999", (0, 10)),
        ("bytes=0-0,2-3", None),
        ("items=0-1", None),
        ("", None),
    ],
)
def test_the_part_that_is_asked_for(given: str, part: tuple[int, int] | None) -> None:
    assert byte_range(request(range=given), 10, ETAG) == part


@pytest.mark.parametrize(
    "given",
    ["bytes=10-", "bytes=10-11", "bytes=-0", "bytes=5-4", "bytes=-", "bytes=", "bytes=a-b", "bytes=0x1-2", "bytes=1",
     "bytes=--1", "bytes=0-99999999999999999999", "bytes=\u0031\u00b2-"],
)  # fmt: skip
def test_what_cannot_be_given(given: str) -> None:
    with pytest.raises(RangeUnsatisfiable) as found:
        byte_range(request(range=given), 10, ETAG)
    assert found.value.size == 10


def test_a_part_of_something_else_is_all_of_this() -> None:
    assert byte_range(request(range="bytes=0-0", if_range=ETAG), 10, ETAG) == (0, 1)
    for other in ('"other"', "W/" + ETAG, "Wed, 21 Oct 2015 07:28:00 GMT"):
        assert byte_range(request(range="bytes=0-0", if_range=other), 10, ETAG) is None


@pytest.mark.parametrize("given", [ETAG, "W/" + ETAG, "*", f'"x", {ETAG}', "sha256:abc"])
def test_what_the_client_has_already(given: str) -> None:
    assert not_modified(request(if_none_match=given), ETAG)


@pytest.mark.parametrize("given", ['"x"', "", '"sha256:ab"'])
def test_what_it_has_not(given: str) -> None:
    assert not not_modified(request(if_none_match=given), ETAG)


class TestArguments:
    def test_in_order_and_decoded(self) -> None:
        asked = request(b"tag=a&tag=b%2Fc&empty=&n=1")
        assert asked.arguments() == [("tag", "a"), ("tag", "b/c"), ("empty", ""), ("n", "1")]
        assert (asked.argument("tag"), asked.argument("none")) == ("a", None)

    @pytest.mark.parametrize("query", [b"a=%ff", b"a=\xff", b"&".join([b"a=b"] * 201)])
    def test_what_cannot_be_read(self, query: bytes) -> None:
        with pytest.raises(Invalid, match="query"):
            request(query).arguments()


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a\nb", "é", "a;b"])
def test_an_id_that_is_not_sane_is_replaced(given: str) -> None:
    assert request(x_request_id=given).id != given
    assert request(x_request_id="abc-1.2_3").id == "abc-1.2_3"
