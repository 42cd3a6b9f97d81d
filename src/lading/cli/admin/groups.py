"""``lading admin group``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.cli.admin import index
from lading.cli.admin.index import config_option

if TYPE_CHECKING:
    from lading.stores.metadata.transaction import Transaction


@click.group()
def group() -> None:
    """Groups of users."""


@group.command("list")
@config_option
def list_groups(config: Path | None) -> None:
    """Groups and how many members each has."""
    from lading.access.groups import Groups

    async def work(tx: Transaction) -> list[tuple[str, str, int]]:
        _, found = await Groups(tx).page("", 10_000)
        return [(each.name, each.source, len(await Groups(tx).members(each.id))) for each in found]

    index.table(("NAME", "SOURCE", "MEMBERS"), index.run(config, work))


@group.command()
@click.argument("name")
@config_option
def create(name: str, config: Path | None) -> None:
    """Add a group."""
    from lading.access.groups import Groups

    async def work(tx: Transaction) -> None:
        await Groups(tx).add(name)
        await index.note(tx, "create", "group", name)

    index.run(config, work)
    click.echo(f"created the group {name}")


@group.command()
@click.argument("name")
@config_option
def delete(name: str, config: Path | None) -> None:
    """Delete a group; what its members had by it ends."""
    from lading.access.groups import Groups

    async def work(tx: Transaction) -> None:
        _, own = await index.member_named(tx, name, group=True)
        found = await Groups(tx).find(own)
        assert found is not None
        await Groups(tx).delete(found)
        await index.note(tx, "delete", "group", name)

    index.run(config, work)
    click.echo(f"deleted the group {name}")


def _membership(name: str, user: str, config: Path | None, *, joins: bool) -> None:
    from lading.access.groups import Groups

    async def work(tx: Transaction) -> None:
        _, own = await index.member_named(tx, name, group=True)
        who = await index.user_named(tx, user)
        await (Groups(tx).join(who.id, own) if joins else Groups(tx).part(who.id, own))
        await index.note(tx, "update", "group", name, detail=f"{'+' if joins else '-'}{user}")

    index.run(config, work)


@group.command()
@click.argument("name")
@click.argument("user")
@config_option
def join(name: str, user: str, config: Path | None) -> None:
    """Make USER a member of the group NAME."""
    _membership(name, user, config, joins=True)
    click.echo(f"{user} is in {name}")


@group.command()
@click.argument("name")
@click.argument("user")
@config_option
def leave(name: str, user: str, config: Path | None) -> None:
    """Make USER no member of the group NAME any more."""
    _membership(name, user, config, joins=False)
    click.echo(f"{user} is not in {name}")
