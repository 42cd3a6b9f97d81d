"""The rest of the world on this machine: a proxy behind which every https host is played by a script.

Clients find it by the usual variables (``HTTPS_PROXY``, ``SSL_CERT_FILE``), so they speak to the hosts by their own names,
with TLS that is verified, as they would outside.
"""

from __future__ import annotations

import contextlib
import socketserver
import ssl
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import trustme

from tests.support.scripted import Answer, Asked, Handler, Scripted


class World(Scripted):
    """``with World({"ghcr.io": answer}, folder) as world:``; who asks for another host is cut off."""

    def __init__(self, hosts: Mapping[str, Callable[[Asked], Answer]], folder: Path) -> None:
        super().__init__(lambda asked: hosts[asked.headers["host"]](asked))
        self.hosts = hosts
        self._authority = folder / "world.pem"
        _authority().cert_pem.write_to_path(self._authority)

    @property
    def handler(self) -> type[Handler]:
        return _Crossing

    @property
    def environment(self) -> dict[str, str]:
        """What leads a program here."""
        files = dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"), str(self._authority))
        return {**files, **dict.fromkeys(("HTTPS_PROXY", "https_proxy"), self.url), "NO_PROXY": "", "no_proxy": ""}


class _Crossing(Handler):
    def do_CONNECT(self) -> None:  # noqa: N802 - http.server calls it so
        world = self.server.scripted
        assert isinstance(world, World)
        host = self.path.rpartition(":")[0]
        if host not in world.hosts:
            self.send_error(502)
            return
        self.send_response(200)
        self.end_headers()
        try:
            self.connection = _context(host).wrap_socket(self.connection, server_side=True)
        except OSError:  # the client does not like us
            self.close_connection = True
            return
        self.close_connection = False  # though CONNECT may come as HTTP/1.0
        self.rfile.close()
        self.rfile = self.connection.makefile("rb")
        self.wfile = socketserver._SocketWriter(self.connection)  # type: ignore[attr-defined]  # what setup() uses

    def finish(self) -> None:
        super().finish()
        with contextlib.suppress(OSError):
            self.connection.close()


@cache
def _authority() -> trustme.CA:
    return trustme.CA()


@cache
def _context(host: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _authority().issue_cert(host).configure_cert(made)
    return made
