"""Allowlists of vulnerabilities: the registry's, and those of projects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lading.control.allowlists import REUSE, Allowlist, Allowlists
from lading.control.fromharbor.importing import Import
from lading.control.fromharbor.report import number, part, parts, text
from lading.stores.metadata.transaction import Transaction

_KIND = "allowlists"


async def of_system(run: Import) -> None:
    """The registry's, where none was set here."""
    entry = await run.source.get("/system/CVEAllowlist")
    items, ends = _said(entry if isinstance(entry, dict) else {})
    if not items:
        return

    async def bring(tx: Transaction) -> None:
        if _stays(run, await Allowlists(tx).system(), items, "of the registry"):
            return
        await Allowlists(tx).set_system(items, ends)
        await run.note(tx, "update", "configuration", "cve_allowlist")

    await run.attempt("CVE allowlist", "of the registry", bring)


async def of_project(run: Import, tx: Transaction, project: int | None, name: str, entry: Mapping[str, Any]) -> None:
    """A project's own, where it has none here; raises ``Invalid``."""
    items, ends = _said(part(entry, "cve_allowlist"))
    if not items or part(entry, "metadata").get(REUSE, "true") == "true":  # then it is the registry's that is shown
        return
    there = Allowlist() if project is None else await Allowlists(tx).own(project)
    if not _stays(run, there, items, f"of {name}") and project is not None:
        await Allowlists(tx).set(project, items, ends)


def _said(entry: Mapping[str, Any]) -> tuple[list[str], int | None]:
    """What a list has, each once, and until when it holds."""
    items = dict.fromkeys(text(item, "cve_id") for item in parts(entry, "items"))
    return [item for item in items if item], number(entry, "expires_at") or None


def _stays(run: Import, there: Allowlist, items: list[str], of: str) -> bool:
    """Whether nothing is to be done."""
    set_here = bool(there.updated_at)
    run.report.count(_KIND, made=not set_here)
    if set_here and set(there.items) != set(items):
        run.report.tell(f"CVE allowlist {of}: has other vulnerabilities here than there")
    return set_here or run.dry
