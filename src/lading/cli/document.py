"""Writes docs/reference/cli.md from the commands themselves: ``python -m lading.cli.document``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from lading.cli.main import CLIENT, EXIT_CODES, SERVER, cli

_HEAD = """\
# Commands

Written from the commands themselves (`make docs`). `lading COMMAND --help` prints the same. How the client is used is
told in [the client](../how-to/client.md).
"""


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_commands("The server", SERVER), *_commands("Any registry", CLIENT), *_ends()])


def _commands(title: str, names: dict[str, str]) -> Iterator[str]:
    yield f"## {title}\n"
    for name in names:
        context = click.Context(cli, info_name="lading")
        command = cli.get_command(context, name)
        assert command is not None
        yield from _command(name, command, context)


def _command(name: str, command: click.Command, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"### {name}\n"
    yield f"```\nlading {name} {usage}\n```\n"
    yield inspect.cleandoc(command.help or "").replace("\f", "") + "\n"
    rows = [one.get_help_record(context) for one in command.params]
    listed = [row for row in rows if row and row[1]]
    if listed:
        yield "| option | |\n|---|---|"
        for option, text in listed:
            yield f"| `{_cell(option)}` | {_cell(text)} |"
        yield ""
    if isinstance(command, click.Group):
        yield "| command | |\n|---|---|"
        for called, text in _leaves(name, command, context):
            yield f"| `lading {_cell(called)}` | {_cell(text)} |"
        yield ""


def _leaves(words: str, group: click.Group, context: click.Context) -> Iterator[tuple[str, str]]:
    """Every command below a group: how it is called, and what it does in a line."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _leaves(f"{words} {name}", command, click.Context(command, info_name=name, parent=context))
        else:
            arguments = " ".join(one.make_metavar(context) for one in command.params if isinstance(one, click.Argument))
            yield f"{words} {name} {arguments}".strip(), command.get_short_help_str(200)


def _ends() -> Iterator[str]:
    yield "## Exit codes\n"
    yield "| code | after |\n|---|---|"
    yield "| 0 | it went well |"
    codes: dict[int, list[str]] = {}
    for _, code, text in EXIT_CODES:
        codes.setdefault(code, []).append(text)
    codes[2] = ["a command line that is not understood"]
    for code in sorted(codes):
        yield f"| {code} | {'; '.join(codes[code])} |"
    yield "| 128 + n | the signal n: 130 after Ctrl-C, 143 after SIGTERM |"
    yield "\n`lading diff --exit-code` ends with 1 when the images differ.\n"
    yield "## Environment\n"
    yield "| variable | |\n|---|---|"
    for name, text in _VARIABLES.items():
        yield f"| `{name}` | {text} |"


_VARIABLES = {
    "DOCKER_CONFIG": "the folder of docker's `config.json`, instead of `~/.docker`",
    "DOCKER_AUTH_CONFIG": "the text of a `config.json`; asked before the file",
    "REGISTRY_AUTH_FILE": "an `auth.json` of podman's, instead of its usual places: asked before docker's `config.json`, "
    "and written by `lading login`",
    "DOCKER_HOST": "the socket of a docker engine, `unix://…`",
    "GITHUB_TOKEN`, `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_…`, `AWS_…`, `CI_REGISTRY_…": "logins of vendors, where nobody logged in; see "
    "[other registries](../how-to/registries/README.md)",
    "LADING_IMAGES": "the folder of this machine's images, instead of `$XDG_DATA_HOME/lading/images`",
    "HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY": "proxies; never for this machine itself",
    "SSL_CERT_FILE`, `SSL_CERT_DIR": "the authorities to trust, instead of the system's",
    "NO_COLOR": "no colours",
}


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


if __name__ == "__main__":
    print(page())
