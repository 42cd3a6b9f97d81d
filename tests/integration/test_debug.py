"""The debug address of a real server with two workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support import images
from tests.support.http import Client
from tests.support.lading import Lading
from tests.support.patience import eventually
from tests.support.ports import free_port


def debug(port: int, path: str, **options: Any) -> httpx2.Response:
    return httpx2.request(
        options.pop("method", "GET"), f"http://127.0.0.1:{port}{path}", trust_env=False, timeout=10, **options
    )


def test_health(tmp_path: Path) -> None:
    port, down = free_port(), tmp_path / "down"
    configuration = {
        "http": {"debug": {"addr": f"127.0.0.1:{port}"}},
        "health": {"file": [{"file": str(down), "interval": "50ms"}], "storagedriver": {"enabled": True}},
    }
    with Lading(tmp_path / "l", configuration, workers=2) as registry, Client(registry) as client:
        well = debug(port, "/debug/health")
        assert (well.status_code, well.text) == (200, "{}")
        down.touch()
        eventually(lambda: {debug(port, "/debug/health").status_code for _ in range(10)} == {503})
        assert debug(port, "/debug/health").json() == {str(down): "file exists"}
        refused = client.get("/v2/")
        assert refused.status_code == 503
        assert refused.json() == {
            "errors": [
                {
                    "code": "UNAVAILABLE",
                    "message": "service unavailable",
                    "detail": "health check failed: please see /debug/health",
                }
            ]
        }
        down.unlink()
        eventually(lambda: {client.get("/v2/").status_code for _ in range(10)} == {200})
        assert debug(port, "/metrics").status_code == 404
        assert debug(port, "/").json()["errors"][0]["code"] == "NOT_FOUND"
        assert debug(port, "/debug/health", method="POST").status_code == 405
        head = debug(port, "/debug/health", method="HEAD")
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "2")


@pytest.mark.faults
def test_metrics_of_all_workers(tmp_path: Path) -> None:
    port = free_port()
    prometheus = {"enabled": True, "path": "/figures"}
    configuration = {"http": {"debug": {"addr": f"127.0.0.1:{port}", "prometheus": prometheus}}}
    image = images.image("told")

    def figures() -> dict[tuple, float]:
        page = debug(port, "/figures")
        assert page.headers["content-type"].startswith("text/plain")
        return {
            (one.name, *sorted(one.labels.values())): one.value
            for family in text_string_to_metric_families(page.text)
            for one in family.samples
        }

    with Lading(tmp_path, configuration, workers=2) as registry:
        for number in range(20):
            with Client(registry) as client:  # a connection each, so that both workers have some
                client.push("a", image, f"t{number}")
                assert client.manifest("a", "t0").status_code == 200
                client.post("/v2/a/blobs/uploads/")
        found = figures()
        manifest = "/v2/<name>/manifests/<reference>"
        requests = {key: value for key, value in found.items() if key[0] == "lading_http_requests_total"}
        assert requests["lading_http_requests_total", *sorted((manifest, "201", "PUT"))] == 20
        assert requests["lading_http_requests_total", *sorted((manifest, "200", "GET"))] == 20
        assert found["registry_http_requests_total", *sorted(("manifest", "201", "put"))] == 20
        assert found["lading_http_received_bytes_total", manifest] == 20 * image.manifest.size
        assert found["lading_http_sent_bytes_total", manifest] == 20 * image.manifest.size
        assert found[("lading_http_requests_in_flight",)] == 0
        assert found[("lading_blobs",)] == len(image.blobs) + 1
        assert found[("lading_blobs_bytes",)] == sum(blob.size for blob in image.blobs) + image.manifest.size
        assert found[("lading_uploads_open",)] == 20
        assert found["lading_worker_cpu_seconds_total", "0"] > 0
        assert found["lading_worker_cpu_seconds_total", "1"] > 0
        assert debug(port, "/figures", headers={"accept": "application/openmetrics-text; version=1.0.0"}).text.endswith(
            "# EOF\n"
        )
