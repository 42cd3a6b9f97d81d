"""Digests (image spec, "Digests"); what makes them is in :mod:`~lading.oci.hasher`.

A digest is ``algorithm:encoded``. Lading stores what is addressed by ``sha256`` and ``sha512``, the algorithms the
specification registers; ``blake3`` and unknown ones are refused by name.
"""

from __future__ import annotations

import hashlib
import re

from lading.errors import DigestInvalid

CANONICAL = "sha256"

_HEX = {"sha256": 64, "sha512": 128}
_GRAMMAR = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+", re.ASCII)
_KNOWN = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}", re.ASCII)

ALGORITHMS = tuple(_HEX)


class Digest(str):
    """A digest in the grammar, of an algorithm that is stored here, in lower-case hexadecimal."""

    __slots__ = ()

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        return self.partition(":")[2]

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read a digest as a client wrote it; :class:`DigestInvalid` says what is wrong with it."""
        if _KNOWN.fullmatch(text):
            return cls(text)
        raise DigestInvalid(_complaint(text), detail={"digest": text[:256]})

    @classmethod
    def of(cls, content: bytes, algorithm: str = CANONICAL) -> Digest:
        """The digest of these bytes."""
        return cls(f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}")


def algorithm(name: str) -> str:
    """``name`` if it is an algorithm that is stored here, else :class:`DigestInvalid`."""
    if name in _HEX:
        return name
    raise DigestInvalid(f"digest algorithm {name[:64]!r} is not supported; use {' or '.join(_HEX)}")


def _complaint(text: str) -> str:
    shown = text[:160]
    if not _GRAMMAR.fullmatch(text):
        return f"{shown!r} is not a digest; a digest reads like sha256:<64 hexadecimal digits>"
    name = text.partition(":")[0]
    if name not in _HEX:
        return f"digest algorithm {name[:64]!r} is not supported; use {' or '.join(_HEX)}"
    return f"{shown!r} is not a {name} digest; it needs {_HEX[name]} lower-case hexadecimal digits"
