"""The simulation of a large day: nothing is lost in it, more load never needs less, and small cases come out by hand."""

from __future__ import annotations

import dataclasses
import json
import random
from collections import OrderedDict
from pathlib import Path

import pytest

from bench.caching import hits, popularity
from bench.simulation import COSTS, Costs, Plan, changed, main, simulate
from bench.workload import MINUTES, Minute, Workload, day, split

SMALL = Workload(
    repositories=1000,
    manifests=10_000,
    stored=3e10,
    pulls_a_repository=8640,
    pushes=86_400,
    kept=0.5,
    day_to_mean=1.0,
    on_the_hour=0.0,
    noise=0.0,
    second_manifest=1.0,
    cold=0.5,
    blobs_a_cold_pull=4.0,
    new_blobs_a_push=3.0,
    known_blobs_a_push=5.0,
)
"""A day without hours: 100 pulls and one push every second, layers of a megabyte on average."""

SIMPLE = Costs(
    request_cpu=1000.0,
    miss_cpu=100.0,
    query_cpu=200.0,
    write_cpu=5000.0,
    new_blob_cpu=10_000.0,
    stream_cpu_gb=0.5,
    receive_cpu_gb=2.0,
    bytes_a_row={"manifests": 300.0, "tags": 50.0},
    rows_a_manifest={"manifests": 1.0, "tags": 2.0},
)


def test_no_pull_and_no_push_is_lost() -> None:
    given = Workload(pushes=399_999)
    minutes = day(given)
    assert len(minutes) == MINUTES
    assert sum(minute.pulls for minute in minutes) == given.pulls == 390_000_000
    assert sum(minute.pushes for minute in minutes) == 399_999
    assert min(minute.pulls for minute in minutes) > 0


@pytest.mark.parametrize(
    ("whole", "weights", "parts"), [(10, [1, 1, 2], [3, 2, 5]), (0, [1, 2], [0, 0]), (7, [5], [7])]
)
def test_parts_add_up_to_the_whole(whole: int, weights: list[float], parts: list[int]) -> None:
    assert split(whole, weights) == parts


def test_a_seed_is_a_day() -> None:
    assert day(Workload(), 3) == day(Workload(), 3)
    assert day(Workload(), 3) != day(Workload(), 4)


def test_the_hour_keeps_its_sum_and_its_first_minute_gets_the_burst() -> None:
    flat = dataclasses.replace(SMALL, on_the_hour=0.25)
    minutes = [minute.pulls for minute in day(flat)]
    assert {sum(minutes[start : start + 60]) for start in range(0, MINUTES, 60)} == {360_000}
    assert minutes[0] == 360_000 * 0.25 + 360_000 * 0.75 / 60
    assert minutes[1] == 360_000 * 0.75 / 60


def test_the_busiest_hour_is_in_the_afternoon() -> None:
    calm = Workload(noise=0.0, on_the_hour=0.0)
    minutes = [minute.pulls for minute in day(calm)]
    assert minutes.index(max(minutes)) == 14 * 60
    assert max(minutes) == pytest.approx(calm.pulls / MINUTES * calm.day_to_mean, rel=1e-3)
    assert minutes.index(min(minutes)) == 2 * 60


def test_layers_are_as_small_as_they_are_said_to_be() -> None:
    given = Workload()
    assert given.layers_below(given.layer_median) == pytest.approx(0.5)
    assert given.layers_below(1e6) < given.layers_below(1e7) < 1
    assert given.layer_mean * given.manifests * given.new_blobs_a_push == pytest.approx(given.stored)


def test_a_cache_of_equals_holds_its_share() -> None:
    """Without skew any C of N entries are as good as others: C/N of the requests."""
    assert hits(popularity(1000, 0.0), 100).share == pytest.approx(0.1, rel=1e-6)
    assert hits(popularity(1000, 0.9), 1000).share == 1.0
    assert hits(popularity(1000, 0.9), 0).share == 0.0


def test_popularity_is_zipfs() -> None:
    groups = popularity(100_000_000, 0.9)
    assert sum(count for count, _ in groups) == 100_000_000
    assert sum(count * chance for count, chance in groups) == pytest.approx(1.0)
    assert groups[0][1] / groups[1][1] == pytest.approx(2**0.9)
    assert len(groups) < 500


@pytest.mark.parametrize("skew", [0.7, 1.1])
def test_a_cache_does_what_a_real_one_does(skew: float) -> None:
    number, entries, requests = 2000, 150, 60_000
    weights = [rank**-skew for rank in range(1, number + 1)]
    held: OrderedDict[int, None] = OrderedDict()
    found = 0
    for turn, asked in enumerate(random.Random(7).choices(range(number), weights, k=requests)):
        if asked in held:
            held.move_to_end(asked)
            found += turn >= requests // 2
        else:
            held[asked] = None
            if len(held) > entries:
                held.popitem(last=False)
    assert hits(popularity(number, skew), entries).share == pytest.approx(found / (requests // 2), abs=0.015)


def test_a_day_by_hand() -> None:
    """Each second: 200 manifest and 200 blob requests, 3 new blobs with three requests each, 5 known ones, a manifest."""
    plan = Plan(cores=2, busy=0.5, cached=0, redirect=False, connections_a_process=3, partition_bytes=1e6)
    found = simulate(SMALL, SIMPLE, plan)
    assert found.peak == Minute(pulls=6000, pushes=60)
    assert found.peak_requests == 200 + 200 + 9 + 5 + 1
    assert found.requests_a_day == 415 * 86_400
    assert found.queries == 2 * 200 + 200 + 5 + 3  # nothing is kept: each manifest is asked for twice
    requests, misses, new_blobs = 415 * 1000, 608 * 100, 3 * 10_000
    bytes_in, bytes_out = 3e6, 200e6
    assert found.replica_cores == pytest.approx(
        (requests + misses + new_blobs) / 1e6 + bytes_in * 2.0 / 1e9 + bytes_out * 0.5 / 1e9
    )
    assert found.replicas == 1 + 1  # 0.7 cores of the one that 2 cores at half load are, and one that may be away
    assert found.database_cores == pytest.approx((608 * 200 + 4 * 5000) / 1e6)
    assert found.connections == 2 * 2 * 3
    assert found.rows_written == 3
    assert found.bytes_out == pytest.approx(200e6)
    assert found.tables == {"manifests": 3e6, "tags": 1e6}
    assert found.partitions == {"manifests": 4, "tags": 1}
    assert found.growth_a_day == 86_400 * 0.5 * 400
    assert (found.store_gets, found.store_puts) == (200, 4)


@pytest.mark.parametrize(
    "change", [{"pulls_a_repository": 78.0}, {"pushes": 40_000_000}, {"cold": 0.9}, {"day_to_mean": 2.0}]
)
def test_more_never_needs_less(change: dict[str, float]) -> None:
    costs = Costs.read(COSTS)
    less, more = simulate(Workload(), costs, Plan()), simulate(dataclasses.replace(Workload(), **change), costs, Plan())  # type: ignore[arg-type]
    assert more.replica_cores > less.replica_cores
    assert more.replicas >= less.replicas
    assert more.database_cores > less.database_cores


def test_a_larger_cache_spares_the_database() -> None:
    costs = Costs.read(COSTS)
    found = [simulate(Workload(), costs, Plan(cached=entries)) for entries in (0, 10_000, 100_000, 1_000_000)]
    assert sorted((one.queries for one in found), reverse=True) == [one.queries for one in found]
    assert sorted(one.hits.share for one in found) == [one.hits.share for one in found]


def test_what_is_full_first_comes_first() -> None:
    found = simulate(Workload(), Costs.read(COSTS), Plan(redirect=False))
    times = [part.full_at for part in found.parts]
    assert times == sorted(times)
    assert {part.name for part in found.parts} >= {"database CPU", "network of the replicas"}


def test_every_cost_says_where_it_comes_from() -> None:
    found = json.loads(COSTS.read_text())
    assert set(found) == {each.name for each in dataclasses.fields(Costs)}
    assert all(len(entry["source"]) > 20 for entry in found.values())


def test_the_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["--set", "pulls_a_repository=10", "--set", "redirect=no", "--sources", "--json", str(tmp_path / "out")])
        == 0
    )
    assert "what is full first" in capsys.readouterr().out
    assert json.loads((tmp_path / "out").read_text())["replicas"] > 1
    assert changed(["cached=5", "skew=1.5"]) == (Workload(skew=1.5), Plan(cached=5))


@pytest.mark.parametrize("setting", ["nothing=1", "skew=steep", "cold=2", "pulls=3"])
def test_what_cannot_be_is_refused(setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["--set", setting])
    assert refused.value.code == 2
    assert setting.partition("=")[0] in capsys.readouterr().err
