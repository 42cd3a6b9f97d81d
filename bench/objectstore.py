"""The figures of an object store: large blobs in and out through the S3 drivers, both against the same Swift.

Swift is OpenStack's, from Debian, on this machine; its own time is not counted, but it takes its share of the cores, so
CPU seconds say more than the clock. Pulls are streamed by the server (``redirect: disable``); by default they are a
redirect, after which the store alone works.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bench.figures import Figure, Metric, Options, Round, Sample
from bench.push import REPOSITORY, Payload, empty_server, payloads, push_all, push_as_docker
from bench.servers import Lading
from bench.wire import download
from tests.support.objects import Swift

_CLIENTS = 2
_DOWNLOADS = 2


def through_s3(turn: Round) -> Sample:
    """Push some large blobs, then pull each of them."""
    swift = turn.kept.get("swift", lambda: _swift(turn.kept.directory))
    blobs = payloads(turn.options.large, max(2, turn.options.large_count // 2))
    gigabytes = sum(map(len, blobs)) / 1e9
    place = f"/{turn.directory.name}"
    # names and tags do not lie in the bucket; registry:2 has them there
    index = f"database:\n  url: sqlite:///{turn.directory}/index.sqlite\n" if isinstance(turn.server, Lading) else ""
    with empty_server(turn, storage=_storage(swift, place), more=index) as server:
        before, begin = server.cpu_seconds(), time.monotonic()
        push_all(push_as_docker, server.port, blobs, _CLIENTS)
        middle, between = server.cpu_seconds(), time.monotonic()
        with ThreadPoolExecutor(_DOWNLOADS) as pool:
            for download in [pool.submit(_pull, server.port, blob) for blob in blobs]:
                download.result()
        after, end = server.cpu_seconds(), time.monotonic()
    return {
        "push_s": between - begin,
        "push_cpu": (middle - before) / gigabytes,
        "pull_s": end - between,
        "pull_cpu": (after - middle) / gigabytes,
    }


def figures(options: Options) -> tuple[Figure, ...]:
    """The figure of an object store."""
    count = max(2, options.large_count // 2)
    return (
        Figure(
            "object-store",
            f"{count} blobs of {options.large / 1e6:g} MB through S3, as docker, and streamed back",
            (
                Metric("push_s", "push", "s", "less"),
                Metric("push_cpu", "server CPU of the push", "s/GB", "less"),
                Metric("pull_s", "pull", "s", "less"),
                Metric("pull_cpu", "server CPU of the pull", "s/GB", "less"),
            ),
            through_s3,
            static=False,
        ),
    )


@contextmanager
def _swift(directory: Path) -> Iterator[Swift]:
    root = directory / "swift"
    root.mkdir()
    with Swift(root) as swift:
        yield swift


def _storage(swift: Swift, place: str) -> str:
    given = {**swift.settings, "rootdirectory": place, "secure": "false", "v4auth": "true"}
    lines = ["  s3:", *(f"    {name}: {value}" for name, value in given.items()), "  redirect:", "    disable: true"]
    return "\n".join(lines)


def _pull(port: int, blob: Payload) -> None:
    assert download(port, f"/v2/{REPOSITORY}/blobs/{blob.digest}") == len(blob)
