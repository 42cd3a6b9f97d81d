"""Counting in several processes, and the page that adds them up."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lading.telemetry import metrics
from lading.telemetry.metrics import Gauges, Metrics

ROUTES = ["/v2/", "/v2/<name>/manifests/<reference>"]
MANIFEST = ROUTES[1]


@pytest.fixture
def prepared() -> Iterator[None]:
    metrics.prepare(enabled=True)
    yield
    metrics.clean_up()


def values(counting: Metrics, gauges: Gauges | None = None) -> dict[tuple[str, frozenset], float]:
    content_type, page = counting.page(gauges or Gauges())
    assert content_type.startswith("text/plain")
    samples = (one for family in text_string_to_metric_families(page.decode()) for one in family.samples)
    return {(one.name, frozenset(one.labels.items())): one.value for one in samples}


def value(found: dict, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def in_another_process(*requests: tuple[str, str, int, int, int, float]) -> None:
    child = os.fork()
    if child == 0:
        counting = metrics.attach(ROUTES, ["a"])
        assert counting is not None
        for request in requests:
            counting.began()
            counting.request(*request)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_nothing_is_counted_where_it_is_switched_off() -> None:
    metrics.prepare(enabled=False)
    assert metrics.attach(ROUTES) is None


@pytest.mark.usefixtures("prepared")
def test_processes_are_added_up_and_the_dead_count_on() -> None:
    in_another_process((MANIFEST, "GET", 200, 0, 500, 0.003), (MANIFEST, "GET", 404, 0, 10, 0.0001))
    in_another_process((MANIFEST, "GET", 200, 0, 500, 0.2))
    counting = metrics.attach(ROUTES, ["a"])
    assert counting is not None
    counting.began()
    counting.request(MANIFEST, "GET", 200, 7, 500, 100.0)
    found = values(counting)
    assert value(found, "lading_http_requests_total", route=MANIFEST, method="GET", code="200") == 3
    assert value(found, "lading_http_requests_total", route=MANIFEST, method="GET", code="404") == 1
    assert value(found, "lading_http_sent_bytes_total", route=MANIFEST) == 1510
    assert value(found, "lading_http_received_bytes_total", route=MANIFEST) == 7
    seconds = "lading_http_request_duration_seconds"
    assert value(found, f"{seconds}_bucket", route=MANIFEST, method="GET", le="0.0005") == 1
    assert value(found, f"{seconds}_bucket", route=MANIFEST, method="GET", le="0.005") == 2
    assert value(found, f"{seconds}_bucket", route=MANIFEST, method="GET", le="60") == 3
    assert value(found, f"{seconds}_count", route=MANIFEST, method="GET") == 4
    assert value(found, f"{seconds}_sum", route=MANIFEST, method="GET") == pytest.approx(100.2031)


@pytest.mark.usefixtures("prepared")
def test_registry2s_names_say_the_same() -> None:
    counting = metrics.attach(ROUTES)
    assert counting is not None
    counting.request(MANIFEST, "PUT", 201, 9, 0, 0.0001)
    counting.request(MANIFEST, "PUT", 201, 9, 0, 0.02)
    found = values(counting)
    assert value(found, "registry_http_requests_total", handler="manifest", method="put", code="201") == 2
    times = "registry_http_request_duration_seconds"
    assert value(found, f"{times}_bucket", handler="manifest", method="put", le="0.005") == 1
    assert value(found, f"{times}_bucket", handler="manifest", method="put", le="0.025") == 2
    assert value(found, f"{times}_count", handler="manifest", method="put") == 2


@pytest.mark.usefixtures("prepared")
def test_what_a_client_invents_makes_no_new_series() -> None:
    counting = metrics.attach(ROUTES)
    assert counting is not None
    counting.request("/nowhere", "BREW", 418, 0, 0, 0.1)
    assert value(values(counting), "lading_http_requests_total", route="other", method="other", code="other") == 1


@pytest.mark.usefixtures("prepared")
def test_requests_in_flight_are_those_of_the_living() -> None:
    child = os.fork()
    if child == 0:
        counting = metrics.attach(ROUTES)
        assert counting is not None
        counting.began()
        os._exit(0)
    os.waitpid(child, 0)
    counting = metrics.attach(ROUTES)
    assert counting is not None
    assert value(values(counting), "lading_http_requests_in_flight") == 0
    counting.began()
    assert value(values(counting), "lading_http_requests_in_flight") == 1
    counting.request(MANIFEST, "GET", 200, 0, 0, 0)
    assert value(values(counting), "lading_http_requests_in_flight") == 0


@pytest.mark.usefixtures("prepared")
def test_work_and_what_is_looked_up() -> None:
    counting = metrics.attach(ROUTES, ["a", "b"])
    assert counting is not None
    counting.collected(1, 2, 3)
    counting.collected(1, 0, 0)
    counting.collection_failed()
    counting.notified("b", delivered=5, failed=2, dropped=1)
    counting.notified("unknown", delivered=5)
    found = values(counting, Gauges((10, 1000), 4, {"a": 0, "b": 7}, healthy=False))
    assert value(found, "lading_collections_total") == 2
    assert value(found, "lading_collection_failures_total") == 1
    assert value(found, "lading_collected_manifests_total") == 2
    assert value(found, "lading_notifications_delivered_total", endpoint="b") == 5
    assert value(found, "lading_notifications_failed_total", endpoint="b") == 2
    assert value(found, "lading_notifications_dropped_total", endpoint="a") == 0
    assert value(found, "lading_notifications_waiting", endpoint="b") == 7
    assert value(found, "lading_blobs") == 10
    assert value(found, "lading_blobs_bytes") == 1000
    assert value(found, "lading_uploads_open") == 4
    assert value(found, "lading_healthy") == 0
    assert value(found, "lading_worker_resident_memory_bytes", worker="0") > 1_000_000
