"""Labels of a Harbor, of all projects and of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lading.control.fromharbor.importing import Import
from lading.control.fromharbor.report import shown, text
from lading.control.labels import Labels, check
from lading.errors import Invalid
from lading.stores.metadata.transaction import Transaction


async def of_all(run: Import) -> None:
    """Those that are no project's."""
    async for entry in run.source.all("/labels", scope="g"):
        await run.attempt("label", text(entry, "name"), lambda tx, one=entry: bring(run, tx, one, None))  # type: ignore[misc]


async def bring(run: Import, tx: Transaction, entry: Mapping[str, Any], project: int | None, of: str = "") -> bool:
    """Add a label that is not here; ``of`` says whose it is, to people."""
    name = text(entry, "name")
    try:
        if not await Labels(tx).has(name, project):
            description, color = text(entry, "description"), text(entry, "color")
            check(name, description, color)
            if not run.dry:
                await Labels(tx).add(name, project, description=description, color=color)
            run.report.count("labels", made=True)
        else:
            run.report.count("labels", made=False)
    except Invalid as error:
        run.report.leave("label", f"{of}{shown(name)}", error.message)
    return True
