"""Labels: words that people put on artifacts, of one project or for all of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import bindparam, delete, func, insert, select, text, update

from lading.errors import Conflict, Invalid
from lading.stores.metadata.paging import Field, Listing, Match, Page
from lading.stores.metadata.schema.control import artifact_labels, labels
from lading.stores.metadata.transaction import Row, Statement, Transaction

_COLOR = re.compile(r"#[0-9A-Fa-f]{3}|#[0-9A-Fa-f]{6}|[A-Za-z]{1,20}")


@dataclass(frozen=True)
class Label:
    """A label; ``project`` None: for all. Times in milliseconds."""

    id: int
    name: str
    project: int | None
    description: str
    color: str
    created_at: int
    updated_at: int


_columns = (
    labels.c.id,
    labels.c.name,
    labels.c.project_id,
    labels.c.description,
    labels.c.color,
    labels.c.created_at,
    labels.c.updated_at,
)
_level = func.coalesce(labels.c.project_id, 0)
_BY_ID = Statement(select(*_columns).where(labels.c.id == bindparam("id")))
_NAMED = Statement(select(*_columns).where(labels.c.name == bindparam("name"), _level == bindparam("level")))
_LISTED = Listing(
    select(*_columns),
    {
        "id": Field(labels.c.id, "number"),
        "name": Field(labels.c.name),
        "description": Field(labels.c.description),
        "color": Field(labels.c.color),
        "project_id": Field(_level, "number"),
        "creation_time": Field(labels.c.created_at, "moment"),
        "update_time": Field(labels.c.updated_at, "moment"),
    },
    (labels.c.name, labels.c.id),
)
_ADD = Statement(
    insert(labels).values(
        name=bindparam("name"),
        project_id=bindparam("project"),
        description=bindparam("description"),
        color=bindparam("color"),
        created_at=bindparam("now"),
        updated_at=bindparam("now"),
    )
)
_CHANGE = Statement(
    update(labels)
    .where(labels.c.id == bindparam("label"))
    .values(
        name=bindparam("new_name"),
        description=bindparam("new_description"),
        color=bindparam("new_color"),
        updated_at=bindparam("now"),
    )
)
_DELETE = Statement(delete(labels).where(labels.c.id == bindparam("label")))
_ON = Statement(
    select(*_columns)
    .join(artifact_labels, artifact_labels.c.label_id == labels.c.id)
    .where(artifact_labels.c.manifest_id == bindparam("manifest"))
    .order_by(labels.c.name)
)
_PUT = Statement(
    text("INSERT INTO artifact_labels (manifest_id, label_id) VALUES (:manifest, :label) ON CONFLICT DO NOTHING")
)
_TAKE = Statement(
    delete(artifact_labels).where(
        artifact_labels.c.manifest_id == bindparam("manifest"), artifact_labels.c.label_id == bindparam("label")
    )
)


class Labels:
    """The labels, in a transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def find(self, label: int) -> Label | None:
        """The label of that id."""
        return _record(await self._tx.row(_BY_ID, id=label))

    async def listed(self, page: Page, project: int | None) -> tuple[int, Sequence[Label]]:
        """How many labels of a project (None: for all) fit, and a page of them."""
        level = Match("project_id", "is", (str(project or 0),))
        total, rows = await _LISTED.page(self._tx, replace(page, where=(*page.where, level)))
        return total, [Label(*row) for row in rows]

    async def has(self, name: str, project: int | None) -> bool:
        """Whether there is a label of that name in a project (None: for all)."""
        return await self._named(name, project) is not None

    async def add(self, name: str, project: int | None, *, description: str = "", color: str = "") -> Label:
        """Add a label; raises ``Conflict`` where there is one of that name on its level."""
        check(name, description, color)
        if await self._named(name, project) is not None:
            raise Conflict(f"there is a label {name} already")
        await self._tx.execute(_ADD, name=name, project=project, description=description, color=color, now=self._tx.now)
        added = await self._named(name, project)
        assert added is not None
        return added

    async def change(self, label: Label, *, name: str, description: str, color: str) -> None:
        """Set what can be changed of a label."""
        check(name, description, color)
        other = await self._named(name, label.project)
        if other is not None and other.id != label.id:
            raise Conflict(f"there is a label {name} already")
        await self._tx.execute(
            _CHANGE, label=label.id, new_name=name, new_description=description, new_color=color, now=self._tx.now
        )

    async def delete(self, label: Label) -> None:
        """Delete a label, and take it off everything."""
        await self._tx.execute(_DELETE, label=label.id)

    async def on(self, manifest: int) -> Sequence[Label]:
        """The labels on an artifact."""
        return [Label(*row) for row in await self._tx.rows(_ON, manifest=manifest)]

    async def put(self, label: Label, manifest: int) -> bool:
        """Put a label on an artifact; False if it was there already."""
        return bool(await self._tx.execute(_PUT, manifest=manifest, label=label.id))

    async def take(self, label: Label, manifest: int) -> bool:
        """Take it off; whether it was there."""
        return bool(await self._tx.execute(_TAKE, manifest=manifest, label=label.id))

    async def _named(self, name: str, project: int | None) -> Label | None:
        return _record(await self._tx.row(_NAMED, name=name, level=project or 0))


def check(name: str, description: str, color: str) -> None:
    """Raise ``Invalid`` for what cannot be a label."""
    if not name.strip() or len(name) > 128 or any(ord(c) < 32 or ord(c) == 127 for c in name):
        raise Invalid("a label's name has 1 to 128 characters, none of them a control character")
    if len(description) > 1024:
        raise Invalid("a label's description has at most 1024 characters")
    if color and _COLOR.fullmatch(color) is None:
        raise Invalid("a label's color is of the form #1A2B3C, or a word")


def _record(row: Row | None) -> Label | None:
    return None if row is None else Label(*row)
