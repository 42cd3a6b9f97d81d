r"""Results as a table, as JSON, or by a template as docker's ``--format`` takes it.

A template knows ``{{.Field}}``, ``{{.Field.Inner}}``, ``{{json .}}`` and ``{{json .Field}}``, ``{{index .Field "key"}}``,
``{{len .Field}}``, ``{{join .Field ", "}}``, ``{{upper .Field}}`` and ``{{lower .Field}}``, ``\t`` and ``\n``, and the word
``table`` in front, which adds a heading. ``--format json`` prints an object a line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from lading.errors import Invalid

Row = Mapping[str, Any]

_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s"]+')
_FUNCTIONS = {"json": 2, "len": 2, "upper": 2, "lower": 2, "index": 3, "join": 3}
"""How many words an action has that begins so."""
_FIELD = re.compile(r"\.?(\w+(?:\.\w+)*)?")


@contextmanager
def lines(*, partly: bool = True, err: bool = False) -> Generator[list[str]]:
    """Lines to add to, which are printed in the end; where something failed, those before it are, if things are done ``partly``."""
    found: list[str] = []
    try:
        yield found
    except BaseException:
        found = found if partly else []
        raise
    finally:
        for line in found:
            click.echo(line, err=err)


def show(rows: Iterable[Row], columns: Sequence[str], template: str | None, *, as_json: bool = False) -> None:
    """Print rows. ``columns`` are the fields of the table that stands for no template."""
    listed = list(rows)
    if as_json:
        click.echo(json.dumps([dict(row) for row in listed], indent=2))
    elif template == "json":
        for row in listed:
            click.echo(json.dumps(dict(row)))
    elif template is None or template.startswith("table"):
        cells = "\t".join(f"{{{{.{name}}}}}" for name in columns) if template is None else template[5:].strip()
        cells = _unescaped(cells)
        heading = _ACTION.sub(lambda found: _heading(found[1]), cells)
        _table([line.split("\t") for line in (heading, *(fill(cells, row) for row in listed))])
    else:
        for row in listed:
            click.echo(fill(_unescaped(template), row))


def show_one(row: Row, template: str | None) -> None:
    """Print one object: as JSON, or by a template."""
    if template is None or template == "json":
        click.echo(json.dumps(dict(row), indent=2 if template is None else None))
    else:
        click.echo(fill(_unescaped(template), row))


def fill(template: str, row: Row) -> str:
    """The template with a row's values in it."""
    return _ACTION.sub(lambda found: _value(found[1], row), template)


def size(count: int) -> str:
    """A number of bytes as docker writes it: ``4.26MB``."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g}{unit}" if value < 1000 else f"{value:.0f}{unit}"


def _value(action: str, row: Row) -> str:
    words = _WORD.findall(action)
    function = words[0] if len(words) > 1 else ""
    field = words[bool(function)] if words else ""
    known = not function or len(words) == _FUNCTIONS.get(function)
    if not known or not field.startswith(".") or not _FIELD.fullmatch(field):
        raise Invalid(
            f"the template's {{{{{action}}}}} is not understood; write {{{{.Field}}}}, {{{{json .Field}}}}, "
            '{{index .Field "key"}}, {{len .Field}}, {{join .Field ", "}}, {{upper .Field}} or {{lower .Field}}'
        )
    value = _found(field, action, row)
    if function in {"index", "join"}:
        return _text(_with(function, value, words[2], action))
    if function == "len":
        return str(len(value) if isinstance(value, Mapping | list | tuple | str) else 0)
    if function == "json":
        return json.dumps(value)
    return {"upper": str.upper, "lower": str.lower}.get(function, str)(_text(value))


def _with(function: str, value: Any, word: str, action: str) -> Any:
    """``index`` and ``join``; what is not there is nothing, as Go has it for a map."""
    try:
        given = json.loads(word, strict=False)
    except ValueError:
        raise Invalid(f"in {{{{{action}}}}}, {word} is neither a number nor text in double quotes") from None
    if function == "join":
        return str(given).join(map(_text, value)) if isinstance(value, list | tuple) else value
    if isinstance(value, Mapping):
        return value.get(given, "") if isinstance(given, str) else ""
    if isinstance(value, list | tuple) and isinstance(given, int) and 0 <= given < len(value):
        return value[given]
    raise Invalid(f"in {{{{{action}}}}} there is no {word}")


def _found(field: str, action: str, row: Row) -> Any:
    value: Any = row
    for name in filter(None, field[1:].split(".")):
        if not isinstance(value, Mapping) or name not in value:
            known = ", ".join(map(str, value)) if isinstance(value, Mapping) else "nothing"
            raise Invalid(f"there is no field {name!r} in {{{{{action}}}}}; there is {known}")
        value = value[name]
    return value


def _text(value: Any) -> str:
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value)
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _heading(action: str) -> str:
    name = action.rsplit(maxsplit=1)[-1].rpartition(".")[2]
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).upper()


def _unescaped(template: str) -> str:
    return template.replace("\\t", "\t").replace("\\n", "\n")


def _plain(cell: str) -> str:
    """A text as a table can have it: what moves a terminal's cursor, or does worse, is none."""
    return "".join(letter if letter.isprintable() else "?" for letter in cell)


def _table(lines: list[list[str]]) -> None:
    lines = [[_plain(cell) for cell in line] for line in lines]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = [cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=False)]
        click.echo("   ".join([*padded, line[-1]]).rstrip())
