"""The audit log finds what was done to one thing, and is sorted by things, without a walk over all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from alembic.operations import Operations

LEAST = 9


def upgrade(op: Operations) -> None:
    """Make the index."""
    op.create_index("audit_by_resource", "audit", [text("substr(resource, 1, 512)"), "id"])
