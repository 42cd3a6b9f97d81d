"""YAML text → a tree of ``dict``, ``list``, :class:`~lading.config.values.Plain`, ``str`` and ``None``.

Built from the parser's events rather than with a YAML constructor, so that scalars stay as they were written, a key
given twice is an error with its line, and neither nesting nor aliases can blow up: the walk is a loop, and both the
depth and the number of values, aliases unfolded, are bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from lading.config.values import NULL, Plain

Tree = Any
"""``dict[str, Tree] | list[Tree] | Plain | str | None``."""

DEEPEST = 40
MOST = 50_000
LONGEST = 1 << 20
_TAGS = "tag:yaml.org,2002:"
_WORDS = frozenset({_TAGS + name for name in ("bool", "int", "float", "null", "timestamp")})


class YAMLInvalidError(ValueError):
    """Not YAML, or YAML that cannot be a configuration. ``line`` counts from 1. Never quotes the text."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem if line is None else f"line {line}: {problem}")


@dataclass(slots=True)
class _Value:
    """A finished value with how much it weighs: values in it, and levels below it."""

    tree: Tree
    count: int = 1
    height: int = 0
    merge: bool = False


@dataclass(slots=True)
class _Open:
    """A map or list not yet closed."""

    tree: dict[str, Tree] | list[Tree]
    anchor: str | None
    line: int
    count: int = 1
    height: int = 0
    key: str | None = None
    merging: bool = False
    merged: list[dict[str, Tree]] = field(default_factory=list)

    def add(self, value: _Value, line: int) -> None:
        if isinstance(self.tree, list):
            self.tree.append(value.tree)
        elif self.key is None and not self.merging:
            self._begin(value, line)
        elif self.merging:
            self._merge(value.tree, line)
        else:
            assert self.key is not None
            self.tree[self.key] = value.tree
            self.key = None
        self.count += value.count
        self.height = max(self.height, value.height + 1)
        if self.count > MOST:
            raise YAMLInvalidError("too large: more than 50,000 values", line)

    def _begin(self, value: _Value, line: int) -> None:
        if value.merge:
            self.merging = True
        elif not isinstance(value.tree, str):
            raise YAMLInvalidError("a key must be a word", line)
        elif value.tree in self.tree:
            raise YAMLInvalidError(f"the key {str(value.tree)[:60]!r} is there twice", line)
        else:
            self.key = str(value.tree)

    def _merge(self, tree: Tree, line: int) -> None:
        for item in tree if isinstance(tree, list) else [tree]:
            if not isinstance(item, dict):
                raise YAMLInvalidError("'<<' takes a map or a list of maps", line)
            self.merged.append(item)
        self.merging = False

    def close(self) -> _Value:
        """What the map says itself wins over what it merges, and the first merged over the next."""
        if isinstance(self.tree, dict):
            for other in self.merged:
                for key, value in other.items():
                    self.tree.setdefault(key, value)
        return _Value(self.tree, self.count, self.height)


def read(text: str) -> Tree:
    """Read the one document in ``text``; nothing at all is ``None``.

    :raises YAMLInvalidError: with the line and what is wrong there.
    """
    if len(text) > LONGEST:
        raise YAMLInvalidError("too large: more than 1 MiB")
    try:
        return _build(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = min(mark.line, text.rstrip("\n").count("\n")) + 1 if mark else None
        raise YAMLInvalidError(error.problem or "not YAML", line) from None
    except (yaml.YAMLError, UnicodeError):
        raise YAMLInvalidError("not YAML: it holds characters that text does not have") from None


def _build(events: Iterator[yaml.Event]) -> Tree:
    stack: list[_Open] = []
    anchors: dict[str, _Value] = {}
    root: Tree = None
    documents = 0
    for event in events:
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise YAMLInvalidError("a second document begins; there can be only one", line)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            if len(stack) >= DEEPEST:
                raise YAMLInvalidError(f"nested more than {DEEPEST} deep", line)
            stack.append(_Open({} if isinstance(event, yaml.MappingStartEvent) else [], event.anchor, line))
        else:
            value = _finished(event, stack, anchors, line)
            if value is None:
                continue
            if stack:
                stack[-1].add(value, line)
            else:
                root = value.tree
    return root


def _finished(event: yaml.Event, stack: list[_Open], anchors: dict[str, _Value], line: int) -> _Value | None:
    if isinstance(event, yaml.ScalarEvent):
        value, anchor = _scalar(event, line), event.anchor
    elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
        closed = stack.pop()
        value, anchor = closed.close(), closed.anchor
    elif isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            raise YAMLInvalidError("an alias (*) names an anchor (&) that does not come before it", line)
        value, anchor = anchors[event.anchor], None
        if len(stack) + value.height > DEEPEST:
            raise YAMLInvalidError(f"nested more than {DEEPEST} deep", line)
    else:
        return None
    if anchor:
        anchors[anchor] = value
    return value


def _scalar(event: yaml.ScalarEvent, line: int) -> _Value:
    tag = event.tag if event.tag not in (None, "!") else None
    if tag == _TAGS + "str" or (tag is None and not event.implicit[0]):
        return _Value(event.value)
    if tag is not None and tag not in _WORDS:
        raise YAMLInvalidError("a tag (!) that means nothing here", line)
    if event.value in NULL:
        return _Value(None)
    return _Value(Plain(event.value), merge=event.value == "<<")
