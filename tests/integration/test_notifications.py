"""A real server tells a real receiver, and loses nothing when either goes away."""

from __future__ import annotations

import json
import socket
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.http import Client
from tests.support.lading import Lading
from tests.support.receiver import Receiver

SECRET = "hunter2Geheim99"


def configured(receiver: Receiver, **settings: Any) -> dict[str, Any]:
    endpoint = {"name": "hook", "url": receiver.url, "timeout": "5s", "backoff": "200ms", "threshold": 2, **settings}
    return {"notifications": {"events": {"includereferences": True}, "endpoints": [endpoint]}}


def test_a_push_is_told_as_registry2_tells_it(tmp_path: Path) -> None:
    image = images.image("told")
    with Receiver() as receiver:
        headers = {"Authorization": [f"Bearer {SECRET}"]}
        with Lading(tmp_path, configured(receiver, headers=headers), workers=2) as registry, Client(registry) as client:
            digest = client.push("tools/a", image, "v1")
            blobs = len(image.blobs)
            events = receiver.wait(blobs + 1)
            client.manifest("tools/a", "v1")
            client.get(f"/v2/tools/a/blobs/{image.blobs[0].digest}")
            client.post(f"/v2/tools/b/blobs/uploads/?mount={image.blobs[0].digest}&from=tools/a")
            receiver.wait(blobs + 4)
            client.delete("/v2/tools/a/manifests/v1")
            client.delete(f"/v2/tools/a/manifests/{digest}")
            later = receiver.wait(blobs + 6)[blobs + 1 :]
        assert SECRET not in registry.output
    told = events[-1]
    assert json.dumps({**told, "id": "", "timestamp": "", "request": "", "source": ""}) == json.dumps(
        {
            "id": "",
            "timestamp": "",
            "action": "push",
            "target": {
                "mediaType": image.manifest.media_type,
                "size": image.manifest.size,
                "digest": digest,
                "length": image.manifest.size,
                "repository": "tools/a",
                "url": f"{registry.url}/v2/tools/a/manifests/{digest}",
                "tag": "v1",
                "references": [{"mediaType": b.media_type, "size": b.size, "digest": b.digest} for b in image.blobs],
            },
            "request": "",
            "actor": {},
            "source": "",
        }
    )
    assert str(uuid.UUID(told["id"])) == told["id"]
    assert told["request"]["host"] == registry.host
    assert told["request"]["method"] == "PUT"
    assert told["request"]["useragent"].startswith("python-httpx2/")
    assert told["request"]["addr"].startswith("127.0.0.1:")
    assert told["source"]["addr"] == f"{socket.gethostname()}:{registry.port}"
    for blob, event in zip(image.blobs, events, strict=False):
        assert event["action"] == "push"
        assert event["target"] == {
            "mediaType": "application/octet-stream",
            "size": blob.size,
            "digest": blob.digest,
            "length": blob.size,
            "repository": "tools/a",
            "url": f"{registry.url}/v2/tools/a/blobs/{blob.digest}",
        }
    actions = sorted((event["action"], event["target"]["repository"]) for event in later)
    assert actions == [("delete", "tools/a")] * 2 + [("mount", "tools/b")] + [("pull", "tools/a")] * 2
    path, sent, body = receiver.requests[0]
    assert path == "/hook"
    assert sent["content-type"] == "application/vnd.docker.distribution.events.v1+json"
    assert sent["authorization"] == f"Bearer {SECRET}"
    assert body.startswith(b'{\n   "events": [\n      {')


def test_an_endpoint_that_was_down_gets_everything_in_order(tmp_path: Path) -> None:
    receiver = Receiver()
    with Lading(tmp_path, configured(receiver), workers=2) as registry, Client(registry) as client:
        image = images.image("told")
        client.push("a", image, "t0")
        for number in range(1, 20):
            client.push_manifest("a", image.manifest, f"t{number}")
        with receiver:
            events = receiver.wait(len(image.blobs) + 20)
    tags = [event["target"]["tag"] for event in events if "tag" in event["target"]]
    assert tags == [f"t{number}" for number in range(20)]


@pytest.mark.faults
def test_nothing_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    receiver = Receiver()
    image = images.image("told")
    with Lading(tmp_path, configured(receiver), workers=2) as registry:
        with Client(registry) as client:
            client.push("a", image, "t0")
        for number in range(1, 4):
            with Client(registry) as client:
                client.push_manifest("a", image.manifest, f"t{number}")
            registry.kill9()
            registry.start()
        with receiver:
            receiver.wait(len(image.blobs) + 2)
            registry.kill9()
            registry.start()
            events = receiver.wait(len(image.blobs) + 4, seconds=60)
    tags = [event["target"]["tag"] for event in events if "tag" in event["target"]]
    assert tags == ["t0", "t1", "t2", "t3"]
