"""What a policy takes, and what it is called there: rules without I/O.

Patterns are those of Harbor: ``*`` and ``?`` stay within a part of a name, ``**`` does not, ``{a,b}`` is one of these,
``[a-z]`` and ``[^a-z]`` one character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import msgspec

from lading.errors import Invalid

MOST_PATTERN = 255
MOST_CHOICES = 100
"""How many patterns the braces of one may stand for."""

NAME, TAG, LABEL, RESOURCE = "name", "tag", "label", "resource"
MATCHES, EXCLUDES = "matches", "excludes"
IMAGE, ARTIFACT = "image", "artifact"
WHOLE = -1
"""A number of parts to replace: all but the last."""

_REFERRER = re.compile(r"(sha256|sha512)-([0-9a-f]{64,128})(\.[a-z0-9]+)?", re.ASCII)


class Filter(msgspec.Struct, frozen=True):
    """One condition. ``value`` is a pattern, a list of labels, or image or artifact."""

    type: str
    value: str | list[str]
    decoration: str = ""

    @property
    def excludes(self) -> bool:
        return self.decoration == EXCLUDES


@dataclass(frozen=True)
class Held:
    """A tag of a repository. ``digest`` empty: not known yet; so is ``kind`` (image or artifact).

    ``referrers`` are the digests of what refers to it; None: not known.
    """

    tag: str
    digest: str = ""
    kind: str = ""
    labels: frozenset[str] = frozenset()
    referrers: frozenset[str] | None = None


def check(filters: Sequence[Filter]) -> None:
    """Raise ``Invalid`` for filters that say nothing, or twice the same."""
    for one in filters:
        if one.type not in (NAME, TAG, LABEL, RESOURCE):
            raise Invalid(f"a filter's type is name, tag, label or resource, and not {one.type[:40]!r}")
        if one.decoration and (one.decoration not in (MATCHES, EXCLUDES) or one.type not in (TAG, LABEL)):
            raise Invalid("a filter's decoration is matches or excludes, for tags and labels alone")
        _check_value(one)
    if len({one.type for one in filters}) != len(filters):
        raise Invalid("there is one filter at most of each type")


def _check_value(one: Filter) -> None:
    if one.type == LABEL:
        if not isinstance(one.value, list) or not all(one.value) or len(one.value) > 100:
            raise Invalid("the value of a label filter is a list of up to 100 labels' names")
        return
    if not isinstance(one.value, str):
        raise Invalid(f"the value of a filter of type {one.type} is text")
    if one.type == RESOURCE:
        if one.value not in ("", IMAGE, ARTIFACT):
            raise Invalid("the value of a resource filter is image or artifact")
        return
    if len(one.value) > MOST_PATTERN:
        raise Invalid(f"a pattern has at most {MOST_PATTERN} characters")
    compiled(one.value)


def takes_repository(filters: Sequence[Filter], name: str) -> bool:
    """Whether a repository of that name is meant."""
    return all(matches(str(one.value), name) for one in filters if one.type == NAME)


def takes_tag(filters: Sequence[Filter], tag: str) -> bool:
    """Whether a tag of that name is meant."""
    return all(matches(str(one.value), tag) != one.excludes for one in filters if one.type == TAG)


def takes(filters: Sequence[Filter], held: Held) -> bool:
    """Whether all of what is known of a tag is as wanted."""
    for one in filters:
        if one.type == LABEL and held.labels.issuperset(one.value) == one.excludes:
            return False
        if one.type == RESOURCE and one.value and held.kind and one.value != held.kind:
            return False
    return takes_tag(filters, held.tag)


def wants(filters: Sequence[Filter], kind: str) -> bool:
    """Whether there is a filter of a type."""
    return any(one.type == kind and one.value for one in filters)


def subject_of(tag: str) -> str:
    """The digest that a tag of cosign's, or the fallback tag of referrers, speaks of; empty for other tags."""
    found = _REFERRER.fullmatch(tag)
    return f"{found[1]}:{found[2]}" if found else ""


def renamed(repository: str, namespace: str, replace: int) -> str:
    """The name on the other side: ``namespace`` in place of the first ``replace`` parts, the last part always stays."""
    if not namespace:
        return repository
    parts = repository.split("/")
    kept = parts[-1:] if replace == WHOLE else parts[min(replace, len(parts) - 1) :]
    return "/".join([namespace, *kept])


# ---- patterns

_STAR, _DEEP, _DIRECTORIES, _INSIDE = "*", "**", "**/", "…/"


@dataclass(frozen=True)
class _Class:
    ranges: tuple[tuple[str, str], ...]
    negated: bool

    def holds(self, letter: str) -> bool:
        return any(low <= letter <= high for low, high in self.ranges) != self.negated and letter != "/"


@dataclass(frozen=True)
class _Literal:
    letter: str

    def holds(self, letter: str) -> bool:
        return letter == self.letter


class _Any:
    def holds(self, letter: str) -> bool:
        return letter != "/"


_Token = str | _Class | _Literal | _Any


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern fits; an empty one fits everything. Takes time that grows with both lengths, and no faster."""
    return not pattern or any(_fits(tokens, text) for tokens in compiled(pattern))


def literals(pattern: str) -> list[str] | None:
    """The names a pattern stands for, where it has no wildcards; None: others as well."""
    if not pattern:
        return None
    found = []
    for tokens in compiled(pattern):
        letters = [one.letter for one in tokens if isinstance(one, _Literal)]
        if len(letters) != len(tokens):
            return None
        found.append("".join(letters))
    return found


def beginning(pattern: str) -> str:
    """What every name that fits begins with, as far as that is plain text."""
    found = []
    for tokens in compiled(pattern) if pattern else ():
        letters = []
        for one in tokens:
            if not isinstance(one, _Literal):
                break
            letters.append(one.letter)
        found.append("".join(letters))
    return found[0] if len(found) == 1 else ""


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> tuple[tuple[_Token, ...], ...]:
    """A pattern's choices, each as tokens; raises ``Invalid`` outside the grammar."""
    return tuple(tuple(_tokens(one)) for one in _choices(pattern))


def _choices(pattern: str) -> list[str]:
    done, waiting = [], [pattern]
    while waiting:
        one = waiting.pop()
        start = one.find("{")
        if start < 0:
            done.append(one)
        else:
            end = one.find("}", start)
            if end < 0 or "{" in one[start + 1 : end]:
                raise Invalid(f"in the pattern {pattern!r} the braces do not fit; write {{a,b}}, without others inside")
            waiting += [one[:start] + choice + one[end + 1 :] for choice in one[start + 1 : end].split(",")]
        if len(done) + len(waiting) > MOST_CHOICES:
            raise Invalid(f"the braces in a pattern stand for more than {MOST_CHOICES} patterns")
    return done


def _tokens(pattern: str) -> Iterator[_Token]:
    place = 0
    while place < len(pattern):
        letter = pattern[place]
        if pattern.startswith("**/", place) and (place == 0 or pattern[place - 1] == "/"):
            yield from (_DIRECTORIES, _INSIDE)
            place += 3
        elif pattern.startswith("**", place):
            yield _DEEP
            place += 2
        elif letter == "[":
            end = pattern.find("]", place + 2)
            if end < 0:
                raise Invalid(f"in the pattern {pattern!r} a [ has no end")
            yield _class(pattern[place + 1 : end])
            place = end + 1
        else:
            if letter == "\\":
                place += 1
            literal = pattern[place : place + 1] if letter == "\\" else ""
            yield _STAR if letter == "*" else _Any() if letter == "?" else _Literal(literal or letter)
            place += 1


def _class(text: str) -> _Class:
    negated = text[:1] in ("^", "!")
    found = re.findall(r"(.)-(.)|(.)", text[1:] if negated else text)
    return _Class(tuple((low, high) if low else (one, one) for low, high, one in found), negated)


def _fits(tokens: Sequence[_Token], text: str) -> bool:
    places = _reached(tokens, {0})
    for letter in text:
        following = set()
        for place in places:
            token = tokens[place] if place < len(tokens) else None
            if (token == _STAR and letter != "/") or token == _DEEP:
                following.add(place)
            elif token == _INSIDE:
                following.update((place, place + 1) if letter == "/" else (place,))
            elif token is not None and not isinstance(token, str) and token.holds(letter):
                following.add(place + 1)
        places = _reached(tokens, following)
        if not places:
            return False
    return len(tokens) in places


def _reached(tokens: Sequence[_Token], places: set[int]) -> set[int]:
    """The same places, and those that are reached from them without a letter."""
    waiting, found = list(places), set(places)
    while waiting:
        place = waiting.pop()
        token = tokens[place] if place < len(tokens) else None
        steps = {_STAR: (1,), _DEEP: (1,), _DIRECTORIES: (1, 2)}.get(token, ()) if isinstance(token, str) else ()
        for step in steps:
            if place + step not in found:
                found.add(place + step)
                waiting.append(place + step)
    return found
