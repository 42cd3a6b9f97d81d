"""Custom roles: what the built-in ones do not fit, as data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec
from sqlalchemy import bindparam, delete, exists, func, insert, select, update

from lading.access.permissions import FIRST_CUSTOM, ROLES, Role, unknown
from lading.access.revocations import EVERYBODY, Revocations
from lading.errors import Conflict, Invalid
from lading.stores.metadata.schema.control import project_grants, project_members, roles
from lading.stores.metadata.transaction import Row, Statement, Transaction

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9 ._-]{0,62}", re.ASCII)

_ALL = Statement(select(roles.c.id, roles.c.name, roles.c.permissions).order_by(roles.c.id))
_BY_ID = Statement(select(roles.c.id, roles.c.name, roles.c.permissions).where(roles.c.id == bindparam("id")))
_BY_NAME = Statement(select(roles.c.id, roles.c.name, roles.c.permissions).where(roles.c.name == bindparam("name")))
_NEXT = Statement(select(func.coalesce(func.max(roles.c.id), FIRST_CUSTOM - 1) + 1))
_ADD = Statement(
    insert(roles).values(
        id=bindparam("id"), name=bindparam("name"), permissions=bindparam("permissions"), created_at=bindparam("now")
    )
)
_CHANGE = Statement(
    update(roles).where(roles.c.id == bindparam("wanted")).values(permissions=bindparam("new_permissions"))
)
_DELETE = Statement(delete(roles).where(roles.c.id == bindparam("wanted")))
_USED = Statement(
    select(
        exists().where(project_members.c.role_id == bindparam("wanted"))
        | exists().where(project_grants.c.role_id == bindparam("wanted"))
    )
)


class Roles:
    """The roles, built-in and custom, in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def find(self, role: int) -> Role | None:
        """The role of that id."""
        return ROLES.get(role) or _record(await self._tx.row(_BY_ID, id=role))

    async def named(self, name: str) -> Role | None:
        """The role of that name; the built-in ones are found in any case."""
        found = next((role for role in ROLES.values() if role.name.lower() == name.lower()), None)
        return found or _record(await self._tx.row(_BY_NAME, name=name))

    async def all(self) -> list[Role]:
        """Every role, the built-in ones first."""
        custom = [role for row in await self._tx.rows(_ALL) if (role := _record(row))]
        return [*ROLES.values(), *custom]

    async def add(self, name: str, permissions: Mapping[str, Iterable[str]]) -> Role:
        """Add a role; raises ``Invalid`` for what is no permission."""
        if _NAME.fullmatch(name) is None:
            raise Invalid("a role's name begins with a letter; letters, digits, spaces and . _ - may follow, 63 in all")
        if await self.named(name) is not None:
            raise Conflict(f"there is a role {name} already")
        role: int = await self._tx.value(_NEXT)
        await self._tx.execute(_ADD, id=role, name=name, permissions=_encoded(permissions), now=self._tx.now)
        added = await self.find(role)
        assert added is not None
        return added

    async def change(self, role: Role, permissions: Mapping[str, Iterable[str]]) -> None:
        """Set what a custom role allows."""
        if role.id < FIRST_CUSTOM:
            raise Conflict(f"{role.name} is built in and stays as it is; make another role")
        await self._tx.execute(_CHANGE, wanted=role.id, new_permissions=_encoded(permissions))
        await Revocations(self._tx).add(EVERYBODY)

    async def delete(self, role: Role) -> None:
        """Delete a custom role that nobody has."""
        if role.id < FIRST_CUSTOM:
            raise Conflict(f"{role.name} is built in")
        if await self._tx.value(_USED, wanted=role.id):
            raise Conflict(f"some members still have the role {role.name}; give them another one first")
        await self._tx.execute(_DELETE, wanted=role.id)


def _encoded(permissions: Mapping[str, Iterable[str]]) -> str:
    pairs = sorted({(resource, action) for resource, actions in permissions.items() for action in actions})
    if wrong := unknown(pairs, system=False):
        raise Invalid(f"there is no such permission: {', '.join(wrong[:10])}")
    kept: dict[str, list[str]] = {}
    for resource, action in pairs:
        kept.setdefault(resource, []).append(action)
    return msgspec.json.encode(kept).decode()


def _record(row: Row | None) -> Role | None:
    if row is None:
        return None
    listed: dict[str, list[str]] = msgspec.json.decode(row[2])
    return Role(row[0], row[1], {resource: frozenset(actions) for resource, actions in listed.items()})
