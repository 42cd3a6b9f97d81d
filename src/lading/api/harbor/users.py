"""Users: what people and administrators see and change of them."""

from __future__ import annotations

from dataclasses import replace

from lading.access.failures import Failures
from lading.access.identities import SOURCE as OIDC
from lading.access.permissions import PROJECT, SYSTEM
from lading.access.principal import Kind
from lading.access.users import User, Users
from lading.api.harbor.call import Call, Model, Text, moment
from lading.api.harbor.permission import is_self
from lading.api.harbor.problems import Precondition
from lading.api.request import Response
from lading.control.projects import Project, Projects
from lading.errors import Denied, Invalid, Missing
from lading.stores.metadata.paging import Match
from lading.stores.metadata.transaction import Transaction


class OidcMeta(Model):
    """What comes from an OIDC provider; ``secret`` (the CLI secret) is told to oneself alone."""

    id: int
    user_id: int
    subiss: str
    secret: str | None = None


class UserAnswer(Model):
    """A user."""

    user_id: int
    username: str
    email: str
    realname: str
    comment: str
    sysadmin_flag: bool
    admin_role_in_auth: bool
    creation_time: str
    update_time: str
    oidc_user_meta: OidcMeta | None = None


class UserFound(Model):
    """What everybody who logged in may see of a user."""

    user_id: int
    username: str


class UserNew(Model):
    """A user to be."""

    username: Text
    password: Text
    email: Text = ""
    realname: Text = ""
    comment: Text = ""


class Profile(Model):
    """What is told of a user."""

    email: Text = ""
    realname: Text = ""
    comment: Text = ""


class Password(Model):
    """A new password; whoever changes their own shows the old one as well."""

    new_password: Text
    old_password: Text = ""


class CliSecret(Model):
    """A new CLI secret; empty: one is made."""

    secret: Text = ""


class Administrator(Model):
    """Whether a user administers the registry."""

    sysadmin_flag: bool


class Allowed(Model):
    """Something that may be done."""

    resource: str
    action: str


async def index(call: Call) -> Response:
    """The users; ``username`` and ``email`` look for a part of these."""
    page = call.page()
    named = tuple(Match(name, "like", (value,)) for name in ("username", "email") if (value := call.argument(name)))
    page = replace(page, where=(*page.where, *named))
    total, found = await call.services.metadata.read(lambda tx: Users(tx).listed(page))
    return call.listed(page, total, [_answer(user) for user in found])


async def search(call: Call) -> Response:
    """Users by a part of their name, for whoever wants to make them members."""
    page, term = call.page(), call.argument("username")
    if not term:
        raise Invalid("username is missing: a part of the name to look for")
    page = replace(page, where=(Match("username", "like", (term,)),), sort=())
    total, found = await call.services.metadata.read(lambda tx: Users(tx).listed(page))
    return call.listed(page, total, [UserFound(user_id=user.id, username=user.name) for user in found])


async def create(call: Call) -> Response:
    """Add a user."""
    given = await call.body(UserNew)
    call.accounts.settings.policy.check(given.password, given.username)
    stored = await call.accounts.checker.hashed(given.password)

    async def add(tx: Transaction) -> User:
        made = await Users(tx).add(
            given.username, password=stored, email=given.email, full_name=given.realname, comment=given.comment
        )
        await call.note(tx, "create", "user", made.name)
        return made

    made = await call.services.metadata.write(add)
    return call.made(f"/users/{made.id}")


async def current(call: Call) -> Response:
    """Whoever calls; robots are no users."""
    if call.who.kind is not Kind.USER:
        raise Precondition(f"{call.who.name} is a robot, and only users are to be seen here")
    oidc = (await call.accounts.sources.current()).oidc

    async def read(tx: Transaction) -> UserAnswer:
        user = await _find(tx, call.who.id)
        told = _answer(user)
        identity = await oidc.identities(tx).of(user.id) if oidc is not None else None
        if told.oidc_user_meta is not None and identity is not None and not call.who.limits:
            told.oidc_user_meta.secret = identity.secret
        return told

    return call.json(await call.services.metadata.read(read))


async def current_permissions(call: Call) -> Response:
    """What the caller may do with the system, or in the project of ``scope`` (``/project/1``)."""
    scope = call.argument("scope").rstrip("/")
    relative = call.flag("relative", usual=False)
    project = int(scope[9:]) if scope.startswith("/project/") and scope[9:].isascii() and scope[9:20].isdigit() else 0
    if len(scope) > 27:
        raise Invalid("scope is /system, or /project/ and a number")

    async def read(tx: Transaction) -> list[Allowed]:
        rights = await call.rights(tx)
        where: Project | None = await Projects(tx).find(project) if project else None
        if (project and where is None) or (not project and scope not in ("", "/system")):
            return []
        held = PROJECT if where else SYSTEM
        return [
            Allowed(resource=_placed(resource, "" if relative else scope), action=action)
            for resource, actions in held.items()
            for action in sorted(actions)
            if await rights.allowed(resource, action, where)
        ]

    return call.json(await call.services.metadata.read(read))


async def get(call: Call) -> Response:
    """One user."""
    return call.json(_answer(await call.services.metadata.read(lambda tx: _find(tx, call.number("user_id")))))


async def update(call: Call) -> Response:
    """Set what is told of a user."""
    given = await call.body(Profile)

    async def change(tx: Transaction) -> None:
        user = await _find(tx, call.number("user_id"))
        await Users(tx).describe(user, email=given.email, full_name=given.realname, comment=given.comment)
        await call.note(tx, "update", "user", user.name, detail="profile")

    await call.services.metadata.write(change)
    return call.done()


async def delete(call: Call) -> Response:
    """Delete a user; nobody deletes themselves."""
    if is_self(call):
        raise Denied("nobody deletes themselves; another administrator can")

    async def remove(tx: Transaction) -> None:
        user = await _find(tx, call.number("user_id"))
        await Users(tx).delete(user)
        await call.note(tx, "delete", "user", user.name)

    await call.services.metadata.write(remove)
    return call.done()


async def set_admin(call: Call) -> Response:
    """Make a user an administrator of the registry, or no longer."""
    given = await call.body(Administrator)

    async def change(tx: Transaction) -> None:
        user = await _find(tx, call.number("user_id"))
        await Users(tx).set_admin(user, admin=given.sysadmin_flag)
        await call.note(tx, "update", "user", user.name, detail=f"admin={given.sysadmin_flag}")

    await call.services.metadata.write(change)
    return call.done()


async def set_password(call: Call) -> Response:
    """Give a user another password; whoever does so for themselves must know the one before."""
    given = await call.body(Password)
    accounts = call.accounts
    user = await call.services.metadata.read(lambda tx: _find(tx, call.number("user_id")))
    if not user.password:
        raise Precondition(f"{user.name} logs in by {user.source}, and has no password here")
    if is_self(call) and not await accounts.checker.fits(user.name, given.old_password.encode(), user.password):
        accounts.recorder.login(user.name, call.request.address, result="failure")
        raise Denied("the old password is not right")
    accounts.settings.policy.check(given.new_password, user.name)
    if await accounts.checker.fits(user.name, given.new_password.encode(), user.password):
        raise Invalid("the new password is the old one")
    stored = await accounts.checker.hashed(given.new_password)

    async def change(tx: Transaction) -> None:
        await Users(tx).set_password(await _find(tx, user.id), stored)
        await Failures(tx, accounts.settings.lockout).succeeded(user.name)
        await call.note(tx, "update", "user", user.name, detail="password")

    await call.services.metadata.write(change)
    return call.done()


async def set_cli_secret(call: Call) -> Response:
    """Give a user of an OIDC provider another secret to log in with where there is no browser."""
    given = await call.body(CliSecret)
    oidc = (await call.accounts.sources.current()).oidc

    async def change(tx: Transaction) -> None:
        user = await _find(tx, call.number("user_id"))
        if oidc is None or user.source != OIDC or await oidc.identities(tx).of(user.id) is None:
            raise Precondition(f"{user.name} logs in by {user.source}, and has no CLI secret")
        await oidc.identities(tx).set_secret(user.id, given.secret)
        await call.note(tx, "update", "user", user.name, detail="CLI secret")

    await call.services.metadata.write(change)
    return call.done()


async def _find(tx: Transaction, user: int) -> User:
    found = await Users(tx).find(user)
    if found is None:
        raise Missing(f"there is no user {user}")
    return found


def _placed(resource: str, scope: str) -> str:
    """A resource below a scope; a project itself is the scope."""
    own = "" if resource == "project" and scope.startswith("/project/") else resource
    return f"{scope}/{own}".rstrip("/") if scope else own


def _answer(user: User) -> UserAnswer:
    meta = OidcMeta(id=user.id, user_id=user.id, subiss=user.subject) if user.source == OIDC else None
    return UserAnswer(
        user_id=user.id,
        username=user.name,
        email=user.email,
        realname=user.full_name,
        comment=user.comment,
        sysadmin_flag=user.admin,
        admin_role_in_auth=False,
        creation_time=moment(user.created_at),
        update_time=moment(user.updated_at),
        oidc_user_meta=meta,
    )
