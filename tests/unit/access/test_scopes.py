"""The scope grammar."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.access import scopes
from lading.access.scopes import Scope
from lading.errors import Invalid

names = st.from_regex(r"\A[A-Za-z0-9._:/-]{1,40}\Z")
scope_values = st.builds(
    Scope,
    st.from_regex(r"\A[a-z0-9]{1,12}\Z"),
    names,
    st.lists(st.one_of(st.from_regex(r"\A[a-z]{1,8}\Z"), st.just("*")), max_size=4, unique=True).map(tuple),
)


@given(scope_values)
def test_what_is_rendered_parses_to_the_same(scope: Scope) -> None:
    assert scopes.parse(str(scope)) == scope


@given(st.lists(scope_values, max_size=6))
def test_several_survive_the_round_trip_once_merged(several: list[Scope]) -> None:
    merged = scopes.merge(several)
    assert scopes.parse_all(scopes.render(several)) == merged
    assert len({(scope.type, scope.name) for scope in merged}) == len(merged)


@given(st.text(max_size=60))
def test_any_text_parses_to_the_grammar_or_is_invalid(text: str) -> None:
    try:
        scope = scopes.parse(text)
    except Invalid:
        return
    assert scopes.parse(str(scope)) == scope
    assert str(scope).isascii()
    assert " " not in str(scope)
    assert '"' not in str(scope)


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("repository:team/app:pull", Scope("repository", "team/app", ("pull",))),
        ("repository:team/app:push,pull", Scope("repository", "team/app", ("push", "pull"))),
        ("repository:nginx:*", Scope("repository", "nginx", ("*",))),
        ("registry:catalog:*", Scope("registry", "catalog", ("*",))),
        ("repository:localhost:5000/app:pull", Scope("repository", "localhost:5000/app", ("pull",))),
        ("repository(plugin):team/app:pull", Scope("repository", "team/app", ("pull",))),
        ("repository:team/app:", Scope("repository", "team/app", ())),
        ("repository:team/app:pull,,pull", Scope("repository", "team/app", ("pull",))),
    ],
)
def test_forms_the_specification_allows(text: str, scope: Scope) -> None:
    assert scopes.parse(text) == scope


@pytest.mark.parametrize(
    "text",
    [
        "",
        "repository",
        "repository:pull",
        "repository::pull",
        ":team/app:pull",
        "Repository:team/app:pull",
        "repository(:team/app:pull",
        "repository:team/app:PULL",
        "repository:team/app:pull;push",
        'repository:te"am:pull',
        "repository:te am:pull",
        "repository:te\nam:pull",
        "repository:tëam:pull",
        "repository:team/app:pull\n",
        f"repository:{'a' * 513}:pull",
        "repository:team/app:" + ",".join(f"{chr(97 + n)}" for n in range(17)),
    ],
)
def test_forms_the_grammar_forbids(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        scopes.parse(text)
    assert len(caught.value.message) < 250


def test_several_in_one_string() -> None:
    assert scopes.parse_all("repository:a:pull repository:b:push,pull") == (
        Scope("repository", "a", ("pull",)),
        Scope("repository", "b", ("push", "pull")),
    )
    assert scopes.parse_all("") == ()
    assert scopes.parse_all(" repository:a:pull  ") == (scopes.pull("a"),)


@pytest.mark.parametrize(
    "text",
    [
        " ".join(["repository:a:pull"] * (scopes.MAX_SCOPES + 1)),
        " " * 1000,
        "a" * (scopes.MAX_LENGTH + 1),
        "repository:a:pull nonsense",
    ],
)
def test_too_many_or_too_long(text: str) -> None:
    with pytest.raises(Invalid):
        scopes.parse_all(text)


def test_as_many_as_allowed() -> None:
    assert len(scopes.parse_all(" ".join(["repository:a:pull"] * scopes.MAX_SCOPES))) == scopes.MAX_SCOPES


def test_what_requests_need() -> None:
    assert str(scopes.pull("team/app")) == "repository:team/app:pull"
    assert str(scopes.push("team/app")) == "repository:team/app:pull,push"
    assert str(scopes.delete("team/app")) == "repository:team/app:delete"
    assert str(scopes.catalog()) == "registry:catalog:*"


def test_a_mount_within_one_repository_names_it_once() -> None:
    assert scopes.render([scopes.push("a"), scopes.pull("a")]) == "repository:a:pull,push"
    assert scopes.render([scopes.push("a"), scopes.pull("b")]) == "repository:a:pull,push repository:b:pull"
