"""Who is it? A name and a secret are shown to everything that could know them, and a principal comes out.

A robot is known by its name, a personal access token by its form, and everybody else by the providers in turn. All of
them say the same of an unknown name and of a wrong password, and take as long. Failures are counted
(:mod:`lading.access.failures`) and told to a *witness*, which writes the audit log.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from lading.access import credentials
from lading.access.clientcertificates import Named
from lading.access.credentials import Prefix
from lading.access.directory.away import Away
from lading.access.failures import Failures, Lockout
from lading.access.issuers import TokenRefused
from lading.access.passwords import Checker
from lading.access.personal import PersonalTokens, worth_noting
from lading.access.principal import Kind, Principal
from lading.access.providers.base import IdentityProvider
from lading.access.refresh import Login, RefreshTokens
from lading.access.robots import PREFIX, Robot, Robots, stored_name
from lading.access.trusts import LOGIN, Workloads, looks_like_one
from lading.access.users import User, Users
from lading.errors import Denied, TooMany
from lading.stores.metadata.transaction import Metadata, Transaction

log = logging.getLogger(__name__)

WRONG = "wrong user name or password"


class LoginRefused(Denied):
    """Nobody can be let in with these; the face makes a 401 of it."""

    code = "UNAUTHORIZED"


class Witness(Protocol):
    """Hears of logins."""

    def login(self, name: str, address: str, *, result: str, detail: str = "") -> None:
        """Somebody logged in (``result`` success), failed to (failure), or was locked out by this failure (locked)."""


class Providers(Protocol):
    """Those who are asked about names and passwords."""

    async def providers(self) -> Sequence[IdentityProvider]:
        """Who is asked now, in this order."""

    def close(self) -> None:
        """Let go of what they hold."""


class Authenticate:
    """Tells who somebody is."""

    def __init__(
        self,
        metadata: Metadata,
        sources: Providers,
        checker: Checker,
        lockout: Lockout,
        witness: Witness,
        *,
        alive: Callable[[str, int], Awaitable[bool]],
        workloads: Workloads,
    ) -> None:
        self._metadata = metadata
        self._sources = sources
        self._checker = checker
        self._lockout = lockout
        self._witness = witness
        self._alive = alive
        self._workloads = workloads

    async def login(self, name: str, password: bytes, address: str) -> Principal:
        """The principal; raises :class:`LoginRefused`, or ``TooMany`` where name or address is locked for a while."""
        robot = stored_name(name)
        text = password.decode("utf-8", "replace")
        if looks_like_one(text) and (robot is not None or name == LOGIN):
            return await self.workload(name, text, address)
        if robot is not None:
            return await self._robot(robot, text, address)
        if text.startswith(Prefix.PERSONAL):
            return await self._personal(name, text, address)
        locked = await self._metadata.read(lambda tx: Failures(tx, self._lockout).locked(name, address))
        if locked:
            raise TooMany("too many logins failed: try again later", retry_after=locked)
        for provider in await self._sources.providers():
            noted = provider.remembered(name, password)
            try:
                principal = await provider.verify(name, password)
            except Away:
                await self._guessed(name, address, provider.source)
                raise
            if principal is not None:
                if not noted:
                    await self._succeeded(principal)
                return principal
        raise await self._failed(name, address)

    async def bearer(self, secret: str, address: str) -> Principal:
        """Whose personal access token this is, shown without a name."""
        return await self._personal(None, secret, address)

    async def certified(self, named: Named, address: str) -> Principal:
        """Whom a checked client certificate stands for; raises :class:`LoginRefused` where nobody of that name may in."""

        async def read(tx: Transaction) -> Principal | None:
            if named.kind is Kind.ROBOT:
                return _standing(await Robots(tx).named(named.name), tx.now)
            user = await Users(tx).named(named.name)
            return _principal(user) if user is not None and not user.disabled else None

        found = await self._metadata.read(read)
        if found is None:
            login = named.name if named.kind is Kind.USER else PREFIX + named.name
            self._witness.login(login, address, result="failure")
            raise LoginRefused("the client certificate stands for nobody who may log in now")
        return found

    async def workload(self, name: str, token: str, address: str) -> Principal:
        """The robot that the token of a CI system's job stands for."""
        try:
            shown = await self._workloads.show(name, token)
        except TokenRefused as refused:
            self._witness.login(name, address, result="failure", detail=refused.message)
            raise LoginRefused(refused.message) from None
        robot = shown.robot
        if shown.first:
            detail = f"rule of trust {shown.rule.id}: {shown.subject} of {shown.rule.issuer}"
            self._witness.login(robot.login, address, result="success", detail=detail)
        return await self._used(robot)

    async def refresh(self, secret: str, address: str) -> tuple[Principal, Login]:
        """Whose refresh token this is; a source that can be asked must still know the user."""

        async def read(tx: Transaction) -> tuple[Principal, Login, str] | None:
            login = await RefreshTokens(tx).of_secret(secret)
            if login is None:
                return None
            if login.robot is not None:
                standing = _standing(await Robots(tx).find(login.robot), tx.now)
                return (standing, login, "") if standing is not None else None
            user = await Users(tx).find(login.user or 0)
            return (_principal(user), login, user.source) if user is not None and not user.disabled else None

        found = await self._metadata.read(read)
        if found is None or not await self._alive(found[2], found[0].id):
            self._witness.login("", address, result="failure")
            raise LoginRefused("this login has ended: log in again")
        return found[:2]

    def close(self) -> None:
        """Let go of threads."""
        self._sources.close()
        self._checker.close()

    async def _robot(self, stored: str, secret: str, address: str) -> Principal:
        robot = await self._metadata.read(lambda tx: Robots(tx).named(stored))
        kept = robot.secret if robot is not None else ""
        if kept.startswith("$"):
            good = await self._checker.fits(PREFIX + stored, secret.encode(), kept)
        else:
            good = hmac.compare_digest(credentials.digest(secret), kept)
        if robot is None or not good or robot.disabled or robot.expired(self._metadata.now()):
            self._witness.login(PREFIX + stored, address, result="failure")
            raise LoginRefused(WRONG)
        return await self._used(robot)

    async def _used(self, robot: Robot) -> Principal:
        if worth_noting(robot.used_at, self._metadata.now()):
            await self._metadata.write(lambda tx: Robots(tx).used(robot.id), durable=False)
        return _robot(robot)

    async def _personal(self, name: str | None, secret: str, address: str) -> Principal:
        async def read(tx: Transaction) -> tuple[Principal, int] | None:
            token = await PersonalTokens(tx).of_secret(secret)
            user = await Users(tx).find(token.user) if token else None
            if token is None or user is None or user.disabled or name not in (None, user.name):
                return None
            return Principal(user.name, Kind.USER, user.id, token.limits), (
                token.id if worth_noting(token.used_at, tx.now) else 0
            )

        found = await self._metadata.read(read)
        if found is None:
            self._witness.login(name or "", address, result="failure")
            raise LoginRefused(WRONG if name is not None else "this is no personal access token that is good now")
        principal, token = found
        if token:
            await self._metadata.write(lambda tx: PersonalTokens(tx).used(token), durable=False)
        return principal

    async def _succeeded(self, principal: Principal) -> None:
        async def note(tx: Transaction) -> None:
            await Users(tx).seen(principal.id)
            await Failures(tx, self._lockout).succeeded(principal.name)

        await self._metadata.write(note, durable=False)

    async def _guessed(self, name: str, address: str, source: str) -> None:
        """Count a failure where a directory that is away cannot have been meant: a password kept here may be guessed at."""
        user = await self._metadata.read(lambda tx: Users(tx).named(name))
        if user is None or user.source != source:
            await self._failed(name, address)

    async def _failed(self, name: str, address: str) -> LoginRefused:
        locks = await self._metadata.write(lambda tx: Failures(tx, self._lockout).failed(name, address), durable=False)
        self._witness.login(name, address, result="locked" if locks else "failure")
        if locks:
            log.warning("too many logins failed: locked for a while", extra={"address": address})
        return LoginRefused(WRONG)


def _robot(robot: Robot) -> Principal:
    return Principal(robot.login, Kind.ROBOT, robot.id)


def _standing(robot: Robot | None, moment: int) -> Principal | None:
    """Whom a robot is, while it may be used."""
    return None if robot is None or robot.disabled or robot.expired(moment) else _robot(robot)


def _principal(user: User) -> Principal:
    return Principal(user.name, Kind.USER, user.id)
