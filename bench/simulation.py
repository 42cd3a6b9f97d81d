"""``python -m bench.simulation``: plays a day of a registry far larger than this machine, from costs measured on it.

What arrives is in ``bench.workload``, what a request costs in ``bench/costs.json`` (or ``--costs FILE``). It says how
many replicas the busiest minute needs, what the database and the object store get to do, how large the index is and
grows, and which part is full first. It is arithmetic, not a measurement: it is as right as the numbers it is given.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.caching import Hits, hits, popularity
from bench.workload import MINUTES, Minute, Workload, day

COSTS = Path(__file__).with_name("costs.json")


@dataclass(frozen=True)
class Costs:
    """What was measured. CPU in microseconds, or in seconds a GB (10⁹ bytes); rows and bytes by table."""

    request_cpu: float
    miss_cpu: float
    query_cpu: float
    write_cpu: float
    new_blob_cpu: float
    stream_cpu_gb: float
    receive_cpu_gb: float
    bytes_a_row: Mapping[str, float]
    rows_a_manifest: Mapping[str, float]

    @classmethod
    def read(cls, path: Path) -> Costs:
        """From a file whose entries are ``{"value": …, "source": …}``."""
        found = json.loads(path.read_text())
        return cls(**{each.name: found[each.name]["value"] for each in dataclasses.fields(cls)})


@dataclass(frozen=True)
class Plan:
    """How it is built: what one replica is, and what the parts it rests on can do."""

    cores: int = 4
    """Of a replica; as many worker processes."""
    busy: float = 0.6
    """The share of its CPU a replica is planned to use in the busiest minute."""
    cached: int = 17_000
    """Manifests whose bytes a process keeps: 32 MiB of them, at 1.9 kB each; 0: none."""
    redirect: bool = True
    """Whether blobs come from the object store itself."""
    network: float = 10e9 / 8 * 0.7
    """Bytes a second a replica can send."""
    connections_a_process: int = 8
    """``database.connections``, at most."""
    database_cores: int = 32
    database_connections: int = 500
    store_prefixes: int = 256
    """``blobs/sha256/<2 hex>``: the store counts requests by what a key begins with."""
    store_gets: int = 5_500
    store_puts: int = 3_500
    """A second and prefix, as Amazon S3 documents them."""
    partition_bytes: float = 20e9
    """How large one partition of a table with its indexes may get: it is vacuumed and copied as one piece."""


@dataclass(frozen=True)
class Part:
    """A resource in the busiest minute. ``full_at`` is the multiple of the load at which nothing is left of it."""

    name: str
    used: float
    capacity: float
    unit: str
    then: str

    @property
    def full_at(self) -> float:
        return self.capacity / self.used if self.used else math.inf


@dataclass(frozen=True)
class Outcome:
    """What the day comes to. Rates are those of the busiest minute, a second, unless they say otherwise."""

    requests_a_day: int
    peak: Minute
    peak_requests: float
    replica_cores: float
    replicas: int
    hits: Hits
    queries: float
    rows_written: float
    database_cores: float
    connections: int
    bytes_out: float
    store_gets: float
    store_puts: float
    tables: Mapping[str, float]
    growth_a_day: float
    partitions: Mapping[str, int]
    parts: Sequence[Part]


@dataclass(frozen=True)
class _Rates:
    """One minute's requests, a second."""

    manifests: float
    blobs: float
    pushes: float
    new_blobs: float
    known_blobs: float

    @classmethod
    def of(cls, minute: Minute, given: Workload) -> _Rates:
        pulls, pushes = minute.pulls / 60, minute.pushes / 60
        return cls(
            manifests=pulls * (1 + given.second_manifest),
            blobs=pulls * given.cold * given.blobs_a_cold_pull,
            pushes=pushes,
            new_blobs=pushes * given.new_blobs_a_push,
            known_blobs=pushes * given.known_blobs_a_push,
        )

    @property
    def requests(self) -> float:
        """A new blob is a HEAD, a POST and a PUT; a known one a HEAD; a push ends with its manifest."""
        return self.manifests + self.blobs + 3 * self.new_blobs + self.known_blobs + self.pushes


def simulate(given: Workload, costs: Costs, plan: Plan, seed: int = 1) -> Outcome:
    """Play the day."""
    minutes = day(given, seed)
    found = hits(popularity(given.manifests, given.skew), plan.cached)

    def cores(minute: Minute) -> float:
        return _replica_cores(_Rates.of(minute, given), given, costs, plan, 1 - found.share)

    peak = max(minutes, key=cores)
    rates = _Rates.of(peak, given)
    queries, writes = _queries(rates, 1 - found.share), rates.pushes + rates.new_blobs
    rows_a_push = sum(costs.rows_a_manifest.values())
    bytes_out = rates.blobs * given.layer_mean
    replicas = math.ceil(cores(peak) / (plan.cores * plan.busy))
    if not plan.redirect:
        replicas = max(replicas, math.ceil(bytes_out / plan.network))
    replicas += 1  # one may always be away
    tables = {
        name: costs.bytes_a_row[name] * costs.rows_a_manifest[name] * given.manifests for name in costs.bytes_a_row
    }
    outcome = Outcome(
        requests_a_day=round(sum(_Rates.of(minute, given).requests * 60 for minute in minutes)),
        peak=peak,
        peak_requests=rates.requests,
        replica_cores=cores(peak),
        replicas=replicas,
        hits=found,
        queries=queries,
        rows_written=rates.pushes * rows_a_push,
        database_cores=(queries * costs.query_cpu + writes * costs.write_cpu) / 1e6,
        connections=replicas * plan.cores * plan.connections_a_process,
        bytes_out=bytes_out,
        store_gets=rates.blobs,
        store_puts=rates.new_blobs + rates.pushes,
        tables=tables,
        growth_a_day=given.pushes * given.kept * sum(tables.values()) / given.manifests,
        partitions={name: _power_of_two(size / plan.partition_bytes) for name, size in tables.items()},
        parts=(),
    )
    return dataclasses.replace(outcome, parts=tuple(sorted(_parts(outcome, plan), key=lambda part: part.full_at)))


def _replica_cores(rates: _Rates, given: Workload, costs: Costs, plan: Plan, missing: float) -> float:
    """CPU seconds a second of all replicas together."""
    micro = rates.requests * costs.request_cpu + _queries(rates, missing) * costs.miss_cpu
    micro += rates.new_blobs * costs.new_blob_cpu
    moved = rates.new_blobs * given.layer_mean * costs.receive_cpu_gb
    if not plan.redirect:
        moved += rates.blobs * given.layer_mean * costs.stream_cpu_gb
    return micro / 1e6 + moved / 1e9


def _queries(rates: _Rates, missing: float) -> float:
    """Reads of the database. What a tag points to, and whether a repository has a blob, is asked every time, so that a
    tag moved at one replica is moved at all; a manifest's bytes are asked for when the process does not have them.
    """
    return rates.manifests * (1 + missing) + rates.blobs + rates.known_blobs + rates.new_blobs


def _parts(found: Outcome, plan: Plan) -> list[Part]:
    blobs = plan.store_prefixes
    return [
        Part(
            "replicas' CPU",
            found.replica_cores,
            found.replicas * plan.cores,
            "cores",
            "add replicas: they share nothing but what is below",
        ),
        Part(
            "database CPU",
            found.database_cores,
            plan.database_cores,
            "cores",
            "reads to streaming replicas (blobs and manifests by digest never change); then partitions on two clusters",
        ),
        Part(
            "database connections",
            found.connections,
            plan.database_connections,
            "connections",
            "PgBouncer in transaction mode before the database",
        ),
        Part("object store GET", found.store_gets, blobs * plan.store_gets, "1/s", "a CDN before the store"),
        Part("object store PUT", found.store_puts, blobs * plan.store_puts, "1/s", "a second bucket"),
        Part(
            "network of the replicas",
            0.0 if plan.redirect else found.bytes_out,
            found.replicas * plan.network,
            "B/s",
            "redirects to the store",
        ),
    ]


def _power_of_two(number: float) -> int:
    """Hash partitions are split in halves: their number is a power of two."""
    return 1 if number <= 1 else int(2 ** math.ceil(math.log2(number)))


def show(found: Outcome, given: Workload, plan: Plan, console: Console) -> None:
    """Print it."""
    console.print(f"{found.requests_a_day:,} requests a day, {found.requests_a_day / MINUTES / 60:,.0f}/s on average")
    console.print(
        f"busiest minute: {found.peak_requests:,.0f} requests/s ({found.peak.pulls / 60:,.0f} pulls/s, "
        f"{found.peak.pushes / 60:,.1f} pushes/s)"
    )
    console.print(
        f"replicas: {found.replicas} of {plan.cores} cores ({found.replica_cores:.1f} cores busy, one may be away); "
        f"blobs {'by redirect' if plan.redirect else 'through them'}, {found.bytes_out / 1e9:.1f} GB/s"
    )
    console.print(
        f"cache of a process ({plan.cached:,} manifests): {found.hits.share:.0%} of manifests' bytes; one stays for "
        f"{found.hits.stays:,.0f} requests"
    )
    console.print(
        f"database: {found.queries:,.0f} reads/s, {found.rows_written:,.0f} rows written/s, "
        f"{found.database_cores:.1f} cores, {found.connections} connections"
    )
    console.print(
        f"index: {sum(found.tables.values()) / 1e9:,.0f} GB, {found.growth_a_day / 1e9:.2f} GB more a day; layers: mean "
        f"{given.layer_mean / 1e6:.1f} MB, {given.layers_below(1e6):.0%} below 1 MB"
    )
    sizes = Table("table", "GB", "partitions")
    for name, size in sorted(found.tables.items(), key=lambda one: -one[1]):
        sizes.add_row(name, f"{size / 1e9:,.1f}", str(found.partitions[name]))
    console.print(sizes)
    full = Table("what is full first", "used", "of", "full at", "then")
    for part in found.parts:
        times = "never" if math.isinf(part.full_at) else f"{part.full_at:,.1f} x"
        full.add_row(part.name, f"{part.used:,.1f}", f"{part.capacity:,.0f} {part.unit}", times, part.then)
    console.print(full)


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the day and print it; 2 when it was asked for something there is not."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.simulation", description=(__doc__ or "").partition("\n\n")[2]
    )
    parser.add_argument("--costs", type=Path, default=COSTS, help="what requests cost (default bench/costs.json)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another assumption, or another part of the plan",
    )
    parser.add_argument(
        "--sources", action="store_true", help="print every assumption and cost, and where it comes from"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcome to this file as well")
    asked = parser.parse_args(arguments)
    try:
        given, plan = changed(asked.set)
    except ValueError as error:
        parser.error(str(error))
    console = Console(width=None if sys.stdout.isatty() else 140)
    if asked.sources:
        for name, source in given.sources().items():
            console.print(f"{name} = {getattr(given, name):g}: {source}")
        for name, entry in json.loads(asked.costs.read_text()).items():
            console.print(f"{name} = {entry['value']}: {entry['source']}")
    found = simulate(given, Costs.read(asked.costs), plan, asked.seed)
    show(found, given, plan, console)
    if asked.json:
        asked.json.write_text(json.dumps(dataclasses.asdict(found), indent=2, default=str) + "\n")
    return 0


def changed(settings: Sequence[str]) -> tuple[Workload, Plan]:
    """The workload and the plan with ``NAME=VALUE`` laid upon them."""
    given, plan = Workload(), Plan()
    for setting in settings:
        name, _, text = setting.partition("=")
        owner: Workload | Plan = given if hasattr(given, name) else plan
        if name not in {each.name for each in dataclasses.fields(owner)}:
            raise ValueError(f"there is no {name!r}; there are {', '.join(_names(given) + _names(plan))}")
        kind = type(getattr(owner, name))
        try:
            value = text.lower() in {"1", "true", "yes"} if kind is bool else kind(float(text))
        except ValueError:
            raise ValueError(f"{name} wants a number, not {text!r}") from None
        if owner is given:
            given = dataclasses.replace(given, **{name: value})
        else:
            plan = dataclasses.replace(plan, **{name: value})
    return given, plan


def _names(owner: Any) -> list[str]:
    return [each.name for each in dataclasses.fields(owner)]


if __name__ == "__main__":
    sys.exit(main())
