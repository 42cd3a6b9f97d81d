"""Who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Where a principal's name comes from."""

    ANONYMOUS = "anonymous"
    USER = "user"
    TOKEN = "token"  # noqa: S105 - a kind of principal, not a secret
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody a request or a job acts for.

    ``name`` is the user's, or a token's ``sub`` claim: an outside token server may leave that empty for an anonymous
    caller it lets in. It goes into events and logs as the actor.
    """

    name: str
    kind: Kind


ANONYMOUS = Principal("", Kind.ANONYMOUS)
SYSTEM = Principal("lading", Kind.SYSTEM)
