"""Who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Where a principal's name comes from."""

    ANONYMOUS = "anonymous"
    USER = "user"
    ROBOT = "robot"
    TOKEN = "token"  # noqa: S105 - a kind of principal, not a secret
    SYSTEM = "system"


_LETTERS = {Kind.USER: "u", Kind.ROBOT: "r"}


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody a request or a job acts for.

    ``name`` is the user's, or a token's ``sub`` claim: an outside token server may leave that empty for an anonymous
    caller it lets in. It goes into events and logs as the actor. With accounts, ``id`` is the row of the user or robot
    (0: none, as for htpasswd without accounts); ``limits`` are what a personal access token is limited to, empty where
    nothing limits.
    """

    name: str
    kind: Kind
    id: int = 0
    limits: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """``u7`` or ``r3``: who this is for as long as the account exists; empty for anybody without one."""
        return f"{_LETTERS[self.kind]}{self.id}" if self.id and self.kind in _LETTERS else ""


ANONYMOUS = Principal("", Kind.ANONYMOUS)
SYSTEM = Principal("lading", Kind.SYSTEM)


LIMITED = ("",)
"""Limits that allow nothing by themselves: what was allowed is in the token."""


def by_subject(subject: str, name: str, *, limited: bool = False) -> Principal | None:
    """The principal that :attr:`Principal.subject` tells of; None if it tells of none."""
    kind = next((kind for kind, letter in _LETTERS.items() if subject[:1] == letter), None)
    if kind is None or not subject[1:].isascii() or not subject[1:].isdigit():
        return None
    return Principal(name, kind, int(subject[1:]), LIMITED if limited else ())
