"""Users: people with a name, whatever checks their password."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, func, insert, or_, select, update

from lading.access.revocations import Revocations
from lading.errors import Conflict, Invalid
from lading.stores.metadata.paging import Field, Listing, Page
from lading.stores.metadata.schema.access import refresh_tokens, users
from lading.stores.metadata.schema.control import project_grants, project_members
from lading.stores.metadata.schema.logins import sessions
from lading.stores.metadata.transaction import Row, Statement, Transaction

LOCAL = "local"
MAX_NAME = 255
EXPECTED = "expected:"
"""Stands before the name of a user whom their source of identities has not told of yet, in place of its key."""
DEPARTED = "departed:"
"""Stands before the subject of a user who is disabled because their source of identities does not have them any more."""

_NAME = re.compile(r"[^\x00-\x20\x7f\"#$%&'()*+,/:;<=>?\[\\\]^`{|}~][^\x00-\x1f\x7f\",#$%&'()*+/:;<=>?\[\\\]^`{|}~]*")
_EMAIL = re.compile(r"[^\s@<>\"\x00-\x1f]{1,128}@[^\s@<>\"\x00-\x1f]{1,126}")


@dataclass(frozen=True)
class User:
    """A person. ``password`` is what is stored of it; times in milliseconds."""

    id: int
    name: str
    email: str
    full_name: str
    comment: str
    password: str
    source: str
    subject: str
    admin: bool
    disabled: bool
    created_at: int
    updated_at: int
    seen_at: int | None


_columns = (
    users.c.id,
    users.c.name,
    users.c.email,
    users.c.full_name,
    users.c.comment,
    users.c.password,
    users.c.source,
    users.c.subject,
    users.c.admin,
    users.c.disabled,
    users.c.created_at,
    users.c.updated_at,
    users.c.seen_at,
)
BY_NAME = Statement(select(*_columns).where(users.c.name == bindparam("name")))
_BY_ID = Statement(select(*_columns).where(users.c.id == bindparam("id")))
_BY_EMAIL = Statement(select(*_columns).where(func.lower(users.c.email) == bindparam("email")))
_BY_SUBJECT = Statement(
    select(*_columns).where(users.c.source == bindparam("source"), users.c.subject == bindparam("subject"))
)
_ADD = Statement(
    insert(users).values(
        name=bindparam("name"),
        email=bindparam("email"),
        full_name=bindparam("full_name"),
        comment=bindparam("comment"),
        password=bindparam("password"),
        source=bindparam("source"),
        subject=bindparam("subject"),
        admin=bindparam("admin"),
        disabled=False,
        created_at=bindparam("now"),
        updated_at=bindparam("now"),
    )
)
_PROFILE = Statement(
    update(users)
    .where(users.c.id == bindparam("user"))
    .values(
        email=bindparam("new_email"),
        full_name=bindparam("new_name"),
        comment=bindparam("new_comment"),
        updated_at=bindparam("now"),
    )
)
_PASSWORD = Statement(
    update(users)
    .where(users.c.id == bindparam("user"))
    .values(password=bindparam("stored"), updated_at=bindparam("now"))
)
_ADMIN = Statement(
    update(users).where(users.c.id == bindparam("user")).values(admin=bindparam("flag"), updated_at=bindparam("now"))
)
_DISABLED = Statement(
    update(users)
    .where(users.c.id == bindparam("user"))
    .values(disabled=bindparam("flag"), subject=bindparam("new_subject"), updated_at=bindparam("now"))
)
_OF_SOURCE = Statement(
    select(*_columns)
    .where(users.c.source == bindparam("source"), users.c.id > bindparam("after"))
    .order_by(users.c.id)
    .limit(bindparam("limit"))
)
_SEEN = Statement(update(users).where(users.c.id == bindparam("user")).values(seen_at=bindparam("now")))
_DELETE = Statement(delete(users).where(users.c.id == bindparam("user")))
_FORGET_LOGINS = Statement(delete(refresh_tokens).where(refresh_tokens.c.user_id == bindparam("user")))
_FORGET_SESSIONS = Statement(delete(sessions).where(sessions.c.user_id == bindparam("user")))
_LEAVE = Statement(
    delete(project_members).where(project_members.c.kind == "u", project_members.c.entity_id == bindparam("user"))
)
_LEAVE_PATHS = Statement(
    delete(project_grants).where(project_grants.c.kind == "u", project_grants.c.entity_id == bindparam("user"))
)
_ADMINS = Statement(select(func.count()).select_from(users).where(users.c.admin, users.c.disabled.is_(False)))
_matching = or_(
    func.lower(users.c.name).like(bindparam("pattern"), escape="\\"),
    func.lower(users.c.email).like(bindparam("pattern"), escape="\\"),
)
_PAGE = Statement(
    select(*_columns)
    .where(users.c.name > bindparam("after"), _matching)
    .order_by(users.c.name)
    .limit(bindparam("limit"))
    .offset(bindparam("offset"))
)
_COUNT = Statement(select(func.count()).select_from(users).where(_matching))

_LISTED = Listing(
    select(*_columns),
    {
        "user_id": Field(users.c.id, "number"),
        "username": Field(users.c.name),
        "email": Field(users.c.email),
        "realname": Field(users.c.full_name),
        "comment": Field(users.c.comment),
        "sysadmin_flag": Field(users.c.admin, "flag"),
        "creation_time": Field(users.c.created_at, "moment"),
        "update_time": Field(users.c.updated_at, "moment"),
    },
    (users.c.name,),
)


class Users:
    """The users, in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def named(self, name: str) -> User | None:
        """The user of that name."""
        return record(await self._tx.row(BY_NAME, name=name))

    async def find(self, user: int) -> User | None:
        """The user of that id."""
        return record(await self._tx.row(_BY_ID, id=user))

    async def of_email(self, email: str) -> User | None:
        """The user of that mail address, whatever its case."""
        return record(await self._tx.row(_BY_EMAIL, email=email.lower())) if email else None

    async def of_subject(self, source: str, subject: str) -> User | None:
        """The user that another source of identities knows under this name."""
        return record(await self._tx.row(_BY_SUBJECT, source=source, subject=subject))

    async def add(
        self,
        name: str,
        *,
        password: str = "",
        email: str = "",
        full_name: str = "",
        comment: str = "",
        source: str = LOCAL,
        subject: str = "",
        admin: bool = False,
    ) -> User:
        """Add a user (``password`` is hashed already); raises ``Conflict`` where the name or the address is taken."""
        check_name(name)
        check_profile(email, full_name, comment)
        if await self.named(name) is not None:
            raise Conflict(f"there is a user {name} already")
        if await self.of_email(email) is not None:
            raise Conflict(f"there is a user with the address {email} already")
        await self._tx.execute(
            _ADD,
            name=name,
            email=email,
            full_name=full_name,
            comment=comment,
            password=password,
            source=source,
            subject=subject,
            admin=admin,
            now=self._tx.now,
        )
        added = await self.named(name)
        assert added is not None
        return added

    async def describe(self, user: User, *, email: str, full_name: str, comment: str) -> None:
        """Set what is told of a user."""
        check_profile(email, full_name, comment)
        other = await self.of_email(email)
        if other is not None and other.id != user.id:
            raise Conflict(f"there is a user with the address {email} already")
        await self._tx.execute(
            _PROFILE, user=user.id, new_email=email, new_name=full_name, new_comment=comment, now=self._tx.now
        )

    async def set_password(self, user: User, stored: str, *, keep_logins: bool = False) -> None:
        """Set the hash of a password; logins made with the one before end, unless it is the same in another form."""
        await self._tx.execute(_PASSWORD, user=user.id, stored=stored, now=self._tx.now)
        if not keep_logins:
            await self.end_logins(user.id)

    async def set_admin(self, user: User, *, admin: bool) -> None:
        """Make a user a system administrator, or no longer; the last one stays."""
        if not admin:
            await self._keep_an_admin(user)
        await self._tx.execute(_ADMIN, user=user.id, flag=admin, now=self._tx.now)
        await Revocations(self._tx).add(f"u{user.id}")

    async def identify(self, user: User, subject: str) -> None:
        """Note what a user's source of identities calls them, now that it told."""
        await self._tx.execute(_DISABLED, user=user.id, flag=user.disabled, new_subject=subject, now=self._tx.now)

    async def set_disabled(self, user: User, *, disabled: bool) -> None:
        """Lock a user out, or let them in again; the last administrator cannot be locked out."""
        await self._disable(user, user.subject.removeprefix(DEPARTED), disabled=disabled)

    async def set_departed(self, user: User, *, departed: bool) -> None:
        """The same because of what their source of identities says; it can take back what it said, and nothing else."""
        subject = user.subject.removeprefix(DEPARTED)
        await self._disable(user, DEPARTED + subject if departed else subject, disabled=departed)

    async def delete(self, user: User) -> None:
        """Delete a user, their memberships and secrets; the last administrator stays."""
        await self._keep_an_admin(user)
        await self.end_logins(user.id)
        await self._tx.execute(_LEAVE, user=user.id)
        await self._tx.execute(_LEAVE_PATHS, user=user.id)
        await self._tx.execute(_DELETE, user=user.id)

    async def seen(self, user: int) -> None:
        """Note that a user logged in."""
        await self._tx.execute(_SEEN, user=user, now=self._tx.now)

    async def any_admin(self) -> bool:
        """Whether somebody who is not locked out administers the system."""
        return bool(await self._tx.value(_ADMINS))

    async def page(self, term: str, limit: int, offset: int = 0, after: str = "") -> tuple[int, Sequence[User]]:
        """How many users have ``term`` in their name or address, and a page of them by name."""
        escaped = term.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        pattern = f"%{escaped}%"
        total: int = await self._tx.value(_COUNT, pattern=pattern)
        rows = await self._tx.rows(_PAGE, pattern=pattern, after=after, limit=limit, offset=offset)
        return total, [user for row in rows if (user := record(row))]

    async def listed(self, page: Page) -> tuple[int, Sequence[User]]:
        """How many users there are that fit, and a page of them, under Harbor's names for their fields."""
        total, rows = await _LISTED.page(self._tx, page)
        return total, [user for row in rows if (user := record(row))]

    async def end_logins(self, user: int, *, keep_sessions: bool = False) -> None:
        """End a user's sessions, logins that go on, and tokens; personal tokens, which are none of these, stay."""
        await self._tx.execute(_FORGET_LOGINS, user=user)
        if not keep_sessions:
            await self._tx.execute(_FORGET_SESSIONS, user=user)
        await Revocations(self._tx).add(f"u{user}")

    async def of_source(self, source: str, after: int, limit: int) -> Sequence[User]:
        """The users of a source of identities, by id, from behind one of them."""
        rows = await self._tx.rows(_OF_SOURCE, source=source, after=after, limit=limit)
        return [user for row in rows if (user := record(row))]

    @staticmethod
    def is_email(text: str) -> bool:
        """Whether a user can have this address."""
        return _EMAIL.fullmatch(text) is not None

    async def _disable(self, user: User, subject: str, *, disabled: bool) -> None:
        if disabled:
            await self._keep_an_admin(user)
        await self._tx.execute(_DISABLED, user=user.id, flag=disabled, new_subject=subject, now=self._tx.now)
        if disabled:
            await self.end_logins(user.id)

    async def _keep_an_admin(self, user: User) -> None:
        if user.admin and not user.disabled and await self._tx.value(_ADMINS) == 1:
            raise Conflict(f"{user.name} is the last administrator who can log in; make another one first")


def record(row: Row | None) -> User | None:
    """A user from a row of :data:`BY_NAME`."""
    if row is None:
        return None
    fields = list(row)
    fields[8:10] = bool(row[8]), bool(row[9])
    return User(*fields)


def check_name(name: str) -> None:
    """Raise ``Invalid`` for a name that a user cannot have: robots, logs and headers must not mistake it."""
    if not name or len(name) > MAX_NAME or _NAME.fullmatch(name) is None or name != name.strip():
        raise Invalid(
            "a user's name has 1 to 255 characters, and none of them is a space in front or behind, a control character "
            "or one of \" # $ % & ' ( ) * + , / : ; < = > ? [ \\ ] ^ ` { | } ~"
        )
    if name.lower().startswith("robot@"):
        raise Invalid("a user's name does not begin with robot@, which robots' names do")


def check_profile(email: str, full_name: str, comment: str) -> None:
    """Raise ``Invalid`` for what cannot be told of a user."""
    if email and _EMAIL.fullmatch(email) is None:
        raise Invalid(f"{email[:80]!r} is not a mail address")
    for what, text, most in (("full name", full_name, 255), ("comment", comment, 4096)):
        if len(text) > most or any(ord(c) < 32 or ord(c) == 127 for c in text):
            raise Invalid(f"a {what} has at most {most} characters, none of them a control character")
