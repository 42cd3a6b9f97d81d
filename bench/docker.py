"""The figures of a real client: ``docker push`` and ``docker pull`` of an image of ten layers, whole commands.

The engine is started for the benchmark, on data of its own. Each sample has an image that neither the engine nor the
server has seen: an engine remembers what it pushed, and would not push it again. Most of a push is the engine's own
work (it compresses each layer), and the same for every server.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.figures import Figure, Metric, Options, Round, Sample
from bench.push import empty_server
from tests.e2e.engine import Containerd, Engine
from tests.support import images

_LAYERS = 10


def docker(turn: Round) -> Sample:
    """Push an image, forget it, and pull it again."""
    engine = turn.kept.get("docker", running)
    with empty_server(turn) as server:
        name = f"127.0.0.1:{server.port}/bench/image:{turn.seed}"
        image = images.image(os.urandom(8).hex(), [turn.options.layer] * _LAYERS)
        archive = images.write_docker_archive(turn.directory / "image.tar", image, [name])
        engine.docker("load", "--quiet", "--input", archive, timeout=300)
        before = server.cpu_seconds()
        push = timed(engine, "push", name)
        engine.docker("image", "rm", "--force", name)
        pull = timed(engine, "pull", name)
        cpu = server.cpu_seconds() - before
        engine.docker("image", "rm", "--force", name)
    return {"push_s": push, "pull_s": pull, "cpu_s": cpu}


def figures(options: Options) -> tuple[Figure, ...]:
    """The figures of docker."""
    return (
        Figure(
            "docker",
            f"docker, an image of {_LAYERS} layers of {options.layer / 1e6:g} MB",
            (
                Metric("push_s", "docker push", "s", "less"),
                Metric("pull_s", "docker pull", "s", "less"),
                Metric("cpu_s", "server CPU of both", "s", "less"),
            ),
            docker,
            static=False,
        ),
    )


@contextmanager
def running() -> Iterator[Engine]:
    """An engine for the benchmark alone."""
    with Containerd() as containerd, Engine(containerd) as engine:
        yield engine


def timed(engine: Engine, *words: str) -> float:
    """How long a docker command takes, in seconds."""
    begin = time.monotonic()
    engine.docker(*words, timeout=600)
    return time.monotonic() - begin
