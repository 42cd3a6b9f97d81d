"""Groups of users, of our own or mirrored from another source of identities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, func, insert, select, text, update

from lading.access.revocations import Revocations
from lading.access.users import LOCAL
from lading.errors import Conflict, Invalid
from lading.stores.metadata.paging import Field, Listing, Page
from lading.stores.metadata.schema.access import group_members, groups
from lading.stores.metadata.schema.control import project_grants, project_members
from lading.stores.metadata.transaction import Row, Statement, Transaction


@dataclass(frozen=True)
class Group:
    """A group; ``subject`` is what its source calls it (an LDAP DN, say)."""

    id: int
    name: str
    source: str
    subject: str
    created_at: int
    updated_at: int


_columns = (
    groups.c.id,
    groups.c.name,
    groups.c.source,
    groups.c.subject,
    groups.c.created_at,
    groups.c.updated_at,
)
_BY_NAME = Statement(select(*_columns).where(groups.c.name == bindparam("name")))
_BY_ID = Statement(select(*_columns).where(groups.c.id == bindparam("id")))
_BY_SUBJECT = Statement(
    select(*_columns).where(groups.c.source == bindparam("source"), groups.c.subject == bindparam("subject"))
)
_ADD = Statement(
    insert(groups).values(
        name=bindparam("name"),
        source=bindparam("source"),
        subject=bindparam("subject"),
        created_at=bindparam("now"),
        updated_at=bindparam("now"),
    )
)
_RENAME = Statement(
    update(groups)
    .where(groups.c.id == bindparam("wanted"))
    .values(name=bindparam("new_name"), updated_at=bindparam("now"))
)
_DELETE = Statement(delete(groups).where(groups.c.id == bindparam("wanted")))
_LEAVE = Statement(
    delete(project_members).where(project_members.c.kind == "g", project_members.c.entity_id == bindparam("wanted"))
)
_LEAVE_PATHS = Statement(
    delete(project_grants).where(project_grants.c.kind == "g", project_grants.c.entity_id == bindparam("wanted"))
)
_PAGE = Statement(
    select(*_columns)
    .where(func.lower(groups.c.name).like(bindparam("pattern"), escape="\\"))
    .order_by(groups.c.name)
    .limit(bindparam("limit"))
    .offset(bindparam("offset"))
)
_COUNT = Statement(
    select(func.count()).select_from(groups).where(func.lower(groups.c.name).like(bindparam("pattern"), escape="\\"))
)
_JOIN = Statement(text("INSERT INTO group_members (user_id, group_id) VALUES (:user, :wanted) ON CONFLICT DO NOTHING"))
_PART = Statement(
    delete(group_members).where(
        group_members.c.user_id == bindparam("user"), group_members.c.group_id == bindparam("wanted")
    )
)
_OF = Statement(select(group_members.c.group_id).where(group_members.c.user_id == bindparam("user")))
_OF_SOURCE = Statement(
    select(group_members.c.group_id)
    .join(groups, groups.c.id == group_members.c.group_id)
    .where(group_members.c.user_id == bindparam("user"), groups.c.source == bindparam("source"))
)
_EVERY_OF_SOURCE = Statement(select(groups.c.id, groups.c.subject).where(groups.c.source == bindparam("source")))
_MEMBERS = Statement(
    select(group_members.c.user_id)
    .where(group_members.c.group_id == bindparam("wanted"))
    .order_by(group_members.c.user_id)
)

_LISTED = Listing(
    select(*_columns),
    {
        "id": Field(groups.c.id, "number"),
        "group_name": Field(groups.c.name),
        "source": Field(groups.c.source),
        "ldap_group_dn": Field(groups.c.subject),
        "creation_time": Field(groups.c.created_at, "moment"),
        "update_time": Field(groups.c.updated_at, "moment"),
    },
    (groups.c.name,),
)


class Groups:
    """The groups, in a transaction. Whoever leaves one loses the tokens it gave at once."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def named(self, name: str) -> Group | None:
        """The group of that name."""
        return _record(await self._tx.row(_BY_NAME, name=name))

    async def find(self, group: int) -> Group | None:
        """The group of that id."""
        return _record(await self._tx.row(_BY_ID, id=group))

    async def of_subject(self, source: str, subject: str) -> Group | None:
        """The group that another source knows under this name."""
        return _record(await self._tx.row(_BY_SUBJECT, source=source, subject=subject))

    async def add(self, name: str, *, source: str = LOCAL, subject: str = "") -> Group:
        """Add a group; raises ``Conflict`` where the name is taken."""
        check_name(name)
        if await self.named(name) is not None:
            raise Conflict(f"there is a group {name} already")
        await self._tx.execute(_ADD, name=name, source=source, subject=subject, now=self._tx.now)
        added = await self.named(name)
        assert added is not None
        return added

    async def rename(self, group: Group, name: str) -> None:
        """Give a group another name."""
        check_name(name)
        other = await self.named(name)
        if other is not None and other.id != group.id:
            raise Conflict(f"there is a group {name} already")
        await self._tx.execute(_RENAME, wanted=group.id, new_name=name, now=self._tx.now)

    async def delete(self, group: Group) -> None:
        """Delete a group and what it was a member of."""
        await self._revoke(await self.members(group.id))
        await self._tx.execute(_LEAVE, wanted=group.id)
        await self._tx.execute(_LEAVE_PATHS, wanted=group.id)
        await self._tx.execute(_DELETE, wanted=group.id)

    async def page(self, term: str, limit: int, offset: int = 0) -> tuple[int, Sequence[Group]]:
        """How many groups have ``term`` in their name, and a page of them."""
        escaped = term.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        pattern = f"%{escaped}%"
        total: int = await self._tx.value(_COUNT, pattern=pattern)
        rows = await self._tx.rows(_PAGE, pattern=pattern, limit=limit, offset=offset)
        return total, [group for row in rows if (group := _record(row))]

    async def listed(self, page: Page) -> tuple[int, Sequence[Group]]:
        """How many groups there are that fit, and a page of them, under Harbor's names for their fields."""
        total, rows = await _LISTED.page(self._tx, page)
        return total, [group for row in rows if (group := _record(row))]

    async def join(self, user: int, group: int) -> None:
        """Make a user a member."""
        await self._tx.execute(_JOIN, user=user, wanted=group)

    async def part(self, user: int, group: int) -> bool:
        """Make a user no member any more; whether they were."""
        left = bool(await self._tx.execute(_PART, user=user, wanted=group))
        if left:
            await self._revoke([user])
        return left

    async def of(self, user: int) -> list[int]:
        """The groups a user is in."""
        return [row[0] for row in await self._tx.rows(_OF, user=user)]

    async def of_source(self, source: str) -> list[tuple[int, str]]:
        """The ids and subjects of all groups of a source."""
        return [(row[0], row[1]) for row in await self._tx.rows(_EVERY_OF_SOURCE, source=source)]

    async def members(self, group: int) -> list[int]:
        """The users in a group."""
        return [row[0] for row in await self._tx.rows(_MEMBERS, wanted=group)]

    async def set_of(self, user: int, source: str, wanted: Iterable[int]) -> None:
        """Make a user a member of exactly these among the groups of a source, as that source says."""
        current = {row[0] for row in await self._tx.rows(_OF_SOURCE, user=user, source=source)}
        after = set(wanted)
        await self._tx.execute_many(_JOIN, [{"user": user, "wanted": group} for group in sorted(after - current)])
        for group in sorted(current - after):
            await self.part(user, group)

    async def _revoke(self, members: Sequence[int]) -> None:
        await Revocations(self._tx).add(*(f"u{user}" for user in members))


def check_name(name: str) -> None:
    """Raise ``Invalid`` for what cannot be a group's name."""
    if not name.strip() or len(name) > 255 or any(ord(c) < 32 or ord(c) == 127 for c in name):
        raise Invalid("a group's name has 1 to 255 characters, none of them a control character")


def _record(row: Row | None) -> Group | None:
    return None if row is None else Group(*row)
