"""What a caller needs for an operation: a column of the table of routes, asked before its handler runs.

Whoever may not see a project hears the same of it whether it is there or not. A refusal is 401 for callers who have
not said who they are, 403 for the others, as Harbor has it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from lading.access.principal import Kind
from lading.access.rights import Rights
from lading.api.harbor.call import Call
from lading.control.projects import Project, Projects, stored_name
from lading.errors import Denied, LadingError, Missing, Unauthenticated
from lading.stores.metadata.transaction import Transaction

Ask = Callable[[Transaction, Call, Rights], Awaitable[None]]


@dataclass(frozen=True)
class Permission:
    """``text`` tells people; ``ask`` raises where something is not allowed. ``open``: not even who calls matters."""

    text: str
    ask: Ask
    open: bool = False
    limited: bool = False
    """Whether a personal token that is limited to repositories is enough."""


def refusal(call: Call) -> LadingError:
    """What is answered to somebody who may not."""
    if not call.known:
        return Unauthenticated("log in first: this is not for everybody", challenge='Basic realm="lading"')
    return Denied("this account may not do this, or what it asks for is not there")


async def _nothing(tx: Transaction, call: Call, rights: Rights) -> None:  # noqa: ARG001 - every permission is asked alike
    return


async def _known(tx: Transaction, call: Call, rights: Rights) -> None:  # noqa: ARG001 - every permission is asked alike
    if not call.known:
        raise refusal(call)


OPEN = Permission("nothing", _nothing, open=True)
ANYBODY = Permission("nothing; what is listed is cut to what the caller sees", _nothing)
KNOWN = Permission("a login", _known)
ONESELF = Permission("a login", _known, limited=True)
INSIDE = Permission("depends on the level it is on", _known)
"""Decided by the handler, which alone knows whether it is about the system or a project."""


def system(resource: str, action: str) -> Permission:
    """To do something with the registry itself."""

    async def ask(tx: Transaction, call: Call, rights: Rights) -> None:  # noqa: ARG001 - every permission is asked alike
        await demand_system(call, rights, resource, action)

    return Permission(f"system {resource}:{action}", ask)


def own(resource: str, action: str) -> Permission:
    """The same, or to be the user that the path names."""

    async def ask(tx: Transaction, call: Call, rights: Rights) -> None:
        await _known(tx, call, rights)
        if not is_self(call):
            await demand_system(call, rights, resource, action)

    return Permission(f"system {resource}:{action}, or oneself", ask)


def project(resource: str, action: str) -> Permission:
    """To do something in the project that the path names."""

    async def ask(tx: Transaction, call: Call, rights: Rights) -> None:
        found = await _project(tx, call)
        if found is None and not rights.admin:
            raise refusal(call)
        if found is None:
            raise no_project(call)
        await demand(call, rights, resource, action, found)
        call.project = found

    return Permission(f"project {resource}:{action}", ask)


def seen(resource: str, action: str) -> Permission:
    """The same, or to see a part of the project; then the list is cut to that part."""
    whole = project(resource, action)

    async def ask(tx: Transaction, call: Call, rights: Rights) -> None:
        found = await _project(tx, call)
        if found is not None and rights.who.id and not await rights.allowed(resource, action, found):
            if not await rights.sees(found) or rights.who.kind is not Kind.USER:
                raise refusal(call)
            call.project, call.sight = found, await call.accounts.sight(tx, call.who)
            return
        await whole.ask(tx, call, rights)

    return replace(whole, ask=ask)


def repository(resource: str, action: str) -> Permission:
    """To do something to the repository that the path names; roles that hold on it alone count."""

    async def ask(tx: Transaction, call: Call, rights: Rights) -> None:
        found = await _project(tx, call)
        if found is None:
            raise refusal(call) if not rights.admin else no_project(call)
        call.repository = await stored_name(tx, found.name, call.path["repository_name"])
        await demand(call, rights, resource, action, found, call.repository)
        call.project = found

    return Permission(f"project {resource}:{action}", ask)


async def demand(call: Call, rights: Rights, resource: str, action: str, where: Project, repository: str = "") -> None:
    """Refuse unless it may be done in a project."""
    if not await rights.allowed(resource, action, where, repository):
        raise refusal(call)


async def demand_system(call: Call, rights: Rights, resource: str, action: str) -> None:
    """Refuse unless it may be done with the registry itself."""
    if not call.known or not await rights.allowed(resource, action):
        raise refusal(call)


def is_self(call: Call) -> bool:
    """Whether the caller is the user that the path names."""
    return call.who.kind is Kind.USER and call.who.id == call.number("user_id")


def no_project(call: Call) -> Missing:
    """For an administrator, who may hear that there is none."""
    named = call.path.get("project_name_or_id") or call.path.get("project_name", "")
    return Missing(f"there is no project {named[:255]}")


async def _project(tx: Transaction, call: Call) -> Project | None:
    projects = Projects(tx)
    named = call.path.get("project_name")
    if named is not None:
        return await projects.named(named)
    text = call.path["project_name_or_id"]
    if call.request.text(b"x-is-resource-name").lower() != "true" and text.isascii() and text.isdigit():
        return await projects.find(int(text)) if len(text) <= 18 else None
    return await projects.named(text)
