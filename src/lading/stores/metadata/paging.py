"""Pages of a list: cut to what a caller names of it, in the order they name, with the number of all that fit.

A :class:`Listing` is a select and the fields by which it may be filtered and sorted. Statements are made once for each
shape of a question (which fields, compared how, with how many values) and remembered; what a caller wrote is only ever
a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    FromClause,
    Select,
    String,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.types import TypeEngine

from lading.errors import Invalid
from lading.stores.metadata.transaction import Row, Statement, Transaction

How = Literal["is", "like", "between", "any", "all"]
Kind = Literal["text", "number", "flag", "moment"]

MOST_VALUES = 100
"""Values one field may be compared with."""
FURTHEST = 1_000_000
"""Rows a page may begin behind; what is further away is found by a narrower question."""
_MOST_SHAPES = 1000
_TYPES: dict[Kind, TypeEngine[Any]] = {
    "text": String(),
    "number": BigInteger(),
    "flag": Boolean(),
    "moment": BigInteger(),
}
_LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Match:
    """One condition. ``between`` has two values, of which one may be None; times are words of a caller's."""

    field: str
    how: How
    values: tuple[str | None, ...]


@dataclass(frozen=True)
class Page:
    """Which rows: the ``number``-th page from 1 on, of ``size`` rows; ``sort`` is (field, whether downwards)."""

    number: int = 1
    size: int = 10
    where: tuple[Match, ...] = ()
    sort: tuple[tuple[str, bool], ...] = ()

    @property
    def offset(self) -> int:
        """Rows before it."""
        return (self.number - 1) * self.size


@dataclass(frozen=True)
class Field:
    """What a list may be filtered and sorted by.

    ``column`` None: there is nothing to sort by, only ``holds``, which says when a row has a value (a tag, a label).
    ``words`` are values that mean something else than themselves.
    """

    column: ColumnElement[Any] | None
    kind: Kind = "text"
    holds: Callable[[ColumnElement[Any]], ColumnElement[bool]] | None = None
    words: Mapping[str, ColumnElement[bool]] = field(default_factory=dict)


class Listing:
    """A list. ``order`` is its usual order, and decides between rows that are alike; ``most`` bounds the counting.

    ``bare`` is a column of no index: where a part of a word is looked for, the rows are then counted as they lie, and not
    by SQLite through an index of all words, from its first on, however far away the fitting ones are.

    ``along``: what decides between rows that are alike instead, in the direction of what is sorted by, so that an index of
    both has the order ready.

    ``also`` gives columns that are dear, from those of a row: they are worked out for the rows of the page alone.
    """

    def __init__(
        self,
        statement: Select[Any],
        fields: Mapping[str, Field],
        order: Sequence[ColumnElement[Any]],
        *,
        most: int | None = None,
        along: ColumnElement[Any] | None = None,
        bare: ColumnElement[Any] | None = None,
        also: Callable[[FromClause], Sequence[ColumnElement[Any]]] | None = None,
    ) -> None:
        self._statement = statement
        self._fields = fields
        self._order = tuple(order)
        self._most = most
        self._along = along
        self._bare = bare
        self._also = also
        self._made: dict[tuple[Any, ...], tuple[Statement, Statement]] = {}

    async def page(self, tx: Transaction, page: Page, **parameters: Any) -> tuple[int, Sequence[Row]]:
        """How many rows fit (``most`` at most, where that is set), and a page of them."""
        if page.offset > FURTHEST:
            raise Invalid(f"pages go up to row {FURTHEST}; ask a narrower question with q=")
        count, rows = self._statements(page)
        given = {**parameters, **self._values(page.where)}
        total: int = await tx.value(count, **given)
        if total <= page.offset and self._most is None:
            return total, ()
        found = await tx.rows(rows, page_limit=page.size, page_offset=page.offset, **given)
        if self._most is not None and len(found) == page.size:
            total = max(total, page.offset + page.size + 1)  # there may be more: the pages go on
        return total, found

    async def count(self, tx: Transaction, where: tuple[Match, ...] = (), **parameters: Any) -> int:
        """How many rows fit."""
        count, _ = self._statements(Page(where=where))
        found: int = await tx.value(count, **parameters, **self._values(where))
        return found

    def value(self, name: str, text: str) -> Any:
        """What a caller's word means for a field; raises ``Invalid`` where it means nothing."""
        return _read(name, self._field(name).kind, text)

    def _statements(self, page: Page) -> tuple[Statement, Statement]:
        shape = (tuple(self._shape(match) for match in page.where), page.sort)
        made = self._made.get(shape)
        if made is None:
            if len(self._made) >= _MOST_SHAPES:
                self._made.clear()
            made = self._made[shape] = self._make(page)
        return made

    def _make(self, page: Page) -> tuple[Statement, Statement]:
        conditions = [self._condition(number, match) for number, match in enumerate(page.where)]
        fitting = self._statement.where(*conditions) if conditions else self._statement
        alone: Select[Any] = fitting.with_only_columns(literal_column("1"), maintain_column_froms=True).order_by(None)
        if self._bare is not None and any(match.how == "like" for match in page.where):
            alone = alone.where(func.length(self._bare) >= literal_column("0"))
        if self._most is not None:
            alone = alone.limit(self._most)
        order = [self._sorted(name, down=down) for name, down in page.sort]
        if order and self._along is not None:
            order.append(self._along.desc() if page.sort[-1][1] else self._along.asc())
        else:
            order += self._order
        rows = fitting.order_by(*order).limit(bindparam("page_limit")).offset(bindparam("page_offset"))
        if self._also is not None:
            # neither database puts the rows of a subquery that stands alone into another order
            few = rows.subquery("page")
            rows = select(few, *self._also(few))
        return Statement(select(func.count()).select_from(alone.subquery())), Statement(rows)

    def _field(self, name: str) -> Field:
        found = self._fields.get(name)
        if found is None:
            raise Invalid(f"there is no field {name[:60]!r} here; there are {', '.join(sorted(self._fields))}")
        return found

    def _sorted(self, name: str, *, down: bool) -> ColumnElement[Any]:
        column = self._field(name).column
        if column is None:
            raise Invalid(f"nothing can be sorted by {name}")
        return column.desc() if down else column.asc()

    def _shape(self, match: Match) -> tuple[Any, ...]:
        words = self._field(match.field).words
        return match.field, match.how, tuple(each if each is None or each in words else ... for each in match.values)

    def _condition(self, number: int, match: Match) -> ColumnElement[bool]:
        one = self._field(match.field)
        if match.how in ("is", "any", "all"):
            if not 0 < len(match.values) <= MOST_VALUES:
                raise Invalid(f"{match.field} can be compared with 1 to {MOST_VALUES} values at once")
            each = [self._is(one, _name(number, place), value) for place, value in enumerate(match.values)]
            return or_(*each) if match.how == "any" else and_(*each)
        column = one.column
        if column is None:
            raise Invalid(f"{match.field} can only be asked for as it is: {match.field}=value")
        if match.how == "like":
            if one.kind != "text":
                raise Invalid(f"{match.field} is no text: ask for {match.field}=value, or for a range")
            return func.lower(column).like(bindparam(_name(number, 0), type_=String()), escape="\\")
        low, high = match.values
        kind = _TYPES[one.kind]
        bounds = [] if low is None else [column >= bindparam(_name(number, 0), type_=kind)]
        if high is not None:
            bounds.append(column <= bindparam(_name(number, 1), type_=kind))
        return and_(*bounds)

    def _is(self, one: Field, name: str, value: str | None) -> ColumnElement[bool]:
        if value in one.words:
            return one.words[value or ""]
        bound = bindparam(name, type_=_TYPES[one.kind])
        if one.holds is not None:
            return one.holds(bound)
        assert one.column is not None
        return one.column == bound

    def _values(self, where: Sequence[Match]) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for number, match in enumerate(where):
            one = self._field(match.field)
            for place, value in enumerate(match.values):
                if value is None or value in one.words:
                    continue
                read = like(value) if match.how == "like" else _read(match.field, one.kind, value)
                given[_name(number, place)] = read
        return given


def like(term: str) -> str:
    r"""The pattern for text that has ``term`` in it, whatever the case; for ``LIKE … ESCAPE '\\'``."""
    escaped = term.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _name(number: int, place: int) -> str:
    return f"match_{number}_{place}"


def _read(name: str, kind: Kind, text: str) -> str | int | bool:
    try:
        if kind == "number":
            return _whole(text)
        if kind == "flag":
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if kind == "moment":
            return _moment(text)
    except (ValueError, KeyError):
        wanted = {"number": "a whole number", "flag": "true or false", "moment": "a time, as 2020-04-09T02:36:00"}
        raise Invalid(f"{name} is compared with {text[:60]!r}, but is {wanted[kind]}") from None
    return text


def _whole(text: str) -> int:
    if len(text) > 20 or not text.isascii():
        raise ValueError(text)
    number = int(text)
    if abs(number) > _LARGEST:
        raise ValueError(text)
    return number


def _moment(text: str) -> int:
    if text.isascii() and text.isdigit():
        return _whole(text)
    read = datetime.fromisoformat(text)
    return int((read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp() * 1000)
