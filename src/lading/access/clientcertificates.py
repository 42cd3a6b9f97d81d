"""Client certificates as identities: which user or robot a certificate's names stand for, by rules in order.

A certificate that came in TLS was checked there against ``http.tls.clientcas``. One that a proxy hands on in a header is
checked here against authorities of its own, since a proxy can be set up to pass on what it did not check. Nobody
is made by a certificate: the user or robot is there, or the certificate opens nothing.
"""

from __future__ import annotations

import binascii
import hashlib
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lading.access.certificates import RefusedChainError, signer
from lading.access.keys import UnusableKeyError, read_bundle
from lading.access.principal import Kind
from lading.access.remembered import Remembered
from lading.errors import ConfigurationError

MAX_HEADER = 24 * 1024
"""Bytes of a header in which a proxy hands on a certificate."""
_KEY = "accounts.certificates.authorities"
_REMEMBERED = 10_000
_ARMOUR = re.compile(rb"-----(BEGIN|END) CERTIFICATE-----")
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension)

log = logging.getLogger(__name__)


class Part(StrEnum):
    """The part of a certificate that a rule looks at; the last two are subject alternative names (RFC 5280, 4.2.1.6)."""

    COMMON_NAME = "commonname"
    EMAIL = "email"
    URI = "uri"


@dataclass(frozen=True)
class Naming:
    """``pattern`` may have one ``*``, for one or more characters other than ``/``; in ``name`` it is what stood there."""

    part: Part
    pattern: str
    kind: Kind
    name: str

    def names(self, value: str) -> str | None:
        """The user or robot that a value stands for; None where it does not fit."""
        found = re.fullmatch("([^/]+)".join(map(re.escape, self.pattern.split("*"))), value)
        if found is None or not value.isprintable():
            return None
        return self.name.replace("*", found[1]) if "*" in self.pattern else self.name


@dataclass(frozen=True, slots=True)
class Named:
    """Whom a certificate names: a user's name, or the stored name of a robot."""

    kind: Kind
    name: str


class ClientCertificates:
    """The rules, and what they said of the certificates seen lately. ``clock`` tells Unix seconds."""

    def __init__(
        self,
        rules: Sequence[Naming],
        authorities: Sequence[x509.Certificate] = (),
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rules = rules
        self._authorities = authorities
        self._clock = clock
        self._known: Remembered[Named | bool] = Remembered(entries=_REMEMBERED)
        self._vouched: Remembered[bytes | bool] = Remembered(entries=_REMEMBERED)

    def named(self, der: bytes) -> Named | None:
        """Whom a checked certificate names; None where no rule fits, and once it has expired."""
        key, now = hashlib.sha256(der).digest(), self._clock()
        known = self._known.get(key, now)
        if known is None:
            known, until = False, now + 60.0
            try:
                certificate = x509.load_der_x509_certificate(der)
                until = certificate.not_valid_after_utc.timestamp()
                known = (until > now and self._look(certificate)) or False
            except _UNREADABLE as error:
                log.warning("client certificate not readable", extra={"why": str(error)[:200]})
            self._known.put(key, known, max(until, now + 60.0) if known is False else until)
        return known if isinstance(known, Named) else None

    def handed_on(self, header: bytes) -> bytes | None:
        """The certificate (DER) in a proxy's header, where it leads to one of the authorities and is a client's.

        PEM escaped as in a URL (nginx, Apache), base64 of DER between colons (RFC 9440) or bare (Traefik, Caddy).
        """
        key, now = hashlib.sha256(header).digest(), self._clock()
        known = self._vouched.get(key, now)
        if known is None:
            known = self._checked(header, now) or False
            # what is good is looked at again soon: it may expire, and the authorities' certificates too
            self._vouched.put(key, known, now + 60.0)
        return known if isinstance(known, bytes) else None

    def _checked(self, header: bytes, now: float) -> bytes | None:
        if len(header) > MAX_HEADER:
            return None
        text = _ARMOUR.sub(b"", unquote_to_bytes(header.partition(b",")[0])).strip(b" :")
        try:
            der = binascii.a2b_base64(b"".join(text.split()), strict_mode=True)
            certificate = x509.load_der_x509_certificate(der)
            signer([certificate], self._authorities, datetime.fromtimestamp(now, UTC))
            if not _for_clients(certificate):
                raise RefusedChainError("it is not made for clients (extended key usage)")
        except (*_UNREADABLE, RefusedChainError, UnusableKeyError) as error:
            log.warning("client certificate from a proxy not taken", extra={"why": str(error)[:200]})
            return None
        return der

    def _look(self, certificate: x509.Certificate) -> Named | None:
        values = list(_values(certificate))
        for rule in self._rules:
            for part, value in values:
                name = rule.names(value) if part is rule.part else None
                if name:
                    return Named(rule.kind, name)
        return None


def read_authorities(paths: Sequence[Path]) -> list[x509.Certificate]:
    """The certificates in these PEM files; raises ``ConfigurationError``."""
    found: list[x509.Certificate] = []
    for path in paths:
        try:
            found += read_bundle(path)[0]
        except UnusableKeyError as error:
            raise ConfigurationError(f"{_KEY}: {error}", [f"{_KEY}: {error}"]) from None
    return found


def _values(certificate: x509.Certificate) -> Iterator[tuple[Part, str]]:
    """Every name a rule may look at; of several common names none, since which of them is meant nobody says."""
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(common) == 1 and isinstance(common[0].value, str):
        yield Part.COMMON_NAME, common[0].value
    try:
        others = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for value in others.get_values_for_type(x509.RFC822Name):
        yield Part.EMAIL, value
    for value in others.get_values_for_type(x509.UniformResourceIdentifier):
        yield Part.URI, value


def _for_clients(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.CLIENT_AUTH in usage or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage
