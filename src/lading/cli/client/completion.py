"""``lading completion``: the script that completes commands and options in a shell."""

from __future__ import annotations

import click

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
