"""``lading describe``: what ``docker search`` shows of a repository."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import click

from lading.errors import NameInvalid, RepositoryUnknown, StoreError
from lading.oci.reference import is_name


@click.command()
@click.argument("repository")
@click.option("--description", help="One line about it.")
@click.option("--stars", type=click.IntRange(0), help="How many stars to show.")
@click.option("--official/--not-official", default=None, help="Whether it is one of the official images here.")
@click.option("--config", type=click.Path(path_type=Path), help="The registry's configuration.")
def describe(
    repository: str, description: str | None, stars: int | None, official: bool | None, config: Path | None
) -> None:
    """Set what `docker search` shows of REPOSITORY; what is not given stays as it is."""
    from lading.config.load import load

    if not is_name(repository):
        raise NameInvalid(f"{repository!r} is not the name of a repository")
    if description is not None and len(description) > 1000:
        raise click.BadParameter("at most 1000 characters", param_hint="--description")
    index = load(config, os.environ).index
    if index is None:
        raise StoreError("this registry keeps its index in a temporary file; there is none to describe anything in")
    if not asyncio.run(_describe(index, repository, description, stars, official)):
        raise RepositoryUnknown(f"there is no repository {repository}")
    click.echo(f"described {repository}")


async def _describe(
    index: str, repository: str, description: str | None, stars: int | None, official: bool | None
) -> bool:
    from lading.registry.repositories import Repositories
    from lading.stores.metadata.engine import open_index, require_index

    require_index(index)
    metadata = open_index(index)
    try:
        return await metadata.write(
            lambda tx: Repositories(tx).describe(repository, description=description, stars=stars, official=official)
        )
    finally:
        await metadata.close()
