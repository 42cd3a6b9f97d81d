"""What the benchmark found: medians, spreads and ratios, as a table to read and as JSON to keep."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.figures import Figure, Metric, Sample
from bench.servers import BenchmarkError, program

_WIDTH_WITHOUT_TERMINAL = 180


@dataclass
class Results:
    """Every sample taken: by figure, by server, one a round."""

    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)

    def add(self, figure: str, server: str, sample: Sample) -> None:
        """Keep one round's sample."""
        self.samples.setdefault(figure, {}).setdefault(server, []).append(sample)

    def values(self, figure: str, server: str, metric: str) -> list[float]:
        """One metric of one server, round by round; empty when it was not measured."""
        taken = self.samples.get(figure, {}).get(server, ())
        return [sample[metric] for sample in taken if metric in sample]


def times_better(metric: Metric, ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """The median over the rounds of how many times better ``ours`` is: above 1 is better, whatever the unit.

    Rounds are compared pair by pair, so that a machine that slows down for a while slows both sides of a pair.
    None when a side is missing or too small to measure.
    """
    ratios = [
        (our / their if metric.better == "more" else their / our)
        for our, their in zip(ours, theirs, strict=False)
        if our and their
    ]
    return statistics.median(ratios) if ratios else None


def show(
    results: Results,
    figures: Iterable[Figure],
    servers: Sequence[str],
    references: Sequence[str],
    environment: Mapping[str, str],
) -> None:
    """Print the environment and a table: median (least to most), and how many times better than each reference."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH_WITHOUT_TERMINAL)
    for key, value in environment.items():
        console.print(f"[bold]{key}[/]: {value}", highlight=False)
    table = Table(title="Median (least to most). A ratio above 1: the first is better.", title_justify="left")
    table.add_column("figure")
    table.add_column("unit")
    for server in servers:
        table.add_column(server, justify="right")
    compared = [(server, other) for server in servers for other in references if server not in references]
    compared = [
        (server, other) for server, other in compared if any(other in taken for taken in results.samples.values())
    ]
    for server, other in compared:
        table.add_column(f"{server} : {other}", justify="right")
    for figure in figures:
        if figure.name not in results.samples:
            continue
        table.add_section()
        table.add_row(f"[bold]{figure.title}[/]  [dim]{figure.name}[/]")
        for metric in figure.metrics:
            values = {server: results.values(figure.name, server, metric.key) for server in servers}
            ratios = [times_better(metric, values[server], values[other]) for server, other in compared]
            table.add_row(
                f"  {metric.label}",
                metric.unit,
                *(_spread(values[server]) for server in servers),
                *("" if ratio is None else _number(ratio) for ratio in ratios),
            )
    console.print(table, highlight=False)


def as_json(
    results: Results,
    figures: Iterable[Figure],
    environment: Mapping[str, str],
    options: Mapping[str, object],
) -> dict[str, object]:
    """Everything measured, samples included, with the unit and the median of each metric."""
    return {
        "environment": dict(environment),
        "options": dict(options),
        "figures": {
            figure.name: {
                "title": figure.title,
                "metrics": {
                    metric.key: {
                        "label": metric.label,
                        "unit": metric.unit,
                        "better": metric.better,
                        "median": {
                            server: statistics.median(results.values(figure.name, server, metric.key))
                            for server in results.samples[figure.name]
                            if results.values(figure.name, server, metric.key)
                        },
                    }
                    for metric in figure.metrics
                },
                "samples": {server: list(taken) for server, taken in results.samples[figure.name].items()},
            }
            for figure in figures
            if figure.name in results.samples
        },
    }


def environment(directory: Path, commands: Sequence[Sequence[str]], distribution: str | None) -> dict[str, str]:
    """The machine and the versions. ``commands`` are Lading's, each ``… serve``; ``distribution`` another program, if any."""
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    found = {
        "machine": f"{os.cpu_count()} cores, {model[1] if model else platform.machine()}, {memory:.0f} GB memory, "
        f"Linux {platform.release()}",
        "files": f"{directory} ({_first_line(['stat', '-f', '-c', '%T', str(directory)])})",
        "load at start": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "registry:2": _version(["docker-registry", "docker-registry"]),
        "nginx": _version(["nginx", "nginx-light"], "-v"),
        "wrk": _version(["wrk", "wrk"], "-v"),
    }
    if distribution:
        found["distribution"] = _first_line([distribution, "--version"])
    for command in commands:
        version = _first_line([*command[: command.index("serve")], "--version"])
        found[" ".join(command)] = f"{version}, Python {platform.python_version()}{_commit()}"
    return found


def _version(names: Sequence[str], argument: str = "--version") -> str:
    try:
        line = _first_line([program(*names), argument])
    except BenchmarkError:
        return "not installed"
    found = re.search(r"\d+\.\d+[\w.+~-]*", line)
    return found[0] if found else line


def _commit() -> str:
    here = str(Path(__file__).parent)
    commit = _first_line(["git", "-C", here, "rev-parse", "--short", "HEAD"])
    return f", commit {commit}" if re.fullmatch(r"[0-9a-f]+", commit) else ""


def _first_line(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=30
        )
    except OSError as error:
        return str(error)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else ""


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    median = _number(statistics.median(values))
    return median if len(values) == 1 else f"{median} ({_number(min(values))} to {_number(max(values))})"


def _number(value: float) -> str:
    """Three figures that count; whole numbers from a hundred on."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
