"""``lading admin member``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.cli.admin import index
from lading.cli.admin.index import config_option

if TYPE_CHECKING:
    from lading.stores.metadata.transaction import Transaction

_group_option = click.option("--group", is_flag=True, help="NAME is a group's.")
_path_option = click.option("--path", help="Only on this repository (team/app), or on all below a path (team/web/).")


@click.group()
def member() -> None:
    """Who is in a project, and as what."""


@member.command("list")
@click.argument("project")
@config_option
def list_members(project: str, config: Path | None) -> None:
    """The members of PROJECT, and who has a role on a part of it."""
    from lading.access.members import Members
    from lading.access.roles import Roles

    async def work(tx: Transaction) -> list[tuple[str, str, str, str]]:
        own = (await index.project_named(tx, project)).id
        roles = {role.id: role.name for role in await Roles(tx).all()}
        kinds = {"u": "user", "g": "group"}
        _, members = await Members(tx).page(own, 10_000)
        rows = [(each.name, kinds[each.kind], roles.get(each.role, "?"), "") for each in members]
        return rows + [
            (each.name, kinds[each.kind], roles.get(each.role, "?"), each.path)
            for each in await Members(tx).grants(own)
        ]

    index.table(("NAME", "KIND", "ROLE", "ONLY ON"), index.run(config, work))


@member.command()
@click.argument("project")
@click.argument("name")
@click.option("--role", default="developer", show_default=True)
@_group_option
@_path_option
@config_option
def add(project: str, name: str, role: str, group: bool, path: str | None, config: Path | None) -> None:
    """Give NAME a role in PROJECT; a member who has one already gets this one instead."""
    from lading.access.members import Members

    async def work(tx: Transaction) -> None:
        own = (await index.project_named(tx, project)).id
        kind, entity = await index.member_named(tx, name, group=group)
        number = await index.role_named(tx, role)
        members = Members(tx)
        if path:
            await members.grant(own, kind, entity, path, number)
        elif found := await members.of(own, kind, entity):
            await members.change(found, number)
        else:
            await members.add(own, kind, entity, number)
        await index.note(tx, "create", "member", path or project, project, detail=f"{name} {role}")

    index.run(config, work)
    click.echo(f"{name} is {role} on {path or project}")


@member.command()
@click.argument("project")
@click.argument("name")
@_group_option
@_path_option
@config_option
def remove(project: str, name: str, group: bool, path: str | None, config: Path | None) -> None:
    """Take NAME's role in PROJECT away."""
    from lading.access.members import Members
    from lading.errors import Missing

    async def work(tx: Transaction) -> None:
        own = (await index.project_named(tx, project)).id
        kind, entity = await index.member_named(tx, name, group=group)
        members = Members(tx)
        if path:
            held = [each for each in await members.grants(own) if (each.kind, each.entity) == (kind, entity)]
            one = next((each for each in held if each.path == path.removesuffix("*")), None)
            if one is None:
                raise Missing(f"{name} has no role on {path}")
            await members.withdraw(own, one.id)
        else:
            found = await members.of(own, kind, entity)
            if found is None:
                raise Missing(f"{name} is no member of {project}")
            await members.remove(found)
        await index.note(tx, "delete", "member", path or project, project, detail=name)

    index.run(config, work)
    click.echo(f"{name} has no role on {path or project} any more")
