"""What is taken from the audit log by its age and kind, and what is not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from lading.control.audit import Audit, Filter
from lading.control.auditpurge import AuditPurge, Doomed
from lading.errors import Invalid
from lading.jobs.events import By
from lading.jobs.kinds import Claim, Task
from lading.stores.metadata.engine import open_index
from lading.stores.metadata.transaction import Metadata, Transaction

pytestmark = pytest.mark.anyio

BY = By(actor="alice", address="10.0.0.1:4711")
ROWS = (("create", "artifact"), ("pull", "artifact"), ("delete", "artifact"), ("create", "project"), ("login", "user"))


@pytest.fixture
async def metadata(index_url: str) -> AsyncIterator[Metadata]:
    made = open_index(index_url)

    async def fill(tx: Transaction) -> None:
        for operation, kind in ROWS * 3:
            await Audit(tx).add(operation, kind, "it", by=BY)

    await made.write(fill)
    yield made
    await made.close()


async def left(metadata: Metadata) -> set[str]:
    rows = await metadata.read(lambda tx: Audit(tx).page(Filter(), 1000))
    return {f"{row.operation}_{row.resource_type}" for row in rows}


async def purge(metadata: Metadata, hours: int, events: str, **more: Any) -> int:
    parameters = {"audit_retention_hour": hours, "include_event_types": events, **more}
    task = Task(Claim(1, "purge-audit", {"parameters": parameters}, 1, "test"))
    return (await AuditPurge(metadata).work(task))["found"]


def _a_moment_later(metadata: Metadata) -> None:
    """What was written this very millisecond is not older than it."""
    moment = metadata.now()
    while metadata.now() == moment:
        pass


@pytest.mark.parametrize(
    ("events", "gone"),
    [
        ("create_artifact", {"create_artifact"}),
        ("push", {"create_artifact"}),
        ("create, pull", {"create_artifact", "create_project", "pull_artifact"}),
        ("other", {"create_project", "login_user"}),
        ("create_artifact,delete_artifact,pull_artifact,other", {f"{one}_{kind}" for one, kind in ROWS}),
    ],
)
async def test_what_is_named_goes(metadata: Metadata, events: str, gone: set[str]) -> None:
    everything = await left(metadata)
    _a_moment_later(metadata)
    assert await purge(metadata, 1, events) == 0, "it is not old enough"
    assert await purge(metadata, 0, events, dry_run=True) == 3 * len(gone)
    assert await left(metadata) == everything
    assert await purge(metadata, 0, events) == 3 * len(gone)
    assert await left(metadata) == everything - gone


async def test_more_than_one_batch(metadata: Metadata, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lading.control.auditpurge._BATCH", 2)
    _a_moment_later(metadata)
    assert await purge(metadata, 0, "create", dry_run=True) == 6
    assert await purge(metadata, 0, "create") == 6
    assert await left(metadata) == {"pull_artifact", "delete_artifact", "login_user"}


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"audit_retention_hour": 24},
        {"audit_retention_hour": 24, "include_event_types": " , "},
        {"audit_retention_hour": 24, "include_event_types": "create_artifact,nonsense"},
        {"audit_retention_hour": 24, "include_event_types": "create_'; --"},
        {"audit_retention_hour": 24, "include_event_types": ["create_artifact"]},
        {"audit_retention_hour": -1, "include_event_types": "create_artifact"},
        {"audit_retention_hour": True, "include_event_types": "create_artifact"},
        {"audit_retention_hour": 240_001, "include_event_types": "create_artifact"},
        {"audit_retention_hour": "24", "include_event_types": "create_artifact"},
        {"audit_retention_hour": 24, "include_event_types": "create_artifact", "dry_run": "yes"},
    ],
    ids=str,
)
def test_what_cannot_be_asked_for(parameters: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        Doomed.of(parameters)
