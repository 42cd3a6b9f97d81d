"""The memory figures: what the server holds while large blobs go in and come out, and what requests leave behind."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor, wait

from bench.figures import Figure, Metric, Options, Round, Sample
from bench.index import fill
from bench.pull import Load, ask
from bench.push import REPOSITORY, Target, empty_server, payloads, push_as_docker
from bench.servers import Lading, proportional
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


def crowd(turn: Round) -> Sample:
    """The most that all processes held together, looked at ten times a second; taken in the first round alone.

    A page that several processes share counts once (``Pss``). Half of the transfers go in, half come out.
    """
    if turn.seed > 1:
        return {}
    half = turn.options.crowd // 2
    blobs = payloads(turn.options.huge, half + 1)
    ended = threading.Event()
    with empty_server(turn) as server, ThreadPoolExecutor(2 * half + 1) as pool:
        push_as_docker(Target(server.port), blobs[0])

        def look() -> int:
            most = 0
            while not ended.wait(0.1):
                most = max(most, sum(proportional(process) for process in server.processes()))
            return most

        looking = pool.submit(look)
        running = [pool.submit(push_as_docker, Target(server.port), blob) for blob in blobs[1:]]
        path = f"/v2/{REPOSITORY}/blobs/{blobs[0].digest}"
        downloads = [pool.submit(download, server.port, path) for _ in range(half)]
        try:
            wait(running)
            wait(downloads)
        finally:
            ended.set()
        held = looking.result()
        for upload in running:
            upload.result()
        for received in downloads:
            received.result()
    return {"together_mb": held / 1e6}


def steady(turn: Round) -> Sample:
    """What is held more after many requests than after as many before them, which fill what is kept for the next ones.

    Manifests by tag, of a thousand; all processes together, a page that they share counted once (``Pss``).
    """
    if not isinstance(turn.server, Lading):
        return {}
    root = turn.directory / "root"
    root.mkdir(parents=True)
    server = turn.server.beside(root, turn.directory / "server")
    load = Load(100, 10, turn.options.connections, turn.options.seconds)
    try:
        fill(server, load.repositories, load.tags_each)
        server.start()
        held = []
        for _ in range(2):
            done = 0.0
            while done < turn.options.requests:
                done += ask(server, load, turn.seed)["requests"]
            held.append(sum(proportional(process) for process in server.processes()))
    finally:
        server.stop()
        shutil.rmtree(turn.directory)
    return {"held_mb": held[1] / 1e6, "grown_mb": (held[1] - held[0]) / 1e6}


def figures(options: Options) -> tuple[Figure, ...]:
    """The memory figures."""
    return (
        Figure(
            "memory-crowd",
            f"memory, {options.crowd // 2} blobs of {options.huge / 1e9:g} GB in and as many out at once",
            (Metric("together_mb", "most that all processes held together", "MB", "less"),),
            crowd,
            static=False,
        ),
        Figure(
            "memory-requests",
            f"memory, after {options.requests} manifest GETs and as many again",
            (
                Metric("held_mb", "all processes, at the end", "MB", "less"),
                Metric("grown_mb", "more than half way", "MB", "less"),
            ),
            steady,
            static=False,
        ),
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
