"""The keys that tokens of this registry are signed with: ES256, in the index, sealed; several at a time.

A new key is known to every process (and to whoever asks for the JWKS) for :data:`LEAD` before it signs; the one it
takes over from verifies until the last of its tokens has expired. So keys change without an outage. In ``kid`` stands
the libtrust form, which registry:2 looks for; the JWKS lists each key under its RFC 7638 thumbprint as well.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from cryptography.x509.oid import NameOID
from sqlalchemy import bindparam, delete, insert, null, select, update

from lading.access.keys import PublicKey, libtrust_id, names, thumbprint, usable
from lading.access.sealing import Seal
from lading.stores.metadata import clock
from lading.stores.metadata.schema.access import signing_keys
from lading.stores.metadata.transaction import Metadata, Statement, Transaction

ALGORITHM = "ES256"
LEAD = 3_600_000
"""Milliseconds between a key's first being seen and its first signature."""
_PURPOSE = "signing key"
_CERTIFICATE_YEARS = 10

_ALL = Statement(
    select(
        signing_keys.c.id,
        signing_keys.c.kid,
        signing_keys.c.sealed,
        signing_keys.c.certificate,
        signing_keys.c.created_at,
        signing_keys.c.signs_from,
        signing_keys.c.retired_at,
    ).order_by(signing_keys.c.signs_from, signing_keys.c.id)
)
_ADD = Statement(
    insert(signing_keys).values(
        kid=bindparam("kid"),
        sealed=bindparam("sealed"),
        certificate=bindparam("certificate"),
        created_at=bindparam("now"),
        signs_from=bindparam("signs_from"),
    )
)
_RETIRE = Statement(
    update(signing_keys)
    .where(signing_keys.c.retired_at == null(), signing_keys.c.kid != bindparam("newest"))
    .values(retired_at=bindparam("at"))
)
_FORGET = Statement(delete(signing_keys).where(signing_keys.c.retired_at < bindparam("before")))


@dataclass(frozen=True)
class SigningKey:
    """A key pair; times in milliseconds. ``certificate`` is PEM, self-signed, for a registry:2's rootcertbundle."""

    kid: str
    private: EllipticCurvePrivateKey
    certificate: str
    created_at: int
    signs_from: int
    retired_at: int | None

    @property
    def public(self) -> PublicKey:
        """What verifies its signatures."""
        return usable(self.private)


class SigningKeys:
    """The keys, in a transaction."""

    def __init__(self, tx: Transaction, seal: Seal) -> None:
        self._tx = tx
        self._seal = seal

    async def all(self) -> list[SigningKey]:
        """Every key, in the order in which they sign."""
        found = []
        for _, kid, sealed, certificate, created_at, signs_from, retired_at in await self._tx.rows(_ALL):
            private = load_der_private_key(self._seal.open(bytes(sealed), _PURPOSE), None)
            assert isinstance(private, EllipticCurvePrivateKey)
            found.append(SigningKey(kid, private, certificate, created_at, signs_from, retired_at))
        return found

    async def rotate(self, issuer: str, *, age: int, lifetime: int, at_once: bool = False) -> str | None:
        """Make a key where none is younger than ``age``, and forget those whose tokens (``lifetime``) have expired.

        Milliseconds both. The new key signs after :data:`LEAD`; the first of all, or ``at_once``, without waiting.
        Its kid, or None where none was needed.
        """
        moment = self._tx.now
        await self._tx.execute(_FORGET, before=moment - lifetime)
        newest = max(await self.all(), key=lambda key: key.created_at, default=None)
        if newest is not None and moment - newest.created_at < age and not at_once:
            return None
        private = generate_private_key(SECP256R1())
        kid = libtrust_id(usable(private))
        signs_from = moment if newest is None or at_once else moment + LEAD
        der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        await self._tx.execute(
            _ADD,
            kid=kid,
            sealed=self._seal.seal(der, _PURPOSE),
            certificate=_certificate(private, issuer),
            now=moment,
            signs_from=signs_from,
        )
        await self._tx.execute(_RETIRE, newest=kid, at=signs_from)
        return kid


class Keyring:
    """The keys as one process knows them; :meth:`load` looks again."""

    def __init__(self, seal: Seal, issuer: str, service: str) -> None:
        self._seal = seal
        self.issuer = issuer
        self.service = service
        self._keys: Sequence[SigningKey] = ()
        self.verifying: Mapping[str, PublicKey] = {}
        """Each key by each of its names."""

    async def load(self, metadata: Metadata) -> bool:
        """Read the keys; whether there are others than before."""
        keys = await metadata.read(lambda tx: SigningKeys(tx, self._seal).all())
        changed = [key.kid for key in keys] != [key.kid for key in self._keys]
        self._keys = keys
        if changed:
            self.verifying = {name: key.public for key in keys for name in names(key.public)}
        return changed

    def sign(self, claims: Mapping[str, Any]) -> str:
        """A signed token with these claims (RFC 7519)."""
        moment = clock.local()
        key = [key for key in self._keys if key.signs_from <= moment][-1]
        return jwt.encode(dict(claims), key.private, ALGORITHM, headers={"kid": key.kid})

    def jwks(self) -> bytes:
        """The public keys (RFC 7517), each under both of its names."""
        entries = [
            {**_jwk(key.private), "kid": kid, "use": "sig", "alg": ALGORITHM}
            for key in self._keys
            for kid in (key.kid, thumbprint(key.public))
        ]
        return msgspec.json.encode({"keys": entries})

    def certificates(self) -> str:
        """A certificate of each key, as PEM: what a registry:2 takes as ``rootcertbundle``."""
        return "".join(key.certificate for key in self._keys)


def _jwk(private: EllipticCurvePrivateKey) -> dict[str, str]:
    point = private.public_key().public_numbers()
    x, y = (base64.urlsafe_b64encode(n.to_bytes(32, "big")).rstrip(b"=").decode() for n in (point.x, point.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def _certificate(private: EllipticCurvePrivateKey, issuer: str) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer[:64] or "lading")])
    moment = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(days=1))
        .not_valid_after(moment + timedelta(days=365 * _CERTIFICATE_YEARS))
        .sign(private, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM).decode()
