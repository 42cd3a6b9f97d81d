"""Hashing that can be *saved and resumed*.

An upload whose chunks reach different processes goes on hashing where the last one stopped and never reads its bytes again.
``hashlib`` cannot export its state, so the hasher calls the ``SHA256_*`` and ``SHA512_*`` functions of the very libcrypto
that ``_hashlib`` is linked to; where those are missing (a statically linked Python), or do not agree with ``hashlib`` on
a known answer, hashing still works and ``Hasher.save`` answers ``None``: the caller then reads the bytes again.
"""

from __future__ import annotations

import ctypes
import hashlib
import struct
from functools import cache
from typing import Any, Protocol

from lading.oci.digest import CANONICAL, Digest, algorithm


class Hasher(Protocol):
    """Hashes a stream; ``update`` lets other threads run."""

    algorithm: str

    def update(self, data: bytes | bytearray | memoryview) -> None: ...

    def digest(self) -> Digest:
        """The digest so far; may be asked again and again."""
        ...

    def save(self) -> bytes | None:
        """The state as bytes that :func:`resume` takes up in any process on any machine, or None where it cannot."""
        ...


def hasher(name: str = CANONICAL) -> Hasher:
    """A fresh hasher for an algorithm that is stored here."""
    functions = _libcrypto(algorithm(name))
    return _LibcryptoHasher(name, functions) if functions else _HashlibHasher(name)


def resume(name: str, state: bytes) -> Hasher | None:
    """Go on from a saved state; None if this process cannot (the caller then reads the bytes again)."""
    functions = _libcrypto(algorithm(name))
    return _LibcryptoHasher(name, functions, state) if functions else None


class _HashlibHasher:
    def __init__(self, name: str) -> None:
        self.algorithm = name
        self._hash = hashlib.new(name)

    def update(self, data: bytes | bytearray | memoryview) -> None:
        self._hash.update(data)

    def digest(self) -> Digest:
        return Digest(f"{self.algorithm}:{self._hash.hexdigest()}")

    def save(self) -> bytes | None:
        return None


class _Sha256Context(ctypes.Structure):
    """``SHA256_CTX`` of OpenSSL's ``sha.h``."""

    _fields_ = (
        ("h", ctypes.c_uint32 * 8),
        ("low", ctypes.c_uint32),
        ("high", ctypes.c_uint32),
        ("data", ctypes.c_uint8 * 64),
        ("num", ctypes.c_uint),
        ("md_len", ctypes.c_uint),
    )


class _Sha512Context(ctypes.Structure):
    """``SHA512_CTX`` of OpenSSL's ``sha.h``."""

    _fields_ = (
        ("h", ctypes.c_uint64 * 8),
        ("low", ctypes.c_uint64),
        ("high", ctypes.c_uint64),
        ("data", ctypes.c_uint8 * 128),
        ("num", ctypes.c_uint),
        ("md_len", ctypes.c_uint),
    )


class _Functions:
    """One algorithm of libcrypto: its context, its three functions and the format of a saved state."""

    def __init__(self, library: ctypes.CDLL, name: str) -> None:
        prefix = name.upper()
        self.context: type[_Sha256Context | _Sha512Context] = _Sha256Context if name == "sha256" else _Sha512Context
        pointer = ctypes.POINTER(self.context)
        self.init = getattr(library, f"{prefix}_Init")
        self.init.argtypes = (pointer,)
        self.update = getattr(library, f"{prefix}_Update")
        self.update.argtypes = (pointer, ctypes.c_void_p, ctypes.c_size_t)
        self.final = getattr(library, f"{prefix}_Final")
        self.final.argtypes = (ctypes.c_void_p, pointer)
        self.size = hashlib.new(name).digest_size
        self.block = 64 if name == "sha256" else 128
        # eight chaining words, the length in bits (two words), then the bytes of the unfinished block
        self.layout = struct.Struct(">10I" if name == "sha256" else ">10Q")


class _LibcryptoHasher:
    def __init__(self, name: str, functions: _Functions, state: bytes | None = None) -> None:
        self.algorithm = name
        self._functions = functions
        self._context: Any = functions.context()
        functions.init(self._context)
        if state is not None:
            self._restore(state)

    def update(self, data: bytes | bytearray | memoryview) -> None:
        if isinstance(data, bytes):
            self._functions.update(self._context, data, len(data))
        elif data:
            view = memoryview(data)
            raw = view.tobytes() if view.readonly else ctypes.byref(ctypes.c_char.from_buffer(view))
            self._functions.update(self._context, raw, view.nbytes)

    def digest(self) -> Digest:
        copy = type(self._context).from_buffer_copy(self._context)
        out = ctypes.create_string_buffer(self._functions.size)
        self._functions.final(out, copy)
        return Digest(f"{self.algorithm}:{out.raw.hex()}")

    def save(self) -> bytes | None:
        context = self._context
        head = self._functions.layout.pack(*context.h, context.high, context.low)
        return head + bytes(context.data[: context.num])

    def _restore(self, state: bytes) -> None:
        functions, context = self._functions, self._context
        words = functions.layout.unpack_from(state)
        tail = state[functions.layout.size :]
        if len(tail) >= functions.block:
            raise ValueError("not a saved hash state")
        for index in range(8):
            context.h[index] = words[index]
        context.high, context.low = words[8], words[9]
        ctypes.memmove(context.data, tail, len(tail))
        context.num = len(tail)


@cache
def _libcrypto(name: str) -> _Functions | None:
    try:
        import _hashlib  # noqa: PLC0415 - a Python built without OpenSSL does not have it

        # looking a symbol up in an extension module searches the libraries it is linked to, so this is the very
        # libcrypto that hashlib uses, wherever it lies
        functions = _Functions(ctypes.CDLL(_hashlib.__file__), name)
    except (ImportError, OSError, AttributeError):
        return None
    return functions if _agrees(name, functions) else None


def _agrees(name: str, functions: _Functions) -> bool:
    """Whether libcrypto, stopped and resumed in the middle of a block, says what hashlib says."""
    sample = bytes(range(251)) * 3
    first = _LibcryptoHasher(name, functions)
    first.update(sample[:321])
    second = _LibcryptoHasher(name, functions, first.save())
    second.update(sample[321:])
    return second.digest() == Digest.of(sample, name)
