"""The audit log finds what was done to one kind of things, however rare, without a walk over all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.operations import Operations

LEAST = 8


def upgrade(op: Operations) -> None:
    """Make the index."""
    op.create_index("audit_by_kind", "audit", ["resource_type", "id"])
