"""The figure of fairness: how long one small request takes while large blobs go in and out.

Downloads and uploads begin anew as soon as they end. nginx takes no uploads and is left out; what downloads alone do to
small requests is ``manifest-under-load``.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from bench.figures import Figure, Options, Round, Sample
from bench.fixture import MANIFEST_TYPE, manifest_path, repository_name
from bench.pull import LATENCY, Load, ask
from bench.push import REPOSITORY, Payload, Target, empty_server, payloads, push_as_docker, push_blob
from bench.servers import Server
from bench.wire import Connection, download

_TAGS = 20
_CONFIG = b'{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}'


def fairness(turn: Round) -> Sample:
    """One client asks for manifests, one after the other, beside downloads and uploads."""
    options = turn.options
    blobs = payloads(options.large, options.large_count)
    with empty_server(turn) as server:
        _push_images(server)
        push_as_docker(Target(server.port), blobs[0])
        with _transfers(server, blobs, options):
            found = ask(server, Load(1, _TAGS, 1, options.seconds), turn.seed)
    return {"p50_ms": found["p50_ms"], "p99_ms": found["p99_ms"]}


def figures(options: Options) -> tuple[Figure, ...]:
    """The figure of fairness."""
    title = f"manifest GET beside {options.downloads} downloads and {options.uploads} uploads"
    return (Figure("fairness", title, LATENCY, fairness, static=False),)


def _push_images(server: Server) -> None:
    """Images as the fixture names them, so that ``requests.lua`` finds them."""
    name, digest = repository_name(0), f"sha256:{hashlib.sha256(_CONFIG).hexdigest()}"
    with Connection(server.port) as connection:
        push_blob(connection, name, Payload(_CONFIG, memoryview(b""), digest))
        config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": len(_CONFIG)}
        for tag in range(_TAGS):
            manifest = {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": config,
                "layers": [],
                "annotations": {"number": str(tag)},
            }
            body = json.dumps(manifest).encode()
            headers = [f"Content-Type: {MANIFEST_TYPE}", f"Content-Length: {len(body)}"]
            connection.send("PUT", manifest_path(0, tag), headers, body)
            connection.expect(201)


@contextmanager
def _transfers(server: Server, blobs: tuple[Payload, ...], options: Options) -> Iterator[None]:
    """Keep transfers running for as long as the block does; one that fails fails the figure."""
    ended = threading.Event()

    def pull() -> None:
        while not ended.is_set():
            download(server.port, f"/v2/{REPOSITORY}/blobs/{blobs[0].digest}")

    def push(number: int) -> None:
        while not ended.is_set():
            push_as_docker(Target(server.port), blobs[number % len(blobs)])
            number += options.uploads

    with ThreadPoolExecutor(options.downloads + options.uploads) as pool:
        running = [pool.submit(pull) for _ in range(options.downloads)]
        running += [pool.submit(push, number + 1) for number in range(options.uploads)]
        try:
            yield
        finally:
            ended.set()
        for transfer in running:
            transfer.result()
