"""Writes docs/reference/harbor-api.md: which operations of Harbor's API are here, from the table of routes.

``python -m lading.api.harbor.document`` prints it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator

from lading.api.harbor import absent
from lading.api.harbor.route import Route
from lading.api.harbor.routes import ROUTES

_HEAD = """# Harbor's API

Generated from the source by `make docs`; `make check` compares.

Where [accounts](configuration.md) are on, this registry answers at `/api/v2.0` as Harbor does. Of the {all} operations of
Harbor's API v2.0 it has {whole} wholly and {partly} in part; {no} are answered with 501. The same as
[OpenAPI](https://spec.openapis.org/oas/v3.1.0) is served at `/api/v2.0/openapi.json`, with a page to try it at
`/api/v2.0/try`. What clients need to know is in [Clients of Harbor](../how-to/harbor-clients.md).

*Needs* is the permission: `project …` is held by a role in the project (or by a grant on a part of it), `system …` by
administrators and by robots that were given it.
"""
_ROW = re.compile(r"[|\n]")


def lines() -> Iterator[str]:
    """The page, line by line."""
    missing = list(absent.operations())
    harbors = [route for route in ROUTES if not route.extra]
    partly = sum(bool(route.partly) for route in harbors)
    whole = len(harbors) - partly
    yield _HEAD.format(all=len(harbors) + len(missing), whole=whole, partly=partly, no=len(missing)).rstrip()
    for subject, routes in _by_subject(ROUTES):
        yield from ("", f"## {subject}", "", "| operation | here | needs |", "|---|---|---|")
        for route in routes:
            here = f"partly: {route.partly}" if route.partly else "an addition to Harbor's" if route.extra else "yes"
            yield f"| `{route.method} {route.path}` | {_cell(here)} | {_cell(route.permission.text)} |"
    yield from ("", "## Not here", "", "| operation | of Harbor's |", "|---|---|")
    for method, path, subject in missing:
        yield f"| `{method} {path}` | {_cell(subject)} |"


def _by_subject(routes: Iterable[Route]) -> Iterator[tuple[str, list[Route]]]:
    found: dict[str, list[Route]] = {}
    for route in routes:
        found.setdefault(route.subject, []).append(route)
    for name, those in found.items():
        yield name.capitalize(), those


def _cell(text: str) -> str:
    return _ROW.sub(" ", text)


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()) + "\n")
