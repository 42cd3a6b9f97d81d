"""The TLS context of ``http.tls``."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from lading.errors import ConfigurationError

if TYPE_CHECKING:
    from lading.config.http import TLS


def context(tls: TLS) -> ssl.SSLContext:
    """Load certificate, key and client authorities; ``ConfigurationError`` names the key that does not fit."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_3 if tls.minimumtls == "tls1.3" else ssl.TLSVersion.TLSv1_2
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # Clients of a registry do not resume sessions (Go does so only when told to); tickets cost a sixth of a handshake
    # under TLS 1.3, and OpenSSL would keep each session in memory beside.
    made.num_tickets = 0
    made.set_alpn_protocols(["http/1.1"])
    for key, path in (("http.tls.certificate", tls.certificate), ("http.tls.key", tls.key)):
        _readable(key, path)
    try:
        made.set_ciphers(tls.openssl_ciphers)
    except ssl.SSLError:
        raise ConfigurationError("http.tls.ciphersuites: this machine's OpenSSL has none of these suites") from None
    try:
        made.load_cert_chain(tls.certificate, tls.key, password=_no_password)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"http.tls: the certificate {tls.certificate} and the key {tls.key} cannot be used together: "
            f"{error.reason or error}. The key must be the one the certificate was made for, both in PEM, and without "
            "a password"
        ) from None
    for authority in tls.clientcas:
        _readable("http.tls.clientcas", authority)
        try:
            made.load_verify_locations(authority)
        except ssl.SSLError as error:
            raise ConfigurationError(
                f"http.tls.clientcas: {authority} holds no PEM certificate: {error.reason or error}"
            ) from None
    if tls.clientcas:
        required = tls.clientauth == "require-and-verify-client-cert"
        made.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return made


def _readable(key: str, path: str) -> None:
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise ConfigurationError(f"{key}: cannot read {path}: {error.strerror}") from None


def _no_password() -> str:
    # asked only for an encrypted key; the prompt of the library would hang a service
    return ""
