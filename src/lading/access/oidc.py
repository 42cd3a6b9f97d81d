"""Logging in by an OpenID Connect provider: the authorisation code flow with PKCE, and asking again later.

What a login needs to remember between the two visits of a browser (state, nonce, the code's verifier, where to go then)
lies in a cookie of that browser, sealed, so that it is bound to it and nobody makes rows by asking.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlencode

import msgspec

from lading.access.identities import Identities, Person, groups_of, offered_name
from lading.access.issuers import Issuer, Published, TokenRefused
from lading.access.outbound import Outbound, ProviderFailed
from lading.access.sealing import Seal
from lading.access.users import User, Users
from lading.errors import Invalid, StoreError
from lading.stores.metadata.transaction import Metadata, Transaction

LOGIN = 600_000
"""Milliseconds a login may take."""
OUTAGE = 3_600_000
"""Milliseconds for which users are let in whom a provider that is away said to be there before."""
MOST_SUBJECT = 512
"""Characters of what a provider's user is known by; what is longer is cut."""
_PURPOSE = "oidc login"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OidcSettings:
    """What the configuration says of the provider; times in milliseconds.

    ``recheck`` is how long the provider's word is good; ``unchecked`` the same where it gave no refresh token.
    """

    issuer: str
    client_id: str
    client_secret: str = field(default="", repr=False)
    name: str = "SSO"
    scopes: tuple[str, ...] = ("openid", "profile", "email", "offline_access")
    groups_claim: str = ""
    admin_group: str = ""
    group_filter: str = ""
    user_claim: str = ""
    auto_onboard: bool = False
    recheck: int = 60_000
    unchecked: int = 86_400_000
    ca: str = ""


class _Pending(msgspec.Struct):
    state: str
    nonce: str
    verifier: str
    back: str
    target: str
    until: int
    issuer: str


class Oidc:
    """See the module."""

    def __init__(self, metadata: Metadata, seal: Seal, settings: OidcSettings, outbound: Outbound) -> None:
        self._metadata = metadata
        self._seal = seal
        self.settings = settings
        self._outbound = outbound
        self._issuer = Issuer(settings.issuer, outbound)
        self._filter = re.compile(settings.group_filter) if settings.group_filter else None

    def identities(self, tx: Transaction) -> Identities:
        """The users it brings, in a transaction."""
        return Identities(tx, self._seal, self.settings.admin_group)

    async def begin(self, back: str, target: str) -> tuple[str, str]:
        """Where to send a browser that is to come ``back`` and go on to ``target``, and what to let it keep."""
        published = await self._issuer.published()
        until = self._metadata.now() + LOGIN
        pending = _Pending(_random(), _random(), _random(), back, target, until, self.settings.issuer)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(pending.verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": back,
            "scope": " ".join(self.settings.scopes),
            "state": pending.state,
            "nonce": pending.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        where = published.authorization_endpoint
        if not where.startswith(("https://", "http://")) or not published.token_endpoint:
            raise ProviderFailed("the identity provider names no endpoints to log in at", retry_after=5)
        sealed = self._seal.seal(msgspec.json.encode(pending), _PURPOSE)
        kept = base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()
        return f"{where}{'&' if '?' in where else '?'}{urlencode(query)}", kept

    async def finish(self, kept: str, answer: Mapping[str, str]) -> tuple[Person, str]:
        """Who came back with this answer (RFC 6749 section 4.1.2), and where they go on to."""
        pending = self._pending(kept)
        if not hmac.compare_digest(answer.get("state", "").encode(), pending.state.encode()):
            raise TokenRefused("this is not the answer to a login that this browser began (state)")
        if pending.issuer != self.settings.issuer:  # its code, and the verifier, are for nobody else
            raise TokenRefused("another provider was set while this login was under way: begin again")
        published = await self._issuer.published()
        named = answer.get("iss")
        if named != published.issuer and (named or published.authorization_response_iss_parameter_supported):
            raise TokenRefused("the answer comes from another provider than was asked (iss)")
        if error := answer.get("error"):
            raise TokenRefused(f"the provider refused the login: {_words(error)}")
        code = answer.get("code", "")
        if not code:
            raise TokenRefused("the provider sent no code")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": pending.back,
            "code_verifier": pending.verifier,
        }
        status, told = await self._ask(published, form)
        if status != 200:
            raise TokenRefused(f"the provider does not take the code: {_words(told.get('error', status))}")
        return await self._person(published, told, pending.nonce), pending.target

    async def alive(self, user: User) -> bool:
        """Whether the provider still knows a user: its last word, or a new one where that is old."""
        settings = self.settings
        identity = await self._metadata.read(lambda tx: self.identities(tx).of(user.id))
        if identity is None or identity.ended or not self._brought(user):
            return False
        moment = self._metadata.now()
        if not identity.refresh:
            return moment - identity.verified_at < settings.unchecked
        before = moment - settings.recheck
        if identity.checked_at > before or not await self._metadata.write(
            lambda tx: self.identities(tx).claim(user.id, before)
        ):
            return True
        try:
            return await self._renew(user, identity.refresh)
        except ProviderFailed as failed:
            if moment - identity.verified_at < OUTAGE:
                log.warning("the OIDC provider cannot be asked; its last word holds", extra={"why": failed.message})
                return True
            raise

    def _brought(self, user: User) -> bool:
        """Whether a user is this provider's; another one, set before it, gave the refresh token that is kept."""
        subject = user.subject
        return len(subject) >= MOST_SUBJECT or subject.rstrip("/").endswith(self.settings.issuer.rstrip("/"))

    async def _renew(self, user: User, refresh: str) -> bool:
        published = await self._issuer.published()
        status, told = await self._ask(published, {"grant_type": "refresh_token", "refresh_token": refresh})
        if status >= 500:
            raise ProviderFailed(f"the identity provider answers {status}", retry_after=5)
        if status != 200:
            log.info(
                "the OIDC provider knows a user no more",
                extra={"user": user.name, "why": _words(told.get("error", status))},
            )
            await self._metadata.write(lambda tx: self.identities(tx).end(user.id))
            return False
        person = Person(user.subject, user.name, refresh=_text(told.get("refresh_token")))
        if told.get("id_token"):
            person = await self._person(published, told, None)
            if person.subject != user.subject:
                raise ProviderFailed("the identity provider tells of another user than was asked for", retry_after=5)

        async def keep(tx: Transaction) -> None:
            if (found := await Users(tx).find(user.id)) is not None:
                await self.identities(tx).verified(found, person)

        await self._metadata.write(keep)
        return True

    async def _person(self, published: Published, told: Mapping[str, Any], nonce: str | None) -> Person:
        """Who the answer of the token endpoint tells of; what the token leaves out is asked of the user info."""
        settings = self.settings
        claims = await self._issuer.verify(_text(told.get("id_token")), settings.client_id, nonce=nonce, party=True)
        wanted = [settings.user_claim or "preferred_username", "email", *filter(None, [settings.groups_claim])]
        access = _text(told.get("access_token"))
        if published.userinfo_endpoint and access and any(name not in claims for name in wanted):
            more = await self._outbound.get(published.userinfo_endpoint, bearer=access)
            if more.get("sub") != claims["sub"]:
                raise TokenRefused("the provider's user info tells of somebody else (sub)")
            claims = {**more, **claims}
        named = claims.get(settings.user_claim) if settings.user_claim else None
        if settings.user_claim and not isinstance(named, str):
            raise TokenRefused(f"the provider does not tell {settings.user_claim} (accounts.oidc.userclaim)")
        email = _text(claims.get("email"))
        guess = named or claims.get("preferred_username") or claims.get("name") or email.partition("@")[0]
        return Person(
            subject=f"{claims['sub']}{published.issuer}"[:MOST_SUBJECT],
            name=offered_name(_text(guess)),
            email=email,
            full_name=_text(claims.get("name"))[:255],
            groups=groups_of(claims, settings.groups_claim, self._filter),
            refresh=_text(told.get("refresh_token"))[:8192],
        )

    async def _ask(self, published: Published, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        settings, headers = self.settings, {}
        methods = published.token_endpoint_auth_methods_supported or ["client_secret_basic"]
        if settings.client_secret and "client_secret_basic" in methods:
            pair = f"{quote_plus(settings.client_id)}:{quote_plus(settings.client_secret)}"
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form = {**form, "client_id": settings.client_id}
            if settings.client_secret:
                form["client_secret"] = settings.client_secret
        return await self._outbound.post(published.token_endpoint, form, headers)

    def _pending(self, kept: str) -> _Pending:
        try:
            raw = base64.urlsafe_b64decode(kept + "=" * (-len(kept) % 4))
            pending = msgspec.json.decode(self._seal.open(raw, _PURPOSE), type=_Pending)
        except (ValueError, StoreError, msgspec.DecodeError):
            raise TokenRefused("this browser began no login, or did not keep its cookie: begin again") from None
        if pending.until < self._metadata.now():
            raise TokenRefused("the login took too long: begin again")
        return pending


def safe_target(wanted: str) -> str:
    """Where a browser may be sent after a login: a path of this registry, and nothing that leads elsewhere."""
    if not wanted:
        return "/"
    odd = any(c <= " " or c in "\x7f\\" for c in wanted)
    if odd or len(wanted) > 1000 or not wanted.isascii() or not wanted.startswith("/") or wanted.startswith("//"):
        raise Invalid("redirect_url must be a path of this registry, as /harbor/projects")
    return wanted


def _random() -> str:
    return secrets.token_urlsafe(32)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _words(value: object) -> str:
    """A word of the provider's in a message, without what could be more than a word."""
    return re.sub(r"[^A-Za-z0-9_ .-]", "?", str(value))[:80]
