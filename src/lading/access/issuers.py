"""An issuer of OpenID Connect: its documents and keys, and whether a token is one of its own (OpenID Connect Core 3.1.3.7).

What it publishes is kept for a while; a token that names a key unknown so far has the keys read again, now and then. The
algorithm comes from the key, never from the token alone, and is an asymmetric one.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jwt
import msgspec

from lading.access.keys import ALGORITHMS, PublicKey, UnusableKeyError, algorithms_of, jwk_key
from lading.access.outbound import Outbound, ProviderFailed
from lading.errors import Denied

WELL_KNOWN = "/.well-known/openid-configuration"
MOST_TOKEN = 16 * 1024
"""Bytes a token may have."""
LEEWAY = 60
"""Seconds by which clocks may differ."""
KEPT_FOR = 3600.0
"""Seconds after which documents and keys are read again."""
AGAIN_AFTER = 30.0
"""Seconds at least between two readings for the sake of a key that is unknown."""
_FAILED_FOR = 5.0
_MOST_KEYS = 100


class TokenRefused(Denied):
    """A token that is not good here; the message tells why, and never repeats it."""


class Published(msgspec.Struct):
    """What an issuer says of itself (OpenID Connect Discovery section 3), as far as it matters here."""

    issuer: str
    jwks_uri: str
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    userinfo_endpoint: str = ""
    token_endpoint_auth_methods_supported: list[str] | None = None
    authorization_response_iss_parameter_supported: bool = False


class Issuer:
    """See the module; ``clock`` counts seconds and never goes back."""

    def __init__(self, url: str, outbound: Outbound, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url.rstrip("/")
        self._outbound = outbound
        self._clock = clock
        self._lock = asyncio.Lock()
        self._published: Published | None = None
        self._published_at = 0.0
        self._keys: Sequence[tuple[Mapping[str, Any], PublicKey]] = ()
        self._keys_at: float | None = None
        self._failed: tuple[float, ProviderFailed] | None = None

    async def published(self) -> Published:
        """Its document."""
        async with self._lock:
            return await self._document()

    async def verify(
        self, token: str, audience: str, *, nonce: str | None = None, max_age: int | None = None, party: bool = False
    ) -> dict[str, Any]:
        """The claims of a token of its own for this audience; raises :class:`TokenRefused`.

        ``max_age`` in seconds since it was issued. ``party``: the audience is our client id, which ``azp`` must name too
        where there is one or where there are several audiences.
        """
        kid, algorithm = _head(token)
        async with self._lock:
            issuer = (await self._document()).issuer
            key = await self._key(kid, algorithm)
        if key is None:
            raise TokenRefused("the token is signed with a key that its issuer does not publish")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=audience,
                issuer=issuer,
                leeway=LEEWAY,
                options={"require": ["iss", "aud", "exp", "iat", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise TokenRefused(f"the token is not good: {str(error)[:200]}") from None
        _check(claims, audience, nonce=nonce, max_age=max_age, party=party)
        return claims

    async def _document(self) -> Published:
        if self._published is not None and self._clock() - self._published_at < KEPT_FOR:
            return self._published
        self._not_again()
        try:
            self._published = await published(self._outbound, self._url)
        except ProviderFailed as error:
            self._failed = (self._clock(), error)
            if self._published is None:
                raise
        self._published_at = self._clock()
        return self._published

    async def _key(self, kid: str | None, algorithm: str) -> PublicKey | None:
        found = self._find(kid, algorithm)
        age = None if self._keys_at is None else self._clock() - self._keys_at
        if age is None or age > KEPT_FOR or (found is None and age > AGAIN_AFTER):
            await self._read_keys()
            found = self._find(kid, algorithm)
        return found

    def _not_again(self) -> None:
        """Whoever sends tokens must not make us ask, and wait, all the time."""
        if self._failed is not None and self._clock() - self._failed[0] < _FAILED_FOR:
            raise self._failed[1]

    def _find(self, kid: str | None, algorithm: str) -> PublicKey | None:
        fitting = [
            key
            for jwk, key in self._keys
            if algorithm in algorithms_of(key)
            and jwk.get("alg", algorithm) == algorithm
            and (kid is None or jwk.get("kid") == kid)
        ]
        return fitting[0] if len(fitting) == 1 or (fitting and kid is not None) else None

    async def _read_keys(self) -> None:
        assert self._published is not None
        try:
            self._not_again()
            document = await self._outbound.get(self._published.jwks_uri)
        except ProviderFailed as error:
            if self._failed is None or error is not self._failed[1]:
                self._failed = (self._clock(), error)
            if not self._keys:
                raise
            self._keys_at = self._clock()  # what was read before is good while it cannot be read again
            return
        keys = document.get("keys")
        found = []
        for jwk in keys[:_MOST_KEYS] if isinstance(keys, list) else ():
            if isinstance(jwk, dict) and jwk.get("use", "sig") == "sig":
                try:
                    found.append((jwk, jwk_key(jwk)))
                except UnusableKeyError:
                    continue  # of a kind that nothing here verifies with
        self._keys, self._keys_at = found, self._clock()


async def published(outbound: Outbound, url: str) -> Published:
    """What the issuer of that URL says of itself; raises :class:`ProviderFailed`, also where it says it is another."""
    base = url.rstrip("/")
    try:
        found = msgspec.convert(await outbound.get(base + WELL_KNOWN), Published)
    except msgspec.ValidationError as error:
        raise ProviderFailed(f"{base[:200]}{WELL_KNOWN} is no such document: {error}", retry_after=5) from None
    if found.issuer.rstrip("/") != base:
        raise ProviderFailed(f"{base[:200]} says that it is {found.issuer[:200]!r}, which is another", retry_after=5)
    return found


def unverified_issuer(token: str) -> str:
    """Who says to have issued a token, which nobody has looked at yet; empty where it is none."""
    if len(token) > MOST_TOKEN:
        return ""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        return ""
    issuer = claims.get("iss")
    return issuer if isinstance(issuer, str) else ""


def _head(token: str) -> tuple[str | None, str]:
    """The key and the algorithm that a token names."""
    if len(token) > MOST_TOKEN:
        raise TokenRefused(f"the token is longer than {MOST_TOKEN} characters")
    try:
        head = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise TokenRefused("it is no token (a JWT)") from None
    algorithm, kid = head.get("alg"), head.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenRefused("the token's algorithm is none that is taken: asymmetric ones are")
    if kid is not None and not isinstance(kid, str):
        raise TokenRefused("the token's kid is no text")
    return kid, algorithm


def _check(claims: Mapping[str, Any], audience: str, *, nonce: str | None, max_age: int | None, party: bool) -> None:
    if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= 255:
        raise TokenRefused("the token's sub is not 1 to 255 characters")
    if any(not isinstance(claims[name], int | float) for name in ("exp", "iat")):
        raise TokenRefused("a time in the token is no number")
    if nonce is not None and not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
        raise TokenRefused("the token was made for another login (nonce)")
    if max_age is not None and time.time() - claims["iat"] > max_age + LEEWAY:
        raise TokenRefused(f"the token was issued more than {max_age} seconds ago")
    if party:
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", "" if several else audience) != audience:
            raise TokenRefused("the token was made for another party (azp)")
    elif claims["aud"] not in (audience, [audience]):
        raise TokenRefused("the token is for other audiences too")
