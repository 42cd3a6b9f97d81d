"""``lading login``, ``lading logout``: keep and forget who one is at a registry, where docker keeps it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lading.cli.client import options
from lading.errors import CredentialsError, Denied, Invalid, Unauthenticated
from lading.oci.reference import DEFAULT_HOST, is_host

if TYPE_CHECKING:
    from lading.remotes.credentials import Credential
    from lading.remotes.dockerconfig import DockerConfig

_MAX_PASSWORD = 64 << 10
_UNASKED = "name --username, and give the password to --password-stdin"


@click.command()
@click.argument("server", default=DEFAULT_HOST)
@click.option("-u", "--username", help="Who you are there.")
@click.option("-p", "--password", help="Your password. Others on this machine can see it: better --password-stdin.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@options.reach
def login(
    server: str, username: str | None, password: str | None, password_stdin: bool, plain_http: bool, insecure: bool
) -> None:
    """Log in to the registry SERVER (HOST or HOST:PORT; docker.io when none is named).

    What is kept goes where docker keeps it: to the credential helper that its config.json names, else into that file.
    docker and podman use the same login. Without a username and a password, a login that is there already is tried
    first, and another one asked for only where that is refused. Where REGISTRY_AUTH_FILE names a file, it goes into that one, as podman's does.
    """
    from lading.cli.client.places import run
    from lading.remotes.credentials import Credential

    host = server_name(server)
    if password is not None:
        if password_stdin:
            raise click.UsageError("--password and --password-stdin exclude each other")
        click.echo("WARNING: a password on the command line can be seen by others; use --password-stdin.", err=True)
    if password_stdin:
        if not username:
            raise click.UsageError("--password-stdin needs --username")
        password = _piped()
    if not username and password is None and run(_is_in(host, plain_http=plain_http, insecure=insecure)):
        click.echo("Login Succeeded")
        return
    if sys.stdin is None and not (username and password):
        raise Invalid(f"there is no standard input to ask on; {_UNASKED}")
    try:
        username = username or click.prompt("Username", err=True)
        if password is None:
            password = click.prompt("Password", hide_input=True, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        click.echo(err=True)  # after the question
        raise Invalid(f"standard input ended before it was answered; {_UNASKED}") from None
    if not username or not password:
        raise Invalid("a login needs a username and a password")
    _check(username, password)
    run(_login(host, Credential(username, password), plain_http=plain_http, insecure=insecure))
    click.echo("Login Succeeded")


async def _is_in(host: str, *, plain_http: bool, insecure: bool) -> bool:
    """Whether there is a login that is taken still."""
    from lading.remotes.credentials import Keyring

    had = await Keyring().had(host)
    if not had:
        return False
    who = f" of {had.username}" if had.username else ""
    click.echo(f"Authenticating with the login{who} that is here already …", err=True)
    try:
        await _login(host, had, had, plain_http=plain_http, insecure=insecure)
    except (Unauthenticated, Denied) as error:
        # what it says to do next is what is being done
        click.echo(f"lading: {error.message.partition('; log in with')[0]}", err=True)
        return False
    return True


def _piped() -> str:
    """The password on standard input; a line's end is none of it."""
    raw = sys.stdin.buffer.read(_MAX_PASSWORD) if sys.stdin else b""
    return raw.decode("utf-8", "surrogateescape").rstrip("\r\n")


def _check(username: str, password: str) -> None:
    if ":" in username:
        raise Invalid("a username has no colon: what follows it would be taken for the password")
    try:
        (username + password).encode()
    except UnicodeEncodeError:
        raise Invalid("username and password must be UTF-8 text") from None


async def _login(
    host: str, given: Credential, had: Credential | None = None, *, plain_http: bool, insecure: bool
) -> None:
    from lading.cli.client.places import Places
    from lading.remotes.credentials import Keyring

    file, names = Keyring().kept(host)
    file.names()  # a broken file is told before a password travels
    async with Places(plain_http=plain_http, insecure=insecure) as places:
        credential = await places.registry(host).session.login(given)
    if credential != had:
        await _keep(file, names[0], credential)


async def _keep(file: DockerConfig, key: str, credential: Credential) -> None:
    from lading.remotes import helpers

    if helper := file.helper(key):
        name = "<token>" if credential.identity_token else credential.username
        await helpers.store(helper, key, name, credential.identity_token or credential.password)
        file.mark(key)
        return
    file.store(key, credential.username, credential.password, credential.identity_token)
    click.echo(f"The login is kept unencrypted in {file.path}; a credential helper keeps it better.", err=True)


@click.command()
@click.argument("server", default=DEFAULT_HOST)
def logout(server: str) -> None:
    """Forget the login to the registry SERVER (docker.io when none is named)."""
    from lading.cli.client.places import run

    host = server_name(server)
    known, elsewhere = run(_logout(host))
    if known or not elsewhere:
        click.echo(f"Removed the login to {host}" if known else f"Not logged in to {host}")
    if elsewhere:
        program = "docker" if Path(elsewhere).name == "config.json" else "podman"
        hint = f"; {program} logout {host} forgets it" if elsewhere.startswith("/") else ""
        click.echo(f"lading: {elsewhere} has a login to {host} that goes on being used{hint}", err=True)


async def _logout(host: str) -> tuple[bool, str]:
    """Whether there was a login, and where there still is another one.

    :class:`CredentialsError` where a helper keeps the only one there may be.
    """
    from lading.remotes import helpers
    from lading.remotes.credentials import Keyring

    keyring = Keyring(os.environ)
    file, names = keyring.kept(host)
    known = False
    failure: CredentialsError | None = None
    for key in names:
        if helper := file.helper(key):
            try:
                known |= await helpers.erase(helper, key)
            except CredentialsError as error:
                failure = error
        known |= file.erase(key) and failure is None  # beside a helper it is an empty mark
    if failure and not known:
        raise failure
    try:
        return known, await keyring.elsewhere(host)
    except CredentialsError:  # whoever wants to use such a file is told
        return known, ""


def server_name(text: str) -> str:
    """``host[:port]`` of what a user wrote, be it a URL or a name with a path."""
    host = text.partition("://")[2] or text
    host = host.partition("/")[0]
    if not is_host(host):
        raise Invalid(f"{text!r} is no host[:port] of a registry")
    return DEFAULT_HOST if host in {"index.docker.io", "registry-1.docker.io"} else host
