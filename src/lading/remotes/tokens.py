"""From a challenge to an ``Authorization`` header, as docker's clients do it.

Basic: the password is sent. Bearer: a token is fetched from the realm for the scopes that are wanted, by GET with the
password in a Basic header; by POST with a refresh token; each the other way where that one is not known. Tokens are
remembered until shortly before they expire, and concurrent requests share one way to the token server.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from lading.errors import BadAnswer, Denied, Unauthenticated, Unavailable, Unreachable
from lading.remotes import answers
from lading.remotes.challenge import Challenge, check_realm
from lading.remotes.credentials import Credential, Keyring
from lading.remotes.transport import Answer, Transport

Scopes = tuple[str, ...]
"""``repository:NAME:ACTIONS`` each (distribution's token specification, "Resource Scopes")."""

_LEAST_LIFE = 60.0
_MARGIN = 10.0
_MAX_ANSWER = 1 << 20
_MOST_GRANTS = 1000
"""Sets of scopes of which something is remembered; a mirror may have far more repositories than that."""


@dataclass
class _Grant:
    """What is known of one set of scopes: what to ask for (theirs, and what a challenge named), a token, until when it holds."""

    asked: Scopes
    token: str = ""
    until: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Authorizer:
    """Says what to send along to one registry; learns from its challenges."""

    def __init__(self, transport: Transport, keyring: Keyring) -> None:
        self._transport = transport
        self._keyring = keyring
        self._challenge: Challenge | None = None
        self._grants: OrderedDict[Scopes, _Grant] = OrderedDict()
        self.refresh_token = ""

    @property
    def challenge(self) -> Challenge | None:
        """The challenge that was taken up, if any was."""
        return self._challenge

    async def header(self, scopes: Scopes) -> str:
        """The ``Authorization`` for a request that needs these scopes; empty while none is known to be wanted."""
        if self._challenge is None:
            return ""
        credential = await self._keyring.find(self._transport.host, _repository(scopes))
        if self._challenge.scheme == "basic":
            return basic(credential.username, credential.password) if credential.username else ""
        if credential.registry_token:
            return f"Bearer {credential.registry_token}"
        grant = self._grant(scopes)
        async with grant.lock:
            if grant.until < time.monotonic():
                await self._fetch(credential, grant)
        return f"Bearer {grant.token}"

    def learn(self, challenges: Iterable[Challenge], scopes: Scopes, refused: str) -> bool:
        """Take up the challenge of a 401 that ``refused`` (a header, or nothing) got; whether to try once more."""
        usable = {one.scheme: one for one in reversed(list(challenges)) if one.scheme in {"basic", "bearer"}}
        chosen = usable.get("bearer") or usable.get("basic")
        if chosen is None:
            return False
        self._challenge = chosen
        if chosen.scheme == "basic":
            return not refused.startswith("Basic ")
        wanted = tuple(chosen.parameters.get("scope", "").split())
        grant = self._grant(scopes)
        grant.asked = tuple(dict.fromkeys((*scopes, *wanted))) if refused or not scopes else scopes
        if refused:
            grant.until = 0.0
        return True

    async def login(self, credential: Credential, challenges: Sequence[Challenge]) -> Credential:
        """What to keep of a credential after it was found to be right: a refresh token where the server gives one."""
        self.learn(challenges, (), "")
        grant = self._grant(())
        grant.asked = ()  # some name an example in their challenge, user/image, which nobody may pull
        assert self._challenge is not None
        if self._challenge.scheme == "bearer" and credential.username:
            await self._fetch(credential, grant, offline=True)
            if self.refresh_token:
                return Credential(credential.username, identity_token=self.refresh_token)
        return credential

    def _grant(self, scopes: Scopes) -> _Grant:
        found = self._grants.get(scopes)
        if found is None:
            found = self._grants[scopes] = _Grant(scopes)
            if len(self._grants) > _MOST_GRANTS:
                self._grants.popitem(last=False)
        else:
            self._grants.move_to_end(scopes)
        return found

    async def _fetch(self, credential: Credential, grant: _Grant, *, offline: bool = False) -> None:
        assert self._challenge is not None
        host, parameters = self._transport.host, self._challenge.parameters
        realm = check_realm(parameters.get("realm", ""), host, secure=self._transport.secure)
        if self._transport.policy.guarded:
            await self._transport.guard(realm, "names a token server at")
        service = parameters.get("service", "")
        answer = await self._ask(realm, service, grant.asked, credential, offline=offline)
        try:
            if answer.status_code in {401, 403}:
                raise _wrong(host, credential, await answers.refusal(answer, host, "a token"))
            if answer.status_code != 200:
                raise await answers.refusal(answer, answer.host, f"a token for {host}")
            document = await answers.document(answer, _MAX_ANSWER, "a token")
        finally:
            await answer.aclose()
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise BadAnswer(f"{answer.host} answers without a token for {host}")
        if isinstance(refresh := document.get("refresh_token"), str):
            self.refresh_token = refresh
        grant.token = token
        grant.until = time.monotonic() + max(_LEAST_LIFE, _seconds(document.get("expires_in"))) - _MARGIN

    async def _ask(self, realm: str, service: str, scopes: Scopes, credential: Credential, *, offline: bool) -> Answer:
        if credential.identity_token:
            form = {"grant_type": "refresh_token", "refresh_token": self.refresh_token or credential.identity_token}
            answer = await self._post(realm, service, scopes, form)
            if answer.status_code not in {404, 405}:
                return answer
            await answer.aclose()  # it knows GET alone, as Google's
            credential = Credential(credential.username or "<token>", credential.identity_token)
        query = [("service", service)] if service else []
        query += [("scope", scope) for scope in scopes]
        headers = {}
        if credential.username:
            query += [("account", credential.username), ("client_id", "lading")]
            query += [("offline_token", "true")] if offline else []
            headers["authorization"] = basic(credential.username, credential.password)
        url = realm + ("&" if "?" in realm else "?") + urlencode(query)
        answer = await self._patiently("GET", url, headers, None)
        if answer.status_code in {404, 405} and credential.username:
            await answer.aclose()
            form = {"grant_type": "password", "username": credential.username, "password": credential.password}
            return await self._post(realm, service, scopes, {**form, **({"access_type": "offline"} if offline else {})})
        return answer

    async def _post(self, realm: str, service: str, scopes: Scopes, form: dict[str, str]) -> Answer:
        whole = {**form, "service": service, "client_id": "lading", "scope": " ".join(scopes)}
        body = urlencode({name: value for name, value in whole.items() if value}).encode()
        return await self._patiently("POST", realm, {"content-type": "application/x-www-form-urlencoded"}, body)

    async def _patiently(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> Answer:
        policy = self._transport.policy
        for attempt in range(1, policy.attempts):
            try:
                answer = await self._transport.send(method, url, headers, body, redirects=0)
            except Unreachable:
                if attempt > 1:  # whom nobody has reached yet is more likely misnamed than restarting
                    raise
                await asyncio.sleep(policy.backoff)
                continue
            wait = answers.retry_after(answer) or policy.backoff * 2**attempt
            if answer.status_code not in answers.TRY_AGAIN or wait > policy.patience:
                return answer
            await answer.aclose()
            await asyncio.sleep(wait)
        return await self._transport.send(method, url, headers, body, redirects=0)


def basic(username: str, password: str) -> str:
    """The header of a user and a password (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def _wrong(host: str, credential: Credential, why: Exception) -> Exception:
    if isinstance(why, Denied):
        return Denied(f"{why.message}")
    if isinstance(why, Unavailable):
        return why
    who = f"the credentials of {credential.username}" if credential.username else "an anonymous request"
    if credential.identity_token:
        who = "the login that was kept (it may have expired)"
    return Unauthenticated(f"the token server of {host} refuses {who}; log in with: lading login {host}", challenge="")


def _repository(scopes: Scopes) -> str:
    """The repository of the first scope, by which podman's file may have credentials of its own."""
    kind, _, rest = (scopes[0] if scopes else "").partition(":")
    return rest.rpartition(":")[0] if kind == "repository" else ""


def _seconds(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1 << 31 else 0.0
