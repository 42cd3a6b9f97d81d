"""What a real server writes: one line a request, secrets in none."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.access import write_htpasswd
from tests.support.http import Client
from tests.support.lading import Lading
from tests.support.patience import eventually

SECRET = "hunter2Geheim99"
COMBINED = re.compile(
    r'^(\S+) - (\S+) \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "(.*)" (\d{3}) (\d+) "(.*)" "(.*)"$'
)


def settled(registry: Lading, wanted: str) -> str:
    eventually(lambda: wanted in registry.output, f"{wanted} in the log")
    return registry.output


def test_the_access_log_is_registry2s(tmp_path: Path) -> None:
    users = write_htpasswd(tmp_path / "users", {"alice": SECRET})
    configuration = {"auth": {"htpasswd": {"realm": "test", "path": str(users)}}}
    with Lading(tmp_path / "l", configuration, workers=2) as registry:
        with Client(registry, auth=("alice", SECRET)) as client:
            image = images.image("told")
            client.push("a", image, "t")
            referer = f'http://x/"\\?token={SECRET}'.encode()
            evil = {b"referer": referer, b"user-agent": 'a" 200 0 "b\xe9'.encode("latin-1")}
            client.get("/v2/a/manifests/t%0a%22x", headers=evil)
            client.get(f"/v2/a/tags/list?password={SECRET}")
            client.get("/v2/the-end/tags/list")
        output = settled(registry, "/v2/the-end/")
    lines = [found.groups() for line in output.splitlines() if (found := COMBINED.match(line))]
    mine = [line for line in lines if line[1] == "alice"]
    assert {line[0] for line in mine} == {"127.0.0.1"}
    asked = [line[2] for line in mine]
    assert "PUT /v2/a/manifests/t HTTP/1.1" in asked
    assert [line[3] for line in mine if line[2].startswith("PUT /v2/a/manifests/")] == ["201"]
    uploads = [line for line in asked if line.startswith("PUT /v2/a/blobs/uploads/")]
    assert len(uploads) == len(image.blobs)
    assert all("_state=***" in line and "digest=sha256" in line for line in uploads)
    odd = next(line for line in mine if "%0a%22x" in line[2])
    assert odd[5] == 'http://x/\\"\\\\?token=***'
    assert odd[6] == 'a\\" 200 0 \\"b\\xe9'
    assert SECRET not in output
    assert "_state=ey" not in output
    assert len(re.findall(r"GET /v2/the-end/", output)) == 1, "one line a request"


@pytest.mark.parametrize(("formatter", "message"), [("json", "msg"), ("logstash", "message")])
def test_lines_for_machines_take_the_place_of_the_access_log(tmp_path: Path, formatter: str, message: str) -> None:
    log = {"formatter": formatter, "accesslog": {"disabled": True}, "fields": {"site": "a"}}
    with Lading(tmp_path, {"log": log}) as registry:
        with Client(registry) as client:
            answer = client.get(f"/v2/the-end/tags/list?_state={SECRET}", headers={"authorization": f"Basic {SECRET}"})
        output = settled(registry, "the-end")
    lines: list[dict[str, Any]] = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    told = next(line for line in lines if "the-end" in line.get("http.request.uri", ""))
    assert told[message] == "response completed"
    assert told["http.request.id"] == answer.headers["x-request-id"]
    assert told["http.request.uri"] == "/v2/the-end/tags/list?_state=***"
    assert told["http.request.method"] == "GET"
    assert told["http.response.status"] == 404
    assert told["http.response.written"] == len(answer.content)
    assert told["site"] == "a"
    assert SECRET not in output
    assert not any(COMBINED.match(line) for line in output.splitlines())


def test_off_is_off(tmp_path: Path) -> None:
    with Lading(tmp_path, {"log": {"accesslog": {"disabled": True}}}) as registry, Client(registry) as client:
        client.get("/v2/the-end/tags/list")
        time.sleep(0.3)
        assert "the-end" not in registry.output
