"""An event as registry:2 posts it, key for key (distribution, notifications; media type version 1)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from lading.jobs.events import (
    BlobDeleted,
    BlobMounted,
    BlobPulled,
    BlobPushed,
    By,
    ContentEvent,
    ManifestDeleted,
    ManifestPulled,
    ManifestPushed,
    TagDeleted,
    Target,
)

MEDIA_TYPE = "application/vnd.docker.distribution.events.v1+json"
"""What registry:2 sends, though its structure is also that of version 2, which registry 3 calls it by."""

_ACTIONS: dict[type, str] = {
    ManifestPushed: "push",
    BlobPushed: "push",
    ManifestPulled: "pull",
    BlobPulled: "pull",
    BlobMounted: "mount",
    ManifestDeleted: "delete",
    BlobDeleted: "delete",
    TagDeleted: "delete",
}


@dataclass(frozen=True)
class Sender:
    """Who sends events: ``address`` is ``host:port``, ``instance`` changes with each start.

    ``external`` is ``scheme://host`` where requests do not tell it, ``prefix`` what stands before ``/v2/``;
    ``relative``: URLs have no host. ``namespace`` makes the ids of events, the same each time one is sent.
    """

    address: str
    instance: str
    namespace: UUID
    external: str = ""
    prefix: str = ""
    relative: bool = False
    references: bool = False

    def envelope(self, number: int, happened_at: int, event: ContentEvent) -> bytes:
        """The body of a request; ``number`` is the event's place in the outbox, ``happened_at`` in milliseconds."""
        by = event.by
        content = {
            "id": str(uuid5(self.namespace, str(number))),
            "timestamp": timestamp(happened_at),
            "action": action(event),
            "target": self._target(event),
            "request": {
                "id": by.request_id,
                **_given(addr=by.address, host=by.host),
                "method": by.method,
                "useragent": by.user_agent,
            },
            "actor": _given(name=by.actor),
            "source": _given(addr=self.address, instanceID=self.instance),
        }
        return json.dumps({"events": [content]}, indent=3, ensure_ascii=False).encode("utf-8", "replace")

    def _target(self, event: ContentEvent) -> dict[str, Any]:
        repository = event.repository
        if isinstance(event, TagDeleted):
            return {"repository": repository, "tag": event.tag}
        if isinstance(event, ManifestDeleted | BlobDeleted):
            return {"digest": event.digest, "repository": repository}
        target, whole = event.target, isinstance(event, ManifestPushed | ManifestPulled)
        named = event.references if self.references and isinstance(event, ManifestPushed | ManifestPulled) else ()
        return {
            **_descriptor(target),
            **_given(length=target.size),
            "repository": repository,
            **_given(
                fromRepository=event.source if isinstance(event, BlobMounted) else "",
                url=self._url(event.by, repository, "manifests" if whole else "blobs", target.digest),
                tag=event.tag if isinstance(event, ManifestPushed | ManifestPulled) else "",
                references=[_descriptor(each) for each in named],
            ),
        }

    def _url(self, by: By, repository: str, kind: str, digest: str) -> str:
        path = f"{self.prefix}/v2/{repository}/{kind}/{digest}"
        if self.external:
            return self.external + path
        if self.relative:
            return path
        return f"{by.scheme or 'http'}://{by.host}{path}" if by.host else ""


def action(event: ContentEvent) -> str:
    """push, pull, mount or delete."""
    return _ACTIONS[type(event)]


def media_type(event: ContentEvent) -> str:
    """The media type of what an event speaks of; empty for deletions, which do not tell it."""
    return "" if isinstance(event, ManifestDeleted | BlobDeleted | TagDeleted) else event.target.media_type


def timestamp(milliseconds: int) -> str:
    """RFC 3339 with as many digits as are needed, as Go writes a time."""
    seconds, rest = divmod(milliseconds, 1000)
    fraction = f".{rest:03d}".rstrip("0") if rest else ""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"


def _descriptor(target: Target) -> dict[str, Any]:
    return _given(mediaType=target.media_type, size=target.size, digest=target.digest)


def _given(**values: Any) -> dict[str, Any]:
    # Go's omitempty
    return {name: value for name, value in values.items() if value}
