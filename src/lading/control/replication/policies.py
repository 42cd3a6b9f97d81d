"""Policies: what is brought where, when, and under which name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import BindParameter, bindparam, delete, insert, literal_column, select, update

from lading.control.replication import filters
from lading.control.replication.endpoints import HARBOR, Endpoint, check_name
from lading.control.replication.filters import Filter
from lading.errors import Conflict, Invalid
from lading.jobs.schedule import following
from lading.oci.reference import is_name
from lading.stores.metadata.paging import Field, Listing, Page
from lading.stores.metadata.schema.replication import replication_policies as policies
from lading.stores.metadata.transaction import Row, Statement, Transaction

MANUAL, SCHEDULED, EVENT = "manual", "scheduled", "event_based"
CAUSES = (MANUAL, SCHEDULED, EVENT)
MOST_REPLACED = 8


class Terms(msgspec.Struct, frozen=True):
    """How a policy goes about it. ``namespace`` replaces the first ``replace`` parts of a name (-1: all but the last).

    ``deletion``: what is deleted here goes there too; ``override``: a tag that is another image there is moved;
    ``speed`` in bytes a second, 0 for no limit; ``single``: not begun while it is at work.
    """

    namespace: str = ""
    replace: int = filters.WHOLE
    cron: str = ""
    filters: tuple[Filter, ...] = ()
    deletion: bool = False
    override: bool = False
    speed: int = 0
    chunks: bool = False
    single: bool = False


@dataclass(frozen=True)
class Policy:
    """A policy. One of ``source`` and ``target`` is an endpoint, the other (None) this registry."""

    id: int
    name: str
    description: str
    source: int | None
    target: int | None
    enabled: bool
    cause: str
    terms: Terms
    created_at: int = 0
    updated_at: int = 0

    @property
    def schedule(self) -> str:
        """The name of its schedule."""
        return f"replication-{self.id}"

    @property
    def timing(self) -> str:
        """When it begins by itself; empty: never."""
        return self.terms.cron if self.enabled and self.cause == SCHEDULED else ""


_columns = (
    policies.c.id,
    policies.c.name,
    policies.c.description,
    policies.c.source_id,
    policies.c.target_id,
    policies.c.enabled,
    policies.c.cause,
    policies.c.terms,
    policies.c.created_at,
    policies.c.updated_at,
)
_BY_ID = Statement(select(*_columns).where(policies.c.id == bindparam("id")))
_LOCKED = Statement(select(policies.c.id).where(policies.c.id == bindparam("id")).with_for_update())
_BY_NAME = Statement(select(*_columns).where(policies.c.name == bindparam("name")))
_EAGER = Statement(
    select(*_columns).where(
        policies.c.cause == literal_column(f"'{EVENT}'"), policies.c.enabled, policies.c.source_id.is_(None)
    )
)
_LISTED = Listing(
    select(*_columns),
    {
        "id": Field(policies.c.id, "number"),
        "name": Field(policies.c.name),
        "description": Field(policies.c.description),
        "enabled": Field(policies.c.enabled, "flag"),
        "src_registry_id": Field(policies.c.source_id, "number"),
        "dest_registry_id": Field(policies.c.target_id, "number"),
        "creation_time": Field(policies.c.created_at, "moment"),
        "update_time": Field(policies.c.updated_at, "moment"),
    },
    (policies.c.id,),
)
_given: dict[str, BindParameter[Any]] = {
    name: bindparam(f"new_{name}")
    for name in ("name", "description", "source_id", "target_id", "enabled", "cause", "terms")
}
_ADD = Statement(insert(policies).values(**_given, created_at=bindparam("now"), updated_at=bindparam("now")))
_CHANGE = Statement(
    update(policies).where(policies.c.id == bindparam("policy")).values(**_given, updated_at=bindparam("now"))
)
_DELETE = Statement(delete(policies).where(policies.c.id == bindparam("policy")))


class Policies:
    """The policies, in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def find(self, policy: int) -> Policy | None:
        """The policy of that id."""
        return _record(await self._tx.row(_BY_ID, id=policy))

    async def named(self, name: str) -> Policy | None:
        """The policy of that name."""
        return _record(await self._tx.row(_BY_NAME, name=name))

    async def hold(self, policy: int) -> bool:
        """Have a policy alone until this transaction is over: its runs begin and end one after the other."""
        return await self._tx.row(_LOCKED, id=policy) is not None

    async def eager(self) -> Sequence[Policy]:
        """Those that begin when something happens here."""
        return [_policy(row) for row in await self._tx.rows(_EAGER)]

    async def listed(self, page: Page) -> tuple[int, Sequence[Policy]]:
        """How many policies fit, and a page of them."""
        total, rows = await _LISTED.page(self._tx, page)
        return total, [_policy(row) for row in rows]

    async def add(self, given: Policy) -> Policy:
        """Add a policy; raises ``Conflict`` where there is one of that name."""
        if await self.named(given.name) is not None:
            raise _taken(given.name)
        await self._tx.execute(_ADD, **_values(given), now=self._tx.now)
        added = await self.named(given.name)
        assert added is not None
        return added

    async def change(self, given: Policy) -> None:
        """Set what can be changed of a policy."""
        other = await self.named(given.name)
        if other is not None and other.id != given.id:
            raise _taken(given.name)
        await self._tx.execute(_CHANGE, policy=given.id, **_values(given), now=self._tx.now)

    async def delete(self, policy: int) -> None:
        """Delete a policy, and what is known of its runs."""
        await self._tx.execute(_DELETE, policy=policy)


def check(given: Policy, source: Endpoint | None, now: int) -> None:
    """Raise ``Invalid`` for what cannot be a policy; ``source`` is its endpoint, None for this registry."""
    check_name(given.name)
    terms = given.terms
    if (given.source is None) == (given.target is None):
        raise Invalid("one of src_registry and dest_registry is another registry, and the other is left out: this one")
    if given.cause not in CAUSES:
        raise Invalid(f"the type of the trigger is one of {', '.join(CAUSES)}")
    if given.cause == SCHEDULED:
        fields = terms.cron.split()
        if len(fields) != 6 or fields[0] != "0":
            raise Invalid("cron has six fields, the first of them 0 for the seconds, as in 0 30 2 * * *")
        following(terms.cron, now)
    if given.cause == EVENT and given.source is not None:
        raise Invalid("event_based is for policies that bring something from here: nothing tells what happens there")
    if terms.namespace and not is_name(terms.namespace):
        raise Invalid(f"{terms.namespace[:100]!r} is no namespace: it is lower-case letters, digits, . _ - and /")
    if not filters.WHOLE <= terms.replace <= MOST_REPLACED:
        raise Invalid(f"dest_namespace_replace_count is from -1 (all but the last part) to {MOST_REPLACED}")
    if not 0 <= terms.speed <= 2**43:
        raise Invalid("speed is in KB a second, 0 or -1 for no limit")
    filters.check(terms.filters)
    if filters.wants(terms.filters, filters.LABEL) and source is not None and source.kind != HARBOR:
        raise Invalid(f"a registry of type {source.kind} has no labels to filter by")


def _taken(name: str) -> Conflict:
    return Conflict(f"there is a policy {name} already")


def _values(given: Policy) -> dict[str, Any]:
    return {
        "new_name": given.name,
        "new_description": given.description,
        "new_source_id": given.source,
        "new_target_id": given.target,
        "new_enabled": given.enabled,
        "new_cause": given.cause,
        "new_terms": msgspec.json.encode(given.terms).decode(),
    }


def _policy(row: Row) -> Policy:
    fields = list(row)
    fields[5], fields[7] = bool(row[5]), msgspec.json.decode(row[7], type=Terms)
    return Policy(*fields)


def _record(row: Row | None) -> Policy | None:
    return None if row is None else _policy(row)
