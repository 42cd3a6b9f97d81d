"""The audit log finds what two things are said of at once, or that there is none, without a walk over one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.operations import Operations

LEAST = 5


def upgrade(op: Operations) -> None:
    """Make the indexes."""
    op.create_index("audit_by_actor_operation", "audit", ["actor", "operation", "id"])
    op.create_index("audit_by_project_operation", "audit", ["project", "operation", "id"])
    op.create_index("audit_by_project_actor", "audit", ["project", "actor", "id"])
