"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def reach(command: Command) -> Command:
    """How registries may be reached."""
    plain = click.option("--plain-http", is_flag=True, help="Speak HTTP without TLS to the registry.")
    insecure = click.option("--insecure", is_flag=True, help="Do not check the registry's certificate.")
    return plain(insecure(command))


def quiet(command: Command) -> Command:
    return click.option("-q", "--quiet", is_flag=True, help="Print the result only.")(command)


def create(command: Command) -> Command:
    """Whether to make what a registry wants made before a push."""
    text = "Make the repository or project first, where the registry does not by itself."
    return click.option("--create", is_flag=True, help=text)(command)


def platforms(command: Command) -> Command:
    """Which images of an index are meant."""
    one = click.option("--platform", metavar="OS/ARCH", help="Take this platform's image, such as linux/arm64.")
    every = click.option("-a", "--all-platforms", is_flag=True, help="Take every platform's image.")
    return one(every(command))


def shape(command: Command) -> Command:
    """How what is found is printed."""
    template = click.option(
        "--format", "template", metavar="TEMPLATE", help="Print by a template, such as '{{.Digest}}'."
    )
    as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    return template(as_json(command))
