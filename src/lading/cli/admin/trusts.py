"""``lading admin trust``: the tokens of CI systems that stand for a robot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.cli.admin import index
from lading.cli.admin.index import config_option
from lading.cli.admin.robots import find

if TYPE_CHECKING:
    from lading.access.trusts import Trust
    from lading.stores.metadata.transaction import Transaction


@click.group()
def trust() -> None:
    """Tokens of CI systems that stand for a robot, so that no secret is kept there."""


@trust.command("list")
@config_option
def list_trusts(config: Path | None) -> None:
    """Every rule."""
    from lading.access.robots import Robots
    from lading.access.trusts import Trusts

    async def work(tx: Transaction) -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        for rule in await Trusts(tx).all():
            robot = await Robots(tx).find(rule.robot)
            claims = " ".join(f"{name}={pattern}" for name, each in rule.claims.items() for pattern in each)
            rows.append((str(rule.id), robot.login if robot else "", rule.issuer, rule.audience, claims))
        return rows

    index.table(("RULE", "ROBOT", "ISSUER", "AUDIENCE", "CLAIMS"), index.run(config, work))


@trust.command()
@click.argument("robot")
@click.option("--issuer", required=True, metavar="https://…", help="Whose tokens.")
@click.option("--audience", required=True, help="For which audience they must be.")
@click.option(
    "--claim",
    "claims",
    multiple=True,
    required=True,
    metavar="NAME=PATTERN",
    help="What they must say; * is text without a slash, ** any. Of several for one name, one must fit. Repeatable.",
)
@click.option("--max-age", default=3600, show_default=True, help="Seconds since they were issued.")
@config_option
def create(robot: str, issuer: str, audience: str, claims: tuple[str, ...], max_age: int, config: Path | None) -> None:
    """Let such tokens stand for ROBOT (lading admin robot create makes one)."""
    from lading.access.trusts import Trusts

    wanted: dict[str, list[str]] = {}
    for text in claims:
        name, equals, pattern = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} is not of the form name=pattern, as repository=example/*")
        wanted.setdefault(name, []).append(pattern)

    async def work(tx: Transaction) -> tuple[str, Trust]:
        found = await find(tx, robot)
        made = await Trusts(tx).add(found.id, issuer, audience, wanted, max_age)
        await index.note(tx, "update", "robot", found.login, detail=f"trusts {made.issuer} (rule {made.id})")
        return found.login, made

    login, made = index.run(config, work)
    click.echo(f"created rule {made.id}: {login} trusts {made.issuer}")


@trust.command()
@click.argument("robot")
@click.argument("rule", type=int)
@config_option
def delete(robot: str, rule: int, config: Path | None) -> None:
    """Trust no more: delete a RULE (a number that list shows) of ROBOT."""
    from lading.access.trusts import Trusts
    from lading.errors import Missing

    async def work(tx: Transaction) -> None:
        found = await find(tx, robot)
        if not await Trusts(tx).delete(found.id, rule):
            raise Missing(f"{found.login} has no rule {rule}; `lading admin trust list` shows them")
        await index.note(tx, "update", "robot", found.login, detail=f"rule of trust {rule} deleted")

    index.run(config, work)
    click.echo(f"deleted rule {rule}")
