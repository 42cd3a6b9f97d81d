"""Requests to one registry: signed in, tried again where that helps, refused with words for people."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Self

from lading import errors
from lading.remotes import answers, challenge
from lading.remotes.credentials import Credential, Keyring
from lading.remotes.tokens import Authorizer, Scopes
from lading.remotes.transport import DEFAULT_POLICY, Answer, Policy, Transport

Body = bytes | Callable[[], AsyncIterator[bytes]] | None
"""What is sent: bytes, or a function that begins a stream anew each time it is called."""

_SIGN_IN = 2
"""How often one request may be repeated because of a 401: to learn the challenge, and for a token that ran out."""


class Session:
    """A registry's connections, tokens and patience. Use it as an asynchronous context manager."""

    def __init__(self, host: str, keyring: Keyring, policy: Policy = DEFAULT_POLICY) -> None:
        self.host = host
        self.policy = policy
        self.keyring = keyring
        self.transport = Transport(host, policy)
        self.authorizer = Authorizer(self.transport, keyring)
        self._reached = False
        self._greeted = False
        self.limits: dict[str, str] = {}
        """The rate-limit headers of the last answer that had any: ``ratelimit-limit``, ``ratelimit-remaining``, …"""

    async def close(self) -> None:
        await self.transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    @asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        scopes: Scopes = (),
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = None,
        expect: tuple[int, ...] = (200,),
        again: bool = True,
        what: str = "this",
    ) -> AsyncIterator[Answer]:
        """The answer to a request, its body unread, with one of the statuses in ``expect``.

        ``path`` begins with a slash, or is a whole URL that the registry named. ``again`` allows to repeat it when it
        failed on the way. ``what`` names what is asked for in an error. Who brings an ``authorization``, be it an
        empty one, is not signed in.
        """
        answer = await self._patiently(method, path, scopes, headers or {}, body, expect, again)
        try:
            if answer.status_code not in expect:
                raise await self._refusal(answer, scopes, what)
            yield answer
        finally:
            await answer.aclose()

    async def challenge(self) -> challenge.Challenge | None:
        """How the registry asks who one is, found out once; None where it does not ask."""
        if self.authorizer.challenge is None and not self._greeted:
            async with self.open(
                "GET", "/v2/", expect=(200, 401, 403, 404), what="to be told how one logs in"
            ) as answer:
                self.authorizer.learn(challenge.parse(answer.headers.get_list("www-authenticate")), (), "")
            self._greeted = True
        return self.authorizer.challenge

    async def login(self, credential: Credential) -> Credential:
        """Whether the registry takes this; what is to be kept of it. ``Unauthenticated`` where it does not."""
        base = await self.transport.base()
        answer = await self._waiting("GET", f"{base}/v2/", {}, None, again=True)
        await answer.aclose()
        if answer.status_code == 401:
            found = challenge.parse(answer.headers.get_list("www-authenticate"))
            keyring = Keyring({}, {self.host: credential})
            self.authorizer = Authorizer(self.transport, keyring)
            if not any(one.scheme in {"basic", "bearer"} for one in found):
                raise errors.BadAnswer(f"{self.host} asks for a login of a kind that is not known here")
            credential = await self.authorizer.login(credential, found)
            header = {"authorization": await self.authorizer.header(())}
            if credential.identity_token and self.authorizer.refresh_token:  # it may be another one each time
                credential = replace(credential, identity_token=self.authorizer.refresh_token)
            answer = await self._waiting("GET", f"{base}/v2/", header, None, again=True)
            await answer.aclose()
            if answer.status_code == 401:
                raise errors.Unauthenticated(f"{self.host} does not know this user with this password", challenge="")
        if answer.status_code not in {200, 202, 404}:
            raise await answers.refusal(answer, self.host, "a login")
        return credential

    async def _patiently(
        self,
        method: str,
        path: str,
        scopes: Scopes,
        headers: Mapping[str, str],
        body: Body,
        expect: tuple[int, ...],
        again: bool,
    ) -> Answer:
        url = path if "://" in path else await self.transport.base() + path
        own = url.startswith(await self.transport.base() + "/") and "authorization" not in headers
        headers = {name: value for name, value in headers.items() if value}
        for _ in range(_SIGN_IN):
            token = await self.authorizer.header(scopes) if own else ""
            signed = {**headers, **({"authorization": token} if token else {})}
            answer = await self._waiting(method, url, signed, body, again=again)
            self._note(answer)
            if answer.status_code != 401 or 401 in expect or not own:
                return answer
            found = challenge.parse(answer.headers.get_list("www-authenticate"))
            if not self.authorizer.learn(found, scopes, token):
                return answer
            await answer.aclose()
        token = await self.authorizer.header(scopes)
        return await self._waiting(
            method, url, {**headers, **({"authorization": token} if token else {})}, body, again=again
        )

    async def _waiting(self, method: str, url: str, headers: Mapping[str, str], body: Body, *, again: bool) -> Answer:
        attempt = 0
        while True:
            attempt += 1
            # whom nobody has reached yet is more likely mistyped than restarting
            last = not again or attempt >= (self.policy.attempts if self._reached else min(2, self.policy.attempts))
            try:
                answer = await self.transport.send(method, url, headers, body() if callable(body) else body)
            except errors.Unreachable:
                if last:
                    raise
                await asyncio.sleep(self.pause(attempt))
                continue
            self._reached = True
            if attempt >= self.policy.attempts or not again or answer.status_code not in answers.TRY_AGAIN:
                return answer
            wait = answers.retry_after(answer) or self.pause(attempt)
            if wait > self.policy.patience:
                return answer
            await answer.aclose()
            await asyncio.sleep(wait)

    def pause(self, attempt: int) -> float:
        """How long to wait after an attempt, in seconds: twice as long each time, a little by chance."""
        import random  # noqa: PLC0415 - dear to import, and few have to wait

        wait: float = min(self.policy.backoff * 2 ** (attempt - 1), 30.0) * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
        return wait

    def _note(self, answer: Answer) -> None:
        found = {name: value for name, value in answer.headers.items() if "ratelimit" in name}
        if found:
            self.limits = found

    async def _refusal(self, answer: Answer, scopes: Scopes, what: str) -> errors.LadingError:
        error = await answers.refusal(answer, self.host, what)
        if isinstance(error, errors.Unauthenticated):
            repository = scopes[0].split(":")[1] if scopes and scopes[0].count(":") >= 2 else ""
            known = await self.keyring.find(self.host, repository)
            why = f"the login of {known.username or 'this user'} is not taken" if known else "a login is needed"
            asked = what if what.startswith("to ") else f"for {what}"
            return errors.Unauthenticated(
                f"{self.host}: {why} {asked}; log in with: lading login {self.host}", challenge=error.challenge
            )
        return error
