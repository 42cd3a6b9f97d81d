"""``lading check-config``: what a configuration comes to, and what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lading.config.fields import Section
    from lading.config.model import Configuration


@click.command("check-config")
@click.argument("config", required=False, type=click.Path(path_type=Path))
def check_config(config: Path | None) -> None:
    """Say what CONFIG.yml and the REGISTRY_* variables come to.

    Without CONFIG.yml: the file that `lading serve` would read, or the built-in configuration. Ends with 1 when
    something is wrong. Secrets are not shown.
    """
    from lading.config.load import load
    from lading.errors import ConfigurationError

    try:
        configuration = load(config, os.environ)
    except ConfigurationError as error:
        click.echo(error.message, err=True)
        raise SystemExit(1) from None
    for line in explain(configuration):
        click.echo(line)


def explain(configuration: Configuration) -> Iterator[str]:
    """The lines that tell what a configuration comes to."""
    from lading.stores.blobs.driver import where

    yield f"Read from    {configuration.source or 'nothing: no file is named, so this is the built-in configuration'}"
    yield f"Listens on   {_listens(configuration)}"
    yield f"Reached by   {_reach(configuration)}"
    yield f"May push     {_who(configuration)}"
    yield f"Stores in    {where(configuration.storage, configuration.root)}"
    yield f"Index        {_index(configuration)}"
    yield f"Deletion     {'allowed' if configuration.storage.delete.enabled else 'not allowed (storage.delete.enabled)'}"
    if configuration.storage.maintenance.readonly.enabled:
        yield "Read-only    yes: nothing can be pushed or deleted"
    changed = list(_changed(configuration, configuration.variables))
    yield from _listed("Different from the defaults", changed)
    yield from _listed("Notices", configuration.notices)
    yield from _listed("Files it names that are not here", _missing(configuration))
    yield "\nNothing is wrong with it."


def _listed(title: str, lines: Any) -> Iterator[str]:
    lines = list(lines)
    if lines:
        yield f"\n{title}:"
        yield from (f"  {line}" for line in lines)


def _index(configuration: Configuration) -> str:
    index = configuration.index
    return "a temporary file" if index is None else index.shown.removeprefix("sqlite:///")


def _listens(configuration: Configuration) -> str:
    http = configuration.http
    scheme = "https" if http.tls.enabled else "http"
    if http.net == "unix":
        return f"the socket {http.addr} ({scheme})"
    host, port = http.address
    shown = f"[{host}]" if ":" in host else host or "*"
    return f"{scheme}://{shown}:{port or '(any free port)'}{http.prefix}"


def _reach(configuration: Configuration) -> str:
    http = configuration.http
    if http.net == "unix":
        return "who may open the socket"
    if configuration.is_local:
        return "this machine only"
    host = http.address[0]
    return "every network this machine is on" if host in {"", "0.0.0.0", "::"} else f"the networks that reach {host}"  # noqa: S104 - compared, not bound


def _who(configuration: Configuration) -> str:
    if configuration.is_open:
        return "whoever reaches it: there is no authentication" + ("" if configuration.is_local else " (!)")
    auth, people = configuration.auth, []
    if configuration.accounts is not None and configuration.accounts.enabled:
        return "who has a role in a project that allows it (accounts)"
    if configuration.http.tls.clientcas and configuration.http.tls.clientauth == "require-and-verify-client-cert":
        people.append(f"who has a certificate of {', '.join(configuration.http.tls.clientcas)}")
    if auth.htpasswd is not None:
        people.append(f"the users in {auth.htpasswd.path}")
    if auth.token is not None:
        people.append(f"who has a token of {auth.token.issuer} for it")
    return ", being ".join(people)


def _changed(configuration: Configuration, variables: Any) -> Iterator[str]:
    from lading.config.document import written
    from lading.config.fields import SIZE

    for path, value, field in _leaves(configuration, ""):
        by = next(
            (name for key, name in variables.items() if path == key or path.startswith((f"{key}.", f"{key}["))), None
        )
        text = written(value, size=SIZE in field.metadata)
        yield f"{path}: {text}" + (f"   ({by})" if by else "")


def _leaves(section: Section, at: str) -> Iterator[tuple[str, Any, Any]]:
    """Each setting that is not at its default; what has no effect is among the notices instead."""
    from lading.config.fields import Section as Group
    from lading.config.shape import about

    default: Any = type(section)()
    for name, field in type(section).model_fields.items():
        value, path = getattr(section, name), f"{at}{field.alias or name}"
        if about(field, "no_effect") or about(field, "refused") or value == getattr(default, name):
            continue
        if isinstance(value, Group):
            changed = list(_leaves(value, f"{path}."))
            yield from changed or ([(path, value, field)] if getattr(default, name) is None else [])
        else:
            yield path, value, field


def _missing(configuration: Configuration) -> Iterator[str]:
    tls, auth = configuration.http.tls, configuration.auth
    files = {"http.tls.certificate": tls.certificate, "http.tls.key": tls.key}
    files |= {f"http.tls.clientcas[{index}]": file for index, file in enumerate(tls.clientcas)}
    if auth.token is not None:
        files |= {"auth.token.rootcertbundle": auth.token.rootcertbundle, "auth.token.jwks": auth.token.jwks}
    if auth.htpasswd is not None:
        files["auth.htpasswd.path"] = auth.htpasswd.path
    for key, file in files.items():
        if file and not Path(file).is_file():
            yield f"{key}: {file}"
