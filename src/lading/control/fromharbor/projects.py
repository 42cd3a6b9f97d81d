"""Projects of a Harbor, with their settings; what is here already stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lading.control.fromharbor import allowlists, labels, members
from lading.control.fromharbor.importing import Import
from lading.control.fromharbor.report import number, part, text
from lading.control.projects import Project, Projects
from lading.control.projects import check_name as check_project
from lading.control.proxies import SPEED, STAYS
from lading.control.quotas import Quotas
from lading.control.replication.endpoints import Endpoint
from lading.stores.metadata.transaction import Transaction

KEPT = frozenset({"auto_sbom_generation", "auto_scan", "reuse_sys_cve_allowlist", "severity"})
PROXIED = frozenset({SPEED, STAYS})
UNENFORCED = frozenset({"prevent_vul", "enable_content_trust", "enable_content_trust_cosign"})
"""Settings of projects that come along; the second are those of proxies, the third kind keep images from being pulled there, and do not here."""
_PASSED_OVER = frozenset({"public", "retention_id"})
_NOT_HERE = (
    ("immutable-tag rule", "/immutabletagrules", "id", "tags can be overwritten here by whoever may push"),
    ("webhook policy", "/webhook/policies", "name", "notifications are set in the configuration file"),
)


async def quotas(run: Import) -> dict[int, int]:
    """Bytes that projects may have, by their ids there; -1 for no limit."""
    found = {}
    async for entry in run.source.all("/quotas", reference="project"):
        limit = part(entry, "hard").get("storage", -1)
        found[number(part(entry, "ref"), "id")] = limit if isinstance(limit, int) and limit > 0 else -1
    return found


async def bring(
    run: Import, entry: Mapping[str, Any], limits: Mapping[int, int], endpoints: Mapping[int, Endpoint]
) -> None:
    """A project in one transaction, and by name what of it does not come; ``endpoints`` by their ids there."""
    name, project_id, proxied = text(entry, "name"), number(entry, "project_id"), number(entry, "registry_id")
    if proxied and proxied not in endpoints:
        run.report.leave("project", name, "it is a proxy for another registry, whose endpoint did not come")
        return
    people = [one async for one in run.source.all(f"/projects/{project_id}/members")]
    of_it = [one async for one in run.source.all("/labels", scope="p", project_id=project_id)]
    metadata = {str(key): str(value) for key, value in part(entry, "metadata").items()}
    public, limit = metadata.get("public") == "true", limits.get(project_id, -1)

    async def work(tx: Transaction) -> bool:
        projects = Projects(tx)
        there = await projects.named(name)
        if there is None and run.dry:
            check_project(name)
            await members.bring(run, tx, None, name, people)
            await allowlists.of_project(run, tx, None, name, entry)
            for _ in of_it:
                run.report.count("labels", made=True)
            run.report.count("projects", made=True)
            return True
        if there is not None and (there.registry is not None) != bool(proxied):
            run.report.tell(f"project {name}: is {'a' if proxied else 'no'} proxy there, and is otherwise here")
        if there is not None and there.public != public:
            what = "public" if there.public else "private"
            run.report.tell(f"project {name}: is {what} here, and the other there")
        run.report.count("projects", made=there is None)
        project = there
        if project is None:
            owner = run.users.get(text(entry, "owner_name")) or None
            registry = endpoints[proxied].id if proxied else None
            project = await projects.add(name, owner, public=public, registry=registry, most_bytes=limit)
            await run.note(tx, "create", "project", name, name)
        elif limit >= 0 and not run.dry:
            quota = await Quotas(tx).of(project.id)
            if quota is not None and quota.most_bytes < 0:
                await Quotas(tx).limit(project.id, most_bytes=limit, most_repositories=quota.most_repositories)
        await _metadata_of(run, tx, project, metadata)
        await members.bring(run, tx, project, name, people)
        await allowlists.of_project(run, tx, project.id, name, entry)
        for one in of_it:
            await labels.bring(run, tx, one, project.id, f"{name}: ")
        return True

    if not await run.attempt("project", name, work):
        return
    if metadata.get("retention_id"):
        run.report.leave("tag retention", f"of {name}", "retention comes with a later version: nothing is deleted here")
    for kind, path, key, why in _NOT_HERE:
        await run.leave_all(kind, f"/projects/{project_id}{path}", key, why, f"{name}: ")


async def _metadata_of(run: Import, tx: Transaction, project: Project, values: Mapping[str, str]) -> None:
    there = await Projects(tx).metadata(project.id)
    for key, value in sorted(values.items()):
        if key in _PASSED_OVER:
            continue
        if key not in KEPT | UNENFORCED | (PROXIED if project.registry is not None else frozenset()):
            run.report.leave("setting", f"{key} of {project.name}", "there is none of that name here")
            continue
        if key in UNENFORCED and value == "true":
            run.report.tell(f"project {project.name}: {key} is kept as a setting, but nothing is refused for it")
        if key not in there and not run.dry:
            await Projects(tx).set_metadata(project.id, key, value)
