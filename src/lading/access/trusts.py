"""Workload identity: a job of a CI system shows the token it got there, and is a robot for a while. No secret is kept.

A robot is given rules: whose tokens are taken for it (the issuer), for which audience, and which claims they must have. A
claim is held against patterns: ``*`` is any text without a slash, ``**`` any text.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import bindparam, delete, insert, select

from lading.access.issuers import Issuer, TokenRefused, unverified_issuer
from lading.access.outbound import Outbound
from lading.access.remembered import Remembered
from lading.access.revocations import Revocations
from lading.access.robots import Robot, RobotGrant, Robots, stored_name
from lading.errors import Conflict, Invalid
from lading.stores.metadata.schema.access import robots
from lading.stores.metadata.schema.logins import trusts
from lading.stores.metadata.transaction import Metadata, Row, Statement, Transaction

LOGIN = "oidc"
"""The name to log in with where the token alone decides which robot it is."""
MOST = 50
"""Rules one robot may have."""
_MOST_CLAIMS, _MOST_PATTERNS, _MOST_STARS, _LONGEST = 20, 20, 6, 512
_CONFIGURED = "configuration"

Claims = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Trust:
    """A rule of a robot; each of ``claims`` must fit one of its patterns, and ``max_age`` is in seconds since it was issued."""

    id: int
    robot: int
    issuer: str
    audience: str
    claims: Claims
    max_age: int
    created_at: int


@dataclass(frozen=True)
class Configured:
    """A rule of the configuration file, which has a robot of its own; ``project`` ``*``: in every project."""

    name: str
    project: str
    grants: tuple[tuple[str, str], ...]
    issuer: str
    audience: str
    claims: Claims
    max_age: int


_columns = (
    trusts.c.id,
    trusts.c.robot_id,
    trusts.c.issuer,
    trusts.c.audience,
    trusts.c.claims,
    trusts.c.max_age,
    trusts.c.created_at,
)
_OF = Statement(select(*_columns).where(trusts.c.robot_id == bindparam("robot")).order_by(trusts.c.id))
_OF_ISSUER = Statement(select(*_columns).where(trusts.c.issuer == bindparam("issuer")).order_by(trusts.c.id))
_ALL = Statement(select(*_columns).order_by(trusts.c.id))
_ADD = Statement(
    insert(trusts).values(
        robot_id=bindparam("robot"),
        issuer=bindparam("issuer"),
        audience=bindparam("audience"),
        claims=bindparam("claims"),
        max_age=bindparam("max_age"),
        created_at=bindparam("now"),
    )
)
_DELETE = Statement(delete(trusts).where(trusts.c.robot_id == bindparam("robot"), trusts.c.id == bindparam("rule")))
_DELETE_OF = Statement(delete(trusts).where(trusts.c.robot_id == bindparam("robot")))
_FROM_CONFIGURATION = Statement(select(robots.c.id).where(robots.c.creator_kind == _CONFIGURED).order_by(robots.c.id))


class Trusts:
    """The rules, in a transaction. Whether somebody may make one is asked as for the robot's secret."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def of(self, robot: int) -> list[Trust]:
        """A robot's rules."""
        return [_record(row) for row in await self._tx.rows(_OF, robot=robot)]

    async def of_issuer(self, issuer: str) -> list[Trust]:
        """The rules for an issuer's tokens."""
        return [_record(row) for row in await self._tx.rows(_OF_ISSUER, issuer=issuer)]

    async def all(self) -> list[Trust]:
        """Every rule."""
        return [_record(row) for row in await self._tx.rows(_ALL)]

    async def add(self, robot: int, issuer: str, audience: str, claims: Claims, max_age: int) -> Trust:
        """Add a rule; raises ``Invalid`` for one that cannot be, or that would let everybody of an issuer in."""
        check(issuer, audience, claims, max_age)
        if len(await self.of(robot)) >= MOST:
            raise Conflict(f"a robot has at most {MOST} rules of trust")
        await self._tx.execute(
            _ADD,
            robot=robot,
            issuer=issuer.rstrip("/"),
            audience=audience,
            claims=msgspec.json.encode(claims).decode(),
            max_age=max_age,
            now=self._tx.now,
        )
        return (await self.of(robot))[-1]

    async def delete(self, robot: int, rule: int) -> bool:
        """Delete a rule, and void the robot's tokens; whether there was one."""
        gone = bool(await self._tx.execute(_DELETE, robot=robot, rule=rule))
        if gone:
            await Revocations(self._tx).add(f"r{robot}")
        return gone

    async def settle(self, wanted: Sequence[Configured], projects: Mapping[str, int]) -> list[str]:
        """Make the rules of the configuration file so, and those gone that are no more in it; what could not be.

        ``projects``: ids by name of those that are there.
        """
        await self._tx.lock("trusts")
        those, left, kept = Robots(self._tx), [], set()
        for one in wanted:
            if one.project != "*" and one.project not in projects:
                left.append(f"accounts.trust: {one.name} has no effect: there is no project {one.project}")
                continue
            kept.add(await self._settle(those, one, projects))
        for (robot,) in await self._tx.rows(_FROM_CONFIGURATION):
            if robot not in kept and (found := await those.find(robot)) is not None:
                await those.delete(found)
        return left

    async def _settle(self, those: Robots, one: Configured, projects: Mapping[str, int]) -> int:
        own = None if one.project == "*" else (projects[one.project], one.project)
        stored = one.name if own is None else f"{own[1]}+{one.name}"
        grants = [RobotGrant(one.project, *pair) for pair in one.grants]
        robot = await those.named(stored)
        if robot is None:
            about = "of accounts.trust"
            robot, _ = await those.add(one.name, own, grants, description=about, creator=(_CONFIGURED, 0))
        elif robot.creator_kind != _CONFIGURED:
            raise Conflict(f"there is a robot {robot.login} already, which accounts.trust did not make")
        elif sorted(set(grants)) != await those.grants(robot.id):
            level = own[1] if own else ""
            await those.change(
                robot,
                description=robot.description,
                disabled=robot.disabled,
                duration=robot.duration,
                grants=grants,
                level=level,
            )
        present = [(rule.issuer, rule.audience, rule.claims, rule.max_age) for rule in await self.of(robot.id)]
        claims = {name: list(patterns) for name, patterns in one.claims.items()}
        if present != [(one.issuer.rstrip("/"), one.audience, claims, one.max_age)]:
            await self._tx.execute(_DELETE_OF, robot=robot.id)
            await self.add(robot.id, one.issuer, one.audience, claims, one.max_age)
            await Revocations(self._tx).add(f"r{robot.id}")
        return robot.id


@dataclass(frozen=True)
class Shown:
    """Who a token makes its bearer, by which rule; ``subject`` is who the issuer says they are. ``first`` time here."""

    robot: Robot
    rule: Trust
    subject: str
    first: bool


class Workloads:
    """Takes the tokens of CI jobs."""

    def __init__(self, metadata: Metadata, outbound: Outbound) -> None:
        self._metadata = metadata
        self._outbound = outbound
        self._issuers: dict[str, Issuer] = {}
        self._seen: Remembered[bool] = Remembered(entries=4096)

    async def show(self, name: str, token: str) -> Shown:
        """The robot that a token stands for; ``name`` is :data:`LOGIN`, or that of a robot, and then it must be this one.

        Raises :class:`~lading.access.issuers.TokenRefused`, or ``Unavailable`` where the issuer cannot be asked.
        """
        issuer, stored = unverified_issuer(token), stored_name(name)
        if name != LOGIN and stored is None:
            raise TokenRefused(f"a job's token goes with the user name {LOGIN}, or with that of a robot")
        rules = await self._metadata.read(lambda tx: self._rules(tx, issuer.rstrip("/"), stored))
        if not issuer or not rules:
            raise TokenRefused("no robot here trusts this issuer's tokens")
        known = self._issuers.get(rules[0][0].issuer)
        if known is None:
            if len(self._issuers) > 200:
                self._issuers.clear()
            known = self._issuers[rules[0][0].issuer] = Issuer(rules[0][0].issuer, self._outbound)
        refused = TokenRefused("no rule of trust fits this token's claims")
        for rule, robot in rules:
            try:
                claims = await known.verify(token, rule.audience, max_age=rule.max_age)
            except TokenRefused as why:
                refused = why
                continue
            if fits(rule.claims, claims):
                return Shown(robot, rule, str(claims["sub"]), self._first(token))
            refused = TokenRefused("no rule of trust fits this token's claims")
        raise refused

    async def _rules(self, tx: Transaction, issuer: str, stored: str | None) -> list[tuple[Trust, Robot]]:
        found = []
        for rule in await Trusts(tx).of_issuer(issuer):
            robot = await Robots(tx).find(rule.robot)
            if robot is None or robot.disabled or robot.expired(tx.now) or stored not in (None, robot.name):
                continue
            found.append((rule, robot))
        return found

    def _first(self, token: str) -> bool:
        mark = hashlib.sha256(token.encode()).digest()
        if self._seen.get(mark, time.monotonic()):
            return False
        self._seen.put(mark, value=True, until=time.monotonic() + 86_400)
        return True


def looks_like_one(secret: str) -> bool:
    """Whether a secret has the form of a token (a JWT) rather than of a password."""
    return secret.startswith("ey") and secret.count(".") == 2 and len(secret) > 100


def fits(wanted: Claims, claims: Mapping[str, Any]) -> bool:
    """Whether a token's claims are those that a rule wants, each of them."""
    return all(
        any(_pattern(pattern).fullmatch(text) for pattern in patterns)
        for name, patterns in wanted.items()
        for text in [_text(claims.get(name))]
    )


def check(issuer: str, audience: str, claims: Claims, max_age: int) -> None:
    """Raise ``Invalid`` for a rule that cannot be."""
    try:
        parts = urlsplit(issuer)
        host = parts.hostname or ""
    except ValueError:
        raise Invalid("issuer is no URL") from None
    secure = parts.scheme == "https" or (parts.scheme == "http" and host in ("127.0.0.1", "::1", "localhost"))
    odd = any(c <= " " or c >= "\x7f" for c in issuer) or parts.username or parts.query or parts.fragment
    if not secure or not host or odd or len(issuer) > 512:
        raise Invalid("issuer must be a URL of the form https://host/path, as https://gitlab.example.com")
    if not audience or len(audience) > 255 or not audience.isprintable():
        raise Invalid("audience is 1 to 255 printable characters: what the job asks its token for")
    if not 60 <= max_age <= 86_400:
        raise Invalid("the longest age of a token is 60 to 86400 seconds")
    if not claims or len(claims) > _MOST_CLAIMS:
        raise Invalid(f"a rule wants 1 to {_MOST_CLAIMS} claims")
    for name, patterns in claims.items():
        if not 0 < len(name) <= 100 or not name.isprintable() or not 0 < len(patterns) <= _MOST_PATTERNS:
            raise Invalid(f"a claim has a name, and 1 to {_MOST_PATTERNS} patterns")
        for pattern in patterns:
            if not 0 < len(pattern) <= _LONGEST or not pattern.isprintable():
                raise Invalid(f"a pattern is 1 to {_LONGEST} printable characters")
            if len(re.findall(r"\*+", pattern)) > _MOST_STARS:
                raise Invalid(f"a pattern has at most {_MOST_STARS} places with *")
    if all(any(pattern.startswith("*") for pattern in patterns) for patterns in claims.values()):
        raise Invalid(
            "every claim has a pattern that begins with *, which would trust whoever uses this issuer: name the owner, as "
            "repository=example/*"
        )


@lru_cache(maxsize=1024)
def _pattern(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"(\*+)", pattern)
    made = ("[^/]*" if part == "*" else "(?s:.*)" if part.startswith("*") else re.escape(part) for part in parts)
    return re.compile("".join(made))


def _text(value: object) -> str:
    """A claim as it is held against patterns; what is no word, number or flag fits nothing."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    return value[:_LONGEST] if isinstance(value, str) and len(value) <= _LONGEST else ""


def _record(row: Row) -> Trust:
    rule, robot, issuer, audience, claims, max_age, created_at = row
    return Trust(rule, robot, issuer, audience, msgspec.json.decode(claims), max_age, created_at)
