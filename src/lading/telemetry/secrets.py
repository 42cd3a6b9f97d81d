"""Takes secrets out of what is about to be logged.

Whoever logs something should not log a secret in the first place; this is the net below. It knows secrets by where
they stand (a header, an argument of a URL, ``user:password@``, a key of JSON) and by their looks (``Bearer …``, a JWT).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus

HIDDEN = "***"

_WORDS = (
    r"(?:x-)?(?:[a-z0-9]+[-_.])*?(?:authorization|password|passwd|pwd|passphrase|secret|token|cookie|credentials?|"
    r"private[-_]?key|secret[-_]?key|access[-_]?key(?:[-_]?id)?|api[-_]?key|signature|htpasswd)"
)
_ARGUMENTS = r"_state|state|sig|code|auth|policy|key-pair-id|awsaccesskeyid"
_SECRET_KEY = re.compile(_WORDS + r"|_state", re.IGNORECASE)
_SECRET_ARGUMENT = re.compile(f"{_WORDS}|{_ARGUMENTS}", re.IGNORECASE)

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    # Authorization: Basic …, Cookie: …; to the end of the line or of the quotes
    (
        re.compile(
            r"""(?i)\b((?:proxy-)?authorization|(?:set-)?cookie|x-auth-token|x-api-key)(["']?\s*[:=,]\s*)[^\r\n"']*"""
            r"""(?:["'][^\r\n"']*)?"""
        ),
        rf"\1\2{HIDDEN}",
    ),
    (
        re.compile(r"(?i)\b(basic|bearer|negotiate)(\s+)(?=\S*[0-9=+/]|\S{20})(?!realm=)[A-Za-z0-9._~+/=:-]{4,}"),
        rf"\1\2{HIDDEN}",
    ),
    (re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"), HIDDEN),
    (re.compile(r"://([^\s/:@?#\"']*):[^\s/?#\"']*@"), rf"://\1:{HIDDEN}@"),
    (re.compile(r"://[^\s/:@?#\"']+@"), rf"://{HIDDEN}@"),
    # ?_state=…, password=…, X-Amz-Signature=…
    (
        re.compile(
            rf"(?i)((?:(?<![A-Za-z0-9_.%-])(?:{_WORDS})|"
            rf"[?&](?:[^&=\s%?]{{0,64}}%[^&=\s?]{{0,64}}|{_ARGUMENTS}))=)"
            r"""(?:"[^"]*"|'[^']*'|[^&\s"',;)}\]]*)"""
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?i)((?<![A-Za-z0-9])_state=)[^&\s\"']*"), rf"\1{HIDDEN}"),
    # "password": "…"
    (
        re.compile(
            rf"""(?i)((["'])(?:{_WORDS}|_state)\2\s*[:,]\s*)"""
            r"""(?:\[[^\]]{0,2000}\]|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,}\]]+)"""
        ),
        rf'\1"{HIDDEN}"',
    ),
)


# most texts have nothing that any rule begins with, and this tells it in a tenth of the time
_TRIGGER = re.compile(r"[=@\"']|eyJ|(?i:basic|bearer|negotiate|authorization|cookie|x-auth-token|x-api-key)")


@lru_cache(maxsize=1024)
def secret_name(name: str) -> bool:
    """Whether what has this name (a header, a key) is not for others to read."""
    return _SECRET_KEY.fullmatch(name) is not None


def redacted(text: str) -> str:
    """The text, its secrets replaced by ``***``."""
    if _TRIGGER.search(text) is None:
        return text
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def redacted_value(name: str, value: Any) -> Any:
    """A field of a log line, whatever its kind; mappings and sequences are gone through."""
    if secret_name(name):
        return HIDDEN
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, bytes):
        return redacted(value.decode("utf-8", "backslashreplace"))
    if isinstance(value, Mapping):
        return {str(key): redacted_value(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted_value("", inner) for inner in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redacted(str(value))


def redacted_query(query: str) -> str:
    """The query of a URL; an argument's name may be percent-encoded."""
    if "=" not in query:
        return query
    return "&".join(_argument(each) for each in query.split("&"))


def _argument(text: str) -> str:
    name, equals, value = text.partition("=")
    if not value:
        return text
    plain = unquote_plus(name) if "%" in name or "+" in name else name
    return f"{name}={HIDDEN}" if _hidden_argument(plain) else name + equals + value


def _hidden_argument(name: str) -> bool:
    # the arguments of the specification are looked at most
    return name not in _HARMLESS and _SECRET_ARGUMENT.fullmatch(name.strip()) is not None


_HARMLESS = frozenset({"digest", "n", "last", "mount", "from", "tag", "artifactType", "digest-algorithm", "ns", "q"})
