"""Which part of a list a caller asks for: ``q``, ``sort`` and pages."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.api.harbor.query import conditions, links, page_of, sorts
from lading.api.request import Request
from lading.errors import Invalid
from lading.stores.metadata.paging import Match, Page


def request(query: str, path: str = "/api/v2.0/projects") -> Request:
    async def receive() -> dict[str, Any]:
        raise AssertionError("nothing is read")

    scope: dict[str, Any] = {
        "method": "GET",
        "headers": [],
        "query_string": query.encode(),
        "raw_path": path.encode(),
        "path": path,
        "client": None,
    }
    return Request(scope, receive)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ()),
        ("name=library", (Match("name", "is", ("library",)),)),
        ("name=a=b", (Match("name", "is", ("a=b",)),)),
        ("name=~lib", (Match("name", "like", ("lib",)),)),
        ("name=\\~lib", (Match("name", "is", ("~lib",)),)),
        ("size=[1~9]", (Match("size", "between", ("1", "9")),)),
        ("size=[~9]", (Match("size", "between", (None, "9")),)),
        ("size=[1~]", (Match("size", "between", ("1", None)),)),
        ('time=["2020-04-09 02:36:00"~]', (Match("time", "between", ("2020-04-09 02:36:00", None)),)),
        ("id={1 2  3}", (Match("id", "any", ("1", "2", "3")),)),
        ("labels=(1 2)", (Match("labels", "all", ("1", "2")),)),
        ("name='x'", (Match("name", "is", ("'x'",)),)),
        ("a=1,b=~2", (Match("a", "is", ("1",)), Match("b", "like", ("2",)))),
        ("tags%3Dnil", (Match("tags", "is", ("nil",)),)),
    ],
)
def test_conditions(text: str, found: tuple[Match, ...]) -> None:
    assert conditions(text) == found


@pytest.mark.parametrize(
    "text",
    ["name", "=x", "name=", "name=~", "s=[1]", "s=[~]", "s=[1~2~3]", "s=[1~2", "s={", "s={}", "s=(1", "a=1,,b=2"],
)
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(Invalid):
        conditions(text)


@given(st.text(max_size=60))
def test_any_text_is_conditions_or_invalid(text: str) -> None:
    try:
        found = conditions(text)
    except Invalid:
        return
    assert all(match.field and match.values and any(match.values) for match in found)


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.from_regex(r"[A-Za-z0-9/.:-]{1,12}", fullmatch=True)
        ),
        max_size=8,
    )
)
def test_exact_conditions_come_back(pairs: list[tuple[str, str]]) -> None:
    text = ",".join(f"{name}={value}" for name, value in pairs)
    assert conditions(quote(text)) == tuple(Match(name, "is", (value,)) for name, value in pairs)


def test_sorts() -> None:
    assert sorts("name,-update_time, +id") == (("name", False), ("update_time", True), ("id", False))
    assert sorts("") == ()
    for text in ("-", "a,", ",".join("abcdefghi")):
        with pytest.raises(Invalid):
            sorts(text)


def test_pages() -> None:
    assert page_of(request("")) == Page(1, 10)
    assert page_of(request("page=0&page_size=0")) == Page(1, 1000), "harbor-cli asks for all"
    assert page_of(request("page=3&page_size=100&sort=-name")) == Page(3, 100, (), (("name", True),))
    for query in ("page_size=101", "page=-1", "page=x", "page=9999999999999999999"):
        with pytest.raises(Invalid, match="whole number"):
            page_of(request(query))


@given(st.integers(1, 30), st.integers(1, 100), st.integers(0, 400))
def test_links_lead_to_the_pages_that_are_there(number: int, size: int, total: int) -> None:
    asked = request(f"q=name%3D~a&page={number}&page_size={size}")
    header = links(asked, Page(number, size), total)
    found = {rel: int(page) for page, rel in re.findall(r"[?&]page=(\d+)&page_size=\d+>; rel=\"(\w+)\"", header)}
    last = -(-total // size)
    assert found.get("next") == (number + 1 if number < last else None)
    assert found.get("prev") == (number - 1 if number > 1 and number - 1 <= last else None)
    assert header.count("q=name%3D~a") == len(found)
