"""What came from a Harbor and what did not, for a person; and how what the other side wrote is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Report:
    """What was made and what was there, counted by kind; and a line for each thing that did not come, with the reason."""

    made: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """What came along, but has to be looked at."""

    def count(self, kind: str, *, made: bool) -> None:
        where = self.made if made else self.kept
        where[kind] = where.get(kind, 0) + 1

    def leave(self, kind: str, name: object, why: str) -> None:
        self.left.append(shown(f"{kind} {name}: {why}"))

    def tell(self, line: str) -> None:
        self.told.append(shown(line))


def text(entry: Mapping[str, Any], name: str) -> str:
    """The text of that name; empty where there is none."""
    value = entry.get(name)
    return value if isinstance(value, str) else ""


def number(entry: Mapping[str, Any], name: str) -> int:
    """The number of that name; 0 where there is none."""
    value = entry.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53 else 0


def part(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object of that name; empty where there is none."""
    value = entry.get(name)
    return value if isinstance(value, dict) else {}


def parts(entry: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The objects in the list of that name."""
    value = entry.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def shown(value: object) -> str:
    """What the other side wrote, so that it cannot steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value)[:1000])
