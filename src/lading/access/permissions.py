"""Which role may do what: resources × actions × roles, as data.

Harbor's five project roles with Harbor's table (its role ids too), and custom ones. System administrators may do
everything and are in no table. A role is a mapping of resource → actions; the rules here are pure, and what a caller
holds is read in :mod:`lading.access.rights`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Permissions = Mapping[str, frozenset[str]]
"""Resource → what may be done with it."""

_ACTIONS = {
    "C": "create",
    "R": "read",
    "U": "update",
    "D": "delete",
    "L": "list",
    "<": "pull",
    ">": "push",
    "O": "operate",
    "S": "stop",
}

PROJECT_ADMIN, DEVELOPER, GUEST, MAINTAINER, LIMITED_GUEST = 1, 2, 3, 4, 5
FIRST_CUSTOM = 100
"""Custom roles have ids from here on."""

#                          projectAdmin maintainer developer guest limitedGuest · anyone, in a public project
_MATRIX: dict[str, tuple[str, str, str, str, str, str]] = {
    "project": ("RUD", "R", "R", "R", "R", "R"),
    "member": ("CRUDL", "RL", "RL", "RL", "", ""),
    "metadata": ("CRUD", "R", "", "", "", ""),
    "log": ("L", "", "", "", "", ""),
    "label": ("CRUDL", "CRUDL", "RL", "RL", "", "RL"),
    "quota": ("R", "R", "R", "R", "R", ""),
    "repository": ("CRUDL<>", "CRUDL<>", "CRUL<>", "RL<", "RL<", "L<"),
    "tag-retention": ("CRUDLO", "CRUDLO", "CRUDLO", "", "", ""),
    "immutable-tag": ("CUDL", "CUDL", "", "", "", ""),
    "configuration": ("RU", "R", "R", "R", "R", ""),
    "robot": ("CRUDL", "RL", "RL", "RL", "", ""),
    "notification-policy": ("CRUDL", "RL", "", "", "", ""),
    "scan": ("CRS", "CRS", "R", "R", "R", "R"),
    "sbom": ("CRS", "CRS", "R", "R", "R", ""),
    "scanner": ("CR", "R", "R", "R", "R", "R"),
    "artifact": ("CRDL", "CRDL", "CRL", "RL", "RL", "RL"),
    "artifact-addition": ("R", "R", "R", "R", "R", "R"),
    "accessory": ("L", "L", "L", "L", "L", "L"),
    "tag": ("CDL", "CDL", "CL", "L", "L", "L"),
    "artifact-label": ("CD", "CD", "CD", "", "", ""),
    "preheat-policy": ("CRUDL", "", "", "", "", ""),
    "export-cve": ("CRL", "CRL", "CRL", "", "", ""),
}

SYSTEM: Permissions = {
    name: frozenset(_ACTIONS[letter] for letter in letters)
    for name, letters in {
        "audit-log": "L",
        "catalog": "R",
        "export-cve": "CR",
        "garbage-collection": "CRULS",
        "jobservice-monitor": "LS",
        "label": "CRUD",
        "ldap-user": "CL",
        "preheat-instance": "CRUDL",
        "project": "CL",
        "purge-audit": "CRULS",
        "quota": "RUL",
        "registry": "CRUDL",
        "replication": "CRL",
        "replication-adapter": "L",
        "replication-policy": "CRUDL",
        "robot": "CRUDL",
        "scan-all": "CRUS",
        "scanner": "CRUDL",
        "security-hub": "RL",
        "system-volumes": "R",
        "user": "CRUDL",
        "user-group": "CRUDL",
    }.items()
}
"""What may be done with the registry itself; a robot can be given parts of it."""


@dataclass(frozen=True)
class Role:
    """A role in a project."""

    id: int
    name: str
    permissions: Permissions


def _column(number: int) -> Permissions:
    found = {name: frozenset(_ACTIONS[letter] for letter in row[number]) for name, row in _MATRIX.items()}
    return {name: actions for name, actions in found.items() if actions}


ROLES: Mapping[int, Role] = {
    number: Role(number, name, _column(column))
    for column, (number, name) in enumerate(
        (
            (PROJECT_ADMIN, "projectAdmin"),
            (MAINTAINER, "maintainer"),
            (DEVELOPER, "developer"),
            (GUEST, "guest"),
            (LIMITED_GUEST, "limitedGuest"),
        )
    )
}
"""The built-in roles, from the most to the least."""

PUBLIC: Permissions = _column(5)
"""What anybody may do in a public project, whoever they are."""

_FOR_ROBOTS = {"metadata": frozenset(["list"])}
"""What no role has, and robots and custom roles can be given."""

PROJECT: Permissions = {
    name: frozenset(action for role in ROLES.values() for action in role.permissions.get(name, ()))
    | _FOR_ROBOTS.get(name, frozenset())
    for name in _MATRIX
}
"""Everything that can be allowed in a project: what custom roles and robots may be given."""

_DOCKER = {
    "pull": (("repository", "pull"),),
    "push": (("repository", "push"),),
    "delete": (("repository", "delete"), ("artifact", "delete")),
}
"""A token's action on a repository, and the permissions of which one gives it."""

REPOSITORY_ACTIONS = tuple(_DOCKER)


def allows(held: Iterable[Permissions], resource: str, action: str) -> bool:
    """Whether one of the sets of permissions has it."""
    return any(action in permissions.get(resource, ()) for permissions in held)


def repository_actions(held: Iterable[Permissions]) -> frozenset[str]:
    """Which of pull, push and delete these permissions give."""
    sets = tuple(held)
    return frozenset(
        action for action, ways in _DOCKER.items() if any(allows(sets, resource, what) for resource, what in ways)
    )


def within(wanted: Iterable[tuple[str, str]], held: Iterable[Permissions]) -> bool:
    """Whether each (resource, action) wanted is held."""
    sets = tuple(held)
    return all(allows(sets, resource, action) for resource, action in wanted)


def unknown(wanted: Iterable[tuple[str, str]], *, system: bool) -> list[str]:
    """The pairs, as ``resource:action``, that are no permission at all."""
    legal = SYSTEM if system else PROJECT
    return [f"{resource}:{action}" for resource, action in wanted if action not in legal.get(resource, ())]
