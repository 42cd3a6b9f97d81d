"""Everything that happens in a registry and that somebody may want to hear of."""

from __future__ import annotations

import msgspec


class By(msgspec.Struct, frozen=True, kw_only=True):
    """Who asked for it, and with which request. ``address`` is ``ip:port``; empty where there was no request.

    ``subject`` is the account of the actor, where there are accounts.
    """

    actor: str = ""
    subject: str = ""
    request_id: str = ""
    address: str = ""
    host: str = ""
    method: str = ""
    user_agent: str = ""
    scheme: str = ""


class Target(msgspec.Struct, frozen=True):
    """Content that an event speaks of; ``size`` in bytes."""

    digest: str
    media_type: str
    size: int


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=True):
    """Something that was committed. ``repository`` is where."""

    repository: str
    by: By


class ManifestPushed(Event, frozen=True, kw_only=True, tag=True):
    target: Target
    tag: str = ""
    references: tuple[Target, ...] = ()


class ManifestPulled(Event, frozen=True, kw_only=True, tag=True):
    target: Target
    tag: str = ""
    references: tuple[Target, ...] = ()


class ManifestDeleted(Event, frozen=True, kw_only=True, tag=True):
    digest: str


class TagDeleted(Event, frozen=True, kw_only=True, tag=True):
    tag: str


class BlobPushed(Event, frozen=True, kw_only=True, tag=True):
    target: Target


class BlobPulled(Event, frozen=True, kw_only=True, tag=True):
    target: Target


class BlobMounted(Event, frozen=True, kw_only=True, tag=True):
    target: Target
    source: str


class BlobDeleted(Event, frozen=True, kw_only=True, tag=True):
    digest: str


class QuotaWarned(Event, frozen=True, kw_only=True, tag=True):
    """A project is near its quota; bytes."""

    project: str
    used: int
    limit: int


class QuotaExceeded(Event, frozen=True, kw_only=True, tag=True):
    """A push was refused because its project's quota would have been exceeded: by so many bytes on top of ``used``."""

    project: str
    used: int
    limit: int
    asked: int


ContentEvent = (
    ManifestPushed | ManifestPulled | ManifestDeleted | TagDeleted | BlobPushed | BlobPulled | BlobMounted | BlobDeleted
)
"""What registry:2's notifications know."""
AnyEvent = ContentEvent | QuotaWarned | QuotaExceeded

_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def encode(event: Event) -> str:
    """An event as the outbox keeps it."""
    return msgspec.json.encode(event, enc_hook=str).decode()


def decode(payload: str) -> AnyEvent:
    """An event as the outbox kept it."""
    return _decoder.decode(payload)
