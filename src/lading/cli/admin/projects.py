"""``lading admin project``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.cli.admin import index
from lading.cli.admin.index import config_option

if TYPE_CHECKING:
    from lading.stores.metadata.transaction import Transaction


@click.group()
def project() -> None:
    """Projects, which repositories belong to."""


@project.command("list")
@click.argument("term", default="")
@config_option
def list_projects(term: str, config: Path | None) -> None:
    """Projects, or those with TERM in their name, and what they use."""
    from lading.control.projects import Projects
    from lading.control.quotas import Quotas

    async def work(tx: Transaction) -> list[tuple[str, str, int, str, str]]:
        _, found = await Projects(tx).page(10_000, term=term)
        rows = []
        for each in found:
            quota = await Quotas(tx).of(each.id)
            assert quota is not None
            most = _size(quota.most_bytes) if quota.most_bytes >= 0 else ""
            access = "public" if each.public else "private"
            rows.append((each.name, access, quota.used_repositories, _size(quota.used_bytes), most))
        return rows

    index.table(("NAME", "ACCESS", "REPOSITORIES", "USED", "QUOTA"), index.run(config, work))


@project.command()
@click.argument("name")
@click.option("--public/--private", default=None, help="Whether anybody may pull; accounts.public says otherwise.")
@click.option("--owner", help="The user who becomes its admin.")
@click.option("--quota", default="-1", help="How much it may hold, as 10GiB; -1: no limit.")
@click.option("--repositories", default=-1, help="How many repositories it may have; -1: no limit.")
@config_option
def create(
    name: str, public: bool | None, owner: str | None, quota: str, repositories: int, config: Path | None
) -> None:
    """Add a project."""
    from lading.control.projects import Projects

    most, settings = _bytes(quota), index.settings(config)

    async def work(tx: Transaction) -> None:
        who = await index.user_named(tx, owner) if owner else None
        await Projects(tx).add(
            name,
            who.id if who else None,
            public=settings.public if public is None else public,
            most_bytes=most,
            most_repositories=repositories,
        )
        await index.note(tx, "create", "project", name, name)

    index.run(config, work)
    click.echo(f"created the project {name}")


@project.command()
@click.argument("name")
@config_option
def delete(name: str, config: Path | None) -> None:
    """Delete a project that has no artifacts."""
    from lading.control.projects import Projects

    async def work(tx: Transaction) -> None:
        await Projects(tx).delete(await index.project_named(tx, name))
        await index.note(tx, "delete", "project", name, name)

    index.run(config, work)
    click.echo(f"deleted the project {name}")


def _set_public(name: str, config: Path | None, *, public: bool) -> None:
    from lading.control.projects import Projects

    async def work(tx: Transaction) -> None:
        await Projects(tx).set_public(await index.project_named(tx, name), public=public)
        await index.note(tx, "update", "project", name, name, detail=f"public={public}")

    index.run(config, work)


@project.command()
@click.argument("name")
@config_option
def publish(name: str, config: Path | None) -> None:
    """Let anybody pull from a project."""
    _set_public(name, config, public=True)
    click.echo(f"{name} is public")


@project.command()
@click.argument("name")
@config_option
def hide(name: str, config: Path | None) -> None:
    """Let only members pull from a project."""
    _set_public(name, config, public=False)
    click.echo(f"{name} is private")


@project.command()
@click.argument("name")
@click.argument("size")
@click.option("--repositories", default=-1, help="How many repositories it may have; -1: no limit.")
@config_option
def quota(name: str, size: str, repositories: int, config: Path | None) -> None:
    """Set how much a project may hold: SIZE as 10GiB, or -1 for no limit."""
    from lading.control.quotas import Quotas

    most = _bytes(size)

    async def work(tx: Transaction) -> None:
        found = await index.project_named(tx, name)
        await Quotas(tx).limit(found.id, most_bytes=most, most_repositories=repositories)
        await index.note(tx, "update", "quota", name, name, detail=f"bytes={most} repositories={repositories}")

    index.run(config, work)
    click.echo(f"the quota of {name} is set")


def _bytes(text: str) -> int:
    from lading.config.values import parse_size

    try:
        return -1 if text.strip() == "-1" else parse_size(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _size(count: int) -> str:
    from lading.cli.server.volume import size

    return size(count)
