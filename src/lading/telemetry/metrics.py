"""Figures for Prometheus, over all worker processes: ``lading_…``, and those of registry:2 under their old names.

:func:`prepare` is called by the parent before it forks, :func:`attach` by each process that counts. Where the metrics
are switched off both do nothing and nothing is counted.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from lading import __version__
from lading.telemetry.board import CELLS, Board

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other")
STATUSES = (
    200,
    201,
    202,
    204,
    206,
    304,
    307,
    400,
    401,
    403,
    404,
    405,
    409,
    413,
    416,
    429,
    431,
    499,
    500,
    502,
    503,
    507,
)
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0)
"""Upper bounds of the histogram's buckets in seconds: registry:2's, and three below them."""

_OLD_BOUNDS = 3  # registry:2's begin here
OTHER = "other"
HANDLERS = {
    "/v2/": "base",
    "/v2/_catalog": "catalog",
    "/v2/<name>/manifests/<reference>": "manifest",
    "/v2/<name>/blobs/<digest>": "blob",
    "/v2/<name>/blobs/uploads/": "blob_upload",
    "/v2/<name>/blobs/uploads/<reference>": "blob_upload_chunk",
    "/v2/<name>/tags/list": "tags",
}
"""A route, and what registry:2 calls it."""

_PID, _IN_FLIGHT = 0, 1
_COLLECTIONS = ("runs", "failures", "manifests", "blobs", "bytes")
_DELIVERIES = ("delivered", "failed", "dropped")
_MOST_ENDPOINTS = 100
OUTCOMES = ("done", "failed", "cancelled", "retried", "returned", "lost")
"""How an attempt at a job ends; returned: left to another process, lost: taken over by one."""

JOB_BOUNDS = (0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0)
_MOST_KINDS = 40
_JOB_CELLS = len(OUTCOMES) + len(JOB_BOUNDS) + 2

_board: list[Board] = []


def prepare(*, enabled: bool) -> None:
    """Make what the processes share; in the parent, before it forks."""
    if enabled and not _board:
        _board.append(Board())


def attach(routes: Sequence[str], endpoints: Sequence[str] = (), kinds: Sequence[str] = ()) -> Metrics | None:
    """Begin to count in this process.

    ``routes``, ``endpoints`` and ``kinds`` of jobs are what is told apart, the same in each process.
    """
    return Metrics(_board[0], routes, endpoints, kinds) if _board else None


def clean_up() -> None:
    """Forget what :func:`prepare` made."""
    while _board:
        _board.pop().close()


@dataclass(frozen=True)
class Gauges:
    """What is looked up when somebody asks; None where it could not be.

    ``stored`` is blobs and their bytes; ``waiting`` the events each endpoint has not had yet; ``jobs`` how many there
    are of a kind and in a state.
    """

    stored: tuple[int, int] | None = None
    uploads: int | None = None
    waiting: Mapping[str, int] | None = None
    healthy: bool | None = None
    jobs: Mapping[tuple[str, str], int] | None = None


@dataclass(frozen=True)
class _Route:
    traffic: int
    counts: dict[str, int]
    times: dict[str, int]


class Metrics:
    """Counts for one process, and shows the counts of all."""

    def __init__(
        self, board: Board, routes: Sequence[str], endpoints: Sequence[str] = (), kinds: Sequence[str] = ()
    ) -> None:
        self._board = board
        self._kinds = tuple(kinds)[:_MOST_KINDS]
        self._endpoints = tuple(endpoints)[:_MOST_ENDPOINTS]
        at = _IN_FLIGHT + 1
        self._collections = at
        at += len(_COLLECTIONS)
        self._deliveries = {name: at + number * len(_DELIVERIES) for number, name in enumerate(self._endpoints)}
        at += len(_DELIVERIES) * _MOST_ENDPOINTS
        self._jobs = {name: at + number * _JOB_CELLS for number, name in enumerate(self._kinds)}
        at += _JOB_CELLS * _MOST_KINDS
        self._routes: dict[str, _Route] = {}
        for route in dict.fromkeys((*routes, OTHER)):
            traffic, at = at, at + 2
            counts, times = {}, {}
            for method in METHODS:
                counts[method], at = at, at + len(STATUSES) + 1
                times[method], at = at, at + len(BOUNDS) + 2
            self._routes[route] = _Route(traffic, counts, times)
        if at > CELLS:
            raise ValueError(f"{len(self._routes)} routes need {at} cells of {CELLS}")
        self._statuses = {status: number for number, status in enumerate(STATUSES)}
        self._cells = board.take_place()
        self._cells[_IN_FLIGHT] = 0

    # ---- counting

    def began(self) -> None:
        """A request arrived."""
        self._cells[_IN_FLIGHT] += 1

    def request(self, route: str, method: str, status: int, received: int, sent: int, seconds: float) -> None:
        """A request is over: bytes of its body and of the answer's, and how long it took."""
        cells = self._cells
        place = self._routes.get(route) or self._routes[OTHER]
        cells[_IN_FLIGHT] -= 1
        if method not in place.counts:
            method = OTHER
        cells[place.counts[method] + self._statuses.get(status, len(STATUSES))] += 1
        times = place.times[method]
        cells[times + bisect_left(BOUNDS, seconds)] += 1
        cells[times + len(BOUNDS) + 1] += seconds
        cells[place.traffic] += received
        cells[place.traffic + 1] += sent

    def collected(self, manifests: int, blobs: int, size: int) -> None:
        """A collection ended: what it deleted, and the bytes of the blobs."""
        for number, amount in enumerate((1, 0, manifests, blobs, size)):
            self._cells[self._collections + number] += amount

    def collection_failed(self) -> None:
        """A collection broke off."""
        self._cells[self._collections + 1] += 1

    def notified(self, endpoint: str, *, delivered: int = 0, failed: int = 0, dropped: int = 0) -> None:
        """Events an endpoint took, attempts it did not take, events given up."""
        at = self._deliveries.get(endpoint)
        if at is not None:
            for number, amount in enumerate((delivered, failed, dropped)):
                self._cells[at + number] += amount

    def job(self, kind: str, outcome: str, seconds: float) -> None:
        """An attempt at a job ended, one of ``OUTCOMES``, after so long."""
        at = self._jobs.get(kind)
        if at is not None:
            self._cells[at + OUTCOMES.index(outcome)] += 1
            times = at + len(OUTCOMES)
            self._cells[times + bisect_left(JOB_BOUNDS, seconds)] += 1
            self._cells[times + len(JOB_BOUNDS) + 1] += seconds

    # ---- showing

    def page(self, gauges: Gauges, accept: str = "") -> tuple[str, bytes]:
        """The metrics of all processes, with their content type."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Page(self, gauges))
        encode, content_type = choose_encoder(accept)
        return content_type, encode(registry)

    def _families(self, gauges: Gauges) -> Iterator[Metric]:
        rows = list(self._board.rows())
        totals = [sum(column) for column in zip(*(row for _, row in rows), strict=True)]
        alive = [(place, int(row[_PID]), row[_IN_FLIGHT]) for place, row in rows if _runs(int(row[_PID]))]
        yield InfoMetricFamily("lading_build", "What runs here.", {"version": __version__})
        yield from self._requests(totals)
        yield from self._old_requests(totals)
        yield GaugeMetricFamily(
            "lading_http_requests_in_flight", "Requests being answered now.", sum(each[2] for each in alive)
        )
        yield from self._work(totals)
        yield from self._work_of_jobs(totals, gauges.jobs)
        yield from _looked_up(gauges)
        yield from _processes([(place, process) for place, process, _ in alive])

    def _requests(self, totals: Sequence[float]) -> Iterator[Metric]:
        count = CounterMetricFamily("lading_http_requests", "Requests answered.", labels=("route", "method", "code"))
        times = HistogramMetricFamily(
            "lading_http_request_duration_seconds", "How long requests took.", labels=("route", "method")
        )
        received = CounterMetricFamily("lading_http_received_bytes", "Bytes of requests' bodies.", labels=("route",))
        sent = CounterMetricFamily("lading_http_sent_bytes", "Bytes of answers' bodies.", labels=("route",))
        for route, place in self._routes.items():
            received.add_metric((route,), totals[place.traffic])
            sent.add_metric((route,), totals[place.traffic + 1])
            for method in METHODS:
                for code, value in self._codes(totals, place, method):
                    count.add_metric((route, method, code), value)
                _add_times(times, (route, method), totals[place.times[method] :], 0)
        yield from (count, times, received, sent)

    def _old_requests(self, totals: Sequence[float]) -> Iterator[Metric]:
        count = CounterMetricFamily(
            "registry_http_requests", "Total number of requests made.", labels=("code", "handler", "method")
        )
        times = HistogramMetricFamily(
            "registry_http_request_duration_seconds", "How long requests took.", labels=("handler", "method")
        )
        for route, handler in HANDLERS.items():
            place = self._routes.get(route)
            if place is None:
                continue
            for method in METHODS:
                for code, value in self._codes(totals, place, method):
                    count.add_metric((code, handler, method.lower()), value)
                _add_times(times, (handler, method.lower()), totals[place.times[method] :], _OLD_BOUNDS)
        yield from (count, times)

    def _codes(self, totals: Sequence[float], place: _Route, method: str) -> Iterator[tuple[str, float]]:
        at = place.counts[method]
        for number, code in enumerate((*map(str, STATUSES), OTHER)):
            if totals[at + number]:
                yield code, totals[at + number]

    def _work(self, totals: Sequence[float]) -> Iterator[Metric]:
        runs, failures, manifests, blobs, size = totals[self._collections : self._collections + len(_COLLECTIONS)]
        yield CounterMetricFamily("lading_collections", "Collections done.", runs)
        yield CounterMetricFamily("lading_collection_failures", "Collections that broke off.", failures)
        yield CounterMetricFamily("lading_collected_manifests", "Manifests that collections deleted.", manifests)
        yield CounterMetricFamily("lading_collected_blobs", "Blobs that collections deleted.", blobs)
        yield CounterMetricFamily("lading_collected_bytes", "Bytes that collections freed.", size)
        delivered = CounterMetricFamily(
            "lading_notifications_delivered", "Events an endpoint took.", labels=("endpoint",)
        )
        failed = CounterMetricFamily(
            "lading_notifications_failed", "Attempts an endpoint did not take.", labels=("endpoint",)
        )
        dropped = CounterMetricFamily(
            "lading_notifications_dropped", "Events given up: too many, or too old.", labels=("endpoint",)
        )
        for name, at in self._deliveries.items():
            for number, family in enumerate((delivered, failed, dropped)):
                family.add_metric((name,), totals[at + number])
        yield from (delivered, failed, dropped)

    def _work_of_jobs(self, totals: Sequence[float], jobs: Mapping[tuple[str, str], int] | None) -> Iterator[Metric]:
        if jobs is not None:
            now = GaugeMetricFamily("lading_jobs", "Jobs that wait and run.", labels=("kind", "state"))
            none = {(kind, state): 0 for kind in self._kinds for state in ("waiting", "running")}
            for (kind, state), count in {**none, **jobs}.items():
                now.add_metric((kind, state), count)
            yield now
        ended = CounterMetricFamily("lading_job_attempts", "Attempts at jobs that ended.", labels=("kind", "outcome"))
        times = HistogramMetricFamily("lading_job_duration_seconds", "How long attempts took.", labels=("kind",))
        for kind, at in self._jobs.items():
            for number, outcome in enumerate(OUTCOMES):
                ended.add_metric((kind, outcome), totals[at + number])
            _add_times(times, (kind,), totals[at + len(OUTCOMES) :], 0, JOB_BOUNDS)
        yield from (ended, times)


class _Page(Collector):
    def __init__(self, metrics: Metrics, gauges: Gauges) -> None:
        self._metrics = metrics
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        return self._metrics._families(self._gauges)


def _add_times(
    family: HistogramMetricFamily,
    labels: Sequence[str],
    cells: Sequence[float],
    first: int,
    bounds: Sequence[float] = BOUNDS,
) -> None:
    running = list(accumulate(cells[: len(bounds) + 1]))
    if running[-1]:
        shown = [*(f"{bound:g}" for bound in bounds[first:]), "+Inf"]
        family.add_metric(labels, list(zip(shown, running[first:], strict=True)), cells[len(bounds) + 1])


def _looked_up(gauges: Gauges) -> Iterator[Metric]:
    if gauges.stored is not None:
        yield GaugeMetricFamily("lading_blobs", "Blobs stored, manifests among them.", gauges.stored[0])
        yield GaugeMetricFamily("lading_blobs_bytes", "Bytes of the blobs stored.", gauges.stored[1])
    if gauges.uploads is not None:
        yield GaugeMetricFamily("lading_uploads_open", "Uploads begun and not finished.", gauges.uploads)
    if gauges.waiting is not None:
        waiting = GaugeMetricFamily(
            "lading_notifications_waiting", "Events an endpoint has not had yet.", labels=("endpoint",)
        )
        for name, count in gauges.waiting.items():
            waiting.add_metric((name,), count)
        yield waiting
    if gauges.healthy is not None:
        yield GaugeMetricFamily("lading_healthy", "1 while every health check passes.", int(gauges.healthy))


def _processes(workers: Sequence[tuple[int, int]]) -> Iterator[Metric]:
    families: tuple[CounterMetricFamily | GaugeMetricFamily, ...] = (
        CounterMetricFamily("lading_worker_cpu_seconds", "CPU time a worker used.", labels=("worker",)),
        GaugeMetricFamily("lading_worker_resident_memory_bytes", "Memory a worker has.", labels=("worker",)),
        GaugeMetricFamily("lading_worker_open_fds", "Files and sockets a worker has open.", labels=("worker",)),
        GaugeMetricFamily("lading_worker_start_time_seconds", "When a worker began, since 1970.", labels=("worker",)),
    )
    for place, process in workers:
        for family, value in zip(families, _usage(process), strict=True):
            family.add_metric((str(place),), value)
    yield from families


def _runs(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def _usage(process: int) -> tuple[float, float, float, float]:
    """CPU seconds, resident bytes, open descriptors and start time of a process; zeros once it is gone."""
    folder = Path(f"/proc/{process}")
    try:
        after_name = (folder / "stat").read_text().rpartition(")")[2].split()
        boot = next(
            float(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime ")
        )
        descriptors = len(os.listdir(folder / "fd"))  # noqa: PTH208 - only their number is wanted
    except (OSError, StopIteration):
        return 0.0, 0.0, 0.0, 0.0
    tick = os.sysconf("SC_CLK_TCK")
    cpu = (int(after_name[11]) + int(after_name[12])) / tick
    memory = int(after_name[21]) * os.sysconf("SC_PAGE_SIZE")
    return cpu, memory, descriptors, boot + int(after_name[19]) / tick
