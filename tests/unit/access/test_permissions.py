"""The built-in roles against Harbor's table, written down here a second time and in another form."""

from __future__ import annotations

import itertools

import pytest

from lading.access.permissions import (
    PROJECT,
    PUBLIC,
    ROLES,
    SYSTEM,
    allows,
    repository_actions,
    unknown,
    within,
)

BY_NAME = {role.name: role.permissions for role in ROLES.values()}


def test_role_ids_are_harbors() -> None:
    names = {role.id: role.name for role in ROLES.values()}
    assert names == {1: "projectAdmin", 2: "developer", 3: "guest", 4: "maintainer", 5: "limitedGuest"}


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("projectAdmin", {"pull", "push", "delete"}),
        ("maintainer", {"pull", "push", "delete"}),
        ("developer", {"pull", "push"}),
        ("guest", {"pull"}),
        ("limitedGuest", {"pull"}),
    ],
)
def test_what_a_role_gives_on_the_wire(role: str, may: set[str]) -> None:
    assert repository_actions([BY_NAME[role]]) == may


def test_anybody_may_pull_from_a_public_project_and_nothing_that_changes_it() -> None:
    assert repository_actions([PUBLIC]) == {"pull"}
    writing = {"create", "update", "delete", "push", "operate", "stop"}
    assert not {action for actions in PUBLIC.values() for action in actions} & writing


@pytest.mark.parametrize(
    ("resource", "action", "roles"),
    [
        ("project", "delete", {"projectAdmin"}),
        ("project", "update", {"projectAdmin"}),
        ("member", "create", {"projectAdmin"}),
        ("member", "list", {"projectAdmin", "maintainer", "developer", "guest"}),
        ("metadata", "read", {"projectAdmin", "maintainer"}),
        ("log", "list", {"projectAdmin"}),
        ("robot", "create", {"projectAdmin"}),
        ("robot", "read", {"projectAdmin", "maintainer", "developer", "guest"}),
        ("tag-retention", "delete", {"projectAdmin", "maintainer", "developer"}),
        ("immutable-tag", "create", {"projectAdmin", "maintainer"}),
        ("immutable-tag", "read", set()),
        ("notification-policy", "create", {"projectAdmin"}),
        ("scan", "create", {"projectAdmin", "maintainer"}),
        ("scan", "read", {"projectAdmin", "maintainer", "developer", "guest", "limitedGuest"}),
        ("scanner", "create", {"projectAdmin"}),
        ("artifact", "delete", {"projectAdmin", "maintainer"}),
        ("tag", "delete", {"projectAdmin", "maintainer"}),
        ("tag", "create", {"projectAdmin", "maintainer", "developer"}),
        ("label", "create", {"projectAdmin", "maintainer"}),
        ("artifact-label", "create", {"projectAdmin", "maintainer", "developer"}),
        ("preheat-policy", "list", {"projectAdmin"}),
        ("export-cve", "create", {"projectAdmin", "maintainer", "developer"}),
        ("quota", "read", {"projectAdmin", "maintainer", "developer", "guest", "limitedGuest"}),
        ("quota", "update", set()),
    ],
)
def test_who_may(resource: str, action: str, roles: set[str]) -> None:
    assert {name for name, permissions in BY_NAME.items() if allows([permissions], resource, action)} == roles


def test_no_role_has_more_than_one_above_it() -> None:
    order = ["limitedGuest", "guest", "developer", "maintainer", "projectAdmin"]
    for less, more in itertools.pairwise(order):
        assert within([(name, action) for name, what in BY_NAME[less].items() for action in what], [BY_NAME[more]])


def test_what_is_no_permission_is_named() -> None:
    assert unknown([("repository", "pull"), ("repository", "fly"), ("nothing", "read")], system=False) == [
        "repository:fly",
        "nothing:read",
    ]
    assert unknown([("user", "create")], system=True) == []
    assert unknown([("user", "create")], system=False) == ["user:create"]
    assert not set(PROJECT) & {"user", "registry", "garbage-collection"}
    assert "repository" not in SYSTEM
