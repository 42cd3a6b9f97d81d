"""Allowlists of vulnerabilities: those that do not count against an image, for the whole registry or for a project.

They are kept for who looks for vulnerabilities; nothing here does. A project has the registry's list unless its
metadata say that it has one of its own (``reuse_sys_cve_allowlist`` is not true).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import bindparam, select, text

from lading.control.projects import ALLOWLIST
from lading.errors import Invalid
from lading.stores.metadata import facts
from lading.stores.metadata.schema.control import project_metadata
from lading.stores.metadata.transaction import Statement, Transaction

REUSE = "reuse_sys_cve_allowlist"
MOST = 5000
"""Vulnerabilities of a list."""
_MOST_ID = 128

_OF = Statement(
    select(project_metadata.c.value).where(
        project_metadata.c.project_id == bindparam("project"), project_metadata.c.name == bindparam("name")
    )
)
_SET = Statement(
    text(
        "INSERT INTO project_metadata (project_id, name, value) VALUES (:project, :name, :value)"
        " ON CONFLICT (project_id, name) DO UPDATE SET value = excluded.value"
    )
)


class Allowlist(msgspec.Struct, frozen=True):
    """A list; ``expires_at`` in seconds since 1970, None: never; the other times in milliseconds, 0 for one never set."""

    items: Sequence[str] = ()
    expires_at: int | None = None
    created_at: int = 0
    updated_at: int = 0


class Allowlists:
    """The lists, in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def system(self) -> Allowlist:
        """The registry's."""
        return _decoded(await facts.read(self._tx, ALLOWLIST))

    async def own(self, project: int) -> Allowlist:
        """What was set for a project."""
        return _decoded(await self._tx.value(_OF, project=project, name=ALLOWLIST))

    async def of_all(self, kept: Mapping[int, Mapping[str, str]]) -> dict[int, Allowlist]:
        """Those that count for projects, each its own or the registry's, by what ``Projects.metadata_of`` has of them."""
        system = await self.system()
        return {
            project: system if values.get(REUSE, "true") == "true" else _decoded(values.get(ALLOWLIST))
            for project, values in kept.items()
        }

    async def set_system(self, items: Sequence[str], expires_at: int | None) -> None:
        """Set the registry's; raises ``Invalid``."""
        made = self._made(await self.system(), items, expires_at)
        await facts.write(self._tx, ALLOWLIST, msgspec.json.encode(made).decode())

    async def set(self, project: int, items: Sequence[str], expires_at: int | None) -> None:
        """Set a project's own; raises ``Invalid``."""
        made = self._made(await self.own(project), items, expires_at)
        await self._tx.execute(_SET, project=project, name=ALLOWLIST, value=msgspec.json.encode(made).decode())

    def _made(self, before: Allowlist, items: Sequence[str], expires_at: int | None) -> Allowlist:
        if len(items) > MOST:
            raise Invalid(f"an allowlist has {MOST} vulnerabilities at the most")
        for item in items:
            if not 0 < len(item) <= _MOST_ID or not item.isprintable() or " " in item:
                raise Invalid(f"cve_id is {item[:40]!r}, but must be a name as CVE-2024-3094")
        if len(set(items)) < len(items):
            twice = next(item for item in items if items.count(item) > 1)
            raise Invalid(f"the allowlist has {twice} twice")
        now = self._tx.now
        return Allowlist(tuple(items), expires_at, before.created_at or now, now)


def _decoded(stored: object) -> Allowlist:
    return msgspec.json.decode(str(stored), type=Allowlist) if stored else Allowlist()
