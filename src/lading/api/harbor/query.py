"""How a caller says which part of a list they want: ``page``, ``page_size``, ``q`` and ``sort``.

``q`` is conditions with commas between them, all of which hold: ``name=library`` is exact, ``name=~lib`` has it
somewhere in it, ``size=[1~9]`` lies in a range whose ends may be left out, ``id={1 2}`` is one of these,
``labels=(1 2)`` has all of them. A backslash in front of a value keeps its first character from meaning any of this.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

from lading.api.request import Request
from lading.errors import Invalid
from lading.stores.metadata.paging import Match, Page

USUAL, MOST = 10, 100
ALL = 1000
"""How many entries a client gets that asks for all of them, as harbor-cli does with a ``page_size`` of 0."""
_MOST_CONDITIONS = 20
_MOST_SORTS = 8
_MOST_TEXT = 8192


def page_of(request: Request, *, sortable: bool = True) -> Page:
    """The page a request asks for."""
    number = _whole(request, "page", 1, 0, 10**9) or 1
    size = _whole(request, "page_size", USUAL, 0, MOST) or ALL
    where = conditions(request.argument("q") or "")
    return Page(number, size, where, sorts(request.argument("sort") or "") if sortable else ())


def conditions(text: str) -> tuple[Match, ...]:
    """What ``q`` says. Its values may be percent-encoded once more, as some clients do."""
    if not text:
        return ()
    parts = unquote(text).split(",")
    if len(parts) > _MOST_CONDITIONS or len(text) > _MOST_TEXT:
        raise Invalid(f"q has more than {_MOST_CONDITIONS} conditions, or is longer than {_MOST_TEXT} characters")
    return tuple(_condition(part) for part in parts)


def sorts(text: str) -> tuple[tuple[str, bool], ...]:
    """What ``sort`` says: fields with commas between them, a minus in front of those that go downwards."""
    parts = text.split(",") if text else []
    if len(parts) > _MOST_SORTS or any(not part.strip("-+ ") for part in parts):
        raise Invalid(f"sort is up to {_MOST_SORTS} fields with commas between them, as in sort=name,-update_time")
    return tuple((part.strip().lstrip("-+"), part.strip().startswith("-")) for part in parts)


def _condition(part: str) -> Match:
    name, equals, value = part.partition("=")
    name = name.strip()
    if not equals or not name or not value:
        raise Invalid(f"q is field=value with commas between them, and {part[:60]!r} is not of that form")
    if value[0] == "~":
        if len(value) == 1:
            raise Invalid(f"q says {name}=~ without what to look for")
        return Match(name, "like", (value[1:],))
    if value[0] == "[":
        return Match(name, "between", _range(name, value))
    if value[0] in "{(":
        return Match(name, "any" if value[0] == "{" else "all", _several(name, value))
    return Match(name, "is", (value.removeprefix("\\"),))


def _range(name: str, value: str) -> tuple[str | None, str | None]:
    low, tilde, high = value[1:-1].partition("~")
    low, high = low.strip().strip("\"'"), high.strip().strip("\"'")
    if not value.endswith("]") or not tilde or "~" in high or not (low or high):
        raise Invalid(f"the range of {name[:60]} is of the form [from~to]; one of the two may be left out")
    return low or None, high or None


def _several(name: str, value: str) -> tuple[str, ...]:
    closing = "}" if value[0] == "{" else ")"
    found = tuple(each.strip("\"'") for each in value[1:-1].split(" ") if each.strip("\"'"))
    if len(value) < 2 or not value.endswith(closing) or not found:
        raise Invalid(f"the values of {name[:60]} have spaces between them, and {closing} at the end")
    return found


def _whole(request: Request, name: str, usual: int, least: int, most: int) -> int:
    given = request.argument(name)
    if not given:
        return usual
    if not given.isascii() or not given.isdigit() or len(given) > 18 or not least <= int(given) <= most:
        raise Invalid(f"{name} is {given[:40]!r}, but must be a whole number from {least} to {most}")
    return int(given)


def links(request: Request, page: Page, total: int) -> str:
    """The ``Link`` header to the pages before and behind; empty where there is neither."""
    found = []
    if page.number > 1 and page.offset - page.size < total:
        found.append((page.number - 1, "prev"))
    if page.offset + page.size < total:
        found.append((page.number + 1, "next"))
    return " , ".join(f'<{_target(request, number, page.size)}>; rel="{rel}"' for number, rel in found)


def _target(request: Request, number: int, size: int) -> str:
    kept = [(name, value) for name, value in request.arguments() if name not in ("page", "page_size")]
    query = "&".join(
        f"{quote(name)}={quote(value)}" for name, value in [*kept, ("page", str(number)), ("page_size", str(size))]
    )
    path = request.scope["raw_path"].decode("latin-1")
    return f"{path}?{query}"
