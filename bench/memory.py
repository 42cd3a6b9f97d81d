"""The memory figure: the most any process of the server has held while 1 GB goes in and another 1 GB comes out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from bench.figures import Figure, Metric, Options, Round, Sample
from bench.push import REPOSITORY, Target, empty_server, payloads, push_as_docker
from bench.wire import download


def memory(turn: Round) -> Sample:
    """Peaks since the server began (``VmHWM``, which counts shared pages in each process again)."""
    first, second = payloads(turn.options.huge, 2)
    with empty_server(turn) as server:
        push_as_docker(Target(server.port), first)
        with ThreadPoolExecutor(2) as pool:
            going_in = pool.submit(push_as_docker, Target(server.port), second)
            coming_out = pool.submit(download, server.port, f"/v2/{REPOSITORY}/blobs/{first.digest}")
            going_in.result()
            coming_out.result()
        held = server.memory()
    peaks = [process.peak for process in held]
    return {
        "peak_mb": max(peaks) / 1e6,
        "sum_mb": sum(peaks) / 1e6,
        "own_mb": max(process.own for process in held) / 1e6,
        "processes": float(len(held)),
    }


def figures(options: Options) -> tuple[Figure, ...]:
    """The memory figure."""
    return (
        Figure(
            "memory",
            f"memory, {options.huge / 1e9:g} GB in and another out",
            (
                Metric("peak_mb", "peak of the largest process", "MB", "less"),
                Metric("own_mb", "unshared afterwards, largest process", "MB", "less"),
                Metric("sum_mb", "sum of all processes' peaks", "MB", "less"),
            ),
            memory,
            static=False,
        ),
    )
