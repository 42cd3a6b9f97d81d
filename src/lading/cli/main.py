"""``lading``: finds the command that was asked for and imports no other."""

from __future__ import annotations

import sys
from typing import Any

import click

from lading import __version__, errors
from lading.cli.lazy import LazyGroup

SERVER = {
    "serve": "lading.cli.server.serve:serve",
    "check-config": "lading.cli.server.checkconfig:check_config",
    "check-health": "lading.cli.server.checkhealth:check_health",
    "collect": "lading.cli.server.collect:collect",
    "adopt": "lading.cli.server.adopt:adopt",
    "export": "lading.cli.server.export:export",
    "jobs": "lading.cli.server.jobs:jobs",
    "migrate": "lading.cli.server.migrate:migrate",
    "move-index": "lading.cli.server.moveindex:move_index",
    "verify": "lading.cli.server.verify:verify",
    "backup": "lading.cli.server.backup:backup",
    "restore": "lading.cli.server.restore:restore",
    "describe": "lading.cli.server.describe:describe",
    "import-harbor": "lading.cli.admin.importharbor:import_harbor",
    "admin": "lading.cli.admin.main:admin",
}
CLIENT = {
    "login": "lading.cli.client.login:login",
    "logout": "lading.cli.client.login:logout",
    "pull": "lading.cli.client.pull:pull",
    "push": "lading.cli.client.push:push",
    "images": "lading.cli.client.images:images",
    "tag": "lading.cli.client.images:tag",
    "rmi": "lading.cli.client.images:rmi",
    "copy": "lading.cli.client.copy:copy",
    "inspect": "lading.cli.client.inspect:inspect",
    "manifest": "lading.cli.client.inspect:manifest",
    "diff": "lading.cli.client.diff:diff",
    "tags": "lading.cli.client.listing:tags",
    "repos": "lading.cli.client.listing:repos",
    "search": "lading.cli.client.listing:search",
    "delete": "lading.cli.client.delete:delete",
    "completion": "lading.cli.client.completion:completion",
}
COMMANDS = {**SERVER, **CLIENT}
"""Every command, and where it is."""

EXIT_CODES: tuple[tuple[type[errors.LadingError], int, str], ...] = (
    (errors.Missing, 3, "what was asked for is not there: no such image, tag, repository"),
    (errors.Unauthenticated, 4, "a login is needed, or it is not taken"),
    (errors.Denied, 4, "the login may not do this"),
    (errors.Untrusted, 5, "the other side's certificate is not trusted"),
    (errors.Unreachable, 5, "nobody answers, or the connection broke"),
    (errors.TooMany, 6, "too many requests: later, or with a login"),
    (errors.Unavailable, 6, "the registry cannot do it now: later"),
    (errors.LadingError, 1, "anything else that went wrong"),
)
"""What ``lading`` ends with after an error; 2 stands for a command line that is not understood."""


class _Commands(LazyGroup):
    """The server's commands and the client's, told apart in the help."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in (("The server", SERVER), ("Any registry, without docker", CLIENT)):
            commands = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(title):
                formatter.write_dl([(name, one.get_short_help_str(72)) for name, one in commands if one])


@click.group(
    cls=_Commands,
    places=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", prog_name="lading")
def cli() -> None:
    """A container registry: one install, one process, one command.

    Start with `lading serve`, then `docker push localhost:5000/myapp`; or use any registry with `lading pull`, `push`
    and `copy`.
    """


def main(arguments: list[str] | None = None) -> Any:
    """Run a command; errors that a user can mend are told in words, not as a traceback."""
    try:
        return cli.main(args=arguments, prog_name="lading")
    except errors.LadingError as error:
        click.echo(f"lading: {error.message}", err=True)
        sys.exit(exit_code(error))
    except OSError as error:  # of standard output: whatever else fails so has words of its own
        click.echo(f"lading: {error.filename or 'output'}: {error.strerror or error}", err=True)
        sys.exit(1)


def exit_code(error: errors.LadingError) -> int:
    """The status that an error ends the program with."""
    return next(code for kind, code, _ in EXIT_CODES if isinstance(error, kind))
