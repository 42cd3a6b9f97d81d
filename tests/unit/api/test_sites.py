"""Whether a browser asks for a page of somebody else's."""

from __future__ import annotations

from typing import Any

import pytest

from lading.api.request import Request
from lading.api.sites import demand_own_page, foreign
from lading.errors import Denied

EXTERNAL = "https://Registry.Example.com/prefix"


def request(**headers: str) -> Request:
    async def receive() -> dict[str, Any]:
        raise AssertionError("nothing is read")

    given = {"host": "Inside.example:5000", **headers}
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in given.items()]
    scope = {"method": "POST", "scheme": "http", "headers": raw, "query_string": b"", "client": None}
    return Request(scope, receive)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
        {"sec_fetch_site": "Same-Origin", "origin": "http://inside.example:5000"},
        {"origin": "HTTP://INSIDE.example:5000"},
        {"origin": "https://registry.example.com"},
        {"origin": "https://other.example", "x_forwarded_proto": "https", "x_forwarded_host": "other.example"},
    ],
)
def test_programs_and_our_own_pages(headers: dict[str, str]) -> None:
    assert foreign(request(**headers), EXTERNAL) == ""
    demand_own_page(request(**headers), EXTERNAL)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": ""},
        {"sec_fetch_site": "cross-site", "origin": "http://inside.example:5000"},
        {"sec_fetch_site": "same-origin", "origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://"},
        {"origin": "https://inside.example:5000"},
        {"origin": "http://inside.example"},
        {"origin": "https://registry.example.com.evil.example"},
        {"origin": "https://registry.example.com/prefix"},
    ],
)
def test_pages_of_others(headers: dict[str, str]) -> None:
    assert foreign(request(**headers), EXTERNAL)
    with pytest.raises(Denied, match="own pages"):
        demand_own_page(request(**headers), EXTERNAL)


def test_without_a_known_address_and_without_a_host() -> None:
    assert foreign(request(origin="https://registry.example.com"), "")
    assert foreign(request(host="", origin="://"), "")
    assert foreign(request(host="", origin=""), "")
