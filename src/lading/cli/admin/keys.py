"""``lading admin key``: the keys that sign tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.cli.admin import index
from lading.cli.admin.index import config_option

if TYPE_CHECKING:
    from lading.access.signing import SigningKey
    from lading.stores.metadata.transaction import Transaction


@click.group()
def key() -> None:
    """The keys that sign tokens."""


@key.command("list")
@config_option
def list_keys(config: Path | None) -> None:
    """The keys, and when each signs."""
    from lading.access.signing import SigningKeys

    seal = index.seal(config)

    async def work(tx: Transaction) -> list[SigningKey]:
        return await SigningKeys(tx, seal).all()

    rows = (
        (each.kid, index.moment(each.signs_from), index.moment(each.retired_at)) for each in index.run(config, work)
    )
    index.table(("KEY", "SIGNS FROM", "UNTIL"), rows)


@key.command()
@click.option(
    "--at-once", is_flag=True, help="Sign with it now: tokens it signs are refused where it is not known yet."
)
@config_option
def rotate(at_once: bool, config: Path | None) -> None:
    """Make another key; it signs in an hour, when every process knows it."""
    from lading.access.signing import SigningKeys

    seal, settings = index.seal(config), index.settings(config)

    async def work(tx: Transaction) -> str | None:
        lifetime = 2 * settings.lifetimes.token
        made = await SigningKeys(tx, seal).rotate(settings.issuer, age=0, lifetime=lifetime, at_once=at_once)
        await index.note(tx, "create", "key", made or "")
        return made

    click.echo(index.run(config, work))
