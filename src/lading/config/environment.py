"""registry:2's override rule: ``REGISTRY_A_B_C=value`` sets ``a.b.c``.

The rule, as its parser has it:

- What follows ``REGISTRY_`` is split at every ``_``; variables are applied in the order of their names, so that
  ``REGISTRY_STORAGE`` comes before ``REGISTRY_STORAGE_S3_BUCKET``.
- The value is read as YAML, so ``[a, b]`` replaces a list and nothing at all stands for the default.
- In a struct a step is the name of the *Go field*: mostly the key in upper case, but ``notifications.events`` is
  ``NOTIFICATIONS_EVENTCONFIG`` and ``health.file`` is ``HEALTH_FILECHECKERS``. One that is none is only warned of:
  others share the prefix (Kubernetes sets ``REGISTRY_PORT`` beside a service named ``registry``).
- In a map (everything under ``storage`` and ``auth``, headers, log fields) it is a key in any case, or a new one in
  lower case. A key with ``_`` in it cannot be reached.
- In a list it is an index; the one past the end appends, a larger one is an error.
- ``REGISTRY_STORAGE=s3`` replaces all of ``storage`` with that driver, ``REGISTRY_AUTH=htpasswd`` likewise.
- ``version`` stays.

Where registry:2's rule falls over, this one does what the variable asks for: single elements of lists of words (there
they become empty), keys two maps below ``storage`` that the file has as well (there ignored), and a header or field
the file spells in mixed case (there it is given twice).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lading.config.fields import Section
from lading.config.reader import Tree, YAMLInvalidError, read
from lading.config.shape import Shape, about, keys_of

PREFIX = "REGISTRY_"
_OTHERS = frozenset({"REGISTRY_CONFIGURATION_PATH"})
_ANY = Shape("any")


@dataclass(slots=True)
class Overridden:
    """A tree with the environment applied. ``variables`` says which variable set which path."""

    tree: Tree
    variables: dict[tuple[str | int, ...], str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class _NotThereError(Exception):
    """The variable names nothing: a notice."""


class _WrongError(Exception):
    """The variable cannot be applied: a problem."""


def override(tree: Tree, root: type[Section], environ: Mapping[str, str]) -> Overridden:
    """Apply ``REGISTRY_*`` to a tree; what is given stays as it was."""
    result = Overridden(tree)
    for name in sorted(environ, key=lambda name: name.encode("utf-8", "surrogateescape")):
        if not name.startswith(PREFIX) or name in _OTHERS:
            continue
        if not name.isprintable():
            result.notices.append(f"{ascii(name)[1:-1]} is ignored: its name is not text")
            continue
        steps = name.split("_")[1:]
        if steps == ["VERSION"]:
            result.notices.append(f"{name} is ignored: the version of the file cannot be overridden")
            continue
        path: list[str | int] = []
        try:
            value = _value(environ[name])
            result.tree = _set(result.tree, Shape("struct", section=root), steps, value, path)
        except _NotThereError as reason:
            result.notices.append(f"{name} is ignored: {reason}")
        except (_WrongError, YAMLInvalidError) as reason:
            result.problems.append(f"{dotted_guess(steps)}: {name} cannot be applied: {reason}")
        else:
            result.variables = {
                known: by for known, by in result.variables.items() if known[: len(path)] != tuple(path)
            }
            result.variables[tuple(path)] = name
    return result


def dotted_guess(steps: list[str]) -> str:
    """The key a variable most likely means, for a message."""
    return ".".join(step.lower() for step in steps if step) or "(none)"


def _value(payload: str) -> Tree:
    if len(payload) > 1 << 16:
        raise _WrongError("it is longer than 64 KiB")
    return read(payload)


def _set(node: Tree, shape: Shape, steps: list[str], value: Tree, path: list[str | int]) -> Tree:
    """The node with one value below it replaced; ``path`` collects the way there."""
    if not steps:
        return value
    if shape.kind == "struct" and shape.section is not None and not shape.section.go_map:
        return _set_field(node, shape.section, steps, value, path)
    if shape.kind == "list" or (shape.kind == "any" and isinstance(node, list)):
        return _set_item(node, shape.of or _ANY, steps, value, path)
    if isinstance(node, str) and shape.section is not None and shape.section.go_word:
        node = {str(node): {}}
    if shape.kind == "scalar" or (node is not None and not isinstance(node, dict)):
        raise _NotThereError("it names a part of something that has no parts")
    return _set_entry(node, shape, steps, value, path)


def _set_field(node: Tree, section: type[Section], steps: list[str], value: Tree, path: list[str | int]) -> Tree:
    inlined = getattr(section, "go_inlined", None)
    if inlined and steps[0] == inlined and len(steps) > 1:
        steps = steps[1:]
    for key, info, shape in keys_of(section):
        if (about(info, "go") or key).upper() == steps[0]:
            path.append(key)
            given = node if isinstance(node, dict) else {}
            return given | {key: _set(given.get(key), shape, steps[1:], value, path)}
    raise _NotThereError(f"there is no setting {'.'.join([*map(str, path), steps[0].lower()])}")


def _set_entry(node: Tree, shape: Shape, steps: list[str], value: Tree, path: list[str | int]) -> Tree:
    given: dict[str, Tree] = node or {}
    key = next((known for known in given if known.upper() == steps[0]), steps[0].lower())
    path.append(key)
    below = shape.of or _ANY
    if shape.section is not None:
        below = next((found for known, _, found in keys_of(shape.section) if known == key), _ANY)
    return given | {key: _set(given.get(key), below, steps[1:], value, path)}


def _set_item(node: Tree, element: Shape, steps: list[str], value: Tree, path: list[str | int]) -> Tree:
    given: list[Any] = list(node) if isinstance(node, list) else []
    if not re.fullmatch(r"\+?[0-9]{1,6}", steps[0], re.ASCII):
        raise _WrongError(f"{steps[0]!r} should be the number of an element")
    index = int(steps[0])
    if index > len(given):
        raise _WrongError(f"there is no element {index}: the next free one is {len(given)}")
    if index == len(given):
        given.append(None)
    path.append(index)
    given[index] = _set(given[index], element, steps[1:], value, path)
    return given
