"""Many questions, one round trip.

A statement that answers one set of parameters is made, mechanically, into one that answers a list of them::

    SELECT q.* FROM unnest((SELECT %(name)s::text[]), (SELECT %(digest)s::text[])) WITH ORDINALITY AS each_(p0, p1, n)
    LEFT JOIN LATERAL (SELECT 1 AS found, s.* FROM (<statement, with each_.p0 for its %(name)s …>) s LIMIT 1) q ON true
    ORDER BY each_.n

On the pull path a round trip costs a process some 300 µs however little is asked. So whatever asks for a row while
another answer is on its way waits, and is asked for together with all that came meanwhile. A question is never
answered by a statement that had begun before it was asked: what was committed by then is seen.

The lists stand in queries of their own so that the planner cannot count them: it would find a plan for so many questions
cheaper than one for any number, and plan anew each time, which costs more than the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import types
from sqlalchemy.sql.compiler import SQLCompiler

from lading.errors import Invalid
from lading.stores.metadata.transaction import Row

MOST = 200
"""Questions in one round trip."""

_ARRAYS: tuple[tuple[type[types.TypeEngine[Any]], str], ...] = (
    (types.LargeBinary, "bytea"),
    (types.String, "text"),
    (types.Boolean, "boolean"),
    (types.Integer, "bigint"),
)


@dataclass(frozen=True)
class Batched:
    """A statement for a list of parameters: each row begins with 1, or with None where nothing was found."""

    sql: str
    names: tuple[str, ...]
    constants: Mapping[str, Any]

    def parameters(self, given: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The arrays for these sets of parameters."""
        return {**self.constants, **{name: [one[name] for one in given] for name in self.names}}


def batched(compiled: SQLCompiler, constants: Mapping[str, Any]) -> Batched | None:
    """The statement for many; None for one without parameters, or with one whose type the statement does not say."""
    arrays = {}
    for bind in compiled.bind_names.values():
        if bind in constants:
            continue
        kind = compiled.binds[bind].type if bind in compiled.binds else types.NULLTYPE
        array = next((array for known, array in _ARRAYS if isinstance(kind, known)), None)
        if array is None:
            return None
        arrays[bind] = array
    if not arrays:
        return None
    statement, names = str(compiled), tuple(sorted(arrays))
    for place, name in enumerate(names):
        statement = statement.replace(f"%({name})s", f"each_.p{place}")
    lists = ", ".join(f"(SELECT %({name})s::{arrays[name]}[])" for name in names)
    columns = ", ".join(f"p{place}" for place in range(len(names)))
    sql = (
        f"SELECT q.* FROM unnest({lists}) WITH ORDINALITY AS each_({columns}, n) LEFT JOIN LATERAL"  # noqa: S608 - of a statement of our own
        f" (SELECT 1 AS found, s.* FROM ({statement}) s LIMIT 1) q ON true ORDER BY each_.n"
    )
    return Batched(sql, names, constants)


def rows(answer: Sequence[Row]) -> list[Row | None]:
    """What was found for each, from the rows of a batched statement."""
    return [row[1:] if row[0] is not None else None for row in answer]


Question = tuple[Mapping[str, Any], "asyncio.Future[Row | None]"]
Ask = Callable[[Sequence[Mapping[str, Any]]], Awaitable[Sequence[Row | None]]]


class Queue:
    """The questions that wait for one statement; one round trip is under way at a time."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._free = True
        self._waiting: list[Question] = []
        self._soon = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def row(self, parameters: Mapping[str, Any]) -> Row | None:
        """The first row for these parameters, or None."""
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[Row | None] = loop.create_future()
        self._waiting.append((parameters, mine))
        if self._free and not self._soon:
            self._soon = True
            loop.call_soon(self._start)  # behind everything that this turn of the loop still brings
        return await mine

    def _start(self) -> None:
        self._soon = False
        if not self._waiting or not self._free:
            return
        batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        self._free = False
        task = asyncio.get_running_loop().create_task(self._answer(batch))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._free = True
        self._start()

    async def _answer(self, batch: Sequence[Question]) -> None:
        try:
            found = await self._ask([parameters for parameters, _ in batch])
        except Invalid as error:
            if len(batch) == 1:
                _fail(batch, error)
            for one in batch if len(batch) > 1 else ():
                await self._answer([one])  # one of them is wrong, the others are not
            return
        except BaseException as error:  # noqa: BLE001 - whatever it is, whoever waits must hear of it
            _fail(batch, error)
            return
        for (_, future), row in zip(batch, found, strict=True):
            if not future.done():
                future.set_result(row)


def _fail(batch: Sequence[Question], error: BaseException) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
