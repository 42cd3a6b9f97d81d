"""Groups of users. Harbor's type of a group says where it comes from: 1 LDAP, 2 this registry, 3 OIDC."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from lading.access.directory.people import group_of
from lading.access.groups import Group, Groups
from lading.access.users import LOCAL
from lading.api.harbor.call import Call, Id, Model, Text
from lading.api.request import Response
from lading.errors import Invalid, Missing
from lading.stores.metadata.paging import Match
from lading.stores.metadata.transaction import Transaction

SOURCES = {1: "ldap", 2: LOCAL, 3: "oidc"}
MOST_DN = 512
_TYPES = {source: number for number, source in SOURCES.items()}


class GroupAnswer(Model):
    """A group."""

    id: int
    group_name: str
    group_type: int
    ldap_group_dn: str | None = None


class GroupGiven(Model):
    """A group to be, or its new name."""

    group_name: Text = ""
    group_type: Id = 2
    ldap_group_dn: Text = ""


async def index(call: Call) -> Response:
    """The groups; ``groupname`` (or ``group_name``) looks for a part of the name."""
    page = call.page()
    term = call.argument("groupname") or call.argument("group_name")
    named = [Match("group_name", "like", (term,))] if term else []
    if dn := call.argument("ldap_group_dn"):
        named.append(Match("ldap_group_dn", "is", (dn,)))
    page = replace(page, where=(*page.where, *named))
    total, found = await call.services.metadata.read(lambda tx: Groups(tx).listed(page))
    return call.listed(page, total, [answer(group) for group in found])


async def search(call: Call) -> Response:
    """Groups by a part of their name, for whoever wants to make them members."""
    page, term = call.page(), call.argument("groupname")
    if not term:
        raise Invalid("groupname is missing: a part of the name to look for")
    page = replace(page, where=(Match("group_name", "like", (term,)),), sort=())
    total, found = await call.services.metadata.read(lambda tx: Groups(tx).listed(page))
    shown = [GroupAnswer(id=group.id, group_name=group.name, group_type=_TYPES.get(group.source, 2)) for group in found]
    return call.listed(page, total, shown)


async def create(call: Call) -> Response:
    """Add a group; one of LDAP must be in the directory, whose name for it is taken where none is given."""
    given = await call.body(GroupGiven)
    if SOURCES.get(given.group_type) == "ldap" and given.ldap_group_dn:
        found = await in_directory(call, given.ldap_group_dn)
        if found is None:
            raise Invalid("ldap_group_dn: the directory has no group of that DN where groups are looked for")
        given.group_name = given.group_name or found

    async def add(tx: Transaction) -> Group:
        made = await make(tx, given)
        await call.note(tx, "create", "user-group", made.name)
        return made

    made = await call.services.metadata.write(add)
    return call.made(f"/usergroups/{made.id}")


async def get(call: Call) -> Response:
    """One group."""
    return call.json(answer(await call.services.metadata.read(lambda tx: _find(tx, call.number("group_id")))))


async def update(call: Call) -> Response:
    """Give a group another name."""
    given = await call.body(GroupGiven)

    async def change(tx: Transaction) -> None:
        group = await _find(tx, call.number("group_id"))
        await Groups(tx).rename(group, given.group_name)
        await call.note(tx, "update", "user-group", given.group_name, detail=f"was {group.name}")

    await call.services.metadata.write(change)
    return call.done()


async def delete(call: Call) -> Response:
    """Delete a group, and what it was a member of."""

    async def remove(tx: Transaction) -> None:
        group = await _find(tx, call.number("group_id"))
        await Groups(tx).delete(group)
        await call.note(tx, "delete", "user-group", group.name)

    await call.services.metadata.write(remove)
    return call.done()


async def make(tx: Transaction, given: GroupGiven) -> Group:
    """Add a group as it is described; an LDAP group is its DN's."""
    source = SOURCES.get(given.group_type)
    if source is None:
        raise Invalid("group_type is 1 for LDAP, 2 for a group of this registry, or 3 for OIDC")
    if source == "ldap" and not given.ldap_group_dn:
        raise Invalid("ldap_group_dn is missing: a group of LDAP is known by it")
    subject = {"ldap": given.ldap_group_dn, "oidc": given.group_name}.get(source, "")
    if len(subject) > MOST_DN:
        raise Invalid(f"ldap_group_dn has more than {MOST_DN} characters")
    return await Groups(tx).add(given.group_name, source=source, subject=subject)


async def in_directory(call: Call, dn: str) -> str | None:
    """What the directory calls the group of a DN; empty where there is no directory to ask, None where it has none."""
    directory = (await call.accounts.sources.current()).directory
    if directory is None:
        return ""
    if len(dn) > MOST_DN:
        raise Invalid(f"ldap_group_dn has more than {MOST_DN} characters")
    found = await directory.ask(partial(group_of, dn=dn))
    return found.name if found is not None else None


def answer(group: Group) -> GroupAnswer:
    """A group as the API shows it."""
    dn = group.subject if group.source == "ldap" else None
    return GroupAnswer(id=group.id, group_name=group.name, group_type=_TYPES.get(group.source, 2), ldap_group_dn=dn)


async def _find(tx: Transaction, group: int) -> Group:
    found = await Groups(tx).find(group)
    if found is None:
        raise Missing(f"there is no group {group}")
    return found
