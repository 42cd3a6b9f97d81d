"""How the scalars of a configuration are read: durations, sizes, addresses, URLs, and YAML's plain words.

registry:2 decodes YAML by the type it wants: ``5000`` is text where text is wanted and a number where a number is
wanted. So the reader keeps unquoted scalars as they were written (:class:`Plain`) and the functions here decide.
Words are resolved as yaml.v2 for Go does: ``yes`` and ``on`` are booleans, ``0755`` is octal, ``5:00`` is text.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta
from decimal import Decimal
from urllib.parse import urlsplit, urlunsplit

TRUE = frozenset({"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})
FALSE = frozenset({"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})
NULL = frozenset({"", "~", "null", "Null", "NULL"})

_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[oO]?([0-7]+)|0[bB]([01]+)|(0|[1-9][0-9]*))")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan)
_SPECIAL |= dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf)
_SPECIAL |= dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf)

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_TERM = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_LONGEST = 2**63 - 1

_SIZES = {"": 1, "b": 1, "kb": 10**3, "kib": 2**10, "mb": 10**6, "mib": 2**20, "gb": 10**9, "gib": 2**30}
_PASSWORD = re.compile(r"([?&](?:ssl)?password=)[^&#]*", re.IGNORECASE)
_SIZE = re.compile(r"([0-9]{1,18})\s*([a-z]*)", re.ASCII)


class Plain(str):
    """A scalar that stood unquoted in YAML: what it means depends on what is wanted."""

    __slots__ = ()


def resolve(word: str) -> bool | int | float | str | None:
    """What an unquoted word means where nothing particular is wanted."""
    if word in NULL:
        return None
    if word in TRUE or word in FALSE:
        return word in TRUE
    if word[0] not in "+-.0123456789" or len(word) > 128:
        return str(word)
    digits = word.replace("_", "")
    if (found := _INTEGER.fullmatch(digits)) and (number := _integer(*found.groups())) is not None:
        return number
    if _FLOAT.fullmatch(digits) and not math.isinf(value := float(digits)):
        return value
    return _SPECIAL.get(word, str(word))


def _integer(sign: str, hexadecimal: str, octal: str, binary: str, decimal: str) -> int | None:
    """A number of 64 bits, signed or not; ``None`` when it has more."""
    for text, base in ((hexadecimal, 16), (octal, 8), (binary, 2), (decimal, 10)):
        if text is not None:
            number = -int(text, base) if sign == "-" else int(text, base)
            return number if -(2**63) <= number < 2**64 else None
    return None


def parse_duration(text: str) -> timedelta:
    """Read a Go duration: ``168h``, ``1m30s``, ``500ms``, ``-1.5h``, ``0``.

    :raises ValueError: outside the grammar, or past Go's 292 years.
    """
    body = text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")
    if body == "0":
        return timedelta(0)
    total, at = Decimal(0), 0
    while found := _TERM.match(body, at):
        total += Decimal(found[1]) * _UNITS[found[2]]
        at = found.end()
    if not body or at != len(body) or len(body) > 100:
        if _FLOAT.fullmatch(body):
            raise ValueError(f"{text!r} needs a unit, as in {text}s; the units are ns, us, ms, s, m and h")
        raise ValueError(f"{text[:100]!r} is not a duration; write it as 168h, 1m30s or 500ms")
    return nanoseconds(-int(total) if text.startswith("-") else int(total))


def milliseconds(duration: timedelta) -> int:
    """A duration as rows keep it."""
    return int(duration.total_seconds() * 1000)


def nanoseconds(count: int) -> timedelta:
    """A Go duration from its number. Python counts microseconds: less than one counts as one."""
    if abs(count) > _LONGEST:
        raise ValueError("is longer than 292 years, the longest duration there is")
    micro = (abs(count) + 500) // 1000 or (1 if count else 0)
    return timedelta(microseconds=-micro if count < 0 else micro)


def format_duration(duration: timedelta) -> str:
    """Write a duration so that :func:`parse_duration` reads the same: ``168h``, ``1m30s``, ``500ms``."""
    micro = duration // timedelta(microseconds=1)
    if micro == 0:
        return "0s"
    parts = ["-"] if micro < 0 else []
    micro = abs(micro)
    for unit, length in (("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1000), ("us", 1)):
        count, micro = divmod(micro, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def parse_size(text: str) -> int:
    """Read a number of bytes: ``4194304``, ``4MiB``, ``64 KiB``, ``1GB``.

    :raises ValueError: not a size.
    """
    found = _SIZE.fullmatch(text.strip().lower())
    if found is None or found[2] not in _SIZES:
        raise ValueError(f"{text[:100]!r} is not a size; write bytes, or a number with KiB, MiB or GiB")
    return int(found[1]) * _SIZES[found[2]]


def format_size(size: int) -> str:
    """Write a number of bytes in the largest unit that divides it."""
    for unit, length in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size and size % length == 0:
            return f"{size // length}{unit}"
    return str(size)


def parse_address(text: str) -> tuple[str, int]:
    """Split ``host:port``: ``:5000`` → ``("", 5000)``, ``[::1]:5000`` → ``("::1", 5000)``; ``:0`` asks for any free port.

    An empty host means every interface. Service names (``:http``) are not taken.

    :raises ValueError: no port, a port out of range, or a host that cannot be one.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host:
            raise ValueError(f"{text!r} is not an address; write an IPv6 one as [::1]:5000")
        colon, port = rest[:1], rest[1:]
    else:
        host, colon, port = text.rpartition(":")
        if ":" in host:
            raise ValueError(f"{text!r} is not an address; write an IPv6 one in brackets, as [::1]:5000")
    if colon != ":":
        raise ValueError(f"{text!r} has no port; write host:port, as 127.0.0.1:5000")
    if not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or int(port) > 65535:
        raise ValueError(f"{text!r} has no port between 0 and 65535; write host:port, as 127.0.0.1:5000")
    if not re.fullmatch(r"[A-Za-z0-9._:%-]*", host):
        raise ValueError(f"{text!r} is not an address: a host has no such characters")
    return host, int(port)


class URL(str):
    """A URL that may carry ``user:password@``: its repr and :attr:`shown` do not.

    Log :attr:`shown`; use the string itself only to connect.
    """

    __slots__ = ()

    @property
    def shown(self) -> str:
        """The URL without the passwords."""
        shown = _PASSWORD.sub(r"\1***", self)
        parts = urlsplit(shown)
        user, at, host = parts.netloc.rpartition("@")
        if not at:
            return shown
        netloc = f"{user.partition(':')[0]}:***@{host}" if ":" in user else f"***@{host}"
        return urlunsplit(parts._replace(netloc=netloc))

    def __repr__(self) -> str:
        return repr(self.shown)


def parse_http_url(text: str) -> URL:
    """Check that a URL is one a client can post to.

    :raises ValueError: not http or https, no host, or a port that is none. The message does not repeat the URL.
    """
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        usable = False
    if not usable or re.search(r"[\x00-\x20\x7f]", text):
        raise ValueError("is not a URL; write it as https://host:port/path")
    return URL(text)
