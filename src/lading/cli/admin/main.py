"""``lading admin``: finds the noun that was asked for and imports no other."""

from __future__ import annotations

import click

from lading.cli.lazy import LazyGroup

NOUNS = {
    "user": "lading.cli.admin.users:user",
    "group": "lading.cli.admin.groups:group",
    "project": "lading.cli.admin.projects:project",
    "member": "lading.cli.admin.members:member",
    "role": "lading.cli.admin.roles:role",
    "robot": "lading.cli.admin.robots:robot",
    "token": "lading.cli.admin.tokens:token",
    "trust": "lading.cli.admin.trusts:trust",
    "key": "lading.cli.admin.keys:key",
    "audit": "lading.cli.admin.audit:audit",
}


@click.group(cls=LazyGroup, places=NOUNS)
def admin() -> None:
    """Manage accounts, projects and robots, while the registry runs or before.

    Whoever may write to the registry's index may do all of this: it needs no login, and it is how a lost
    administrator's password is set anew (`lading admin user password admin`).
    """
