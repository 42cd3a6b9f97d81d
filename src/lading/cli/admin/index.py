"""What every command of ``lading admin`` does: find the index, do one piece of work in it, and have it in the audit log."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from lading.access.members import KindOfMember
    from lading.access.sealing import Seal
    from lading.access.users import User
    from lading.control.accounts import Settings
    from lading.control.projects import Project
    from lading.jobs.events import By
    from lading.stores.metadata.transaction import Metadata, Transaction

T = TypeVar("T")

config_option = click.option(
    "--config", type=click.Path(path_type=Path), help="The registry's configuration, as `lading serve` was given it."
)


def settings(config: Path | None) -> Settings:
    """What the configuration says of accounts."""
    from lading.config.load import load
    from lading.settings import account_settings

    return account_settings(load(config, os.environ))


def seal(config: Path | None) -> Seal:
    """What opens and closes the secrets that are kept in the index."""
    from lading.access.sealing import Seal, read_key
    from lading.config.load import load
    from lading.settings import seal_path

    configuration = load(config, os.environ)
    return Seal(read_key(seal_path(configuration, configuration.root or Path())))


def run(config: Path | None, work: Callable[[Transaction], Awaitable[T]]) -> T:
    """Do a piece of work in the registry's index, in one transaction, and give back what it returns."""
    return run_with(config, lambda metadata: metadata.write(work))


def run_with(config: Path | None, work: Callable[[Metadata], Awaitable[T]]) -> T:
    """The same in as many transactions as it takes."""
    from lading.config.load import load
    from lading.control.switch import are_on
    from lading.errors import StoreError
    from lading.stores.metadata.engine import open_index, require_index

    configuration = load(config, os.environ)
    index = configuration.index
    if index is None:
        raise StoreError("this registry keeps its index in a temporary file, which only it can reach")
    require_index(index)

    async def do() -> T:
        metadata = open_index(index)
        try:
            if not await are_on(metadata, configuration.accounts):
                raise StoreError(
                    "accounts are not on here: add the section accounts: to the configuration and start it"
                )
            return await work(metadata)
        finally:
            await metadata.close()

    return asyncio.run(do())


def by() -> By:
    """Who types this, for the audit log."""
    from lading.jobs.events import By

    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return By(actor=f"shell:{name}", method="CLI")


async def note(tx: Transaction, operation: str, kind: str, what: str, project: str = "", detail: str = "") -> None:
    """Have it in the audit log."""
    from lading.control.audit import Audit

    await Audit(tx).add(operation, kind, what, by=by(), project=project, detail=detail)


async def user_named(tx: Transaction, name: str) -> User:
    """The user; raises ``Missing``."""
    from lading.access.users import Users
    from lading.errors import Missing

    user = await Users(tx).named(name)
    if user is None:
        raise Missing(f"there is no user {name}; `lading admin user list` shows them")
    return user


async def project_named(tx: Transaction, name: str) -> Project:
    """The project; raises ``Missing``."""
    from lading.control.projects import Projects
    from lading.errors import Missing

    project = await Projects(tx).named(name)
    if project is None:
        raise Missing(f"there is no project {name}; `lading admin project list` shows them")
    return project


async def member_named(tx: Transaction, name: str, *, group: bool) -> tuple[KindOfMember, int]:
    """A user or a group, as members are named."""
    from lading.access.groups import Groups
    from lading.errors import Missing

    if not group:
        return "u", (await user_named(tx, name)).id
    found = await Groups(tx).named(name)
    if found is None:
        raise Missing(f"there is no group {name}")
    return "g", found.id


async def role_named(tx: Transaction, name: str) -> int:
    """A role's id; raises ``Missing``."""
    from lading.access.roles import Roles
    from lading.errors import Missing

    role = await Roles(tx).named(name)
    if role is None:
        known = ", ".join(each.name for each in await Roles(tx).all())
        raise Missing(f"there is no role {name}; there are {known}")
    return role.id


def password(*, stdin: bool) -> str:
    """A new password, from standard input or asked for twice."""
    if stdin:
        return sys.stdin.readline().rstrip("\r\n")
    given: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return given


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns for a terminal; what is empty shows as a dash."""
    lines = [list(heads), *([_plain(str(cell)) if cell not in ("", None) else "-" for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        shown = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(shown).rstrip())


def _plain(text: str) -> str:
    """What others wrote, so that it cannot steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def moment(milliseconds: int | None) -> str:
    """A time for a reader, in UTC."""
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M}" if milliseconds else ""
