"""``auth.token``: tokens that an outside server signed, verified as registry:2 verifies them.

Who signed is found from the header, in this order: a certificate chain (``x5c``) that leads to the bundle; an embedded
``jwk`` that is one of the trusted keys or brings such a chain; a ``kid`` that names a trusted key. Never is a key used
because the token says so. Only asymmetric algorithms are taken: with HS256 whoever may verify could also sign.

A good token is remembered by its SHA-256 until it expires, at most some minutes; the next request with it costs a hash
and a look-up instead of a signature.
"""

from __future__ import annotations

import binascii
import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from jwt import get_algorithm_by_name

from lading.access.certificates import RefusedChainError, Signer, parse_chain, signer
from lading.access.challenge import bearer, unauthenticated
from lading.access.keys import (
    ALGORITHMS,
    PublicKey,
    UnusableKeyError,
    algorithms_of,
    jwk_key,
    names,
    read_bundle,
    read_jwks,
    thumbprint,
    usable,
)
from lading.access.principal import ANONYMOUS, Kind, Principal, by_subject
from lading.access.remembered import Remembered
from lading.access.scopes import Scope
from lading.errors import ConfigurationError, Unauthenticated

MAX_TOKEN = 64 * 1024
"""Bytes a token may have. One that lists a few hundred repositories stays under it."""
LEEWAY = 60
"""Seconds two clocks may differ (RFC 7519 section 4.1.4), as in registry:2."""
REMEMBERED_FOR = 300.0
"""Seconds a token is good for without another look at its signature."""
DEFAULT_REDIRECT = "/auth/token"

log = logging.getLogger(__name__)


class Header(msgspec.Struct):
    """A token's JOSE header (RFC 7515 section 4), as far as it matters here."""

    alg: str
    kid: str = ""
    x5c: list[str] | None = None
    jwk: dict[str, Any] | None = None
    crit: Any = None


class Access(msgspec.Struct):
    """One entry of the ``access`` claim."""

    type: str
    name: str
    actions: list[str] | None = None


class Claims(msgspec.Struct):
    """A token's claims (RFC 7519 section 4.1, and the token specification's ``access``).

    ``own``, ``lim`` and ``at`` are in tokens of this registry itself alone: :attr:`Principal.subject`, whether it was
    asked for with a limited token, and when it was issued, in milliseconds.
    """

    exp: int | float
    iss: str = ""
    sub: str | None = None
    aud: str | list[str] | None = None
    nbf: int | float | None = None
    access: list[Access] | None = None
    own: str = ""
    lim: bool = False
    at: int = 0


_header = msgspec.json.Decoder(Header)
_claims = msgspec.json.Decoder(Claims)


class RefusedTokenError(Exception):
    """Why a token is not good: for the log, never for the caller."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a verified token says: who, and which actions on which (type, name).

    ``issued`` is when, in milliseconds, in a token of this registry itself.
    """

    principal: Principal
    access: Mapping[tuple[str, str], frozenset[str]]
    issued: int = 0

    def allows(self, scope: Scope) -> bool:
        """Whether each action of the scope is among those granted; ``*`` stands for all."""
        granted = self.access.get((scope.type, scope.name))
        return granted is not None and ("*" in granted or granted.issuperset(scope.actions))


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom to believe: issuer, audience, keys by each of their names, certificates, algorithms.

    ``own``: these are tokens of this registry itself, which name its accounts.
    """

    issuer: str
    service: str
    keys: Mapping[str, PublicKey]
    roots: Sequence[x509.Certificate]
    algorithms: frozenset[str]
    own: bool = False

    def verify(self, token: bytes, now: float) -> tuple[Grant, float]:
        """What the token grants and until when (Unix seconds); raises ``RefusedTokenError``."""
        signed, _, signature = token.rpartition(b".")
        head, dot, body = signed.partition(b".")
        if not dot or b"." in body:
            raise RefusedTokenError("it is not three parts with dots between them")
        header: Header = _decoded(_header, head)
        found = self._signer(header, now)
        self._verify_signature(found.key, header.alg, signed, _unbase64(signature))
        claims: Claims = _decoded(_claims, body)
        self._verify_claims(claims, now)
        return self._grant(claims), min(claims.exp + LEEWAY, found.until)

    def _signer(self, header: Header, now: float) -> Signer:
        if header.alg not in self.algorithms:
            raise RefusedTokenError(f"its algorithm {header.alg[:20]!r} is not among those allowed")
        if header.crit is not None:
            raise RefusedTokenError("its header has critical extensions (crit), none of which is known")
        if header.x5c:
            return self._chained(header.x5c, now)
        if header.jwk is not None:
            return self._embedded(header.jwk, now)
        return Signer(self._named(header.kid), float("inf"))

    def _chained(self, x5c: Sequence[str], now: float) -> Signer:
        try:
            return signer(parse_chain(x5c), self.roots, datetime.fromtimestamp(now, UTC))
        except RefusedChainError as refusal:
            raise RefusedTokenError(str(refusal)) from None

    def _embedded(self, jwk: Mapping[str, Any], now: float) -> Signer:
        chain = jwk.get("x5c")
        if chain:
            if not isinstance(chain, list) or not all(isinstance(text, str) for text in chain):
                raise RefusedTokenError("the x5c of its jwk is not a list of strings")
            return self._chained(chain, now)
        try:
            own = thumbprint(jwk_key(jwk))
        except UnusableKeyError as problem:
            raise RefusedTokenError(f"its jwk is not usable: {problem}") from None
        return Signer(self._named(own), float("inf"))

    def _named(self, kid: str) -> PublicKey:
        key = self.keys.get(kid) if kid else None
        if key is None:
            raise RefusedTokenError(
                f"its key {kid[:80]!r} is not trusted" if kid else "it does not say which key signed it"
            )
        return key

    def _verify_signature(self, key: PublicKey, algorithm: str, signed: bytes, signature: bytes) -> None:
        if algorithm not in algorithms_of(key):
            raise RefusedTokenError(f"its key cannot sign with {algorithm}")
        if not get_algorithm_by_name(algorithm).verify(signed, key, signature):
            raise RefusedTokenError("its signature does not fit")

    def _verify_claims(self, claims: Claims, now: float) -> None:
        audience = [claims.aud] if isinstance(claims.aud, str) else claims.aud or []
        if claims.iss != self.issuer:
            raise RefusedTokenError(f"its issuer {claims.iss[:80]!r} is not {self.issuer!r}")
        if self.service not in audience:
            raise RefusedTokenError(f"its audience {audience[:4]!r} does not include {self.service!r}")
        if now > claims.exp + LEEWAY:
            raise RefusedTokenError("it has expired")
        if claims.nbf is not None and now < claims.nbf - LEEWAY:
            raise RefusedTokenError("it is not valid yet")

    def _grant(self, claims: Claims) -> Grant:
        access: dict[tuple[str, str], frozenset[str]] = {}
        for entry in claims.access or ():
            resource = entry.type, entry.name
            access[resource] = access.get(resource, frozenset()) | frozenset(entry.actions or ())
        name = claims.sub or ""
        known = by_subject(claims.own, name, limited=claims.lim) if self.own else None
        return Grant(known or (Principal(name, Kind.TOKEN) if name or not self.own else ANONYMOUS), access, claims.at)


class Tokens:
    """The guard for an outside token server; see the module. It never has to wait: ``admit_now`` always decides."""

    def __init__(
        self,
        trust: Trust,
        *,
        realm: str,
        redirect: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._trust = trust
        self._realm = realm
        self._redirect = redirect
        self._clock = clock
        self._verified: Remembered[Grant] = Remembered(entries=8192, weight=8 * 1024 * 1024)

    @classmethod
    def open(
        cls,
        *,
        realm: str,
        service: str,
        issuer: str,
        rootcertbundle: str | None = None,
        jwks: str | None = None,
        signingalgorithms: Sequence[str] = (),
        autoredirect: bool = False,
        autoredirectpath: str | None = None,
    ) -> Tokens:
        """The guard for ``auth.token``; raises ``ConfigurationError`` naming each key that is wrong."""
        problems = [
            f"auth.token.{key}: it must be set"
            for key, value in (("service", service), ("issuer", issuer))
            if not value
        ]
        if not realm and not autoredirect:
            problems.append("auth.token.realm: it must be set to the token server's URL, unless autoredirect is on")
        algorithms = _algorithms(signingalgorithms, problems)
        roots, keys = _trusted(rootcertbundle or "", jwks or "", problems)
        path = (autoredirectpath or DEFAULT_REDIRECT) if autoredirect else None
        if path is not None and not path.startswith("/"):
            problems.append("auth.token.autoredirectpath: it must begin with a slash")
        if problems:
            raise ConfigurationError("\n".join(problems), problems)
        return cls(Trust(issuer, service, keys, roots, algorithms), realm=realm, redirect=path)

    @property
    def needs_origin(self) -> bool:
        """Whether challenges name the host the client asked (``autoredirect``)."""
        return self._redirect is not None

    def admit_now(self, authorization: bytes | None, wanted: tuple[Scope, ...], origin: str = "") -> Principal:
        """The token's subject, if the token is good and grants all that is wanted."""
        return self.grant(authorization, wanted, origin).principal

    def grant(self, authorization: bytes | None, wanted: tuple[Scope, ...], origin: str = "") -> Grant:
        """All that the token says, if it is good and grants all that is wanted."""
        if authorization is None:
            raise self.refusal(wanted, origin, "authentication required")
        now = self._clock()
        digest = hashlib.sha256(authorization).digest()
        grant = self._verified.get(digest, now)
        if grant is None:
            grant = self._verify(authorization, digest, now, wanted, origin)
        for scope in wanted:
            if not grant.allows(scope):
                raise self.refusal(wanted, origin, "the token does not allow this", "insufficient_scope")
        return grant

    def believe(self, trust: Trust) -> None:
        """Go by other keys from now on; what was verified stays verified."""
        self._trust = trust

    def as_of(self, authorization: bytes, moment: float) -> Grant | None:
        """What a token granted at an earlier moment (Unix seconds); None if it was not good then."""
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not token or len(token) > MAX_TOKEN:
            return None
        try:
            return self._trust.verify(token.strip(b" "), moment)[0]
        except RefusedTokenError:
            return None

    async def admit(
        self,
        authorization: bytes | None,
        wanted: tuple[Scope, ...],
        origin: str = "",
        address: str = "",  # noqa: ARG002 - failures are not counted here
    ) -> Principal:
        """The same as ``admit_now``."""
        return self.admit_now(authorization, wanted, origin)

    def close(self) -> None:
        """Nothing to let go of."""

    def _verify(self, authorization: bytes, digest: bytes, now: float, wanted: tuple[Scope, ...], origin: str) -> Grant:
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not token:
            raise self.refusal(wanted, origin, "authentication required: a Bearer token is needed")
        try:
            if len(token) > MAX_TOKEN:
                raise RefusedTokenError(f"it is longer than {MAX_TOKEN} bytes")
            grant, until = self._trust.verify(token.strip(b" "), now)
        except RefusedTokenError as refusal:
            log.info("token refused", extra={"why": str(refusal)})
            raise self.refusal(wanted, origin, "the token is not valid here", "invalid_token") from None
        self._verified.put(digest, grant, min(until, now + REMEMBERED_FOR), weight=len(token))
        return grant

    def refusal(self, wanted: tuple[Scope, ...], origin: str, why: str, error: str = "") -> Unauthenticated:
        """The 401 that sends a client to the token server."""
        realm = origin + self._redirect if self._redirect is not None and origin else self._realm
        return unauthenticated(bearer(realm, self._trust.service, wanted, error), wanted, why)


def _trusted(
    rootcertbundle: str, jwks: str, problems: list[str]
) -> tuple[list[x509.Certificate], dict[str, PublicKey]]:
    """Certificates and keys by name; what is wrong is added to ``problems``."""
    roots: list[x509.Certificate] = []
    keys: dict[str, PublicKey] = {}
    if not rootcertbundle and not jwks:
        problems.append("auth.token.rootcertbundle: set it, or jwks, to a file with the token server's keys")
    if rootcertbundle:
        try:
            roots, bare = read_bundle(Path(rootcertbundle))
        except UnusableKeyError as problem:
            problems.append(f"auth.token.rootcertbundle: {problem}")
        else:
            for key in (*(usable(root.public_key()) for root in roots), *bare):
                keys.update(dict.fromkeys(names(key), key))
    if jwks:
        try:
            for kid, key in read_jwks(Path(jwks)):
                keys.update(dict.fromkeys((kid, *names(key)), key))
        except UnusableKeyError as problem:
            problems.append(f"auth.token.jwks: {problem}")
    return roots, keys


def _algorithms(wanted: Sequence[str], problems: list[str]) -> frozenset[str]:
    for name in wanted:
        if name.upper().startswith("HS"):
            problems.append(
                f"auth.token.signingalgorithms: {name} is not taken: with a shared secret whoever verifies tokens can "
                "also sign them; let the token server sign with RS256, ES256 or EdDSA"
            )
        elif name not in ALGORITHMS:
            problems.append(f"auth.token.signingalgorithms: {name!r} is not known; it may be {', '.join(ALGORITHMS)}")
    return frozenset(wanted or ALGORITHMS)


def _decoded(decoder: msgspec.json.Decoder[Any], part: bytes) -> Any:
    try:
        return decoder.decode(_unbase64(part))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedTokenError(f"a part of it is malformed: {str(error)[:120]}") from None


def _unbase64(part: bytes) -> bytes:
    if b"=" in part or b"+" in part or b"/" in part:
        raise RefusedTokenError("a part of it is not base64url without padding")
    try:
        padded = part.replace(b"-", b"+").replace(b"_", b"/") + b"=" * (-len(part) % 4)
        return binascii.a2b_base64(padded, strict_mode=True)
    except binascii.Error:
        raise RefusedTokenError("a part of it is not base64url") from None
