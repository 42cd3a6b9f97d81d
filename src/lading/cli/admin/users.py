"""``lading admin user``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.cli.admin import index
from lading.cli.admin.index import config_option

if TYPE_CHECKING:
    from lading.stores.metadata.transaction import Transaction


@click.group()
def user() -> None:
    """Users."""


@user.command("list")
@click.argument("term", default="")
@config_option
def list_users(term: str, config: Path | None) -> None:
    """Users, or those with TERM in their name or mail address."""
    from lading.access.users import Users

    _, found = index.run(config, lambda tx: Users(tx).page(term, 10_000))
    rows = (
        (
            each.name,
            each.email,
            each.source,
            "yes" if each.admin else "",
            "yes" if each.disabled else "",
            index.moment(each.seen_at),
        )
        for each in found
    )
    index.table(("NAME", "MAIL", "SOURCE", "ADMIN", "DISABLED", "SEEN"), rows)


@user.command()
@click.argument("name")
@click.option("--email", default="")
@click.option("--full-name", default="")
@click.option("--admin", is_flag=True, help="May do everything.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@config_option
def create(name: str, email: str, full_name: str, admin: bool, password_stdin: bool, config: Path | None) -> None:
    """Add a user with a password."""
    from lading.access.passwords import hashed
    from lading.access.users import Users

    password, settings = index.password(stdin=password_stdin), index.settings(config)

    async def work(tx: Transaction) -> None:
        settings.policy.check(password, name)
        await Users(tx).add(name, password=hashed(password), email=email, full_name=full_name, admin=admin)
        await index.note(tx, "create", "user", name)

    index.run(config, work)
    click.echo(f"created {name}")


@user.command()
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@config_option
def password(name: str, password_stdin: bool, config: Path | None) -> None:
    """Set a user's password, and let them in again if they were locked out; their logins end."""
    from lading.access.failures import Failures
    from lading.access.passwords import hashed
    from lading.access.users import Users

    given, settings = index.password(stdin=password_stdin), index.settings(config)

    async def work(tx: Transaction) -> None:
        settings.policy.check(given, name)
        found = await index.user_named(tx, name)
        await Users(tx).set_password(found, hashed(given))
        await Failures(tx, settings.lockout).succeeded(name)
        await index.note(tx, "update", "user", name, detail="password")

    index.run(config, work)
    click.echo(f"the password of {name} is set")


def _flags(name: str, config: Path | None, *, admin: bool | None = None, disabled: bool | None = None) -> None:
    from lading.access.users import Users

    async def work(tx: Transaction) -> None:
        found = await index.user_named(tx, name)
        if admin is not None:
            await Users(tx).set_admin(found, admin=admin)
        if disabled is not None:
            await Users(tx).set_disabled(found, disabled=disabled)
        what = f"admin={admin}" if admin is not None else f"disabled={disabled}"
        await index.note(tx, "update", "user", name, detail=what)

    index.run(config, work)


@user.command()
@click.argument("name")
@config_option
def promote(name: str, config: Path | None) -> None:
    """Make a user a system administrator."""
    _flags(name, config, admin=True)
    click.echo(f"{name} administers this registry now")


@user.command()
@click.argument("name")
@config_option
def demote(name: str, config: Path | None) -> None:
    """Make a user no administrator any more."""
    _flags(name, config, admin=False)
    click.echo(f"{name} is an ordinary user now")


@user.command()
@click.argument("name")
@config_option
def disable(name: str, config: Path | None) -> None:
    """Lock a user out; their tokens are void within seconds."""
    _flags(name, config, disabled=True)
    click.echo(f"{name} is locked out")


@user.command()
@click.argument("name")
@config_option
def enable(name: str, config: Path | None) -> None:
    """Let a user in again."""
    _flags(name, config, disabled=False)
    click.echo(f"{name} may log in again")


@user.command()
@click.argument("name")
@config_option
def delete(name: str, config: Path | None) -> None:
    """Delete a user with their memberships and tokens; what they pushed stays."""
    from lading.access.users import Users

    async def work(tx: Transaction) -> None:
        await Users(tx).delete(await index.user_named(tx, name))
        await index.note(tx, "delete", "user", name)

    index.run(config, work)
    click.echo(f"deleted {name}")
