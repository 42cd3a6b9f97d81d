"""``lading admin token``: personal access tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.cli.admin import index
from lading.cli.admin.index import config_option

if TYPE_CHECKING:
    from lading.stores.metadata.transaction import Transaction

_DAY = 86_400_000


@click.group()
def token() -> None:
    """Users' personal access tokens."""


@token.command("list")
@click.argument("user")
@config_option
def list_tokens(user: str, config: Path | None) -> None:
    """The tokens of USER; their secrets are not kept."""
    from lading.access.personal import PersonalToken, PersonalTokens

    async def work(tx: Transaction) -> list[PersonalToken]:
        return list(await PersonalTokens(tx).of((await index.user_named(tx, user)).id))

    rows = (
        (
            each.name,
            " ".join(each.limits),
            index.moment(each.created_at),
            index.moment(each.expires_at) or "never",
            index.moment(each.used_at),
        )
        for each in index.run(config, work)
    )
    index.table(("NAME", "LIMITED TO", "CREATED", "EXPIRES", "USED"), rows)


@token.command()
@click.argument("user")
@click.argument("name")
@click.option(
    "--limit", "limits", multiple=True, metavar="repository:team/app:pull", help="What it is for; repeatable."
)
@click.option("--days", default=-1, help="How long it is good for; -1: until it is deleted.")
@config_option
def create(user: str, name: str, limits: tuple[str, ...], days: int, config: Path | None) -> None:
    """Make a token for USER; it is shown once."""
    from lading.access.personal import PersonalTokens

    async def work(tx: Transaction) -> str:
        expires_at = tx.now + days * _DAY if days >= 0 else None
        own = (await index.user_named(tx, user)).id
        _, secret = await PersonalTokens(tx).add(own, name, limits=limits, expires_at=expires_at)
        await index.note(tx, "create", "token", f"{user}/{name}")
        return secret

    click.echo(index.run(config, work))


@token.command()
@click.argument("user")
@click.argument("name")
@config_option
def delete(user: str, name: str, config: Path | None) -> None:
    """Delete a token of USER's."""
    from lading.access.personal import PersonalTokens
    from lading.errors import Missing

    async def work(tx: Transaction) -> None:
        tokens, own = PersonalTokens(tx), (await index.user_named(tx, user)).id
        found = next((each for each in await tokens.of(own) if each.name == name), None)
        if found is None:
            raise Missing(f"{user} has no token {name}")
        await tokens.delete(own, found.id)
        await index.note(tx, "delete", "token", f"{user}/{name}")

    index.run(config, work)
    click.echo(f"deleted {name}")
