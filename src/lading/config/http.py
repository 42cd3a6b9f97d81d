"""``http``: where to listen and how to answer."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import SecretStr

from lading.config.fields import (
    After,
    Before,
    Duration,
    Flag,
    Headers,
    Secret,
    Section,
    Text,
    group,
    instead_of_zero,
    lasting,
    one_of,
    setting,
)
from lading.config.values import parse_address

CIPHERS = {
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256": "AES128-SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256": "ECDHE-ECDSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256": "ECDHE-RSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
"""TLS 1.2 suites as registry:2 names them → as OpenSSL names them. Those broken outright are not here."""

ALWAYS_ON = frozenset({"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"})
"""The suites of TLS 1.3: accepted as names, and on whenever TLS 1.3 is."""

_DEFAULT_CIPHERS = (
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
)


def _ciphers(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in CIPHERS and name not in ALWAYS_ON:
            broken = "RC4" in name or "3DES" in name
            raise ValueError(
                f"{name[:60]!r} is " + ("broken and not offered" if broken else "not a cipher suite known here")
            )
    return names


def _minimum(version: str) -> str:
    if version in {"tls1.0", "tls1.1"}:
        raise ValueError(f"{version} is broken and not offered, as in registry 3; use tls1.2 or tls1.3")
    return version or "tls1.2"


def _client_auth(mode: str) -> str:
    if mode in {"request-client-cert", "require-any-client-cert"}:
        raise ValueError(
            f"{mode} takes certificates without checking them, which is not offered; "
            "use verify-client-cert-if-given or require-and-verify-client-cert"
        )
    return mode


def _prefix(path: str) -> str:
    if path and not (path.startswith("/") and path.endswith("/")):
        raise ValueError("must begin and end with a slash, as /registry/")
    if "//" in path or any(part in {".", ".."} for part in path.split("/")) or not path.isprintable():
        raise ValueError("must be a plain path, as /registry/")
    if any(character in path for character in ' ?#%\\"<>') or not path.isascii():
        raise ValueError("must be a plain path, as /registry/")
    return "" if path == "/" else path


def _metrics_path(path: str) -> str:
    if not path:
        return "/metrics"
    if not path.startswith("/"):
        raise ValueError("must begin with a slash, as /metrics")
    return path


MinimumTLS = Annotated[
    Literal["tls1.2", "tls1.3"], Before(_minimum), one_of("tls1.0", "tls1.1", "tls1.2", "tls1.3", "")
]
ClientAuth = Annotated[
    Literal["verify-client-cert-if-given", "require-and-verify-client-cert"],
    Before(_client_auth),
    one_of(
        "request-client-cert",
        "require-any-client-cert",
        "verify-client-cert-if-given",
        "require-and-verify-client-cert",
    ),
]


class LetsEncrypt(Section):
    cachefile: Text = setting("", "Where to keep certificates.")
    email: Text = setting("", "The account's address.")
    hosts: tuple[Text, ...] = setting((), "The names to get certificates for.")
    directoryurl: Text = setting("", "The ACME server.")


class TLS(Section):
    """On when :attr:`certificate` and :attr:`key` are given."""

    certificate: Text = setting("", "PEM file of the certificate and what leads up to its root; with key, TLS is on.")
    key: Text = setting("", "PEM file of the certificate's private key.")
    clientcas: tuple[Text, ...] = setting((), "PEM files of authorities: clients must show a certificate of theirs.")
    clientauth: ClientAuth = setting(
        "require-and-verify-client-cert",
        "With clientcas: require-and-verify-client-cert or verify-client-cert-if-given.",
    )
    minimumtls: MinimumTLS = setting("tls1.2", "The least version spoken: tls1.2 or tls1.3.")
    ciphersuites: Annotated[tuple[Text, ...], After(_ciphers)] = setting(
        (), "Cipher suites for TLS 1.2; empty: those registry:2 has. TLS 1.3 has its own and always all of them."
    )
    letsencrypt: LetsEncrypt = group(
        "Certificates from Let's Encrypt.",
        refused="Lading does not fetch certificates itself; let certbot, lego or a proxy such as Caddy do it, and "
        "name the files in http.tls.certificate and http.tls.key",
    )

    @property
    def enabled(self) -> bool:
        """Whether to speak TLS."""
        return bool(self.certificate)

    @property
    def openssl_ciphers(self) -> str:
        """The suites for TLS 1.2 in OpenSSL's words, for ``SSLContext.set_ciphers``."""
        chosen = [CIPHERS[name] for name in self.ciphersuites if name in CIPHERS]
        return ":".join(chosen or [CIPHERS[name] for name in _DEFAULT_CIPHERS])


class Prometheus(Section):
    enabled: Flag = setting(False, "Serve metrics on the debug address.")
    path: Annotated[Text, After(_metrics_path)] = setting("/metrics", "The path of the metrics.")


class Debug(Section):
    addr: Text = setting("", "host:port of the debug server (health and metrics); empty: none. It asks nobody's name.")
    prometheus: Prometheus = group("Metrics.")

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port to listen on; ``None``: nowhere."""
        return parse_address(self.addr) if self.addr else None


class HTTP2(Section):
    disabled: Flag = setting(False, "Speak HTTP/1.1 only, which Lading does either way.")


class H2C(Section):
    enabled: Flag = setting(
        False,
        "HTTP/2 without TLS.",
        refused="Lading speaks HTTP/1.1; let the load balancer speak HTTP/1.1 to it, and remove http.h2c",
    )


class HTTP(Section):
    addr: Annotated[Text, instead_of_zero("127.0.0.1:5000")] = setting(
        "127.0.0.1:5000",
        "host:port to listen on (:5000 is every interface), or the path of a socket when net is unix. Left out or "
        "empty, registry:2 would take a random port on every interface; Lading takes this one.",
    )
    net: Annotated[Literal["tcp", "unix"], Before(lambda net: net or "tcp"), one_of("tcp", "unix", "")] = setting(
        "tcp", "tcp or unix."
    )
    prefix: Annotated[Text, After(_prefix)] = setting("", "A path before /v2/, with a slash at both ends.")
    host: Text = setting("", "The URL clients reach the registry at, where it cannot be told from their requests.")
    secret: Secret = setting(
        SecretStr(""),
        "Signs the state of uploads; the same on every registry behind one balancer. Empty: one is kept in the index.",
    )
    relativeurls: Flag = setting(False, "Answer with relative URLs in Location.")
    draintimeout: Annotated[Duration, lasting("0s", "24h")] = setting(
        timedelta(seconds=60), "How long requests may still take when the registry is told to stop."
    )
    tls: TLS = group("TLS.")
    headers: Headers = setting({}, "Headers added to every answer; each has a list of values.")
    debug: Debug = group("The debug server.")
    http2: HTTP2 = group("HTTP/2.")
    h2c: H2C = group("HTTP/2 without TLS.")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on, when :attr:`net` is tcp; host ``""`` is every interface."""
        return parse_address(self.addr)
