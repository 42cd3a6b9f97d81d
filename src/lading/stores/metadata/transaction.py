"""Statements, transactions, and how a piece of work gets one.

A *piece of work* is a coroutine function that takes a :class:`Transaction` and awaits nothing but it::

    async def work(tx: Transaction) -> int | None:
        return await tx.value(FIND, name="library/nginx")

    found = await metadata.read(work)

On SQLite no statement ever suspends, so the work runs to its end in one go: reads where they were asked for, writes
in the one writer thread, many of them in one commit. On a database across the network the same coroutine is awaited.
Either way no transaction is open while something else is waited for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.base import Executable

T = TypeVar("T")
Row = tuple[Any, ...]


class Statement:
    """A SQLAlchemy Core construct, compiled once for each dialect; parameters are named with ``bindparam``."""

    __slots__ = ("_compiled", "construct")

    def __init__(self, construct: Executable) -> None:
        self.construct = construct
        self._compiled: dict[str, tuple[str, dict[str, Any]]] = {}

    def compiled(self, dialect: Dialect) -> tuple[str, dict[str, Any]]:
        """The SQL for ``dialect`` and the values of the constants in it."""
        found = self._compiled.get(dialect.name)
        if found is None:
            compiled = self.construct.compile(dialect=dialect)  # type: ignore[attr-defined]
            constants = {name: value for name, value in compiled.params.items() if value is not None}
            found = self._compiled[dialect.name] = (str(compiled), constants)
        return found


class Transaction(Protocol):
    """What a piece of work may do."""

    async def rows(self, statement: Statement, /, **parameters: Any) -> Sequence[Row]:
        """Every row."""
        ...

    async def row(self, statement: Statement, /, **parameters: Any) -> Row | None:
        """The first row, or None."""
        ...

    async def value(self, statement: Statement, /, **parameters: Any) -> Any:
        """The first column of the first row, or None."""
        ...

    async def execute(self, statement: Statement, /, **parameters: Any) -> int:
        """Run a statement that answers no rows; how many it changed."""
        ...

    async def execute_many(self, statement: Statement, parameters: Sequence[Mapping[str, Any]], /) -> None:
        """Run a statement once for each set of parameters."""
        ...


Work = Callable[[Transaction], Awaitable[T]]


class Metadata(Protocol):
    """The index. ``Unavailable`` is raised where the database cannot be reached or is full."""

    async def read(self, work: Work[T], /) -> T:
        """Run a short piece of work on one consistent view; it must not write."""
        ...

    async def scan(self, work: Work[T], /) -> T:
        """The same for work that may take long; it does not hold up requests."""
        ...

    async def write(self, work: Work[T], /, *, durable: bool = True) -> T:
        """Run a piece of work and commit it, or roll all of it back if it raises.

        When this returns, the change survives power loss; with ``durable=False`` it is only seen by everyone at once
        and survives with the next durable one.
        """
        ...

    async def row(self, statement: Statement, /, **parameters: Any) -> Row | None:
        """One statement on its own, for the pull path."""
        ...

    async def close(self) -> None:
        """Finish what was begun and let go of the database."""
        ...
