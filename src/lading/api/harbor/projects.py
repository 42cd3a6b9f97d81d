"""Projects: what repositories belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lading.access.members import Members
from lading.access.permissions import ROLES
from lading.access.principal import Kind
from lading.access.rights import Rights
from lading.access.users import Users
from lading.api.harbor import allowlist, metadata
from lading.api.harbor.call import Call, Id, Model, Number, Text, moment
from lading.api.harbor.permission import refusal
from lading.api.harbor.problems import Precondition
from lading.api.request import Response
from lading.control.allowlists import Allowlist, Allowlists
from lading.control.projects import Project, Projects
from lading.control.quotas import UNLIMITED, Quotas
from lading.control.replication.endpoints import Endpoints
from lading.control.settings import read as settings
from lading.errors import Denied, Invalid, Missing
from lading.registry.sight import EVERYTHING, Sight
from lading.stores.metadata.paging import Match
from lading.stores.metadata.transaction import Transaction

_RANK = tuple(ROLES)
"""Ids of the roles, from the most to the least."""


class ProjectAnswer(Model):
    """A project; what the caller is in it is ``current_user_role_id``, 0 for nothing."""

    project_id: int
    name: str
    owner_id: int
    owner_name: str
    creation_time: str
    update_time: str
    deleted: bool
    togglable: bool
    current_user_role_id: int
    current_user_role_ids: list[int]
    repo_count: int
    metadata: metadata.Metadata
    cve_allowlist: allowlist.AllowlistAnswer
    registry_id: int | None = None


class ProjectNew(Model):
    """A project to be, or what is changed of one. ``storage_limit`` in bytes, -1 for none; ``registry_id`` is what it is a proxy for."""

    project_name: Text = ""
    public: bool | None = None
    metadata: metadata.Metadata | None = None
    cve_allowlist: allowlist.AllowlistGiven | None = None
    storage_limit: Number | None = None
    registry_id: Id | None = None


class Deletable(Model):
    """Whether a project can be deleted, and what stands in the way."""

    deletable: bool
    message: str | None = None


class Bytes(Model):
    """A quota's figures."""

    storage: int


class Quota(Model):
    """What a project may use and what it uses."""

    hard: Bytes
    used: Bytes


class Summary(Model):
    """A project in figures; what the caller may not see is left out."""

    repo_count: int
    project_admin_count: int | None = None
    maintainer_count: int | None = None
    developer_count: int | None = None
    guest_count: int | None = None
    limited_guest_count: int | None = None
    quota: Quota | None = None


async def index(call: Call) -> Response:
    """The projects that the caller sees; ``name`` looks for a part of it, ``owner`` and ``public`` are exact."""
    page = call.page()
    wanted = [Match("name", "like", (call.argument("name"),))] if call.argument("name") else []
    if call.argument("owner"):
        wanted.append(Match("owner", "is", (call.argument("owner"),)))
    if call.argument("public"):
        wanted.append(Match("public", "is", (str(call.flag("public", usual=True)).lower(),)))
    page = replace(page, where=(*page.where, *wanted))

    async def read(tx: Transaction) -> tuple[int, list[ProjectAnswer]]:
        rights = await call.rights(tx)
        total, found = await Projects(tx).listed(page, await _sight(call, tx, rights))
        return total, await answers(tx, rights, found)

    total, found = await call.services.metadata.read(read)
    return call.listed(page, total, found)


async def exists(call: Call) -> Response:
    """Whether there is a project of that name that the caller sees."""

    async def read(tx: Transaction) -> bool:
        rights = await call.rights(tx)
        found = await Projects(tx).named(call.argument("project_name"))
        return found is not None and await rights.sees(found)

    if not await call.services.metadata.read(read):
        raise Missing("there is no project of that name")
    return call.done()


async def create(call: Call) -> Response:
    """Make a project, whose first member is its maker, as its admin."""
    given = await call.body(ProjectNew)
    values = given.metadata.given() if given.metadata else {}
    if given.public is not None:
        values.setdefault(metadata.PUBLIC, str(given.public).lower())
    usually = str(call.accounts.settings.public).lower()
    public = metadata.checked(metadata.PUBLIC, values.pop(metadata.PUBLIC, usually)) == "true"

    async def add(tx: Transaction) -> Project:
        rights = await call.rights(tx)
        administers = await rights.allowed("project", "create")
        usual = await settings(tx)
        if call.who.kind is not Kind.USER and not administers:
            raise refusal(call)
        if not await call.accounts.may_create_projects(tx, rights):
            raise Denied("only administrators make projects here")
        if given.registry_id:
            if not administers:
                raise Denied("only administrators make projects that are proxies for another registry")
            if await Endpoints(tx).find(given.registry_id) is None:
                raise Invalid(f"registry_id: there is no registry {given.registry_id}; POST /registries makes one")
        limit = given.storage_limit if administers and given.storage_limit else usual.project_bytes
        if limit < UNLIMITED:
            raise Invalid("storage_limit is a number of bytes, or -1 for none")
        owner = call.who.id if call.who.kind is Kind.USER else None
        made = await Projects(tx).add(
            given.project_name, owner, public=public, registry=given.registry_id or None, most_bytes=limit
        )
        await metadata.keep(tx, made, values)
        if given.cve_allowlist is not None and given.cve_allowlist.items:
            await Allowlists(tx).set(made.id, given.cve_allowlist.ids, given.cve_allowlist.expires_at)
        await call.note(tx, "create", "project", made.name, project=made.name)
        return made

    made = await call.services.metadata.write(add)
    named = call.request.text(b"x-resource-name-in-location").lower() == "true"
    return call.made(f"/projects/{made.name if named else made.id}")


async def get(call: Call) -> Response:
    """One project."""

    async def read(tx: Transaction) -> ProjectAnswer:
        project, projects = call.here, Projects(tx)
        owner = await Users(tx).find(project.owner) if project.owner else None
        count = await projects.repositories(project.id)
        told = (project, owner.name if owner else "", count)
        return (await answers(tx, await call.rights(tx), [told]))[0]

    return call.json(await call.services.metadata.read(read))


async def update(call: Call) -> Response:
    """Set what can be changed: whether it is public, the other metadata, and its allowlist where one is given."""
    given = await call.body(ProjectNew)
    values = given.metadata.given() if given.metadata else {}
    if given.public is not None:
        values.setdefault(metadata.PUBLIC, str(given.public).lower())

    async def change(tx: Transaction) -> None:
        await metadata.keep(tx, call.here, values)
        if given.cve_allowlist is not None:
            await Allowlists(tx).set(call.here.id, given.cve_allowlist.ids, given.cve_allowlist.expires_at)
        told = ", ".join(f"{name}={value}" for name, value in values.items())
        await call.note(tx, "update", "project", call.here.name, project=call.here.name, detail=told)

    await call.services.metadata.write(change)
    return call.done()


async def delete(call: Call) -> Response:
    """Delete a project that has nothing in it."""

    async def remove(tx: Transaction) -> None:
        await _empty(tx, call.here)
        await Projects(tx).delete(call.here)
        await call.note(tx, "delete", "project", call.here.name, project=call.here.name)

    await call.services.metadata.write(remove)
    return call.done()


async def deletable(call: Call) -> Response:
    """Whether it can be deleted."""
    try:
        await call.services.metadata.read(lambda tx: _empty(tx, call.here))
    except Precondition as reason:
        return call.json(Deletable(deletable=False, message=reason.message))
    return call.json(Deletable(deletable=True))


async def summary(call: Call) -> Response:
    """A project in figures."""

    async def read(tx: Transaction) -> Summary:
        project, rights = call.here, await call.rights(tx)
        told = Summary(repo_count=await Projects(tx).repositories(project.id))
        quota = await Quotas(tx).of(project.id)
        if quota is not None and await rights.allowed("quota", "read", project):
            told.quota = Quota(hard=Bytes(storage=quota.most_bytes), used=Bytes(storage=quota.used_bytes))
        if await rights.allowed("member", "list", project):
            roles = await Members(tx).counts(project.id)
            counts = [roles.get(role, 0) for role in _RANK]
            told.project_admin_count, told.maintainer_count, told.developer_count = counts[:3]
            told.guest_count, told.limited_guest_count = counts[3:]
        return told

    return call.json(await call.services.metadata.read(read))


async def answers(tx: Transaction, rights: Rights, found: Sequence[tuple[Project, str, int]]) -> list[ProjectAnswer]:
    """Projects with their owners and numbers of repositories, as the API shows them to a caller."""
    numbers = [project.id for project, _, _ in found]
    roles = await rights.roles(numbers) if rights.who.kind is Kind.USER else {}
    values = await Projects(tx).metadata_of(numbers)
    lists = await Allowlists(tx).of_all(values)
    return [
        _answer(project, owner, count, roles.get(project.id, set()), values[project.id], lists[project.id])
        for project, owner, count in found
    ]


def _answer(
    project: Project, owner: str, repositories: int, held: set[int], values: Mapping[str, str], listed: Allowlist
) -> ProjectAnswer:
    roles = sorted(held, key=lambda role: _RANK.index(role) if role in _RANK else len(_RANK))
    known = {name: value for name, value in values.items() if name in metadata.Metadata.__struct_fields__}
    return ProjectAnswer(
        project_id=project.id,
        name=project.name,
        owner_id=project.owner or 0,
        owner_name=owner,
        registry_id=project.registry,
        creation_time=moment(project.created_at),
        update_time=moment(project.updated_at),
        deleted=False,
        togglable=True,
        current_user_role_id=roles[0] if roles else 0,
        current_user_role_ids=roles,
        repo_count=repositories,
        cve_allowlist=allowlist.answer(listed, project.id),
        metadata=metadata.Metadata(**{**known, metadata.PUBLIC: "true" if project.public else "false"}),
    )


async def _sight(call: Call, tx: Transaction, rights: Rights) -> Sight:
    return EVERYTHING if await rights.allowed("project", "list") else await call.accounts.sight(tx, call.who)


async def _empty(tx: Transaction, project: Project) -> None:
    if await Projects(tx).filled(project):
        raise Precondition(
            f"the project {project.name} still has repositories with artifacts in it; delete those first"
        )
