"""The audit log shortened by the clock or by hand: what is older than some hours, of the kinds that are named.

Besides, whatever is older than ``accounts.audit.keep`` goes.
"""

from __future__ import annotations

from lading.api.harbor.call import Call
from lading.api.harbor.chores import Chore, Parameters
from lading.control.auditpurge import KIND, Doomed
from lading.control.chores import PURGE as SUBJECT


def _check(call: Call, parameters: Parameters) -> None:  # noqa: ARG001 - every chore is checked alike
    Doomed.of(parameters)


PURGE = Chore(KIND, "PURGE_AUDIT_LOG", SUBJECT, "/system/purgeaudit", "purge_id", _check)
