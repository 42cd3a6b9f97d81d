"""What a failure on the way to another registry means, in words for people."""

from __future__ import annotations

import ssl

from lading.errors import BadAnswer, Unreachable, Untrusted
from lading.remotes.connection import Garbled, Lost

_INSECURE = "; --insecure goes on without checking"
_PLAIN_HTTP = "say so with --plain-http"


def explained(error: Exception, place: str) -> Unreachable | Untrusted | BadAnswer:
    """The error to raise for one that :mod:`~lading.remotes.connection` or the system raised at ``place``."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Untrusted(
            f"the certificate of {place} is not trusted: {error.verify_message}. If an authority of your own made it, "
            f"put that authority's certificate into /etc/docker/certs.d/{place}/ca.crt (or ~/.docker/certs.d/…, or "
            f"name a bundle in SSL_CERT_FILE){_INSECURE}"
        )
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "the handshake failed").replace("_", " ").lower()
        if " alert " in reason:
            hint = (
                f"it wants a certificate of yours, put it into ~/.docker/certs.d/{place}/ as client.cert and client.key"
            )
        else:
            hint = f"it speaks plain HTTP, {_PLAIN_HTTP}"
        return Untrusted(f"no TLS connection to {place}: {reason}. If {hint}")
    if isinstance(error, Garbled):
        return BadAnswer(f"{place} does not answer in HTTP as it should: {str(error)[:200]}")
    if isinstance(error, Lost):
        return Unreachable(f"the connection to {place} broke before it answered to the end")
    if isinstance(error, TimeoutError) and error.errno is None:
        return Unreachable(f"{place} does not answer in time")
    if isinstance(error, OSError) and error.strerror:
        return Unreachable(f"cannot reach {place}: {error.strerror[:1].lower()}{error.strerror[1:]}")
    return Unreachable(f"the connection to {place} broke: {str(error)[:200] or type(error).__name__}")


def configured(message: str, insecure: str = "") -> str:
    """The same words where there is no command line; ``insecure`` says what goes on without checking, if anything does."""
    return message.replace(_INSECURE, insecure).replace(_PLAIN_HTTP, "give its address with http://")
