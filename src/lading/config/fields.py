"""What sections and keys are made of.

A section is a frozen pydantic model whose attributes are the YAML keys. A key says in one line what it does; one that
registry:2 has and Lading does not need says why (``no_effect``: a notice at start), one that Lading cannot honour says
what to do instead (``refused``: it does not start). ``go`` is the name registry:2's override rule knows the key by,
where that is not the key itself.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, InstanceOf, SecretStr, model_validator
from pydantic_core import CoreSchema, core_schema

from lading.config.values import (
    URL,
    Plain,
    format_size,
    nanoseconds,
    parse_duration,
    parse_http_url,
    parse_size,
    resolve,
)


@dataclass(frozen=True, slots=True)
class Before:
    """pydantic's, of a function that takes the value alone: pydantic's own looks at the signature of each, every time."""

    check: Callable[[Any], Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.check, handler(source))


@dataclass(frozen=True, slots=True)
class After:
    """The same for what was taken."""

    check: Callable[[Any], Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))


class Section(BaseModel):
    """A group of keys. A key set to nothing (``key:``) is as good as absent."""

    # the whole configuration's schema has every section's within: 80 of their own besides would only make a start longer
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    go_map: ClassVar[bool] = False
    """Whether registry:2 holds this section as a map: then any variable makes a key, in lower case."""
    go_word: ClassVar[bool] = False
    """Whether a word in its place stands for a map with that one key."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        if given is None:
            return {}
        if isinstance(given, Mapping):
            return {name: value for name, value in given.items() if value is not None}
        return given


def setting(
    default: Any,
    description: str,
    *,
    no_effect: str | None = None,
    refused: str | None = None,
    go: str | None = None,
    alias: str | None = None,
) -> Any:
    """A key with its default. ``alias`` is the YAML key where Python has the word for itself."""
    about = {"no_effect": no_effect, "refused": refused, "go": go}
    extra: Any = {name: value for name, value in about.items() if value is not None}
    return Field(default, description=description, alias=alias, json_schema_extra=extra)


def group(
    description: str,
    *,
    no_effect: str | None = None,
    refused: str | None = None,
    go: str | None = None,
) -> Any:
    """A key that holds a section (its annotation says which); absent, all the section's keys have their defaults."""
    about = {"no_effect": no_effect, "refused": refused, "go": go}
    extra: Any = {name: value for name, value in about.items() if value is not None}
    # made by the schema around it, like one that is there
    return Field(default_factory=dict, validate_default=True, description=description, json_schema_extra=extra)


def natural(given: Any) -> Any:
    """A whole tree, its unquoted words resolved."""
    if isinstance(given, Plain):
        return resolve(given)
    if isinstance(given, Mapping):
        return {name: natural(value) for name, value in given.items()}
    if isinstance(given, (list, tuple)):
        return [natural(value) for value in given]
    return given


def _text(given: Any) -> Any:
    if isinstance(given, SecretStr):
        return given
    if not isinstance(given, str):
        raise ValueError("must be text")  # noqa: TRY004 - pydantic collects ValueError alone
    if "\x00" in given:
        raise ValueError("must not hold a NUL character")
    return str(given)


def _flag(given: Any) -> bool:
    value = resolve(given) if isinstance(given, Plain) else given
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false{_not(given)}")  # noqa: TRY004
    return value


def _whole(given: Any) -> int:
    value = resolve(given) if isinstance(given, Plain) else given
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"must be a whole number{_not(given)}")  # noqa: TRY004
    if abs(value) >= 2**63:
        raise ValueError("is too large")
    return value


def _duration(given: Any) -> timedelta:
    value = resolve(given) if isinstance(given, Plain) else given
    if isinstance(value, timedelta):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if abs(value) > 2**63 or math.isnan(value):
            raise ValueError("is longer than 292 years, the longest duration there is")
        return nanoseconds(int(value))
    if not isinstance(value, str):
        raise ValueError("must be a duration, as 168h, 1m30s or 500ms")  # noqa: TRY004
    return parse_duration(str(value))


def _size(given: Any) -> int:
    value = resolve(given) if isinstance(given, Plain) else given
    if isinstance(value, str):
        return parse_size(value)
    return _whole(value)


def _not(given: Any) -> str:
    return f", not {str(given)[:60]!r}" if isinstance(given, (str, int, float)) else ""


def one_of(*words: str) -> Before:
    """One of these words, in any case; a last word ``""`` stands for nothing given and goes unnamed."""
    named = [word for word in words if word]
    meant = {word.lower(): word for word in words}

    def check(given: Any) -> str:
        word = _text(given).lower()
        if word not in meant:
            raise ValueError(f"must be {', '.join(named[:-1])} or {named[-1]}, not {word[:60]!r}")
        return meant[word]

    return Before(check)


def between(least: int, most: int) -> After:
    """A number in these bounds, both included."""

    def check(value: int) -> int:
        if not least <= value <= most:
            raise ValueError(f"must be from {least} to {most}, not {value}")
        return value

    return After(check)


def sized(least: int, most: int) -> After:
    """A number of bytes in these bounds, both included."""

    def check(value: int) -> int:
        if not least <= value <= most:
            raise ValueError(f"must be from {format_size(least)} to {format_size(most)}")
        return value

    return After(check)


def lasting(least: str, most: str) -> After:
    """A duration in these bounds, both included."""
    low, high = parse_duration(least), parse_duration(most)

    def check(value: timedelta) -> timedelta:
        if not low <= value <= high:
            raise ValueError(f"must be from {least} to {most}")
        return value

    return After(check)


def instead_of_zero(default: Any) -> After:
    """registry:2 cannot tell 0 from absent: 0 is the default."""
    return After(lambda value: value or default)


def as_networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Networks or single addresses, as ``10.0.0.0/8``."""
    for text in texts:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text[:60]!r} is no address and no network, as 10.0.0.0/8") from None
    return texts


def _not_negative(value: Any) -> Any:
    if value < type(value)(0):
        raise ValueError("must not be negative")
    return value


def _http_url(given: Any) -> URL:
    return parse_http_url(_text(given))


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _header_names(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    for name, values in headers.items():
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name[:60]!r} is not the name of a header")
        for value in values:
            text = value.get_secret_value() if isinstance(value, SecretStr) else value
            if re.search(r"[^\t\x20-\x7e\x80-\xff]", text):
                raise ValueError(f"the value of {name} holds a line break or another character that a header cannot")
    return headers


Text = Annotated[str, Before(_text)]
Flag = Annotated[bool, Before(_flag)]
Whole = Annotated[int, Before(_whole)]
Count = Annotated[int, Before(_whole), After(_not_negative)]
Duration = Annotated[timedelta, Before(_duration), After(_not_negative)]
SIZE = Before(_size)
"""Marks a number as one of bytes."""

Size = Annotated[int, SIZE, After(_not_negative)]
Secret = Annotated[SecretStr, Before(_text)]
Anything = Annotated[Any, Before(natural)]
HttpUrl = Annotated[URL, InstanceOf(), Before(_http_url)]
Headers = Annotated[Mapping[str, tuple[Text, ...]], After(_header_names)]
SecretHeaders = Annotated[Mapping[str, tuple[Secret, ...]], After(_header_names)]
