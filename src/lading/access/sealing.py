"""Secrets that must be read again are stored sealed: who has the database alone cannot open them.

AES-256-GCM under a key that lies in a file of its own (0600, beside the index), or comes from the configuration where
several machines share a database. What a secret is for is bound into the seal, so that one cannot be put in
another's place.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lading.errors import StoreError

_NONCE = 12


class Seal:
    """Seals and opens with one key, which is made from any secret text."""

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCM(hashlib.blake2b(secret, person=b"lading-sealing", digest_size=32).digest())

    def seal(self, content: bytes, purpose: str) -> bytes:
        """The content, readable by :meth:`open` alone."""
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, content, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """What was sealed; raises ``StoreError`` where this key or this purpose is not the one it was sealed with."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], purpose.encode())
        except InvalidTag:
            raise StoreError(
                f"a secret in the index ({purpose}) was sealed with another key; bring back the key file it was made "
                "with (accounts.keyfile), or give every machine the same one"
            ) from None


def read_key(path: Path) -> bytes:
    """The key in a file, which is made when it is missing, readable by its owner alone."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _make(path)
        key = path.read_bytes().strip()
    except OSError as error:
        raise StoreError(f"accounts.keyfile: {path} can neither be read nor made: {error.strerror}") from error
    if len(key) < 32:
        raise StoreError(f"accounts.keyfile: {path} holds no key; it should be 64 hexadecimal digits")
    return key


def _make(path: Path) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_hex(32).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # of several processes one makes it
        except FileExistsError:
            return
    finally:
        draft.unlink(missing_ok=True)
