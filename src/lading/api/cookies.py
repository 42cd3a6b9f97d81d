"""Cookies, as they are read and written."""

from __future__ import annotations

import re

from lading.api.request import Request

_VALUE = re.compile(r"[A-Za-z0-9_.=+/-]*", re.ASCII)
_MOST = 8192


def read(request: Request, name: str) -> str:
    """The value of the first cookie of that name, empty where there is none that could be ours."""
    for own, value in request.scope["headers"]:
        if own == b"cookie" and len(value) <= _MOST * 2:
            for pair in value.decode("latin-1").split(";"):
                key, _, given = pair.strip().partition("=")
                if key == name:
                    return given if _VALUE.fullmatch(given) and len(given) <= _MOST else ""
    return ""


def write(
    name: str, value: str, *, secure: bool, path: str = "/", strict: bool = False, script: bool = False, age: int = -1
) -> tuple[bytes, bytes]:
    """A ``Set-Cookie`` header; ``age`` in seconds, 0 to forget it, -1 until the browser ends. ``script``: it may read it."""
    parts = [f"{name}={value}", f"Path={path}", f"SameSite={'Strict' if strict else 'Lax'}"]
    if not script:
        parts.append("HttpOnly")
    if secure:
        parts.append("Secure")
    if age >= 0:
        parts.append(f"Max-Age={age}")
    return b"set-cookie", "; ".join(parts).encode("latin-1")


def secure(request: Request, external: str) -> bool:
    """Whether the browser reaches us by https, so that cookies must not go another way."""
    return (external or request.origin).startswith("https:")
