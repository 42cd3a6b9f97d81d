"""Whether accounts are on: the configuration says, or else they are if they were."""

from __future__ import annotations

from typing import Protocol

from sqlalchemy import bindparam, select, text

from lading.stores.metadata.schema.work import facts
from lading.stores.metadata.transaction import Metadata, Statement, Transaction

_FACT = Statement(select(facts.c.value).where(facts.c.name == bindparam("name")))
_NOTE = Statement(
    text(
        "INSERT INTO facts (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    )
)
_NAME = "accounts"


class Named(Protocol):
    """The section of the configuration, as far as switching on goes."""

    @property
    def enabled(self) -> bool: ...


async def are_on(metadata: Metadata, named: Named | None) -> bool:
    """See the module."""
    if named is not None:
        return named.enabled
    row = await metadata.row(_FACT, name=_NAME)
    return row is not None and row[0] == "on"


async def note(tx: Transaction, *, on: bool) -> None:
    """Remember whether accounts are on, so that a section that gets lost opens nothing."""
    await tx.execute(_NOTE, name=_NAME, value="on" if on else "off")
