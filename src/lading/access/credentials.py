"""Long random secrets that the registry makes: robots' secrets, personal access tokens, refresh tokens.

``lading_pat_`` and its kin tell a scanner for leaked secrets what it found and whom to tell; the last six characters
are a checksum, so that it need not ask whether a find is one. 238 random bits need no slow hash: what is stored is the
SHA-256, and looking one up is one statement.
"""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib
from enum import StrEnum

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM, _CHECK = 40, 6


class Prefix(StrEnum):
    """What a secret is for."""

    PERSONAL = "lading_pat_"
    ROBOT = "lading_rbt_"
    REFRESH = "lading_rft_"
    SESSION = "lading_ses_"
    CLI = "lading_cli_"


def make(prefix: Prefix) -> str:
    """A new secret; it has small and large letters and digits, as Harbor's clients expect of a robot's."""
    while True:
        body = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
        if any(c.isdigit() for c in body) and any(c.isupper() for c in body) and any(c.islower() for c in body):
            return prefix + body + _checksum(prefix + body)


def is_one(text: str, prefix: Prefix) -> bool:
    """Whether this has the form, and the checksum, of a secret made here; nothing else needs to be looked up."""
    if len(text) != len(prefix) + _RANDOM + _CHECK or not text.startswith(prefix) or not text.isascii():
        return False
    return secrets.compare_digest(_checksum(text[:-_CHECK]), text[-_CHECK:])


def digest(secret: str) -> str:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _checksum(text: str) -> str:
    number = zlib.crc32(text.encode())
    found = ""
    for _ in range(_CHECK):
        number, rest = divmod(number, len(_ALPHABET))
        found = _ALPHABET[rest] + found
    return found
