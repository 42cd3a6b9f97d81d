"""``lading``: finds the command that was asked for and imports no other."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from lading import __version__
from lading.errors import ConfigurationError, LadingError

COMMANDS = {
    "serve": "lading.cli.server.serve:serve",
    "check-config": "lading.cli.server.checkconfig:check_config",
    "check-health": "lading.cli.server.checkhealth:check_health",
    "collect": "lading.cli.server.collect:collect",
    "adopt": "lading.cli.server.adopt:adopt",
    "export": "lading.cli.server.export:export",
    "jobs": "lading.cli.server.jobs:jobs",
    "migrate": "lading.cli.server.migrate:migrate",
    "move-index": "lading.cli.server.moveindex:move_index",
    "describe": "lading.cli.server.describe:describe",
}
"""Every command, and where it is."""


class _Lazy(click.Group):
    """A group that imports a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="lading")
def cli() -> None:
    """A container registry: one install, one process, one command.

    Start with `lading serve`, then `docker push localhost:5000/myapp`.
    """


def main(arguments: list[str] | None = None) -> Any:
    """Run a command; errors that a user can mend are told in words, not as a traceback."""
    try:
        return cli.main(args=arguments, prog_name="lading")
    except ConfigurationError as error:
        click.echo(f"lading: {error.message}", err=True)
    except LadingError as error:
        click.echo(f"lading: {error.message}", err=True)
    sys.exit(1)
