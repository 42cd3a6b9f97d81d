"""What does not grow with the index: the cost of a manifest GET, and the time until a server is ready."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.figures import Figure, Metric, Options, Round, Sample
from bench.index import fill
from bench.pull import Load, ask
from bench.servers import Lading

_FEW = 100
_TAGS_EACH = 10


def growth(turn: Round) -> Sample:
    """The cost of a request with few tags and with many, on warm servers; the larger is started anew for each round."""
    if not isinstance(turn.server, Lading):
        return {}
    few, many = turn.kept.get(f"growth of {turn.server.name}", lambda: _filled(turn))
    sizes = {id(few): _FEW, id(many): turn.options.many}

    def cost(server: Lading, seed: int) -> float:
        load = Load(sizes[id(server)] // _TAGS_EACH, _TAGS_EACH, turn.options.connections, turn.options.seconds / 2)
        return ask(server, load, seed)["cpu_us"]

    begin = time.monotonic()
    many.start()
    seconds = time.monotonic() - begin
    try:
        for server in (few, many):
            # A server just started has read nothing yet; its first requests would count for its size.
            cost(server, turn.seed + 1)
        # Few, many, few: what slows the machine down meanwhile is in both.
        costs = [cost(server, turn.seed) for server in (few, many, many, few)]
    finally:
        many.stop()
    of_few, of_many = (costs[0] + costs[3]) / 2, (costs[1] + costs[2]) / 2
    return {"few_us": of_few, "many_us": of_many, "growth": of_many / of_few, "start_s": seconds}


def figures(options: Options) -> tuple[Figure, ...]:
    """Growth from few tags to many."""
    many = f"{options.many} tags"
    return (
        Figure(
            "growth",
            f"manifest GET and start, {_FEW} tags and {many}",
            (
                Metric("few_us", f"server CPU a request, {_FEW} tags", "µs", "less"),
                Metric("many_us", f"server CPU a request, {many}", "µs", "less"),
                Metric("growth", f"{many} : {_FEW} tags", "", "less"),
                Metric("start_s", f"ready to serve, {many}", "s", "less"),
            ),
            growth,
            static=False,
        ),
    )


@contextmanager
def _filled(turn: Round) -> Iterator[tuple[Lading, Lading]]:
    servers = []
    assert isinstance(turn.server, Lading)
    for size in (_FEW, turn.options.many):
        here = turn.kept.directory / f"{turn.server.name}-{size}-tags".replace(" ", "-")
        (here / "root").mkdir(parents=True)
        servers.append(turn.server.beside(here / "root", here))
        fill(servers[-1], size // _TAGS_EACH, _TAGS_EACH)
    few, many = servers
    few.start()
    try:
        yield few, many
    finally:
        few.stop()
