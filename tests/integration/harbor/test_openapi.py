"""The description of the API: complete, true of what is answered, and a page to try it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lading.api.harbor.routes import ROUTES
from tests.integration.harbor.conftest import ADMIN, API, PASSWORD
from tests.support.http import Client
from tests.support.images import image
from tests.support.lading import Lading

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


def test_every_operation_is_in_the_document(registry: Lading) -> None:
    with Client(registry.url) as nobody:
        document = nobody.get(f"{API}/openapi.json").json()
    named = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert named == {(route.method, route.path) for route in ROUTES}
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert referred <= set(document["components"]["schemas"])
    ids = [told["operationId"] for methods in document["paths"].values() for told in methods.values()]
    assert len(ids) == len(set(ids))


def test_the_page_to_try_it_loads_nothing_from_elsewhere(registry: Lading) -> None:
    with Client(registry.url) as nobody:
        page = nobody.get(f"{API}/try")
        parts = [nobody.get(f"{API}/{name}") for name in re.findall(r'(?:src|href)="([^"]+)"', page.text)]
    assert page.headers["content-type"].startswith("text/html")
    assert {part.status_code for part in parts} == {200}
    for part in (page, parts[0], parts[-1]):
        assert "default-src 'none'" in part.headers["content-security-policy"]
        assert "unsafe" not in part.headers["content-security-policy"]
        assert "://" not in part.text
    assert not re.search(r"<script>|<style>|\son\w+=", page.text)


@pytest.mark.timeout(240)
def test_what_is_answered_is_as_described(registry: Lading, tmp_path: Path) -> None:
    """schemathesis makes requests up from the document, good and bad ones, and compares the answers with it."""
    with Client(registry, auth=(ADMIN, PASSWORD)) as pusher:
        pusher.push("library/app", image("app"), "v1")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    command: list[str | Path] = [SCHEMATHESIS, "run", f"{registry.url}{API}/openapi.json"]
    command += ["--url", f"{registry.url}{API}", "--auth", f"{ADMIN}:{PASSWORD}", "--checks", checks, "--no-color"]
    command += ["--phases", "coverage,fuzzing", "--max-examples", "2", "--seed", "1", "--max-time", "45"]
    command += ["--suppress-health-check", "all"]  # they tell of the generator: its speed, what it threw away
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout.partition("= FAILURES =")[2][:8000] or done.stdout[-8000:] + done.stderr
    tested = re.search(r"Tested: (\d+)", done.stdout)
    assert tested is not None
    assert int(tested[1]) > len(ROUTES) / 3, done.stdout[-3000:]
    assert registry.alive
