"""Collection of what nothing refers to, as Harbor's garbage collection.

The collector also runs as the configuration says; what is set here comes on top. What it takes is the configuration's
too, so that the parameters of a schedule are kept and shown, and change nothing.
"""

from __future__ import annotations

from lading.api.distribution.base import require_writable
from lading.api.harbor.call import Call
from lading.api.harbor.chores import Chore, Parameters
from lading.control.chores import GC as SUBJECT
from lading.errors import Invalid


def _check(call: Call, parameters: Parameters) -> None:
    require_writable(call.services.manners)
    if parameters.get("dry_run") is True:
        raise Invalid("dry_run: what would go is told by `lading collect --dry-run` on the server")


GC = Chore("collect", "GARBAGE_COLLECTION", SUBJECT, "/system/gc", "gc_id", _check)
