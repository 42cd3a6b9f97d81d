"""Names of repositories and tags."""

from __future__ import annotations

import pytest

from lading.errors import NameInvalid, TagInvalid
from lading.oci import reference

GOOD_NAMES = [
    "a",
    "0",
    "nginx",
    "library/nginx",
    "a/b/c/d/e/f/g",
    "a.b",
    "a_b",
    "a__b",
    "a-b",
    "a--b",
    "a-----b",
    "foo.bar-baz__qux/1.2.3",
    "x" * 255,
    "/".join("a" * 128),
]
BAD_NAMES = [
    "",
    "A",
    "Nginx",
    "library/Nginx",
    "/nginx",
    "nginx/",
    "a//b",
    ".a",
    "a.",
    "a..b",
    "_a",
    "a_",
    "a___b",
    "-a",
    "a-",
    "a._b",
    "a.-b",
    "a/../b",
    "..",
    ".",
    "a/.",
    "a b",
    "a\n",
    "a\x00",
    "a%2fb",
    "a:b",
    "a@b",
    "a\\b",
    "é",
    "a\u0660",
    "x" * 256,
    "a/_uploads",
    "a/_layers/b",
]
GOOD_TAGS = ["latest", "v1", "1.0", "_", "_x", "A", "a-b_c.d", "x" * 128, "0", "a..b", "a--"]
BAD_TAGS = ["", ".a", "-a", "x" * 129, "a b", "a/b", "a:b", "a@b", "a\n", "a\x00", "é", "a+b", "..", "."]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_name(name: str) -> None:
    assert reference.is_name(name)
    assert reference.repository(name) == name


@pytest.mark.parametrize("name", BAD_NAMES)
def test_no_name(name: str) -> None:
    assert not reference.is_name(name)
    with pytest.raises(NameInvalid):
        reference.repository(name)


@pytest.mark.parametrize("tag", GOOD_TAGS)
def test_a_tag(tag: str) -> None:
    assert reference.is_tag(tag)
    assert reference.tag(tag) == tag


@pytest.mark.parametrize("tag", BAD_TAGS)
def test_no_tag(tag: str) -> None:
    assert not reference.is_tag(tag)
    with pytest.raises(TagInvalid):
        reference.tag(tag)


def test_a_long_name_is_told_its_length() -> None:
    with pytest.raises(NameInvalid, match="300 characters long; the longest allowed is 255"):
        reference.repository("x" * 300)


def test_a_complaint_about_a_tag_is_short() -> None:
    with pytest.raises(TagInvalid) as found:
        reference.tag("x" * 1_000_000)
    assert len(found.value.message) < 500


def test_a_name_cannot_make_the_grammar_slow() -> None:
    """A pattern that backtracks would take years over these."""
    for awkward in ("a-" * 127 + "!", "a" * 254 + "!", "a__" * 84 + "_", "/".join(["a--"] * 60)):
        assert not reference.is_name(awkward)
