"""Users and groups of a Harbor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lading.access import arrivals
from lading.access.groups import Group, Groups
from lading.access.identities import SOURCE as OF_PROVIDER
from lading.access.identities import Identities, Person
from lading.access.users import LOCAL, User, Users, check_name
from lading.control.fromharbor.importing import Import
from lading.control.fromharbor.report import number, part, text
from lading.control.logins import LDAP, OIDC
from lading.errors import Conflict
from lading.stores.metadata.transaction import Transaction

_SOURCES = {1: arrivals.SOURCE, 2: LOCAL, 3: OF_PROVIDER}
_FIRST_ADMIN = 1
"""The id of Harbor's own administrator, who is of no directory."""


async def users(run: Import) -> None:
    """Those of Harbor are disabled until they get a password; those of a directory or a provider wait for their first login."""
    async for entry in run.source.all("/users"):
        name, email = text(entry, "username"), text(entry, "email")
        subject = await _subject(run, entry)

        async def bring(
            tx: Transaction, name: str = name, email: str = email, entry: Any = entry, subject: str = subject
        ) -> int | None:
            found = Users(tx)
            known = await found.of_subject(OF_PROVIDER, subject) if subject else None
            there = known or await found.named(name) or await found.of_email(email)
            if there is not None:
                run.report.count("users", made=False)
                if there.name != name:
                    run.report.tell(f"user {name}: is {there.name} here, by the address {email}")
                return there.id
            if run.dry:
                check_name(name)
                run.report.count("users", made=True)
                return 0
            user = await _add(run, tx, entry, Person(subject, name, email, text(entry, "realname")))
            await run.note(tx, "create", "user", name)
            run.report.count("users", made=True)
            return user.id

        found = await run.attempt("user", name, bring)
        if found is not None:
            run.users[name] = found
            if entry.get("sysadmin_flag"):
                run.report.tell(f"user {name}: is an administrator in Harbor; `lading admin user promote` makes one")


async def _add(run: Import, tx: Transaction, entry: Mapping[str, Any], person: Person) -> User:
    found, comment = Users(tx), text(entry, "comment")
    if person.subject:
        # whom the first login at the provider finds, and who has nothing to log in with before
        identities = Identities(tx, run.seal)
        user = await identities.welcome(person, person.name)
        await identities.end(user.id)
        return user
    if run.mode == LDAP and number(entry, "user_id") != _FIRST_ADMIN:
        return await arrivals.expect(tx, person.name, email=person.email, full_name=person.full_name, comment=comment)
    user = await found.add(person.name, email=person.email, full_name=person.full_name, comment=comment)
    await found.set_disabled(user, disabled=True)
    return user


async def _subject(run: Import, entry: Mapping[str, Any]) -> str:
    """What the provider calls a user, and its issuer behind that, as Harbor keeps it; empty for those of no provider."""
    if run.mode != OIDC:
        return ""
    found = await run.source.get(f"/users/{number(entry, 'user_id')}")
    return text(part(found, "oidc_user_meta"), "subiss")[:512] if isinstance(found, dict) else ""


async def groups(run: Import) -> None:
    """Groups by what their source calls them, or by name."""
    async for entry in run.source.all("/usergroups"):
        name = text(entry, "group_name")
        source = _SOURCES.get(number(entry, "group_type"), LOCAL)
        subject = {arrivals.SOURCE: text(entry, "ldap_group_dn"), OF_PROVIDER: name}.get(source, "")

        async def bring(tx: Transaction, name: str = name, source: str = source, subject: str = subject) -> int | None:
            found = Groups(tx)
            there: Group | None = await found.of_subject(source, subject) if subject else None
            there = there or await found.named(name)
            if there is not None:
                if there.source != source:
                    raise Conflict(f"there is a group of that name from {there.source} here, and it is from {source}")
                run.report.count("groups", made=False)
                return there.id
            run.report.count("groups", made=True)
            if run.dry:
                return 0
            made = await found.add(name, source=source, subject=subject)
            await run.note(tx, "create", "user-group", name)
            return made.id

        found = await run.attempt("group", name, bring)
        if found is not None:
            run.groups[number(entry, "id")] = found
