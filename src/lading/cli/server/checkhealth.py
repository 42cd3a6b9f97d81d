"""``lading check-health``: ask the server beside it how it is; for container engines and whoever else runs a command."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lading.config.http import HTTP

SECONDS = 5.0
"""How long the server may take; then it is unwell."""

_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
_WELL = (200, 401)  # a registry that asks for a password is as well as one that does not


@click.command("check-health")
@click.argument("config", required=False, type=click.Path(path_type=Path))
def check_health(config: Path | None) -> None:
    """Ask the server that CONFIG.yml describes whether it is well; ends with 1 when it is not.

    Without CONFIG.yml: the server that `lading serve` would start here with the same variables. The debug address is
    asked where there is one, else /v2/.
    """
    from lading.config.load import load

    wrong = unwell(load(config, os.environ).http)
    if wrong:
        click.echo(f"lading: unwell: {wrong}", err=True)
        raise SystemExit(1)


def unwell(configured: HTTP) -> str:
    """What is wrong with the server that listens as configured; empty when it is well."""
    connection, path = _connection(configured)
    try:
        if _wants_certificate(configured):
            connection.connect()
            return ""
        connection.request("GET", path)
        response = connection.getresponse()
        said = response.read(500).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return f"no answer from {connection.host}: {str(error) or type(error).__name__}"
    finally:
        connection.close()
    return "" if response.status in _WELL else f"{path} answered {response.status}: {said}"


def _connection(configured: HTTP) -> tuple[http.client.HTTPConnection, str]:
    if configured.debug.address is not None:
        host, port = configured.debug.address
        return http.client.HTTPConnection(_EVERYWHERE.get(host, host), port, timeout=SECONDS), "/debug/health"
    path = f"{configured.prefix or '/'}v2/"
    if configured.net == "unix":
        return _Unix(configured.addr, configured.tls.enabled), path
    host, port = configured.address
    host = _EVERYWHERE.get(host, host)
    if not configured.tls.enabled or _wants_certificate(configured):
        return http.client.HTTPConnection(host, port, timeout=SECONDS), path
    return http.client.HTTPSConnection(host, port, timeout=SECONDS, context=_trusting()), path


def _wants_certificate(configured: HTTP) -> bool:
    """Whether nobody without a certificate gets an answer: then all there is to see is that connections are taken."""
    tls = configured.tls
    asks = tls.enabled and tls.clientcas and tls.clientauth == "require-and-verify-client-cert"
    return bool(asks) and configured.debug.address is None


def _trusting() -> ssl.SSLContext:
    """No check of the name: it asks itself, at an address that is on no certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _Unix(http.client.HTTPConnection):
    """HTTP over the socket at a path."""

    def __init__(self, path: str, tls: bool) -> None:
        super().__init__(path, timeout=SECONDS)
        self._tls = tls

    def connect(self) -> None:
        """Open the socket the path names."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(SECONDS)
        self.sock = made
        made.connect(self.host)
        if self._tls:
            self.sock = _trusting().wrap_socket(made)
