"""Every table, by subject. All times are integers: milliseconds since 1970-01-01 UTC."""

from __future__ import annotations

from lading.stores.metadata.schema import access, content, control, logins, replication, work
from lading.stores.metadata.schema.base import OLDEST, VERSION, tables

SUBJECTS = (content, access, logins, control, replication, work)
"""The modules that add tables; a new subject is added here."""

__all__ = ["OLDEST", "SUBJECTS", "VERSION", "tables"]
