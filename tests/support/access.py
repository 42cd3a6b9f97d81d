"""What a guarded registry needs around it: a certificate authority, a file of passwords, a token server."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import bcrypt
import jwt
import trustme


@dataclass(frozen=True)
class Certificates:
    """PEM files: an authority, and a server's chain and key for 127.0.0.1 and localhost."""

    ca: Path
    certificate: Path
    key: Path


def certificates(directory: Path) -> Certificates:
    """Make an authority of one's own and a certificate for this machine's loopback names."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    made = Certificates(directory / "ca.pem", directory / "server.pem", directory / "server.key")
    authority.cert_pem.write_to_path(str(made.ca))
    made.certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(made.key))
    return made


def write_htpasswd(path: Path, users: Mapping[str, str]) -> Path:
    """A file as ``htpasswd -B`` writes it, at bcrypt's lowest cost."""
    lines = []
    for user, password in users.items():
        hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
        lines.append(f"{user}:$2y${hashed.split('$', 2)[2]}\n")
    path.write_text("".join(lines))
    return path


class TokenServer:
    """A token service as registries use it: Basic credentials in, an ES256 token with ``x5c`` out.

    Answers ``GET /token`` and the OAuth2 form of POST. Every user may do anything; without credentials one may pull.
    ``asked`` collects (user, scope) of each request. Set ``auth.token`` from :meth:`configuration`.
    """

    service = "test-registry"
    issuer = "test-issuer"

    def __init__(self, directory: Path, users: Mapping[str, str]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.users = dict(users)
        self.asked: list[tuple[str, str]] = []
        authority = trustme.CA()
        self.bundle = directory / "token-ca.pem"
        authority.cert_pem.write_to_path(str(self.bundle))
        signer = authority.issue_cert("token.test")
        self._key = signer.private_key_pem.bytes()
        self._chain = [_der(part.bytes()) for part in signer.cert_chain_pems]
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def realm(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/token"

    def configuration(self) -> dict[str, Any]:
        """What goes below ``auth`` in a registry's configuration."""
        settings = {"realm": self.realm, "service": self.service, "issuer": self.issuer}
        return {"token": {**settings, "rootcertbundle": str(self.bundle)}}

    def token(self, user: str, scopes: list[str], lifetime: int = 300) -> str:
        """A signed token that grants what *user* ("" without credentials) may have of *scopes*; *lifetime* in s."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": user,
            "aud": self.service,
            "iat": now,
            "nbf": now - 10,
            "exp": now + lifetime,
            "jti": secrets.token_hex(8),
            "access": [_grant(scope, everything=bool(user)) for scope in scopes],
        }
        return jwt.encode(claims, self._key, "ES256", headers={"x5c": self._chain})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _answer(self, user: str, password: str | None, scopes: list[str]) -> tuple[int, dict[str, Any]]:
        if password is not None and self.users.get(user) != password:
            return 401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong user or password"}]}
        wanted = [one for scope in scopes for one in scope.split()]
        self.asked += [(user, one) for one in wanted or [""]]
        token = self.token(user, wanted)
        return 200, {"token": token, "access_token": token, "expires_in": 300, "scope": " ".join(wanted)}

    def _handler(outer) -> type[BaseHTTPRequestHandler]:  # noqa: N805  (self is the request's, below)
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                user, password = _basic(self.headers.get("authorization", ""))
                self._send(*outer._answer(user, password, parse_qs(urlsplit(self.path).query).get("scope", [])))

            def do_POST(self) -> None:
                form = parse_qs(self._body().decode())
                user, password = form.get("username", [""])[0], form.get("password", [""])[0]
                self._send(*outer._answer(user, password, form.get("scope", [])))

            def _body(self) -> bytes:
                if self.headers.get("transfer-encoding") != "chunked":
                    return self.rfile.read(int(self.headers.get("content-length", 0)))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def _send(self, status: int, document: dict[str, Any]) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words: object) -> None:
                """Say nothing: pytest shows what matters."""

        return Handler


def _basic(header: str) -> tuple[str, str | None]:
    """User and password of an Authorization header; ("", None) when there is none."""
    if not header.lower().startswith("basic "):
        return "", None
    try:
        user, _, password = base64.b64decode(header[6:]).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user, password


def _grant(scope: str, *, everything: bool) -> dict[str, Any]:
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    allowed = [one for one in actions.split(",") if everything or one == "pull"]
    return {"type": kind, "name": name, "actions": allowed}


def _der(pem: bytes) -> str:
    """A PEM certificate's base64 body on one line, as ``x5c`` wants it."""
    return "".join(line for line in pem.decode().splitlines() if not line.startswith("-----"))
