"""Single values kept under a name: the installation's secret, how far an adoption came, what was set while it ran."""

from __future__ import annotations

from typing import Any, Protocol

from sqlalchemy import bindparam, delete, select, text

from lading.stores.metadata.schema import work
from lading.stores.metadata.transaction import Row, Statement, Transaction

_NAME, _VALUE = work.facts.c.name, work.facts.c.value
_BELOW = (bindparam("prefix") <= _NAME) & (bindparam("end") > _NAME)
_READ = Statement(select(_VALUE).where(bindparam("name") == _NAME))
_WRITE = Statement(
    text(
        "INSERT INTO facts (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
    )
)
_FIRST = Statement(text("INSERT INTO facts (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING"))
_ALL_BELOW = Statement(select(_NAME, _VALUE).where(_BELOW).order_by(_NAME))
_FORGET = Statement(delete(work.facts).where(_BELOW))


class Asked(Protocol):
    """The index, or a transaction in it."""

    async def row(self, statement: Statement, /, **parameters: Any) -> Row | None: ...


async def read(index: Asked, name: str) -> str | None:
    """The value, or None where nothing was ever written."""
    row = await index.row(_READ, name=name)
    return None if row is None else str(row[0])


async def write(tx: Transaction, name: str, value: str) -> None:
    """Set the value, whatever it was."""
    await tx.execute(_WRITE, name=name, value=value)


async def first(tx: Transaction, name: str, value: str) -> str:
    """Set the value unless there is one; the one that there is then, the same for all processes that ask."""
    await tx.execute(_FIRST, name=name, value=value)
    return str(await read(tx, name))


async def below(tx: Transaction, prefix: str) -> dict[str, str]:
    """All values whose names begin with *prefix*, by the names' rest and in their order."""
    rows = await tx.rows(_ALL_BELOW, prefix=prefix, end=_after(prefix))
    return {name.removeprefix(prefix): value for name, value in rows}


async def forget_below(tx: Transaction, prefix: str) -> None:
    """Forget all values whose names begin with *prefix*."""
    await tx.execute(_FORGET, prefix=prefix, end=_after(prefix))


def _after(prefix: str) -> str:
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
