"""What a collection goes by, and what it tells of what it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_HOUR = 3_600_000


@dataclass(frozen=True)
class Terms:
    """When something may go, in milliseconds.

    ``grace``: how long content is kept that nothing refers to; ``untagged``: the same for manifests (None: for ever);
    ``wait``: how long a condemned blob is left before it is swept.
    """

    grace: int
    untagged: int | None
    wait: int

    @classmethod
    def of(cls, grace: int, untagged: int | None) -> Terms:
        """The usual terms: a wait of a quarter of the grace, an hour at most."""
        return cls(grace, untagged, min(grace // 4, _HOUR))


@dataclass(frozen=True)
class Gone:
    """Something that went, or would go: ``kind`` is manifest or blob, ``size`` in bytes, ``reason`` for a reader."""

    kind: str
    repository: str
    digest: str
    size: int
    reason: str


@dataclass
class Report:
    """What a run did, or would do; ``held`` when it swept nothing because a backup holds the bytes."""

    gone: list[Gone] = field(default_factory=list)
    manifests: int = 0
    condemned: int = 0
    blobs: int = 0
    bytes: int = 0
    repositories: int = 0
    failed: list[str] = field(default_factory=list)
    held: bool = False

    @property
    def steps(self) -> int:
        """How many things were done to manifests and blobs."""
        return self.manifests + self.condemned + self.blobs

    def add(self, part: Report) -> None:
        """Count what a part of a run did."""
        self.gone += part.gone
        self.failed += part.failed
        self.blobs += part.blobs
        self.bytes += part.bytes
        self.held |= part.held

    def counts(self) -> Mapping[str, int]:
        """The numbers by their names."""
        names = ("manifests", "condemned", "blobs", "bytes", "repositories")
        return {name: getattr(self, name) for name in names} | {"failed": len(self.failed)}

    def __str__(self) -> str:
        deleted = f"{self.manifests} manifests deleted, {self.condemned} blobs condemned, {self.blobs} blobs deleted"
        return f"{deleted}, {self.bytes} bytes freed"
