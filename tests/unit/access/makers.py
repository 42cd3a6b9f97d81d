"""Real keys, certificates and tokens for these tests, made by libraries and not by the code that is tested."""

from __future__ import annotations

import base64
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from lading.access.tokens import Tokens

NOW = 1_900_000_000.0
"""The clock of the guards under test, Unix seconds."""
ISSUER, SERVICE, REALM = "issuer", "registry", "https://auth.example/token"

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@functools.cache
def rsa_key(name: str = "", bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@functools.cache
def ec_key(name: str = "", curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve())


@functools.cache
def ed_key(name: str = "") -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def key_for(algorithm: str) -> Private:
    """A key that signs with ``algorithm``."""
    curves = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}
    if algorithm in curves:
        return ec_key("", curves[algorithm])
    return ed_key() if algorithm == "EdDSA" else rsa_key()


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Private

    @property
    def x5c(self) -> str:
        return base64.b64encode(self.certificate.public_bytes(Encoding.DER)).decode()

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def usage(**on: bool) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: on.get(name, False) for name in names})


def issue(
    name: str,
    by: Issued | None = None,
    *,
    key: Private | None = None,
    ca: bool | None = None,
    path_length: int | None = None,
    key_usage: x509.KeyUsage | None = None,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
    days: tuple[int, int] = (-10, 10),
    issuer_name: str | None = None,
) -> Issued:
    """A certificate for ``name``, self-signed or signed by another, valid ``days`` from and to around ``NOW``."""
    key = key or ec_key(f"certificate {name}")
    now = datetime.fromtimestamp(NOW, UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = by.certificate.subject if by else subject
    if issuer_name:
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    if key_usage is not None:
        builder = builder.add_extension(key_usage, critical=True)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical)
    signing = by.key if by else key
    algorithm = None if isinstance(signing, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Issued(builder.sign(signing, algorithm), key)


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims that grant pull and push on team/app; a change to None leaves a claim out."""
    good: dict[str, Any] = {
        "iss": ISSUER,
        "sub": "alice",
        "aud": SERVICE,
        "exp": int(NOW) + 300,
        "nbf": int(NOW) - 5,
        "iat": int(NOW) - 5,
        "jti": "1",
        "access": [{"type": "repository", "name": "team/app", "actions": ["pull", "push"]}],
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def token(
    key: Any, headers: Mapping[str, Any], algorithm: str = "ES256", body: Mapping[str, Any] | None = None
) -> bytes:
    """A whole header: ``Bearer`` and a signed token."""
    text = jwt.encode(dict(claims() if body is None else body), key, algorithm, headers=dict(headers))
    return b"Bearer " + text.encode()


def public_pem(key: Private) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def bundle(directory: Path, *blocks: bytes) -> str:
    path = directory / "bundle.pem"
    path.write_bytes(b"".join(blocks))
    return str(path)


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def guarding(clock: Clock | None = None, **settings: Any) -> Tokens:
    """A guard over the given files, whose clock stands at ``NOW``."""
    defaults: dict[str, Any] = {"realm": REALM, "service": SERVICE, "issuer": ISSUER}
    made = Tokens.open(**(defaults | settings))
    made._clock = clock or Clock()
    return made
