"""From a path to the operations there: those of the table of routes, and those of Harbor's that are not here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import unquote_to_bytes

from lading.api.harbor import absent
from lading.api.harbor.call import BASE
from lading.api.harbor.route import Route
from lading.api.harbor.routes import ROUTES


@dataclass
class _Node:
    """A place in the tree of paths: what may follow, and what may be done here (None: it is not here yet)."""

    named: dict[str, _Node] = field(default_factory=dict)
    any: _Node | None = None
    methods: dict[str, Route | None] = field(default_factory=dict)
    path: str = ""


@cache
def tree() -> _Node:
    """The paths of all operations, those that are not here among them."""
    root = _Node()
    for route in ROUTES:
        _place(root, route.path).methods[route.method] = route
    for method, path, _ in absent.operations():
        _place(root, path).methods.setdefault(method, None)
    return root


def _place(root: _Node, path: str) -> _Node:
    node = root
    for part in path.strip("/").split("/"):
        if part.startswith("{"):
            node.any = node.any or _Node()
            node = node.any
        else:
            node = node.named.setdefault(part, _Node())
    node.path = node.path or path
    return node


@dataclass(frozen=True)
class Found:
    """What may be done at a path; ``parts`` are the parts of the path that have names in a route, in order."""

    path: str
    methods: Mapping[str, Route | None]
    parts: tuple[str, ...]

    def parameters(self, route: Route) -> dict[str, str]:
        """The same by these names."""
        names = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
        return dict(zip(names, self.parts, strict=True))


def find(path: bytes) -> Found | None:
    """What is at a path that begins with :data:`~lading.api.harbor.call.BASE`; a slash that was encoded parts nothing."""
    rest = path[len(BASE) :].strip(b"/")
    return _walk(tree(), [_decode(part) for part in rest.split(b"/")])


def _walk(root: _Node, parts: list[str]) -> Found | None:
    node, names = root, []
    for part in parts:
        # what has a name of its own comes first: users/current is nobody's id
        follows = node.named.get(part)
        if follows is None:
            if node.any is None or not part:
                return None
            names.append(part)
            follows = node.any
        node = follows
    return Found(node.path, node.methods, tuple(names)) if node.methods else None


def _decode(part: bytes) -> str:
    text = unquote_to_bytes(part).decode("utf-8", "replace")
    # repository names come encoded twice
    return unquote_to_bytes(text).decode("utf-8", "replace") if "%" in text else text
