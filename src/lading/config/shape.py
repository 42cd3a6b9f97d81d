"""How the model looks to a walker: a struct, a map, a list, or a scalar."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from lading.config.fields import Section


@dataclass(frozen=True, slots=True)
class Shape:
    """``section`` of a struct; ``of`` the elements of a map or list."""

    kind: Literal["struct", "map", "list", "any", "scalar"]
    section: type[Section] | None = None
    of: Shape | None = None


def shape_of(annotation: Any) -> Shape:
    """The shape of a field's annotation."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return shape_of(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return shape_of(next(part for part in get_args(annotation) if part is not type(None)))
    if origin is tuple:
        return Shape("list", of=shape_of(get_args(annotation)[0]))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return Shape("map", of=shape_of(get_args(annotation)[1]))
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return Shape("struct", section=annotation)
    return Shape("any") if annotation is Any else Shape("scalar")


def keys_of(section: type[Section]) -> Iterator[tuple[str, FieldInfo, Shape]]:
    """Each key of a section: its name in YAML, its field, its shape."""
    for name, field in section.model_fields.items():
        yield field.alias or name, field, shape_of(field.annotation)


def about(field: FieldInfo, what: Literal["no_effect", "refused", "go"]) -> str | None:
    """What ``fields.setting`` was told about a key."""
    extra = field.json_schema_extra
    value = extra.get(what) if isinstance(extra, dict) else None
    return value if isinstance(value, str) else None


def section_at(root: type[Section], location: tuple[str | int, ...]) -> type[Section] | None:
    """The section a path leads to, if it is one."""
    shape: Shape | None = Shape("struct", section=root)
    for step in location:
        if shape is None:
            return None
        if shape.kind == "struct" and shape.section is not None:
            shape = next((found for name, _, found in keys_of(shape.section) if name == step), None)
        else:
            shape = shape.of
    return shape.section if shape is not None and shape.kind == "struct" else None


def dotted(location: tuple[str | int, ...]) -> str:
    """``("health", "http", 0, "uri")`` → ``health.http[0].uri``."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text
