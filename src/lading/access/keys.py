"""The keys a token server signs with: reading them, naming them, and which algorithm goes with which.

A key is found by any of the names a token server may give it in ``kid``: its RFC 7638 thumbprint, the ``kid`` of its
JWKS, or the older libtrust form (``AAAA:BBBB:…``: base32 of the first 240 bits of the SHA-256 of its DER form).
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import jwt
import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

MAX_FILE = 4 * 1024 * 1024
"""Bytes a bundle or a JWKS may have."""
MIN_RSA_BITS = 2048

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"secp256r1": ("ES256", "P-256"), "secp384r1": ("ES384", "P-384"), "secp521r1": ("ES512", "P-521")}

ALGORITHMS = (*_RSA, *(algorithm for algorithm, _ in _CURVES.values()), "EdDSA")
"""Every signature algorithm that is ever taken (RFC 7518 section 3.1, RFC 8037): asymmetric ones only."""

log = logging.getLogger(__name__)


class UnusableKeyError(ValueError):
    """A key or a file of keys that cannot be used; the message never holds key material."""


class Jwks(msgspec.Struct):
    """A JWK set (RFC 7517 section 5)."""

    keys: list[dict[str, Any]]


def usable(key: object) -> PublicKey:
    """The key, if it is of a kind and size tokens may be signed with; a private key gives its public half."""
    if isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey):
        key = key.public_key()
    if isinstance(key, RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise UnusableKeyError(f"an RSA key of {key.key_size} bits is too short: {MIN_RSA_BITS} is the least")
        return key
    if isinstance(key, EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise UnusableKeyError(f"keys on the curve {key.curve.name} are not supported: use P-256, P-384 or P-521")
        return key
    if isinstance(key, Ed25519PublicKey):
        return key
    raise UnusableKeyError(f"keys of the kind {type(key).__name__} are not supported: use RSA, ECDSA or Ed25519")


def algorithms_of(key: PublicKey) -> tuple[str, ...]:
    """The algorithms a signature of this key may name."""
    if isinstance(key, RSAPublicKey):
        return _RSA
    if isinstance(key, EllipticCurvePublicKey):
        return (_CURVES[key.curve.name][0],)
    return ("EdDSA",)


def thumbprint(key: PublicKey) -> str:
    """The key's RFC 7638 thumbprint: base64url of the SHA-256 of its required members, in order."""
    if isinstance(key, RSAPublicKey):
        public = key.public_numbers()
        members = {"e": _uint(public.e), "kty": "RSA", "n": _uint(public.n)}
    elif isinstance(key, EllipticCurvePublicKey):
        point = key.public_numbers()
        size = (key.curve.key_size + 7) // 8
        members = {"crv": _CURVES[key.curve.name][1], "kty": "EC", "x": _uint(point.x, size), "y": _uint(point.y, size)}
    else:
        members = {"crv": "Ed25519", "kty": "OKP", "x": _b64(key.public_bytes(Encoding.Raw, PublicFormat.Raw))}
    return _b64(hashlib.sha256(msgspec.json.encode(members)).digest())


def libtrust_id(key: PublicKey) -> str:
    """The key's libtrust fingerprint, as token servers of registry:2's time put it into ``kid``."""
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(der).digest()[:30]).decode("ascii")
    return ":".join(text[at : at + 4] for at in range(0, len(text), 4))


def names(key: PublicKey) -> tuple[str, ...]:
    """What a token may call this key, where its owner gave it no name."""
    return thumbprint(key), libtrust_id(key)


def jwk_key(jwk: Mapping[str, Any]) -> PublicKey:
    """The public key a JWK holds (RFC 7517, RFC 8037)."""
    kty = jwk.get("kty")
    try:
        if kty == "RSA":
            return usable(RSAAlgorithm.from_jwk(dict(jwk)))
        if kty == "EC":
            return usable(ECAlgorithm.from_jwk(dict(jwk)))
        if kty == "OKP":
            return usable(OKPAlgorithm.from_jwk(dict(jwk)))
    except UnusableKeyError:
        raise
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm) as error:
        raise UnusableKeyError(f"the {kty} key is malformed") from error
    if kty == "oct":
        raise UnusableKeyError(
            "it is a symmetric key (oct): whoever can verify with it can also sign, so it is not taken"
        )
    raise UnusableKeyError(f"its kty is {str(kty)[:20]!r}; RSA, EC and OKP are supported")


def read_bundle(path: Path) -> tuple[list[x509.Certificate], list[PublicKey]]:
    """The certificates and the bare public keys of a PEM file (``rootcertbundle``)."""
    certificates: list[x509.Certificate] = []
    keys: list[PublicKey] = []
    for number, (label, block) in enumerate(_pem_blocks(_contents(path)), start=1):
        try:
            if label == b"CERTIFICATE":
                certificates.append(x509.load_pem_x509_certificate(block))
                usable(certificates[-1].public_key())
            elif label in {b"PUBLIC KEY", b"RSA PUBLIC KEY"}:
                keys.append(usable(load_pem_public_key(block)))
            else:
                log.warning(
                    "block in the token certificate bundle not used",
                    extra={"path": str(path), "label": label.decode("ascii")},
                )
        except UnusableKeyError as error:
            raise UnusableKeyError(f"{path}: block {number}: {error}") from error
        except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
            raise UnusableKeyError(f"{path}: block {number} is not a valid {label.decode('ascii').lower()}") from error
    if not certificates and not keys:
        raise UnusableKeyError(f"{path} holds no certificate and no public key in PEM form")
    return certificates, keys


def read_jwks(path: Path) -> list[tuple[str, PublicKey]]:
    """The keys of a JWK set file, each with its ``kid`` ("" when it has none); those for encryption are left out."""
    try:
        entries = msgspec.json.decode(_contents(path), type=Jwks).keys
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise UnusableKeyError(
            f'{path} is not a JWK set, which is JSON of the form {{"keys": […]}}: {error}'
        ) from error
    found: list[tuple[str, PublicKey]] = []
    for number, jwk in enumerate(entries, start=1):
        if jwk.get("use", "sig") != "sig":
            continue
        kid = jwk.get("kid", "")
        if not isinstance(kid, str):
            raise UnusableKeyError(f"{path}: key {number}: its kid is not a string")
        try:
            found.append((kid, jwk_key(jwk)))
        except UnusableKeyError as error:
            raise UnusableKeyError(f"{path}: key {number} ({kid[:80] or 'without kid'}): {error}") from error
    if not found:
        raise UnusableKeyError(f"{path} holds no key to verify signatures with")
    return found


def _contents(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE + 1)
    except OSError as error:
        raise UnusableKeyError(f"{path} cannot be read: {error.strerror}") from error
    if len(raw) > MAX_FILE:
        raise UnusableKeyError(f"{path} is larger than {MAX_FILE} bytes")
    return raw


def _pem_blocks(raw: bytes) -> list[tuple[bytes, bytes]]:
    """(label, block) of each PEM block; text around them is allowed, as OpenSSL writes it."""
    blocks: list[tuple[bytes, bytes]] = []
    label: bytes | None = None
    lines: list[bytes] = []
    for line in map(bytes.strip, raw.splitlines()):
        if line.startswith(b"-----BEGIN ") and line.endswith(b"-----"):
            label, lines = line[11:-5], []
        if label is not None:
            lines.append(line)
            if line == b"-----END " + label + b"-----":
                blocks.append((label, b"\n".join(lines) + b"\n"))
                label = None
    if label is not None:
        raise UnusableKeyError("the last PEM block has no end: is the file cut off?")
    return [(label, block) for label, block in blocks if label.isascii()]


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _uint(number: int, size: int | None = None) -> str:
    return _b64(number.to_bytes(size or (number.bit_length() + 7) // 8, "big"))
