"""Users of an OIDC provider: what they are called there, the secret they log in with at a shell, and their groups.

A browser goes through the provider; docker cannot, so it sends the *CLI secret*, which is made here. Because that would
outlive the account at the provider, the provider's refresh token is kept, sealed, to ask whether the user is still there.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec
from sqlalchemy import and_, bindparam, delete, insert, null, or_, select, update

from lading.access import credentials
from lading.access.credentials import Prefix
from lading.access.groups import Group, Groups
from lading.access.sealing import Seal
from lading.access.users import User, Users, check_name
from lading.errors import Conflict, Invalid, LadingError
from lading.stores.metadata.schema.logins import oidc_arrivals, oidc_identities
from lading.stores.metadata.transaction import Row, Statement, Transaction

SOURCE = "oidc"
MOST_GROUPS = 1000
ARRIVAL = 600_000
"""Milliseconds somebody who arrived has to choose a name."""

_COMMON_NAME = re.compile(r"[\s\"#$%&'()*+,/:;<=>?\[\\\]^`{|}~\x00-\x1f\x7f]+")
_columns = (
    oidc_identities.c.user_id,
    oidc_identities.c.secret,
    oidc_identities.c.refresh,
    oidc_identities.c.by_group,
    oidc_identities.c.ended,
    oidc_identities.c.checked_at,
    oidc_identities.c.verified_at,
)
_OF = Statement(select(*_columns).where(oidc_identities.c.user_id == bindparam("user")))
_ADD = Statement(
    insert(oidc_identities).values(
        user_id=bindparam("user"),
        secret=bindparam("secret"),
        by_group=False,
        ended=False,
        checked_at=bindparam("now"),
        verified_at=bindparam("now"),
    )
)
_SECRET = Statement(
    update(oidc_identities).where(oidc_identities.c.user_id == bindparam("user")).values(secret=bindparam("new_secret"))
)
_VERIFIED = Statement(
    update(oidc_identities)
    .where(oidc_identities.c.user_id == bindparam("user"))
    .values(refresh=bindparam("new_refresh"), ended=False, checked_at=bindparam("now"), verified_at=bindparam("now"))
)
_CLAIM = Statement(
    update(oidc_identities)
    .where(
        oidc_identities.c.user_id == bindparam("user"),
        oidc_identities.c.checked_at <= bindparam("before"),
        oidc_identities.c.ended.is_(False),
    )
    .values(checked_at=bindparam("now"))
)
_BY_GROUP = Statement(
    update(oidc_identities).where(oidc_identities.c.user_id == bindparam("user")).values(by_group=bindparam("flag"))
)
_END = Statement(
    update(oidc_identities).where(oidc_identities.c.user_id == bindparam("user")).values(refresh=null(), ended=True)
)
_ARRIVE = Statement(
    insert(oidc_arrivals).values(
        digest=bindparam("digest"), sealed=bindparam("sealed"), expires_at=bindparam("expires_at")
    )
)
_ARRIVED = Statement(
    select(oidc_arrivals.c.sealed).where(
        and_(oidc_arrivals.c.digest == bindparam("digest"), oidc_arrivals.c.expires_at > bindparam("now"))
    )
)
_DEPART = Statement(
    delete(oidc_arrivals).where(
        or_(oidc_arrivals.c.digest == bindparam("digest"), oidc_arrivals.c.expires_at <= bindparam("now"))
    )
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Person:
    """Somebody as the provider tells of them; ``name`` is what they might be called here. ``groups`` None: not told."""

    subject: str
    name: str
    email: str = ""
    full_name: str = ""
    groups: tuple[str, ...] | None = None
    refresh: str = field(default="", repr=False)


@dataclass(frozen=True)
class Identity:
    """What is kept of a user; times in milliseconds."""

    user: int
    secret: str = field(repr=False)
    refresh: str = field(repr=False)
    by_group: bool
    ended: bool
    checked_at: int
    verified_at: int


class Identities:
    """The identities, in a transaction. ``admin_group`` makes administrators of its members, empty: none does."""

    def __init__(self, tx: Transaction, seal: Seal, admin_group: str = "") -> None:
        self._tx = tx
        self._seal = seal
        self._admin_group = admin_group

    async def of(self, user: int) -> Identity | None:
        """What is kept of a user."""
        return self._record(await self._tx.row(_OF, user=user))

    async def alone(self) -> None:
        """Make nobody a user beside others who make users, until the end of the transaction."""
        await self._tx.lock("oidc users")

    async def welcome(self, person: Person, name: str) -> User:
        """Make a user of somebody who arrived; raises ``Conflict`` where the name is taken."""
        check_name(name)
        await self.alone()
        users = Users(self._tx)
        if await users.of_subject(SOURCE, person.subject) is not None:
            raise Conflict("you have a user here already: log in again")
        email = "" if await users.of_email(person.email) is not None else person.email
        try:
            user = await users.add(name, email=email, full_name=person.full_name, source=SOURCE, subject=person.subject)
        except Invalid:  # an address or a name of a form that is not taken here
            user = await users.add(name, source=SOURCE, subject=person.subject)
        secret = self._sealed(credentials.make(Prefix.CLI), user.id, "secret")
        await self._tx.execute(_ADD, user=user.id, secret=secret, now=self._tx.now)
        await self.verified(user, person)
        return user

    async def verified(self, user: User, person: Person) -> None:
        """The provider says that a user is there, with these groups; a new refresh token takes the place of the old."""
        known = await self.of(user.id)
        refresh = person.refresh or (known.refresh if known is not None else "")
        sealed = self._sealed(refresh, user.id, "refresh") if refresh else None
        await self._tx.execute(_VERIFIED, user=user.id, new_refresh=sealed, now=self._tx.now)
        if person.groups is not None:
            await self._set_groups(user, person.groups, by_group=known is not None and known.by_group)

    async def set_secret(self, user: int, secret: str = "") -> None:
        """Give a user another CLI secret, one of their choice or a new one; what the one before began ends."""
        if secret and not (
            8 <= len(secret) <= 128
            and secret.isascii()
            and secret.isprintable()
            and any(c.isupper() for c in secret)
            and any(c.islower() for c in secret)
            and any(c.isdigit() for c in secret)
        ):
            raise Invalid("a CLI secret has 8 to 128 characters: a small letter, a large one and a digit among them")
        if secret.startswith(tuple(Prefix)):
            raise Invalid("a CLI secret that you choose does not begin as those that are made here do")
        sealed = self._sealed(secret or credentials.make(Prefix.CLI), user, "secret")
        await self._tx.execute(_SECRET, user=user, new_secret=sealed)
        await Users(self._tx).end_logins(user, keep_sessions=True)  # no session began with it

    async def claim(self, user: int, before: int) -> bool:
        """Whether it is for this caller to ask the provider, who was last asked before then; for one caller it is."""
        return bool(await self._tx.execute(_CLAIM, user=user, before=before, now=self._tx.now))

    async def end(self, user: int) -> None:
        """The provider knows a user no more: sessions, tokens and the CLI secret end, until the next login there."""
        await self._tx.execute(_END, user=user)
        await Users(self._tx).end_logins(user)

    async def arrive(self, person: Person) -> str:
        """Remember somebody who has no user yet and may choose a name; the secret that only their browser has."""
        secret = credentials.make(Prefix.SESSION)
        sealed = self._seal.seal(msgspec.json.encode(asdict(person)), "oidc arrival")
        await self._tx.execute(
            _ARRIVE, digest=credentials.digest(secret), sealed=sealed, expires_at=self._tx.now + ARRIVAL
        )
        return secret

    async def arrived(self, secret: str) -> Person | None:
        """Who arrived with this secret."""
        if not credentials.is_one(secret, Prefix.SESSION):
            return None
        sealed = await self._tx.value(_ARRIVED, digest=credentials.digest(secret), now=self._tx.now)
        return None if sealed is None else msgspec.json.decode(self._seal.open(sealed, "oidc arrival"), type=Person)

    async def depart(self, secret: str = "") -> None:
        """Forget who arrived with this secret, and those who never chose."""
        await self._tx.execute(_DEPART, digest=credentials.digest(secret), now=self._tx.now)

    async def _set_groups(self, user: User, names: Sequence[str], *, by_group: bool) -> None:
        groups, found = Groups(self._tx), []
        for name in dict.fromkeys(names[:MOST_GROUPS]):
            group = await groups.of_subject(SOURCE, name)
            try:
                found.append((group or await self._add_group(groups, name)).id)
            except LadingError as error:
                log.info(
                    "a group of the OIDC provider is passed over", extra={"group": name[:255], "why": error.message}
                )
        await groups.set_of(user.id, SOURCE, found)
        if not self._admin_group:
            return
        inside = self._admin_group in names
        made, unmade, left = inside and not user.admin, by_group and not inside and user.admin, False
        if made or unmade:
            try:
                await Users(self._tx).set_admin(user, admin=made)
            except Conflict:
                left = True  # the next time there may be another
                log.warning(
                    "the last administrator has left the group of administrators, and stays one",
                    extra={"user": user.name},
                )
        await self._tx.execute(_BY_GROUP, user=user.id, flag=left or (inside and (made or by_group)))

    async def _add_group(self, groups: Groups, name: str) -> Group:
        await self._tx.lock("oidc groups")  # somebody else may arrive with the same one
        return await groups.of_subject(SOURCE, name) or await groups.add(name, source=SOURCE, subject=name)

    def _sealed(self, text: str, user: int, what: str) -> bytes:
        return self._seal.seal(text.encode(), f"oidc {what} u{user}")

    def _record(self, row: Row | None) -> Identity | None:
        if row is None:
            return None
        user, secret, refresh, by_group, ended, checked_at, verified_at = row
        return Identity(
            user,
            self._seal.open(secret, f"oidc secret u{user}").decode(),
            self._seal.open(refresh, f"oidc refresh u{user}").decode() if refresh is not None else "",
            bool(by_group),
            bool(ended),
            checked_at,
            verified_at,
        )


def offered_name(told: str) -> str:
    """A name that a user can have, from what the provider calls somebody."""
    return _COMMON_NAME.sub("-", told).strip("- ")[:255]


def groups_of(claims: dict[str, Any], claim: str, pattern: re.Pattern[str] | None) -> tuple[str, ...] | None:
    """The groups that a token tells, those that the filter finds something in; None where it does not tell."""
    told = claims.get(claim) if claim else None
    if isinstance(told, str):
        told = [told]
    if not isinstance(told, list):
        return None
    names = [name for name in told if isinstance(name, str) and 0 < len(name) <= 255]
    return tuple(name for name in names if pattern is None or pattern.search(name))
