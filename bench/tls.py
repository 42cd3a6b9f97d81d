"""The pull figures over TLS: manifests and a large blob, every server with the same certificate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from bench.figures import Figure, Options, Round, Sample
from bench.pull import REQUESTS, THROUGHPUT, blob_get, manifest_get, manifest_get_close
from bench.servers import Server
from tests.support.access import certificates

Take = Callable[[Round], Sample]


def over_tls(take: Take, turn: Round) -> Sample:
    """Take a pull figure from the round's server with TLS, which runs beside the one without."""
    server = turn.kept.get(f"{turn.server.name} with TLS", lambda: _with_tls(turn))
    return take(replace(turn, server=server))


def figures(options: Options) -> tuple[Figure, ...]:
    """The pull figures over TLS."""
    return tuple(
        Figure(f"tls-{name}", f"{title} over TLS", metrics, partial(over_tls, take))
        for name, title, metrics, take in (
            ("manifest-get", f"manifest GET, {options.connections} connections", REQUESTS, manifest_get),
            ("manifest-get-close", "manifest GET, one connection a request,", REQUESTS, manifest_get_close),
            ("blob-get", f"blob GET, {options.downloads} clients", THROUGHPUT, partial(blob_get, options.downloads)),
        )
    )


@contextmanager
def _with_tls(turn: Round) -> Iterator[Server]:
    here = turn.kept.directory / f"{turn.server.name}-tls".replace(" ", "-").replace(":", "")
    here.mkdir()
    pair = certificates(here)
    server = turn.server.beside(turn.server.root, here, certificate=(pair.certificate, pair.key))
    server.start()
    try:
        yield server
    finally:
        server.stop()
