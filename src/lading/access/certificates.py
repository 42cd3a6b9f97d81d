"""Whether a chain of certificates leads to one that is trusted (RFC 5280 section 6, what of it signing tokens needs).

The library's own verifier is made for the web's certificates and their names; a token server's has neither a host name
nor a usage of that kind. A path is first looked for by names alone and then checked from the trusted end down, so that
no key is used before somebody trusted vouches for it, and a hostile chain costs little.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtensionOID

from lading.access.keys import PublicKey, UnusableKeyError, usable

MAX_CHAIN = 8
"""Certificates a token may bring."""
MAX_PATHS = 32
"""Ways from the leaf to a root that are tried."""

_UNDERSTOOD = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.CERTIFICATE_POLICIES,
}
_BROKEN_HASHES = (hashes.MD5, hashes.SHA1)
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


class RefusedChainError(Exception):
    """Why a chain is not trusted."""


@dataclass(frozen=True, slots=True)
class Signer:
    """The key at the end of a good chain, and the time (Unix seconds) the first certificate on the way runs out."""

    key: PublicKey
    until: float


def parse_chain(x5c: Sequence[str]) -> list[x509.Certificate]:
    """The certificates of an ``x5c`` header (RFC 7515 section 4.1.6): base64 of DER, the signer's first."""
    if not 1 <= len(x5c) <= MAX_CHAIN:
        raise RefusedChainError(f"the token brings {len(x5c)} certificates; 1 to {MAX_CHAIN} are taken")
    try:
        return [x509.load_der_x509_certificate(binascii.a2b_base64(text, strict_mode=True)) for text in x5c]
    except _UNREADABLE as error:
        raise RefusedChainError("a certificate the token brings cannot be read") from error


def signer(chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], now: datetime) -> Signer:
    """The key of ``chain[0]`` if it is one of the roots or leads to one over the rest; else raises ``RefusedChainError``."""
    why = "no certificate in the bundle has issued it"
    for path in _paths(chain, roots):
        try:
            _check(path, now)
            key = usable(path[0].public_key())
        except (RefusedChainError, UnusableKeyError) as refusal:
            why = str(refusal)
        except (*_UNREADABLE, InvalidSignature):
            why = "a certificate or signature on the way is not valid"
        else:
            return Signer(key, min(each.not_valid_after_utc for each in path).timestamp())
    raise RefusedChainError(f"the token's certificate is not trusted: {why}")


def _paths(chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]) -> Iterator[list[x509.Certificate]]:
    """Paths from the leaf to a root that fit by their names, at most ``MAX_PATHS`` of them, shortest first."""
    leaf, *others = chain
    if leaf in roots:
        yield [leaf]
    found = 0
    waiting = [[leaf]]
    for path in waiting:
        issuer = path[-1].issuer
        for root in roots:
            if root.subject == issuer and root != path[-1]:
                yield [*path, root]
                found += 1
        if found >= MAX_PATHS or len(waiting) >= MAX_PATHS:
            return
        waiting += [[*path, other] for other in others if other.subject == issuer and other not in path]


def _check(path: Sequence[x509.Certificate], now: datetime) -> None:
    """Dates, rights and signatures, from the root (last) down to the leaf (first)."""
    for index in reversed(range(len(path))):
        certificate = path[index]
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise RefusedChainError("a certificate on the way is not valid at this time")
        if any(extension.critical and extension.oid not in _UNDERSTOOD for extension in certificate.extensions):
            raise RefusedChainError("a certificate on the way has a critical extension that is not understood")
        if index > 0:
            _may_issue(certificate, below=index - 1, trusted=index == len(path) - 1)
            _issued(path[index - 1], certificate)
    if len(path) > 1:
        _may_sign(path[0])


def _may_issue(certificate: x509.Certificate, *, below: int, trusted: bool) -> None:
    """``below`` is the number of issuing certificates between this one and the leaf."""
    if trusted and certificate.version is x509.Version.v1:
        return
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        raise RefusedChainError("an issuer on the way is not a certificate authority") from None
    if not constraints.ca:
        raise RefusedChainError("an issuer on the way is not a certificate authority")
    if constraints.path_length is not None and below > constraints.path_length:
        raise RefusedChainError("the chain is longer than an issuer on the way allows")
    usage = _usage(certificate)
    if usage is not None and not usage.key_cert_sign:
        raise RefusedChainError("an issuer on the way may not sign certificates")


def _issued(child: x509.Certificate, parent: x509.Certificate) -> None:
    if isinstance(child.signature_hash_algorithm, _BROKEN_HASHES):
        raise RefusedChainError("a certificate on the way is signed with MD5 or SHA-1")
    try:
        child.verify_directly_issued_by(parent)
    except InvalidSignature:
        raise RefusedChainError("a signature on the way does not fit") from None


def _may_sign(leaf: x509.Certificate) -> None:
    """A certificate that says what its key is for must name signing; one in the bundle itself is not asked."""
    usage = _usage(leaf)
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        raise RefusedChainError("the certificate's key usage does not include digitalSignature")


def _usage(certificate: x509.Certificate) -> x509.KeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None
