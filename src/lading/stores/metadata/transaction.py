"""Statements, transactions, and how a piece of work gets one.

A *piece of work* is a coroutine function that takes a :class:`Transaction` and awaits nothing but it::

    async def work(tx: Transaction) -> int | None:
        return await tx.value(FIND, name="library/nginx")

    found = await metadata.read(work)

On SQLite no statement ever suspends, so the work runs to its end in one go: reads where they were asked for, writes
in the one writer thread, many of them in one commit. On PostgreSQL the same coroutine is awaited, beside others, and
from its beginning once more where two transactions got in each other's way. Either way no transaction is open while
something else is waited for, and a piece of work that is run twice must do no more than one that is run once.

**Beside others.** SQLite has one writer; on PostgreSQL (READ COMMITTED) every statement sees what was committed before
it began. So what a transaction relies on it locks first, by ``with_for_update``, which is nothing on SQLite: a pusher
shares the rows it will refer to (``FOR KEY SHARE``), whoever takes rows away has them alone (``FOR UPDATE``) and looks
only then, in a statement of its own, whether anything refers to them.
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

    @property
    def now(self) -> int:
        """The time for rows, in milliseconds: the same for every process on the index, whatever its clock says."""
        ...

    async def lock(self, name: str, *, shared: bool = False) -> None:
        """Keep other transactions that lock this name away until the end of this one; those that share, share."""
        ...

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

    async def each(self, statement: Statement, parameters: Sequence[Mapping[str, Any]], /) -> Sequence[Row | None]:
        """The first row for each set of parameters, or None: one round trip for a hundred, where there are any."""
        ...

    async def execute_many(self, statement: Statement, parameters: Sequence[Mapping[str, Any]], /) -> None:
        """Run a statement once for each set of parameters."""
        ...

    async def beside(self, work: Awaitable[T], /) -> T:
        """Wait for something else under the locks this holds; for seconds at most. On SQLite it may not suspend."""
        ...


Work = Callable[[Transaction], Awaitable[T]]


class Metadata(Protocol):
    """The index. ``Unavailable`` is raised where the database cannot be reached or is full."""

    def now(self) -> int:
        """The time for rows, as :attr:`Transaction.now`."""
        ...

    async def read(self, work: Work[T], /) -> T:
        """Run a short piece of work on one consistent view; it must not write."""
        ...

    async def scan(self, work: Work[T], /, *, seconds: float | None = None) -> T:
        """The same for work that may take long; it does not hold up requests.

        Where it takes more than ``seconds`` (on PostgreSQL: a statement of it), it is given up with ``TooWide``.
        """
        ...

    async def write(self, work: Work[T], /, *, durable: bool = True) -> T:
        """Run a piece of work and commit it, or roll all of it back if it raises.

        When this returns, the change survives power loss; with ``durable=False`` it is only seen by everyone at once
        and survives with the next durable one.
        """
        ...

    async def row(self, statement: Statement, /, **parameters: Any) -> Row | None:
        """One statement on its own, for the pull path; it sees all that was committed before it was asked."""
        ...

    async def settled(self, name: str, /) -> None:
        """Wait until the transactions that hold the lock ``name`` now have ended; others may take it meanwhile."""
        ...

    async def close(self) -> None:
        """Finish what was begun and let go of the database."""
        ...
