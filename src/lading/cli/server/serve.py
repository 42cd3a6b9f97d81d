"""``lading serve``: say what will be served, then serve it."""

from __future__ import annotations

import gc
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from lading.config.model import Configuration


@click.command()
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option("--workers", type=click.IntRange(1, 256), help="How many processes serve; as many as cores by default.")
def serve(config: Path | None, workers: int | None) -> None:
    """Serve a registry.

    Without CONFIG.yml (registry:2's format) it listens on 127.0.0.1:5000 and stores under /var/lib/registry, or in
    your home. Every setting can also be given as registry:2's REGISTRY_... variable.
    """
    # Nothing of what is imported is garbage, now or later; looking for some is a tenth of the time it takes to start.
    gc.disable()
    # pydantic would ask every package installed whether it has a plugin for it.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from lading.cli.server.supervisor import Supervisor
    from lading.config.load import load

    configuration = load(config, os.environ)
    number = workers or configuration.server.workers or len(os.sched_getaffinity(0))
    supervisor = Supervisor(configuration, number)
    supervisor.prepare()
    _import_all(configuration, governed=supervisor.accounts)
    gc.freeze()
    gc.enable()
    _announce(configuration, supervisor)
    supervisor.run()


def _import_all(configuration: Configuration, *, governed: bool) -> None:
    """Import what workers need before they are forked: once for all of them, in memory that they share."""
    from lading.app import besides

    for module in ("lading.cli.server.worker", *besides(configuration, governed=governed)):
        importlib.import_module(module)
    if configuration.http.debug.prometheus.enabled:
        from lading.telemetry import metrics

        metrics.prepare(enabled=True)


def _announce(configuration: Configuration, supervisor: Supervisor) -> None:  # type: ignore[name-defined] # noqa: F821
    from lading.stores.blobs.driver import where as store_name

    scheme = "https" if configuration.http.tls.enabled else "http"
    where = supervisor.address
    click.echo(f"lading: serving {scheme}://{where}" if configuration.http.net == "tcp" else f"lading: serving {where}")
    if configuration.storage.driver == "inmemory":
        click.echo("lading: storing in memory only: gone when it stops")
    else:
        click.echo(f"lading: storing {store_name(configuration.storage, configuration.root)}")
    click.echo(f"lading: configured by {configuration.source or 'the built-in default'}")
    for notice in configuration.notices:
        click.echo(f"lading: note: {notice}")
    if supervisor.accounts:
        click.echo("lading: accounts are on; `lading admin` manages them")
    elif configuration.is_open and not configuration.is_local:
        click.echo(
            f"lading: WARNING: anybody who can reach {where} may pull, push and delete; set auth.htpasswd to ask for a "
            "password, or http.addr: 127.0.0.1:5000 to listen on this machine only",
            err=True,
        )
    if configuration.http.net == "tcp":
        host, _, port = where.rpartition(":")
        host = f"{'localhost' if host in ('127.0.0.1', '0.0.0.0', '[::1]', '[::]') else host}:{port}"  # noqa: S104 - only shown
        click.echo(f"lading: try it:  docker tag IMAGE {host}/IMAGE && docker push {host}/IMAGE")
