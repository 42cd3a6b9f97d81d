"""Events as registry:2 posts them; the expected documents are what Debian's docker-registry 2.8.2 sent."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from lading.control.envelope import Sender, action, media_type, timestamp
from lading.jobs.events import (
    BlobDeleted,
    BlobMounted,
    BlobPulled,
    By,
    ContentEvent,
    ManifestDeleted,
    ManifestPushed,
    TagDeleted,
    Target,
)

DIGEST = "sha256:" + "a" * 64
CONFIG = "sha256:" + "b" * 64
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
BY = By(
    actor="alice",
    request_id="r-1",
    address="127.0.0.1:42872",
    host="127.0.0.1:5000",
    method="PUT",
    user_agent="docker/24",
    scheme="http",
)
SENDER = Sender("vm:5000", "instance", UUID(int=7), references=True)
PUSHED = ManifestPushed(
    repository="lib/a",
    by=BY,
    target=Target(DIGEST, MANIFEST, 415),
    tag="v1",
    references=(Target(CONFIG, "application/vnd.oci.image.config.v1+json", 2),),
)


def sent(event: ContentEvent, sender: Sender = SENDER, number: int = 1) -> dict[str, Any]:
    (only,) = json.loads(sender.envelope(number, 1_795_494_177_134, event))["events"]
    return only


def test_a_push_is_told_key_for_key_in_registry2s_order() -> None:
    expected = {
        "id": sent(PUSHED)["id"],
        "timestamp": "2026-11-24T04:22:57.134Z",
        "action": "push",
        "target": {
            "mediaType": MANIFEST,
            "size": 415,
            "digest": DIGEST,
            "length": 415,
            "repository": "lib/a",
            "url": f"http://127.0.0.1:5000/v2/lib/a/manifests/{DIGEST}",
            "tag": "v1",
            "references": [
                {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": CONFIG},
            ],
        },
        "request": {
            "id": "r-1",
            "addr": "127.0.0.1:42872",
            "host": "127.0.0.1:5000",
            "method": "PUT",
            "useragent": "docker/24",
        },
        "actor": {"name": "alice"},
        "source": {"addr": "vm:5000", "instanceID": "instance"},
    }
    assert json.dumps(sent(PUSHED)) == json.dumps(expected)


@pytest.mark.parametrize(
    ("event", "word", "target"),
    [
        (TagDeleted(repository="lib/a", by=BY, tag="v1"), "delete", {"repository": "lib/a", "tag": "v1"}),
        (ManifestDeleted(repository="a", by=BY, digest=DIGEST), "delete", {"digest": DIGEST, "repository": "a"}),
        (BlobDeleted(repository="a", by=BY, digest=DIGEST), "delete", {"digest": DIGEST, "repository": "a"}),
        (
            BlobMounted(repository="b", by=BY, target=Target(DIGEST, "application/octet-stream", 50), source="lib/a"),
            "mount",
            {
                "mediaType": "application/octet-stream",
                "size": 50,
                "digest": DIGEST,
                "length": 50,
                "repository": "b",
                "fromRepository": "lib/a",
                "url": f"http://127.0.0.1:5000/v2/b/blobs/{DIGEST}",
            },
        ),
        (
            BlobPulled(repository="b", by=BY, target=Target(DIGEST, "application/octet-stream", 0)),
            "pull",
            {
                "mediaType": "application/octet-stream",
                "digest": DIGEST,
                "repository": "b",
                "url": f"http://127.0.0.1:5000/v2/b/blobs/{DIGEST}",
            },
        ),
    ],
)
def test_every_other_kind(event: ContentEvent, word: str, target: dict[str, Any]) -> None:
    assert json.dumps(sent(event)["target"]) == json.dumps(target)
    assert sent(event)["action"] == action(event) == word
    assert media_type(event) == target.get("mediaType", "")


def test_where_urls_lead() -> None:
    def url(**settings: Any) -> str:
        return str(sent(PUSHED, Sender("", "", UUID(int=7), **settings))["target"].get("url", ""))

    assert url(external="https://r.example", prefix="/reg") == f"https://r.example/reg/v2/lib/a/manifests/{DIGEST}"
    assert url(relative=True) == f"/v2/lib/a/manifests/{DIGEST}"
    assert url(prefix="/reg") == f"http://127.0.0.1:5000/reg/v2/lib/a/manifests/{DIGEST}"
    assert "references" not in sent(PUSHED, Sender("", "", UUID(int=7)))["target"]


def test_an_event_without_a_request() -> None:
    event = sent(ManifestDeleted(repository="a", by=By(), digest=DIGEST))
    assert event["request"] == {"id": "", "method": "", "useragent": ""}
    assert event["actor"] == {}


def test_an_event_keeps_its_id_and_no_two_share_one() -> None:
    assert sent(PUSHED, number=5)["id"] == sent(PUSHED, number=5)["id"]
    assert sent(PUSHED, number=5)["id"] != sent(PUSHED, number=6)["id"]
    assert sent(PUSHED)["id"] != sent(PUSHED, Sender("", "", UUID(int=8)))["id"]


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "1970-01-01T00:00:00Z"), (1500, "1970-01-01T00:00:01.5Z"), (1_000_007, "1970-01-01T00:16:40.007Z")],
)
def test_times(milliseconds: int, text: str) -> None:
    assert timestamp(milliseconds) == text
