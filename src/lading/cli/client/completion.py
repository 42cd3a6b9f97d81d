"""``lading completion``: the script that completes commands and options in a shell."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_FIRST = '    _lading_completion "$@"\n'
"""How zsh's script completes while it is being loaded; only then, so the next Tab would do nothing."""
_REGISTERED = "    compdef _lading_completion lading\n"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    bash: source <(lading completion bash). zsh: lading completion zsh > a folder of $fpath as _lading. fish: lading
    completion fish > ~/.config/fish/completions/lading.fish.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(context.find_root().command, {}, "lading", "_LADING_COMPLETE").source()
    click.echo(script.replace(_FIRST, f"{_REGISTERED}{_FIRST}"))


def files(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Files and folders, which the shell finds itself."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(begun, type="file")]


def images(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """The images of this machine, as they are written."""
    from click.shell_completion import CompletionItem

    from lading.errors import LadingError
    from lading.remotes.store import Store, place

    folder = place(os.environ)
    try:
        listed = Store(folder).images() if folder.is_dir() else []
    except (LadingError, OSError):
        listed = []  # a Tab is no time for complaints
    return [CompletionItem(name) for one, _ in listed if (name := str(one)).startswith(begun)]


def files_and_images(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """Both; the files first, since bash's script forgets what it had when it comes to them."""
    return [*files(context, parameter, begun), *images(context, parameter, begun)]
