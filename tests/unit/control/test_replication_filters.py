"""What a policy takes, and what it is called on the other side."""

from __future__ import annotations

import pytest

from lading.control.replication.filters import (
    Filter,
    Held,
    beginning,
    literals,
    matches,
    renamed,
    subject_of,
    takes,
    takes_repository,
)
from lading.errors import Invalid


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("", ["a", "a/b"], []),
        ("library/*", ["library/a"], ["library/a/b", "library", "other/a"]),
        ("library/**", ["library/a", "library/a/b"], ["libraries/a"]),
        ("**", ["a", "a/b/c"], []),
        ("**/app", ["app", "a/app", "a/b/app"], ["a/bapp", "app/a"]),
        ("a/**/b", ["a/b", "a/c/b", "a/c/d/b"], ["ab", "a/cb", "a/b/c"]),
        ("{one,two}/x", ["one/x", "two/x"], ["three/x", "one,two/x"]),
        ("v?.[0-9]*", ["v1.0", "va.9-rc"], ["v1.x", "v12.0"]),
        ("[!v]*", ["x1"], ["v1"]),
        ("a[b-d]e", ["abe", "ade"], ["aee", "abbe"]),
        ("v1.0", ["v1.0"], ["v1x0", "v1.01"]),
        ("a\\*", ["a*"], ["ab"]),
        ("release-*-{arm,x86}", ["release-1-arm", "release--x86"], ["release-1-mips"]),
    ],
)
def test_patterns(pattern: str, fitting: list[str], others: list[str]) -> None:
    assert [text for text in (*fitting, *others) if matches(pattern, text)] == fitting


def test_a_pattern_made_to_be_slow_is_not() -> None:
    assert not matches("*a" * 120 + "b", "a" * 250)  # one that tries every way would never end
    assert matches("**a" * 80, "a" * 250)


@pytest.mark.parametrize("pattern", ["{a", "{a{b}}", "[a", "{a,b}" * 7])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(Invalid):
        matches(pattern, "a")


def test_names_are_known_without_asking_where_there_are_no_wildcards() -> None:
    assert sorted(literals("team/{a,b}") or ()) == ["team/a", "team/b"]
    assert literals("team/*") is None
    assert literals("") is None
    assert [beginning(text) for text in ("team/a*", "team/**", "{a,b}/*", "*")] == ["team/a", "team/", "", ""]


@pytest.mark.parametrize(
    ("repository", "namespace", "replace", "there"),
    [
        ("a/b/c/d", "", 2, "a/b/c/d"),
        ("a/b/c/d", "ns", 0, "ns/a/b/c/d"),
        ("a/b/c/d", "ns", 1, "ns/b/c/d"),
        ("a/b/c/d", "ns", 3, "ns/d"),
        ("a/b/c/d", "ns", 8, "ns/d"),
        ("a/b/c/d", "ns/deep", -1, "ns/deep/d"),
        ("a", "ns", 1, "ns/a"),
    ],
)
def test_the_name_on_the_other_side(repository: str, namespace: str, replace: int, there: str) -> None:
    assert renamed(repository, namespace, replace) == there


def test_all_filters_must_hold() -> None:
    filters = [
        Filter("name", "team/**"),
        Filter("tag", "dev*", "excludes"),
        Filter("label", ["good", "new"]),
        Filter("resource", "image"),
    ]
    good = Held("v1", "sha256:a", "image", frozenset({"good", "new", "more"}))
    assert takes_repository(filters, "team/a/b")
    assert not takes_repository(filters, "other/a")
    assert takes(filters, good)
    assert not takes(filters, Held("dev1", "sha256:a", "image", good.labels))
    assert not takes(filters, Held("v1", "sha256:a", "image", frozenset({"good"})))
    assert not takes(filters, Held("v1", "sha256:a", "artifact", good.labels))
    without = [Filter("label", ["bad"], "excludes")]
    assert takes(without, good)
    assert not takes(without, Held("v1", labels=frozenset({"bad"})))


def test_tags_that_speak_of_a_digest() -> None:
    digest = "a" * 64
    assert subject_of(f"sha256-{digest}.sig") == f"sha256:{digest}"
    assert subject_of(f"sha256-{digest}") == f"sha256:{digest}"
    assert subject_of("sha256-abc.sig") == ""
    assert subject_of("latest") == ""
