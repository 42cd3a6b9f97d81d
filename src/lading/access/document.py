"""Writes ``docs/reference/permissions.md`` from the table of roles: ``python -m lading.access.document``."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from lading.access.permissions import PROJECT, PUBLIC, ROLES, SYSTEM, repository_actions

_HEAD = """\
<!-- Written by `python -m lading.access.document`: change src/lading/access/permissions.py instead. -->

# Permissions

Roles are held in a project, or on a repository or a path in it ([projects](../how-to/projects.md)). The five built-in
ones are Harbor's, with Harbor's ids; others can be made of the same permissions (`lading admin role create`).
*Public* is what anybody may do in a public project, whoever they are. Administrators of the system may do everything.

## On the wire

What clients of the registry ask a token for, and who gets it:

"""
_TABLE = """
`pull` needs `repository:pull`, `push` needs `repository:push`, and `delete` needs `repository:delete` or
`artifact:delete`. Every list (the catalog, `docker search`) is cut to what the caller may see. What may not be seen
answers as if it were not there: a client is asked who it is (401), whether there is such a repository or not.

## In a project

"""
_SYSTEM = """
## In the system

Only administrators hold these; a robot of the system can be given parts of them.

| resource | actions |
|---|---|
"""


def page() -> Iterator[str]:
    """The lines of the page."""
    yield _HEAD
    heads = [*(f"{role.name} ({role.id})" for role in ROLES.values()), "public"]
    held = [*(role.permissions for role in ROLES.values()), PUBLIC]
    yield f"| | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}\n"
    for action in ("pull", "push", "delete"):
        marks = ("yes" if action in repository_actions([each]) else "" for each in held)
        yield f"| {action} | {' | '.join(marks)} |\n"
    yield _TABLE
    yield f"| resource | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}\n"
    for resource, every in PROJECT.items():
        cells = (", ".join(sorted(each.get(resource, ()))) if each.get(resource) != every else "all" for each in held)
        yield f"| `{resource}` ({', '.join(sorted(every))}) | {' | '.join(cells)} |\n"
    yield _SYSTEM
    for resource, actions in SYSTEM.items():
        yield f"| `{resource}` | {', '.join(sorted(actions))} |\n"


if __name__ == "__main__":
    sys.stdout.writelines(page())
