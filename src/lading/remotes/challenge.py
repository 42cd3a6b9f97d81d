"""``WWW-Authenticate`` as registries send it (RFC 9110 section 11.6.1), and where its realm may point.

A registry names in its challenge where tokens are to be had. It must not be able to make us send requests, let alone
a password, to an address that only we can reach.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from lading.errors import BadAnswer
from lading.remotes.addresses import is_inner

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # noqa: S105 - RFC 9110's token
_SCHEME = re.compile(rf"\s*,?\s*({_TOKEN})(?:\s+|$|(?=,))")
_PARAMETER = re.compile(rf'\s*,?\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))')

MAX_LENGTH = 16 << 10
"""Longest challenge that is looked at, in characters."""


@dataclass(frozen=True)
class Challenge:
    """One way to authenticate; ``scheme`` and the names in ``parameters`` are lower-case."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def parse(values: Iterable[str]) -> list[Challenge]:
    """Every challenge of every header line; what does not follow the grammar ends its line."""
    return [challenge for value in values for challenge in _line(value[:MAX_LENGTH])]


def _line(text: str) -> list[Challenge]:
    found: list[Challenge] = []
    place = 0
    while match := _SCHEME.match(text, place):
        place = match.end()
        parameters: dict[str, str] = {}
        while pair := _PARAMETER.match(text, place):
            place = pair.end()
            value = pair[3] if pair[2] is None else re.sub(r"\\(.)", r"\1", pair[2])
            parameters.setdefault(pair[1].lower(), value)
        found.append(Challenge(match[1].lower(), parameters))
    return found


def check_realm(realm: str, host: str, *, secure: bool) -> str:
    """``realm`` if tokens may be asked for there, else :class:`BadAnswer`.

    ``host`` is the registry's ``host[:port]``; ``secure`` says that it was reached over TLS with a verified
    certificate, then its realm must be, too. An address of a private network is refused unless the registry is there.
    """
    try:
        parts = urlsplit(realm)
        there = parts.hostname or ""
        _ = parts.port
    except ValueError:
        raise BadAnswer(f"{host} names a token server whose address cannot be read: {realm[:200]!r}") from None
    if parts.scheme not in {"http", "https"} or not there:
        raise BadAnswer(f"{host} names {realm[:200]!r} as its token server, which is no http or https address")
    if secure and parts.scheme != "https":
        raise BadAnswer(
            f"{host} is reached by https and names a token server without it, {realm[:200]}; that is refused"
        )
    if there.lower() != _hostname(host) and is_inner(there):
        raise BadAnswer(
            f"{host} names a token server at an address of a private network, {realm[:200]}; that is refused, since it "
            "could be made to reach what only this machine can"
        )
    return realm


def _hostname(host: str) -> str:
    return (urlsplit(f"//{host}").hostname or "").lower()
