"""An OpenID Connect provider, and an issuer of tokens for CI jobs: real signatures, PKCE and codes, and ways to do wrong.

``with Issuer() as issuer:`` listens on loopback. Whoever is sent to it is logged in as :attr:`Issuer.person` without being
asked. To play an attacker, set :attr:`Issuer.claims` (laid upon those of an ID token), :attr:`Issuer.document` (upon what
it publishes) or make a token with :meth:`Issuer.token` as you like.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

CLIENT, SECRET = "lading-client", "s3cret:with/odd+signs"

Answer = tuple[int, dict[str, str], bytes]


class Key:
    """A key pair to sign with, RS256 or ES256."""

    def __init__(self, algorithm: str = "RS256") -> None:
        self.algorithm = algorithm
        self.kid = secrets.token_hex(4)
        self.private: Any = (
            rsa.generate_private_key(65537, 2048) if algorithm == "RS256" else ec.generate_private_key(ec.SECP256R1())
        )

    @property
    def jwk(self) -> dict[str, Any]:
        algorithm: Any = RSAAlgorithm if self.algorithm == "RS256" else ECAlgorithm
        return {**algorithm.to_jwk(self.private.public_key(), as_dict=True), "kid": self.kid, "use": "sig"}

    @property
    def public_pem(self) -> bytes:
        return bytes(self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


class Issuer:
    """See the module. ``asked`` are the paths that were asked for, in order."""

    def __init__(self, algorithm: str = "RS256") -> None:
        self.person: dict[str, Any] = {"sub": "s-1", "preferred_username": "ada", "email": "ada@example.org"}
        self.claims: dict[str, Any] = {}
        self.document: dict[str, Any] = {}
        self.userinfo: dict[str, Any] | None = None
        self.redirect_to = ""
        self.keys = [Key(algorithm)]
        self.signing = self.keys[0]
        self.asked: list[str] = []
        self.codes: dict[str, dict[str, str]] = {}
        self.refreshes: dict[str, dict[str, Any]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def configuration(self, **more: Any) -> dict[str, Any]:
        """What goes below ``accounts`` in a registry's configuration; *more* below its ``oidc``."""
        oidc = {"issuer": self.url, "clientid": CLIENT, "clientsecret": SECRET, "groupsclaim": "groups", **more}
        return {"identitynetworks": ["127.0.0.0/8"], "oidc": oidc}

    def rotate(self, algorithm: str = "RS256") -> Key:
        """Sign with another key from now on, and publish no other."""
        self.signing = Key(algorithm)
        self.keys = [self.signing]
        return self.signing

    def token(
        self,
        claims: Mapping[str, Any],
        *,
        key: Any = None,
        algorithm: str = "",
        headers: Mapping[str, Any] | None = None,
        lifetime: int = 300,
    ) -> str:
        """A signed token; a claim of None is left out."""
        now = int(time.time())
        told = {"iss": self.url, "iat": now, "nbf": now, "exp": now + lifetime, **claims}
        told = {name: value for name, value in told.items() if value is not None}
        head = {"kid": self.signing.kid, **(headers or {})}
        return jwt.encode(told, key or self.signing.private, algorithm or self.signing.algorithm, headers=head)

    def forged(self, claims: Mapping[str, Any], algorithm: str) -> str:
        """A token without a signature (``none``), or one with the public key as the secret of an HMAC (``HS256``)."""
        now = int(time.time())
        head = {"alg": algorithm, "typ": "JWT", "kid": self.signing.kid}
        told = {"iss": self.url, "iat": now, "exp": now + 300, **claims}
        signed = ".".join(_b64(json.dumps(part).encode()) for part in (head, told))
        mac = hmac.digest(self.signing.public_pem, signed.encode(), hashlib.sha256)
        return f"{signed}.{'' if algorithm == 'none' else _b64(mac)}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    # ---- what it answers

    def _get(self, path: str, query: dict[str, str], authorization: str) -> Answer:
        if path == "/.well-known/openid-configuration":
            return _json(self._published())
        if path == "/jwks":
            return _json({"keys": [key.jwk for key in self.keys]})
        if path == "/authorize":
            return self._authorize(query)
        if path == "/userinfo" and authorization.startswith("Bearer access-"):
            return _json(self.userinfo if self.userinfo is not None else self.person)
        if path == "/elsewhere":
            return 302, {"location": self.redirect_to}, b""
        return _json({"error": "not_found"}, 404)

    def _published(self) -> dict[str, Any]:
        own = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
        }
        return {**own, **self.document}

    def _authorize(self, query: dict[str, str]) -> Answer:
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        back = {"code": code, "state": query["state"], "iss": self.url}
        return 302, {"location": f"{query['redirect_uri']}?{urlencode(back)}"}, b""

    def _token(self, form: dict[str, str], authorization: str) -> Answer:
        pair = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        if tuple(map(unquote_plus, pair.split(":"))) != (CLIENT, SECRET):
            return _json({"error": "invalid_client"}, 401)
        if form["grant_type"] == "refresh_token":
            person = self.refreshes.pop(form["refresh_token"], None)  # each is good once
            return _json(self._issued(person)) if person is not None else _json({"error": "invalid_grant"}, 400)
        asked = self.codes.pop(form["code"], None)
        if asked is None or asked["redirect_uri"] != form["redirect_uri"]:
            return _json({"error": "invalid_grant"}, 400)
        challenge = hashlib.sha256(form["code_verifier"].encode()).digest()
        if _b64(challenge) != asked["code_challenge"]:
            return _json({"error": "invalid_grant"}, 400)
        return _json(self._issued(self.person, nonce=asked["nonce"]))

    def _issued(self, person: dict[str, Any], **more: str) -> dict[str, Any]:
        refresh = secrets.token_urlsafe(16)
        self.refreshes[refresh] = person
        told = self.token({**person, "aud": CLIENT, **more, **self.claims})
        return {"access_token": f"access-{refresh}", "token_type": "Bearer", "id_token": told, "refresh_token": refresh}

    def _handler(outer) -> type[BaseHTTPRequestHandler]:  # noqa: N805  (self is the request's, below)
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                outer.asked.append(parts.path)
                query = dict(parse_qsl(parts.query))
                self._send(*outer._get(parts.path, query, self.headers.get("authorization", "")))

            def do_POST(self) -> None:
                outer.asked.append(self.path)
                form = dict(parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
                self._send(*outer._token(form, self.headers.get("authorization", "")))

            def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
                try:
                    self.send_response(status)
                    for name, value in {**headers, "content-length": str(len(body))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(body)
                except ConnectionError:
                    self.close_connection = True

            def log_message(self, *words: object) -> None:
                """Say nothing: pytest shows what matters."""

        return Handler


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _json(content: Mapping[str, Any], status: int = 200) -> Answer:
    return status, {"content-type": "application/json"}, json.dumps(content).encode()
