"""``accounts.ldap``: a directory whose people log in here."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from lading.config.fields import After, Duration, Flag, Secret, Section, Text, group, lasting, one_of, setting

_Scope = Annotated[Literal["base", "one", "sub"], one_of("base", "one", "sub")]
_Nested = Annotated[Literal["auto", "chain", "search", "none"], one_of("auto", "chain", "search", "none")]


def _directory(text: str) -> str:
    try:
        parts = urlsplit(text)
        place = bool(parts.hostname) and parts.port != 0 and parts.username is None and not parts.path.strip("/")
        good = parts.scheme in ("ldap", "ldaps") and place
    except ValueError:
        good = False
    if text and not (good and text.isprintable()):
        raise ValueError("must be ldap://host or ldaps://host, with a port where it is an unusual one")
    return text


def _attribute(text: str) -> str:
    if text and not (text.isascii() and text.replace("-", "").replace(".", "").replace(";", "").isalnum()):
        raise ValueError(f"{text[:60]!r} is no name of an attribute")
    return text


def _filter(text: str) -> str:
    if text and (text.count("(") != text.count(")") or not text.startswith("(") or "=" not in text):
        raise ValueError("must be a filter in parentheses, as (objectClass=person)")
    return text


_Attribute = Annotated[Text, After(_attribute)]
_Filter = Annotated[Text, After(_filter)]


class LdapGroups(Section):
    basedn: Text = setting("", "Where groups are; empty: below accounts.ldap.basedn, and anywhere a user's groups are.")
    filter: _Filter = setting("", "Which entries are groups, as (objectClass=groupOfNames).")
    scope: _Scope = setting("sub", "How deep below basedn: base, one or sub.")
    name: _Attribute = setting("cn", "The attribute that has a group's name.")
    admindn: Text = setting("", "The group whose members administer the registry, and no other user of the directory.")
    membership: _Attribute = setting("memberOf", "The attribute of a user that lists their groups.")
    member: _Attribute = setting("member", "The attribute of a group that lists its members; uniqueMember, say.")
    nested: _Nested = setting(
        "auto",
        "Groups in groups: chain has the directory follow them in one query (Active Directory), search looks for the "
        "groups of each level, none leaves them out; auto is chain for an Active Directory, and search for others.",
    )


class Ldap(Section):
    url: Annotated[Text, After(_directory)] = setting(
        "", "The directory: ldaps://host, or ldap://host with starttls. Required."
    )
    starttls: Flag = setting(False, "Begin TLS on a connection of ldap://.")
    verify: Flag = setting(True, "Check the directory's certificate; without, anybody on the way can read passwords.")
    ca: Text = setting("", "A PEM file with the authorities to trust; empty: the system's.")
    binddn: Text = setting("", "The account that searches; empty: nobody, where the directory allows that.")
    bindpassword: Secret = setting(SecretStr(""), "Its password.")
    bindpasswordfile: Text = setting("", "A file that holds its password instead.")
    basedn: Text = setting("", "Where people are. Required.")
    filter: _Filter = setting("", "Who of them may log in, as (objectClass=person).")
    scope: _Scope = setting("sub", "How deep below basedn: base, one or sub.")
    uid: _Attribute = setting("uid", "The attribute that has the name to log in with: sAMAccountName, say.")
    email: _Attribute = setting("mail", "The attribute that has the mail address.")
    realname: _Attribute = setting("cn", "The attribute that has the full name.")
    timeout: Annotated[Duration, lasting("1s", "60s")] = setting(
        timedelta(seconds=5), "How long each answer of the directory is waited for."
    )
    cache: Annotated[Duration, lasting("0s", "1h")] = setting(
        timedelta(minutes=5), "How long a good login is good for without asking the directory again."
    )
    sync: Annotated[Duration, lasting("1m", "168h")] = setting(
        timedelta(minutes=15), "How often the directory is asked whether its users are still there, and their groups."
    )
    groups: LdapGroups = group("Its groups, which can be members of projects.")


def problems(section: Ldap) -> Iterator[tuple[str, str]]:
    """What cannot be, each with its key."""
    for key in ("url", "basedn"):
        if not getattr(section, key):
            yield key, "is required"
    if section.bindpassword.get_secret_value() and section.bindpasswordfile:
        yield "bindpasswordfile", "cannot go with bindpassword: keep one of the two"
    if section.binddn and not section.bindpassword.get_secret_value() and not section.bindpasswordfile:
        yield "bindpassword", "is missing: binddn without a password is nobody to a directory"
    admin, base = (text.lower().replace(" ", "") for text in (section.groups.admindn, section.groups.basedn))
    if admin and not admin.endswith(base):
        yield "groups.admindn", "is not below groups.basedn, where groups are looked for"
    if section.starttls and section.url.startswith("ldaps:"):
        yield "starttls", "cannot go with ldaps://, which is TLS already"


def notices(section: Ldap) -> Iterator[str]:
    """What can be, and should not."""
    if section.url.startswith("ldap:") and not section.starttls:
        yield "accounts.ldap: passwords go to the directory in the clear; use ldaps:// or starttls: true"
    elif not section.verify:
        yield "accounts.ldap.verify is off: whoever answers in the directory's place gets the passwords"
