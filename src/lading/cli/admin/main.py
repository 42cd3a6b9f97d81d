"""``lading admin``: finds the noun that was asked for and imports no other."""

from __future__ import annotations

import importlib

import click

NOUNS = {
    "user": "lading.cli.admin.users:user",
    "group": "lading.cli.admin.groups:group",
    "project": "lading.cli.admin.projects:project",
    "member": "lading.cli.admin.members:member",
    "role": "lading.cli.admin.roles:role",
    "robot": "lading.cli.admin.robots:robot",
    "token": "lading.cli.admin.tokens:token",
    "key": "lading.cli.admin.keys:key",
    "audit": "lading.cli.admin.audit:audit",
}


class _Nouns(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(NOUNS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        place = NOUNS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=_Nouns)
def admin() -> None:
    """Manage accounts, projects and robots, while the registry runs or before.

    Whoever may write to the registry's index may do all of this: it needs no login, and it is how a lost
    administrator's password is set anew (`lading admin user password admin`).
    """
