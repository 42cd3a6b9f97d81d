"""What every part of an import has at hand: the Harbor, the index, the report, and whom and what the parts before found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from lading.access.directory.settings import DirectorySettings
from lading.access.oidc import OidcSettings
from lading.access.sealing import Seal
from lading.access.service import Lifetimes
from lading.access.sessions import SessionTimes
from lading.control.audit import Audit
from lading.control.fromharbor.report import Report, shown
from lading.control.logins import DATABASE
from lading.errors import Conflict, Denied, Invalid
from lading.jobs.events import By
from lading.stores.metadata.transaction import Metadata, Transaction


class Source(Protocol):
    """A Harbor that can be read (:class:`lading.remotes.harbor.Harbor`)."""

    async def get(self, path: str, **query: str | int) -> Any: ...
    def all(self, path: str, **query: str | int) -> Any: ...
    async def require(self, path: str) -> dict[str, Any]: ...


class Configured(Protocol):
    """What the configuration says (:class:`lading.control.accounts.Settings`)."""

    @property
    def ldap(self) -> DirectorySettings | None: ...
    @property
    def oidc(self) -> OidcSettings | None: ...
    @property
    def everyone_creates(self) -> bool: ...
    @property
    def self_registration(self) -> bool: ...
    @property
    def lifetimes(self) -> Lifetimes: ...
    @property
    def sessions(self) -> SessionTimes: ...


@dataclass
class Import:
    """One run. ``dry``: nothing is changed, and what would be is told.

    ``mode`` is how people log in there, ``prefix`` what its robots' names begin with; ``users`` and ``groups`` are the ids
    here by the names, and the ids, there (0: would be made).
    """

    metadata: Metadata
    source: Source
    by: By
    seal: Seal
    configured: Configured
    dry: bool
    report: Report = field(default_factory=Report)
    mode: str = DATABASE
    prefix: str = "robot$"
    users: dict[str, int] = field(default_factory=dict)
    groups: dict[int, int] = field(default_factory=dict)

    async def attempt(self, kind: str, name: str, bring: Callable[[Transaction], Awaitable[Any]]) -> Any:
        """Do it in a transaction of its own; what cannot be here is told, and counts are of what was done at last."""
        report = self.report
        before = (dict(report.made), dict(report.kept), list(report.left), list(report.told))

        async def work(tx: Transaction) -> Any:
            report.made, report.kept = dict(before[0]), dict(before[1])
            report.left, report.told = list(before[2]), list(before[3])
            return await bring(tx)

        try:
            return await (self.metadata.read(work) if self.dry else self.metadata.write(work))
        except (Invalid, Conflict) as error:
            report.made, report.kept, report.left, report.told = before
            report.leave(kind, shown(name), error.message)
            return None

    async def leave_all(self, kind: str, path: str, name: str, why: str, of: str = "") -> None:
        """Tell of each entry of a list that it does not come."""
        try:
            async for entry in self.source.all(path):
                self.report.leave(kind, f"{of}{shown(entry.get(name, '?'))}", why)
        except Denied as refused:
            self.report.leave(kind, of or "of any name", f"cannot be read: {refused.message}")

    async def note(self, tx: Transaction, operation: str, kind: str, name: str, project: str = "") -> None:
        """Have it in the audit log."""
        await Audit(tx).add(operation, kind, name, by=self.by, project=project, detail="from Harbor")
