"""``lading import-harbor``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from lading.cli.admin import index
from lading.cli.admin.index import config_option

if TYPE_CHECKING:
    from lading.control.fromharbor.report import Report
    from lading.stores.metadata.transaction import Metadata

_MAX_PASSWORD = 4096


@click.command("import-harbor")
@click.argument("url")
@click.option("-u", "--username", default="admin", show_default=True, help="A system administrator there.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option(
    "--secrets",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Add the robots' new secrets to this file, which its owner alone may read; otherwise they are printed, once.",
)
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would come and what would not.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--insecure", is_flag=True, help="Do not check Harbor's certificate.")
@config_option
def import_harbor(
    url: str,
    username: str,
    password_stdin: bool,
    secrets: Path | None,
    dry_run: bool,
    as_json: bool,
    insecure: bool,
    config: Path | None,
) -> None:
    """Bring users, projects, members, robots, settings and replication from the Harbor at URL.

    What is here already stays as it is, so the command can be run again. What does not come is told by name. Images are
    not among it: `lading copy` brings those.
    """
    from lading.control.fromharbor.importing import Import
    from lading.control.fromharbor.run import from_harbor
    from lading.remotes.harbor import Harbor
    from lading.remotes.transport import Policy

    parts = urlsplit(url if "://" in url else f"https://{url}")
    if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc or parts.path.strip("/"):
        raise click.UsageError("URL is Harbor's address without a path, as https://harbor.example.com")
    if as_json and secrets is None and not dry_run:
        raise click.UsageError("--json needs --secrets: secrets are no part of the report")
    given = sys.stdin.readline(_MAX_PASSWORD).rstrip("\r\n") if password_stdin else ""
    password = given or click.prompt("Password", hide_input=True, err=True)

    async def work(metadata: Metadata) -> Report:
        policy = Policy(plain_http=parts.scheme == "http", insecure=insecure)
        async with Harbor(parts.netloc, username, password, policy) as harbor:
            keep = _print if secrets is None else lambda login, secret: _append(secrets, login, secret)
            run = Import(metadata, harbor, index.by(), index.seal(config), index.settings(config), dry_run)
            return await from_harbor(run, keep, watch=lambda line: click.echo(line, err=True))

    report = index.run_with(config, work)
    if as_json:
        click.echo(json.dumps(vars(report), indent=2))
    else:
        _tell(report, dry=dry_run)


def _tell(report: Report, *, dry: bool) -> None:
    verb = "would be made" if dry else "made"
    for kind in sorted({*report.made, *report.kept}):
        click.echo(f"{kind}: {report.made.get(kind, 0)} {verb}, {report.kept.get(kind, 0)} there already")
    for title, lines in (("To be looked at:", report.told), ("Not taken:", report.left)):
        if lines:
            click.echo(f"\n{title}")
            for line in lines:
                click.echo(f"  {line}")


def _print(login: str, secret: str) -> None:
    click.echo(f"{login} {secret}")


def _append(path: Path, login: str, secret: str) -> None:
    """On the disk before the robot is in the index."""
    made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(made, "w") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(f"{login} {secret}\n")
        file.flush()
        os.fsync(file.fileno())
