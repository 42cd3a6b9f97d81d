"""``lading admin robot``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.cli.admin import index
from lading.cli.admin.index import config_option
from lading.cli.admin.roles import parsed

if TYPE_CHECKING:
    from lading.access.robots import Robot
    from lading.stores.metadata.transaction import Transaction


@click.group()
def robot() -> None:
    """Robots: accounts for programs."""


@robot.command("list")
@config_option
def list_robots(config: Path | None) -> None:
    """Every robot."""
    from lading.access.robots import Robots

    _, found = index.run(config, lambda tx: Robots(tx).page(10_000, every=True))
    rows = (
        (
            each.login,
            "yes" if each.disabled else "",
            index.moment(each.expires_at) or "never",
            index.moment(each.used_at),
            each.description,
        )
        for each in found
    )
    index.table(("NAME", "DISABLED", "EXPIRES", "USED", "DESCRIPTION"), rows)


@robot.command()
@click.argument("name")
@click.option(
    "--project",
    "projects",
    multiple=True,
    help="Where it may do that; of one alone it becomes a project's robot. Repeatable; '*': in every project.",
)
@click.option(
    "--allow", multiple=True, default=("repository:pull,push",), show_default=True, metavar="RESOURCE:ACTION,..."
)
@click.option("--days", default=30, show_default=True, help="How long it lives; -1: for ever.")
@click.option("--description", default="")
@config_option
def create(
    name: str, projects: tuple[str, ...], allow: tuple[str, ...], days: int, description: str, config: Path | None
) -> None:
    """Add a robot; its secret is shown once."""
    from lading.access.robots import RobotGrant, Robots

    if not projects:
        raise click.UsageError("name at least one --project")
    wanted = parsed(allow)

    async def work(tx: Transaction) -> tuple[Robot, str]:
        for each in projects:
            if each != "*":
                await index.project_named(tx, each)
        own = await index.project_named(tx, projects[0]) if len(projects) == 1 and projects[0] != "*" else None
        grants = [
            RobotGrant(project, resource, action)
            for project in projects
            for resource, actions in wanted.items()
            for action in actions
        ]
        made = await Robots(tx).add(
            name, (own.id, own.name) if own else None, grants, duration=days, description=description
        )
        await index.note(tx, "create", "robot", made[0].login, own.name if own else "")
        return made

    made, secret = index.run(config, work)
    click.echo(f"created {made.login} (for a shell: {made.safe_login}); its secret is shown this once:", err=True)
    click.echo(secret)


async def find(tx: Transaction, login: str) -> Robot:
    """The robot of that name, in either form."""
    from lading.access.robots import Robots, stored_name
    from lading.errors import Missing

    found = await Robots(tx).named(stored_name(login) or login)
    if found is None:
        raise Missing(f"there is no robot {login}; `lading admin robot list` shows them")
    return found


@robot.command()
@click.argument("name")
@config_option
def rotate(name: str, config: Path | None) -> None:
    """Give a robot a new secret, which is shown once; the one before is good no more."""
    from lading.access.robots import Robots

    async def work(tx: Transaction) -> str:
        found = await find(tx, name)
        await index.note(tx, "update", "robot", found.login, detail="secret")
        return await Robots(tx).rotate(found)

    click.echo(index.run(config, work))


def _set_disabled(name: str, config: Path | None, *, disabled: bool) -> None:
    from lading.access.robots import Robots

    async def work(tx: Transaction) -> None:
        robots = Robots(tx)
        found = await find(tx, name)
        await robots.change(
            found,
            description=found.description,
            disabled=disabled,
            duration=found.duration,
            grants=await robots.grants(found.id),
            level=found.name.partition("+")[0] if found.project else "",
        )
        await index.note(tx, "update", "robot", found.login, detail=f"disabled={disabled}")

    index.run(config, work)


@robot.command()
@click.argument("name")
@config_option
def disable(name: str, config: Path | None) -> None:
    """Lock a robot out; its tokens are void within seconds."""
    _set_disabled(name, config, disabled=True)
    click.echo(f"{name} is locked out")


@robot.command()
@click.argument("name")
@config_option
def enable(name: str, config: Path | None) -> None:
    """Let a robot in again."""
    _set_disabled(name, config, disabled=False)
    click.echo(f"{name} may log in again")


@robot.command()
@click.argument("name")
@config_option
def delete(name: str, config: Path | None) -> None:
    """Delete a robot."""
    from lading.access.robots import Robots

    async def work(tx: Transaction) -> None:
        found = await find(tx, name)
        await Robots(tx).delete(found)
        await index.note(tx, "delete", "robot", found.login)

    index.run(config, work)
    click.echo(f"deleted {name}")
