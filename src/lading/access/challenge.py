"""The ``WWW-Authenticate`` header and the error body that go with a 401 (RFC 7617, RFC 6750 section 3)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from lading.access.scopes import Scope, render
from lading.errors import Unauthenticated

_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,261}", re.ASCII)


def basic(realm: str) -> str:
    """``Basic realm="…"``."""
    return f"Basic realm={quoted(realm)}"


def bearer(realm: str, service: str, wanted: Iterable[Scope], error: str = "") -> str:
    """``Bearer realm="…",service="…"[,scope="…"][,error="…"]``, the parameters in registry:2's order."""
    value = f"Bearer realm={quoted(realm)},service={quoted(service)}"
    if scope := render(wanted):
        value += f",scope={quoted(scope)}"
    return f"{value},error={quoted(error)}" if error else value


def unauthenticated(challenge: str, wanted: Sequence[Scope], why: str = "authentication required") -> Unauthenticated:
    """The refusal whose detail lists each access that was wanted, as registry:2 does; null when there was none."""
    accesses = [
        {"Type": scope.type, "Class": "", "Name": scope.name, "Action": action}
        for scope in wanted
        for action in scope.actions
    ]
    return Unauthenticated(why, challenge=challenge, detail=accesses or None)


def origin(host: str | None, forwarded_proto: str | None) -> str:
    """Where the client thinks it is talking to, for ``auth.token.autoredirect``: ``https://registry.example:5000``.

    As registry:2 has it, the scheme is that of ``X-Forwarded-Proto`` and otherwise https, also where this server
    itself speaks plain HTTP. Headers that are no scheme or no host give https and an empty string.
    """
    if host is None or _HOST.fullmatch(host) is None:
        return ""
    scheme = (forwarded_proto or "https").lower()
    return f"{scheme if scheme in {'http', 'https'} else 'https'}://{host}"


def quoted(text: str) -> str:
    """A quoted-string (RFC 9110 section 5.6.4), its UTF-8 bytes as latin-1 characters, as a header is encoded.

    Control characters are left out: nothing in a realm or a name may end the header.
    """
    kept = "".join(character for character in text if character >= " " and character != "\x7f")
    escaped = kept.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.encode("utf-8", "replace").decode("latin-1") + '"'
