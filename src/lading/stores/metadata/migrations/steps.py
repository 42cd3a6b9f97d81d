"""Finds the migrations, and runs them. Alembic is imported by whoever has one to run, and not when a server starts."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from lading.stores.metadata import migrations

if TYPE_CHECKING:
    from alembic.operations import Operations


@dataclass(frozen=True)
class Step:
    """A migration to ``version``, on which programs from schema ``least`` on can work; ``title`` for a reader."""

    version: int
    least: int
    title: str
    upgrade: Callable[[Operations], None]


def steps(after: int = 0) -> list[Step]:
    """The migrations behind version ``after``, in their order."""
    found = []
    for module in sorted(pkgutil.iter_modules(migrations.__path__), key=lambda module: module.name):
        if module.name.startswith("v"):
            step = importlib.import_module(f"{migrations.__name__}.{module.name}")
            title = (step.__doc__ or "").partition("\n")[0].rstrip(".")
            found.append(Step(int(module.name[1:5]), step.LEAST, title, step.upgrade))
    assert [step.version for step in found] == list(range(1, len(found) + 1)), "a migration is missing, or there twice"
    return [step for step in found if step.version > after]


def run(connection: Connection, chosen: Sequence[Step]) -> None:
    """Run migrations in the transaction that ``connection`` is in."""
    from alembic.migration import MigrationContext  # noqa: PLC0415 - see the module
    from alembic.operations import Operations  # noqa: PLC0415

    operations = Operations(MigrationContext.configure(connection))
    for step in chosen:
        step.upgrade(operations)
