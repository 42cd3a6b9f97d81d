"""The token service: somebody who is known, and what they want, go in; a signed token with what they may have comes out.

As the distribution project's token specification has it, a token that grants less than was asked for, or nothing, is
no error: the registry refuses what it does not allow.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from lading.access.principal import Kind, Principal
from lading.access.refresh import Login, RefreshTokens
from lading.access.rights import Rights
from lading.access.scopes import Scope
from lading.access.signing import Keyring
from lading.stores.metadata.transaction import Metadata, Transaction


@dataclass(frozen=True)
class Lifetimes:
    """Milliseconds a token is good for, and a refresh token after its last use."""

    token: int
    refresh: int


@dataclass(frozen=True)
class Issued:
    """A token, for how many seconds it is good and since when (milliseconds), and a refresh token if one was wanted."""

    token: str
    expires_in: int
    issued_at: int
    access: tuple[Scope, ...]
    refresh_token: str = ""


class TokenService:
    """Issues tokens for this registry, and for others that trust it."""

    def __init__(self, metadata: Metadata, keyring: Keyring, lifetimes: Lifetimes, *, anonymous: bool) -> None:
        self._metadata = metadata
        self._keyring = keyring
        self._lifetimes = lifetimes
        self._anonymous = anonymous

    async def issue(
        self, who: Principal, wanted: Sequence[Scope], *, client: str = "", offline: bool = False, service: str = ""
    ) -> Issued:
        """A token for a caller; ``offline`` asks for a refresh token too, which somebody with a limited one cannot have."""
        access = await self._metadata.read(lambda tx: self._access(tx, who, wanted))
        refresh = ""
        if offline and who.subject and not who.limits:
            lifetime = self._lifetimes.refresh
            refresh = await self._metadata.write(lambda tx: RefreshTokens(tx).add(who, client, lifetime))
        moment, lifetime = self._metadata.now(), self._lifetimes.token // 1000
        issued = moment // 1000
        claims = {
            "iss": self._keyring.issuer,
            "sub": who.name,
            "aud": service or self._keyring.service,
            "iat": issued,
            "nbf": issued - 5,
            "exp": issued + lifetime,
            "jti": secrets.token_urlsafe(12),
            "at": moment,
            "access": [{"type": one.type, "name": one.name, "actions": list(one.actions)} for one in access],
        }
        if who.subject:
            claims |= {"own": who.subject, "lim": bool(who.limits)}
        return Issued(self._keyring.sign(claims), lifetime, moment, access, refresh)

    async def renew(self, login: Login) -> None:
        """Note that a refresh token was used; written down now and then."""
        if login.used_at is None or self._metadata.now() - login.used_at > self._lifetimes.refresh // 100:
            lifetime = self._lifetimes.refresh
            await self._metadata.write(lambda tx: RefreshTokens(tx).used(login, lifetime), durable=False)

    async def _access(self, tx: Transaction, who: Principal, wanted: Sequence[Scope]) -> tuple[Scope, ...]:
        if who.kind is Kind.ANONYMOUS and not self._anonymous:
            return ()
        return await (await Rights.of(tx, who, anonymous=self._anonymous)).grant(wanted)
