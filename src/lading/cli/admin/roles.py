"""``lading admin role``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.cli.admin import index
from lading.cli.admin.index import config_option

if TYPE_CHECKING:
    from lading.stores.metadata.transaction import Transaction


@click.group()
def role() -> None:
    """Roles: five are built in, others can be made."""


@role.command("list")
@config_option
def list_roles(config: Path | None) -> None:
    """Every role, and what it allows."""
    from lading.access.roles import Roles

    async def work(tx: Transaction) -> list[tuple[str, str]]:
        return [
            (each.name, " ".join(f"{name}:{','.join(sorted(what))}" for name, what in each.permissions.items()))
            for each in await Roles(tx).all()
        ]

    index.table(("NAME", "ALLOWS"), index.run(config, work))


@role.command()
@click.argument("name")
@click.argument("permissions", nargs=-1, required=True, metavar="RESOURCE:ACTION[,ACTION]...")
@config_option
def create(name: str, permissions: tuple[str, ...], config: Path | None) -> None:
    """Add a role, as `lading admin role create puller repository:pull,list tag:list`."""
    from lading.access.roles import Roles

    wanted = parsed(permissions)

    async def work(tx: Transaction) -> None:
        await Roles(tx).add(name, wanted)
        await index.note(tx, "create", "role", name, detail=" ".join(permissions))

    index.run(config, work)
    click.echo(f"created the role {name}")


@role.command()
@click.argument("name")
@config_option
def delete(name: str, config: Path | None) -> None:
    """Delete a role that nobody has."""
    from lading.access.roles import Roles

    async def work(tx: Transaction) -> None:
        found = await Roles(tx).find(await index.role_named(tx, name))
        assert found is not None
        await Roles(tx).delete(found)
        await index.note(tx, "delete", "role", name)

    index.run(config, work)
    click.echo(f"deleted the role {name}")


def parsed(permissions: tuple[str, ...]) -> dict[str, list[str]]:
    """``repository:pull,push`` → resource and actions."""
    found: dict[str, list[str]] = {}
    for text in permissions:
        resource, colon, actions = text.partition(":")
        if not colon or not actions:
            raise click.BadParameter(f"{text!r} is not of the form resource:action,action, as repository:pull,push")
        found.setdefault(resource, []).extend(actions.split(","))
    return found
