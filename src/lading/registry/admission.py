"""The questions asked before content comes in or goes: the registry asks, and whatever governs it answers.

A question is asked in the transaction of what it is about, so that an answer cannot be overtaken. Who answers, and in
which order, is the table ``RULES`` in ``app.py``; a rule that refuses raises an error. Nobody asked: all may be done.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from lading.jobs.events import By
from lading.oci.digest import Digest
from lading.oci.manifest import Manifest
from lading.stores.metadata.transaction import Transaction


@dataclass(frozen=True)
class UploadBegins:
    """Somebody is about to send a blob, or has sent a manifest; asked in a transaction that only reads."""

    name: str
    by: By


@dataclass(frozen=True)
class BlobArrives:
    """A blob becomes visible in a repository (``repository`` is its row), by upload or mount; ``size`` in bytes."""

    name: str
    repository: int
    digest: Digest
    size: int
    by: By


@dataclass(frozen=True)
class ManifestArrives:
    """A manifest was recorded (``row``), with the blobs it needs, and its tags are about to point to it."""

    name: str
    repository: int
    manifest: Manifest
    row: int
    tags: Sequence[str]
    by: By


@dataclass(frozen=True)
class TagGoes:
    """A tag is about to be deleted."""

    name: str
    repository: int
    tag: str
    by: By


@dataclass(frozen=True)
class ManifestGoes:
    """A manifest, and every tag on it, is about to be deleted."""

    name: str
    repository: int
    digest: Digest
    tags: Sequence[str]
    by: By


@dataclass(frozen=True)
class ManifestCollected:
    """A manifest (``row``) that nothing refers to, or that a mirror keeps no longer, is about to go; nobody refuses that."""

    repository: int
    row: int


Question = UploadBegins | BlobArrives | ManifestArrives | TagGoes | ManifestGoes | ManifestCollected
Rule = Callable[[Transaction, Question], Awaitable[None]]


class Admission:
    """Asks the rules for a kind of question, one after the other."""

    def __init__(self, rules: Mapping[type, Sequence[Rule]] | None = None) -> None:
        self._rules = rules or {}

    def asks(self, kind: type) -> bool:
        """Whether there is anybody to ask; if not, spare the transaction."""
        return bool(self._rules.get(kind))

    async def ask(self, tx: Transaction, question: Question) -> None:
        """Return if it may be done; whoever says no raises."""
        for rule in self._rules.get(type(question), ()):
            await rule(tx, question)
