"""The directory: whether it answers, who and which groups are in it, and making users of its people before they log in."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import msgspec

from lading.access import arrivals
from lading.access.directory.away import Away
from lading.access.directory.people import among, groups_like, like
from lading.access.directory.settings import DirectorySettings, GroupSettings, Scope
from lading.access.directory.threads import Directory
from lading.access.users import check_name
from lading.api.harbor.call import Call, Model, Text
from lading.api.harbor.problems import JSON, Precondition, body
from lading.api.harbor.usergroups import GroupAnswer
from lading.api.request import Response
from lading.control.logins import Logins, kept_directory
from lading.control.sections import SCOPES
from lading.errors import Invalid, LadingError, Missing
from lading.stores.metadata.transaction import Transaction

if TYPE_CHECKING:
    from lading.access.directory.connection import Connection

_MOST_FOUND = 200
_MOST_NAMES = 200
_NUMBERS: dict[int, Scope] = {number: scope for scope, number in SCOPES.items()}


class Given(Model):
    """A directory to try; without a URL it is the configured one."""

    ldap_url: Text = ""
    ldap_search_dn: Text = ""
    ldap_search_password: Text = ""
    ldap_base_dn: Text = ""
    ldap_filter: Text = ""
    ldap_uid: Text = ""
    ldap_scope: Annotated[int, msgspec.Meta(ge=0, le=2)] = 2
    ldap_connection_timeout: Annotated[int, msgspec.Meta(ge=1, le=60)] = 5
    ldap_verify_cert: bool = True


class Outcome(msgspec.Struct):
    """Whether the directory answered as it should, and what to do if not."""

    success: bool
    message: str


class PersonFound(msgspec.Struct):
    """Somebody in the directory."""

    username: str
    realname: str
    email: str


class Names(Model):
    """Whom to make users."""

    ldap_uid_list: list[Text]


async def ping(call: Call) -> Response:
    """Whether a directory answers, accepts the account that searches, and has the base; without a body, the one that is set."""
    given = await call.body(Given, optional=True)
    kept = await call.services.metadata.read(lambda tx: Logins(tx, call.accounts.seal).read())
    configured = kept_directory(kept, call.accounts.seal, call.accounts.settings)
    if not given.ldap_url and configured is None:
        raise Invalid("ldap_url is missing, and no directory is set")
    settings = _meant(given, configured)
    own = (await call.accounts.sources.current()).directory
    directory = own or Directory(settings)
    try:
        await directory.ask(_try, settings)
        outcome = Outcome(success=True, message="")
    except Away as away:
        outcome = Outcome(success=False, message=away.why)
    finally:
        if directory is not own:
            directory.close()
    return call.json(outcome)


async def users(call: Call) -> Response:
    """People of the directory with ``username`` in their name; 200 at the most."""
    term = call.argument("username")
    found = await (await _directory(call)).ask(partial(like, term=term, most=_MOST_FOUND))
    return call.json([PersonFound(person.name, person.full_name, person.email) for person in found])


async def bring(call: Call) -> Response:
    """Make users of people in the directory; those that cannot be are named, and the others are made."""
    names = list(dict.fromkeys((await call.body(Names)).ldap_uid_list))
    if not 0 < len(names) <= _MOST_NAMES:
        raise Invalid(f"ldap_uid_list has 1 to {_MOST_NAMES} names")
    failed = {name: "it is no name that a user can have" for name in names if not _possible(name)}
    asked = [name for name in names if name not in failed]
    found = await (await _directory(call)).ask(partial(among, names=asked)) if asked else []
    by_name = {person.name.casefold(): person for person in found}
    for name in asked:
        person = by_name.get(name.casefold())
        if person is None:
            failed[name] = "the directory has nobody of that name"
            continue

        async def add(tx: Transaction, person: arrivals.Known = person) -> bool:
            made = await arrivals.welcome(tx, person)
            if made is not None:
                await call.note(tx, "create", "user", made.name, detail="from the directory")
            return made is not None

        if not await call.services.metadata.write(add):
            failed[name] = "the name is taken, or its user is locked out"
    if not failed:
        return call.done()
    told = "; ".join(f"{name[:100]}: {why}" for name, why in failed.items())
    return Response(404, [JSON], body("NOT_FOUND", f"not all were made users: {told}"))


async def groups(call: Call) -> Response:
    """Groups of the directory with ``groupname`` in their name, or the one of ``groupdn``."""
    name, dn = call.argument("groupname"), call.argument("groupdn")
    if not name and not dn:
        raise Invalid("groupname or groupdn is missing")
    found = await (await _directory(call)).ask(partial(groups_like, term=name, dn=dn, most=_MOST_FOUND))
    if dn and not found:
        raise Missing("the directory has no group of that DN where groups are looked for")
    return call.json([GroupAnswer(0, one.name, 1, one.dn) for one in found])


async def _directory(call: Call) -> Directory:
    directory = (await call.accounts.sources.current()).directory
    if directory is None:
        raise Precondition("no directory is set: see accounts.ldap, or auth_mode and ldap_url of the configurations")
    return directory


def _meant(given: Given, configured: DirectorySettings | None) -> DirectorySettings:
    """The directory to try. A stored password goes where it is meant for, and nowhere else."""
    if not given.ldap_url and configured is not None:
        return configured
    same = configured is not None and given.ldap_url == configured.url and given.ldap_search_dn == configured.user
    password = given.ldap_search_password
    if same and configured is not None:
        password = password or configured.password
        return replace(configured, password=password, base=given.ldap_base_dn or configured.base, guarded=True)
    if given.ldap_search_dn and not password:
        raise Invalid("ldap_search_password is missing: the stored one goes to the configured directory alone")
    return DirectorySettings(
        url=given.ldap_url,
        base=given.ldap_base_dn,
        verify=given.ldap_verify_cert,
        ca=configured.ca if configured is not None else "",
        user=given.ldap_search_dn,
        password=password,
        filter=given.ldap_filter,
        scope=_NUMBERS[given.ldap_scope],
        uid=given.ldap_uid or "uid",
        timeout=given.ldap_connection_timeout,
        groups=GroupSettings(),
        guarded=True,
    )


def _try(connection: Connection, settings: DirectorySettings) -> None:
    if settings.base:
        connection.search(settings.base, "(objectClass=*)", "base", most=1)


def _possible(name: str) -> bool:
    try:
        check_name(name)
    except LadingError:
        return False
    return True
