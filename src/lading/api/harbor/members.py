"""Members of a project: users and groups in a role."""

from __future__ import annotations

from lading.access.groups import Groups
from lading.access.members import KindOfMember, Member, Members
from lading.access.permissions import within
from lading.access.roles import Roles
from lading.access.users import Users
from lading.api.harbor.call import Call, Id, Model, Text
from lading.api.harbor.usergroups import SOURCES, GroupGiven, in_directory, make
from lading.api.request import Response
from lading.errors import Denied, Invalid, Missing
from lading.stores.metadata.transaction import Transaction


class MemberAnswer(Model):
    """A member; ``entity_type`` is u for a user, g for a group."""

    id: int
    project_id: int
    entity_name: str
    entity_id: int
    entity_type: str
    role_id: int
    role_name: str


class UserNamed(Model):
    """A user, by name or by id."""

    user_id: Id = 0
    username: Text = ""


class GroupNamed(Model):
    """A group by id, by name, or by its DN; one of LDAP is made if it is not there."""

    id: Id = 0
    group_name: Text = ""
    group_type: Id = 2
    ldap_group_dn: Text = ""


class MemberNew(Model):
    """A member to be."""

    role_id: Id
    member_user: UserNamed | None = None
    member_group: GroupNamed | None = None


class Role(Model):
    """A role."""

    role_id: Id


async def index(call: Call) -> Response:
    """The members; ``entityname`` looks for a part of the name."""
    page, term = call.page(), call.argument("entityname")

    async def read(tx: Transaction) -> tuple[int, list[MemberAnswer]]:
        total, found = await Members(tx).page(call.here.id, page.size, page.offset, term)
        return total, [await _answer(tx, member) for member in found]

    total, found = await call.services.metadata.read(read)
    return call.listed(page, total, found)


async def create(call: Call) -> Response:
    """Make a user or a group a member; nobody gives a role that may more than they."""
    given = await call.body(MemberNew)
    named = await _confirmed(call, given.member_group) if given.member_group is not None else ""

    async def add(tx: Transaction) -> Member:
        await _may_give(call, tx, given.role_id)
        kind, entity = await _entity(call, tx, given, named)
        made = await Members(tx).add(call.here.id, kind, entity, given.role_id)
        await call.note(tx, "create", "member", made.name, project=call.here.name, detail=f"role={made.role}")
        return made

    made = await call.services.metadata.write(add)
    project = call.path["project_name_or_id"]
    return call.made(f"/projects/{project}/members/{made.id}")


async def get(call: Call) -> Response:
    """One member."""

    async def read(tx: Transaction) -> MemberAnswer:
        return await _answer(tx, await _find(call, tx))

    return call.json(await call.services.metadata.read(read))


async def update(call: Call) -> Response:
    """Give a member another role."""
    given = await call.body(Role)

    async def change(tx: Transaction) -> None:
        member = await _find(call, tx)
        await _may_give(call, tx, member.role)
        await _may_give(call, tx, given.role_id)
        await Members(tx).change(member, given.role_id)
        await call.note(tx, "update", "member", member.name, project=call.here.name, detail=f"role={given.role_id}")

    await call.services.metadata.write(change)
    return call.done()


async def delete(call: Call) -> Response:
    """Take a member out of the project."""

    async def remove(tx: Transaction) -> None:
        member = await _find(call, tx)
        await _may_give(call, tx, member.role)
        await Members(tx).remove(member)
        await call.note(tx, "delete", "member", member.name, project=call.here.name)

    await call.services.metadata.write(remove)
    return call.done()


async def _may_give(call: Call, tx: Transaction, role: int) -> None:
    rights = await call.rights(tx)
    found = await Roles(tx).find(role)
    if found is None:
        raise Invalid(f"there is no role {role}")
    pairs = [(resource, action) for resource, actions in found.permissions.items() for action in actions]
    if not rights.admin and not within(pairs, await rights.held(call.here)):
        raise Denied(f"the role {found.name} may more than you: an administrator can give or take it")


async def _confirmed(call: Call, wanted: GroupNamed) -> str:
    """What the directory calls a group that is to be made; raises ``Missing`` where it has none of that DN."""
    dn = wanted.ldap_group_dn
    if wanted.id or not dn or SOURCES.get(wanted.group_type) != "ldap":
        return ""

    async def is_to_be_made(tx: Transaction) -> bool:
        there = await Groups(tx).of_subject("ldap", dn)
        return there is None and await (await call.rights(tx)).allowed("user-group", "create")

    if not await call.services.metadata.read(is_to_be_made):
        return ""
    found = await in_directory(call, dn)
    if found is None:
        raise Missing("the directory has no group of that DN where groups are looked for")
    return found


async def _entity(call: Call, tx: Transaction, given: MemberNew, named: str) -> tuple[KindOfMember, int]:
    user, group = given.member_user or UserNamed(), given.member_group or GroupNamed()
    # clients send both, the other one empty
    if (user == UserNamed()) == (group.id == 0 and not group.group_name and not group.ldap_group_dn):
        raise Invalid("one of member_user and member_group is needed")
    if user != UserNamed():
        users = Users(tx)
        found = await users.named(user.username) if user.username else await users.find(user.user_id)
        if found is None:
            raise Missing(f"there is no user {user.username or user.user_id}")
        return "u", found.id
    return "g", await _group(call, tx, group, named)


async def _group(call: Call, tx: Transaction, wanted: GroupNamed, named: str) -> int:
    groups = Groups(tx)
    if wanted.id:
        found = await groups.find(wanted.id)
    elif wanted.ldap_group_dn and SOURCES.get(wanted.group_type) == "ldap":
        found = await groups.of_subject("ldap", wanted.ldap_group_dn)
        if found is None and await (await call.rights(tx)).allowed("user-group", "create"):
            found = await make(
                tx,
                GroupGiven(
                    group_name=wanted.group_name or named or wanted.ldap_group_dn[:255],
                    group_type=wanted.group_type,
                    ldap_group_dn=wanted.ldap_group_dn,
                ),
            )
    else:
        found = await groups.named(wanted.group_name)
    if found is None:
        raise Missing("there is no such group; an administrator can make it")
    return found.id


async def _find(call: Call, tx: Transaction) -> Member:
    found = await Members(tx).find(call.here.id, call.number("mid"))
    if found is None:
        raise Missing(f"{call.here.name} has no member {call.number('mid')}")
    return found


async def _answer(tx: Transaction, member: Member) -> MemberAnswer:
    role = await Roles(tx).find(member.role)
    return MemberAnswer(
        id=member.id,
        project_id=member.project,
        entity_name=member.name,
        entity_id=member.entity,
        entity_type=member.kind,
        role_id=member.role,
        role_name=role.name if role else "",
    )
