"""Names of repositories and tags (distribution spec, "Pulling manifests")."""

from __future__ import annotations

import re

from lading.errors import NameInvalid, TagInvalid

MAX_NAME = 255
"""Longest repository name, in characters. Clients cap host and name together at 255."""

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)


def is_name(text: str) -> bool:
    """Whether ``text`` may name a repository."""
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether ``text`` may be a tag."""
    return _TAG.fullmatch(text) is not None


def repository(text: str) -> str:
    """``text`` if it may name a repository, else :class:`NameInvalid`."""
    if is_name(text):
        return text
    if len(text) > MAX_NAME:
        raise NameInvalid(f"repository name is {len(text)} characters long; the longest allowed is {MAX_NAME}")
    raise NameInvalid(
        f"invalid repository name {text!r}: its components are lower-case letters and digits, joined by a dot, one or "
        "two underscores or dashes, and separated by slashes",
        detail={"name": text},
    )


def tag(text: str) -> str:
    """``text`` if it may be a tag, else :class:`TagInvalid`."""
    if is_tag(text):
        return text
    raise TagInvalid(
        f"invalid tag {text[:160]!r}: a tag is 1 to 128 letters, digits, underscores, dots and dashes, and does not "
        "begin with a dot or a dash",
        detail={"tag": text[:160]},
    )
