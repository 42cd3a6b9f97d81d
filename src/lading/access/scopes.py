"""What a request needs and what a token grants: ``repository:team/app:pull,push``.

The grammar is that of the distribution project's token specification ("Resource Scope Grammar")::

    scope         := resourcescope *( " " resourcescope )
    resourcescope := type [ "(" class ")" ] ":" name ":" action *( "," action )
    type          := [a-z0-9]+
    action        := [a-z]* | "*"

A name may hold a colon (``host:5000/app``), so the type ends at the first and the actions begin after the last. The
class is deprecated and dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from lading.errors import Invalid

MAX_SCOPES = 128
"""Scopes one string may hold."""
MAX_LENGTH = 16 * 1024
"""Characters one string of scopes may have."""
MAX_NAME = 512
"""Characters a resource's name may have: a host of 253, a port, and a repository's 255."""
MAX_ACTIONS = 16

_TYPE = re.compile(r"([a-z0-9]{1,64})(?:\([a-z0-9]{1,64}\))?", re.ASCII)
_NAME = re.compile(rf"[A-Za-z0-9._:/-]{{1,{MAX_NAME}}}", re.ASCII)
_ACTION = re.compile(r"[a-z]{1,32}|\*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Scope:
    """Actions on one named resource. An action ``*`` in a grant stands for all of them."""

    type: str
    name: str
    actions: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.type}:{self.name}:{','.join(self.actions)}"


@lru_cache(maxsize=4096)
def pull(name: str) -> Scope:
    """What reading from repository ``name`` needs."""
    return Scope("repository", name, ("pull",))


@lru_cache(maxsize=4096)
def push(name: str) -> Scope:
    """What writing to repository ``name`` needs; a push reads too."""
    return Scope("repository", name, ("pull", "push"))


@lru_cache(maxsize=1024)
def delete(name: str) -> Scope:
    """What deleting from repository ``name`` needs."""
    return Scope("repository", name, ("delete",))


@lru_cache(maxsize=1)
def catalog() -> Scope:
    """What listing all repositories needs."""
    return Scope("registry", "catalog", ("*",))


def parse(text: str) -> Scope:
    """One scope; raises ``Invalid`` when it is outside the grammar."""
    kind, first, rest = text.partition(":")
    name, last, actions = rest.rpartition(":")
    if not first or not last:
        raise Invalid(f"the scope {_shown(text)} is not of the form type:name:actions, as in repository:team/app:pull")
    matched = _TYPE.fullmatch(kind)
    if matched is None:
        raise Invalid(f"the scope {_shown(text)} has no valid type: small letters and digits, as in repository")
    if _NAME.fullmatch(name) is None:
        raise Invalid(f"the scope {_shown(text)} has no valid resource name")
    return Scope(matched.group(1), name, _actions(text, actions))


def parse_all(text: str) -> tuple[Scope, ...]:
    """Several scopes with spaces between them, as a ``scope`` parameter holds; an empty string holds none."""
    if len(text) > MAX_LENGTH:
        raise Invalid(f"the scope is {len(text)} characters long; {MAX_LENGTH} is the most")
    parts = text.split(" ")
    found = [parse(part) for part in parts[: MAX_SCOPES + 1] if part]
    if len(found) > MAX_SCOPES or len(parts) > 2 * MAX_SCOPES:
        raise Invalid(f"there are more than {MAX_SCOPES} scopes in one request")
    return tuple(found)


def merge(scopes: Iterable[Scope]) -> tuple[Scope, ...]:
    """The same wishes with each resource named once; resources and actions keep the order they first came in."""
    resources: dict[tuple[str, str], dict[str, None]] = {}
    for scope in scopes:
        resources.setdefault((scope.type, scope.name), {}).update(dict.fromkeys(scope.actions))
    return tuple(Scope(kind, name, tuple(actions)) for (kind, name), actions in resources.items())


def render(scopes: Iterable[Scope]) -> str:
    """The value of a ``scope`` parameter, each resource named once."""
    return " ".join(map(str, merge(scopes)))


def _actions(text: str, listed: str) -> tuple[str, ...]:
    actions = tuple(dict.fromkeys(action for action in listed.split(",", MAX_ACTIONS + 1) if action))
    if len(actions) > MAX_ACTIONS or any(_ACTION.fullmatch(action) is None for action in actions):
        raise Invalid(f"the scope {_shown(text)} has an action that is neither small letters nor *")
    return actions


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
