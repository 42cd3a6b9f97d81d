"""People as a directory has them: the one of a name, whether a password is theirs, and the groups they are in."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lading.access.directory.away import Away
from lading.access.directory.settings import DirectorySettings

if TYPE_CHECKING:
    from lading.access.directory.connection import Connection, Entry

MOST_GROUPS = 10_000
"""Groups of one person that are looked at."""
MOST_DEPTH = 16
"""How deep groups lie in groups at the most, where the directory does not follow them itself."""
MOST_QUERIES = 64
"""Searches made for the groups of one person."""

_TOGETHER = 100
_IN_CHAIN = "1.2.840.113556.1.4.1941"
_ACTIVE_DIRECTORY = "1.2.840.113556.1.4.800"
_DISABLED = 2
_FOR_EVER = "000001010000Z"
_KEYS = ("objectGUID", "entryUUID", "nsUniqueId", "ipaUniqueID")


@dataclass(frozen=True)
class Person:
    """Somebody. ``key`` names them for as long as the entry is there, whatever it is called or wherever it is moved."""

    dn: str
    name: str
    key: str
    email: str = ""
    full_name: str = ""
    disabled: bool = False
    member_of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """A group."""

    dn: str
    name: str


@dataclass(frozen=True)
class Login:
    """Somebody who showed their password, and those of the groups that were asked for which they are in."""

    person: Person
    groups: frozenset[str] = field(default_factory=frozenset)


def escaped(value: str) -> str:
    """A value as it stands in a filter (RFC 4515 section 3), so that nothing in it is read as a part of the filter."""
    return "".join(
        f"\\{byte:02x}" if byte < 0x20 or byte >= 0x7F or byte in b"\\*()" else chr(byte) for byte in value.encode()
    )


def normal(dn: str) -> str:
    """A DN in the form in which two that are the same are equal: case and spaces around separators say nothing."""
    return re.sub(r"(?<!\\)((?:\\\\)*)\s*([,=+])\s*", r"\1\2", _unhexed(dn.strip())).casefold()


def under(dn: str, base: str) -> bool:
    """Whether an entry is the base or below it."""
    mine, root = (re.findall(r"(?:\\.|[^\\,])+", normal(each)) for each in (dn, base))
    return mine[len(mine) - len(root) :] == root if len(mine) >= len(root) else False


def logged_in(
    connection: Connection,
    settings: DirectorySettings,
    name: str,
    password: str,
    wanted: Collection[str],
    *,
    pretend: bool = False,
) -> Login | None:
    """Who has this name and this password; ``wanted`` are the DNs of groups that matter.

    A name that is not there takes as long as a wrong password, and so does one for which it is to ``pretend``.
    """
    person = find(connection, settings, name)
    if person is None or person.disabled or pretend:
        connection.fits(f"cn={secrets.token_hex(8)},{settings.base}", password)
        return None
    if not connection.fits(person.dn, password):
        return None
    connection.bind_again()
    return Login(person, groups_of(connection, settings, person, wanted))


def find(connection: Connection, settings: DirectorySettings, name: str) -> Person | None:
    """The one person of a name; nobody where two have it."""
    found = among(connection, settings, [name])
    return found[0] if len(found) == 1 else None


def among(connection: Connection, settings: DirectorySettings, names: Sequence[str]) -> list[Person]:
    """The people of these names."""
    asked = {name.casefold() for name in names}
    terms = "".join(f"({settings.uid}={escaped(name)})" for name in names)
    condition = _both(f"(|{terms})" if len(names) > 1 else terms, settings.filter)
    entries = connection.search(
        settings.base, condition, settings.scope, _attributes(settings), 2 * len(names), whole=True
    )
    # directories find more than was asked for, as they compare by rules of their own
    return [person for person in (_person(settings, entry) for entry in entries) if person.name.casefold() in asked]


def of_keys(connection: Connection, settings: DirectorySettings, keys: Sequence[str]) -> list[Person]:
    """The people of these keys, whatever they are called now; keys that are DNs are passed over."""
    terms = []
    for key in keys:
        name, _, value = key.partition("=")
        if name == "objectGUID":
            octets = "".join(f"\\{byte:02x}" for byte in base64.b64decode(value))
            terms.append(f"({name}={octets})")
        elif name in _KEYS:
            terms.append(f"({name}={escaped(value)})")
    if not terms:
        return []
    condition = _both(f"(|{''.join(terms)})", settings.filter)
    entries = connection.search(
        settings.base, condition, settings.scope, _attributes(settings), 2 * len(terms), whole=True
    )
    return [_person(settings, entry) for entry in entries]


def like(connection: Connection, settings: DirectorySettings, term: str, most: int) -> list[Person]:
    """People with ``term`` in their name; all of them where it is empty."""
    condition = f"({settings.uid}=*{escaped(term)}*)" if term else f"({settings.uid}=*)"
    attributes = _attributes(settings)
    entries = connection.search(settings.base, _both(condition, settings.filter), settings.scope, attributes, most)
    return [person for person in (_person(settings, entry) for entry in entries) if person.name]


def groups_like(connection: Connection, settings: DirectorySettings, term: str, dn: str, most: int) -> list[Group]:
    """Groups with ``term`` in their name, or the one of a DN."""
    groups = settings.groups
    if dn:
        found = group_of(connection, settings, dn)
        return [found] if found is not None else []
    condition = f"({groups.name}=*{escaped(term)}*)" if term else f"({groups.name}=*)"
    base = groups.base or settings.base
    entries = connection.search(base, _both(condition, groups.filter), groups.scope, (groups.name,), most)
    return [Group(entry.dn, entry.text(groups.name)) for entry in entries]


def group_of(connection: Connection, settings: DirectorySettings, dn: str) -> Group | None:
    """The group of a DN, which is where groups are looked for; anywhere, where nothing says where that is."""
    groups = settings.groups
    if groups.base and not under(dn, groups.base):
        return None
    try:
        entries = connection.search(dn, _both(f"({groups.name}=*)", groups.filter), "base", (groups.name,), 1)
    except Away as away:
        if away.silent:
            raise
        return None  # there is none of that name
    return next((Group(entry.dn, entry.text(groups.name)) for entry in entries), None)


def groups_of(
    connection: Connection, settings: DirectorySettings, person: Person, wanted: Collection[str]
) -> frozenset[str]:
    """Those of the ``wanted`` groups that a person is in, directly or through other groups; in normal form."""
    sought = {normal(dn) for dn in wanted if under(dn, settings.groups.base)}
    if not sought:
        return frozenset()
    found = dict.fromkeys(map(normal, person.member_of[:MOST_GROUPS]))
    nested = settings.groups.nested
    if sought <= found.keys():
        return frozenset(sought)
    if nested == "chain" or (nested == "auto" and _follows_chains(connection)):
        condition = f"({settings.groups.member}:{_IN_CHAIN}:={escaped(person.dn)})"
        found |= dict.fromkeys(_searched(connection, settings, condition))
    elif nested != "none":
        _climb(connection, settings, person, found, sought)
    return frozenset(sought & found.keys())


def _climb(
    connection: Connection, settings: DirectorySettings, person: Person, found: dict[str, None], sought: set[str]
) -> None:
    """Add the groups that hold those already found, level by level; a ring of groups ends by itself."""
    level: list[str] = [person.dn, *person.member_of[:MOST_GROUPS]]
    queries = 0
    for depth in range(MOST_DEPTH):
        new: dict[str, str] = {}
        for start in range(0, len(level), _TOGETHER):
            if sought <= found.keys():
                return
            if queries >= MOST_QUERIES or len(found) >= MOST_GROUPS:
                raise Away("somebody is in more groups than can be followed: see accounts.ldap.groups.nested")
            queries += 1
            part = level[start : start + _TOGETHER]
            terms = [f"({settings.groups.member}={escaped(dn)})" for dn in part]
            if depth == start == 0:
                terms.append(f"(memberUid={escaped(person.name)})")
            for dn in _dns(connection, settings, f"(|{''.join(terms)})"):
                if normal(dn) not in found:
                    new[normal(dn)] = dn
            found |= dict.fromkeys(new)
        level = list(new.values())
        if not level:
            return


def _dns(connection: Connection, settings: DirectorySettings, condition: str) -> list[str]:
    groups = settings.groups
    base, scope = (groups.base or settings.base), groups.scope
    return [e.dn for e in connection.search(base, _both(condition, groups.filter), scope, most=MOST_GROUPS, whole=True)]


def _searched(connection: Connection, settings: DirectorySettings, condition: str) -> Iterable[str]:
    return map(normal, _dns(connection, settings, condition))


def _follows_chains(connection: Connection) -> bool:
    """Whether it is an Active Directory, which follows groups in groups itself."""
    told = connection.search("", "(objectClass=*)", "base", ("supportedCapabilities",), 1)
    return any(_ACTIVE_DIRECTORY in entry.texts("supportedCapabilities") for entry in told)


def _both(condition: str, extra: str) -> str:
    if not extra:
        return condition
    return f"(&{condition}{extra if extra.startswith('(') else f'({extra})'})"


def _attributes(settings: DirectorySettings) -> list[str]:
    named = (settings.uid, settings.email, settings.full_name, settings.groups.membership)
    state = ("userAccountControl", "nsAccountLock", "pwdAccountLockedTime")
    return list(dict.fromkeys(name for name in (*named, *state, *_KEYS) if name))


def _person(settings: DirectorySettings, entry: Entry) -> Person:
    return Person(
        entry.dn,
        entry.text(settings.uid),
        _key(entry),
        entry.text(settings.email) if settings.email else "",
        entry.text(settings.full_name) if settings.full_name else "",
        _is_disabled(entry),
        entry.texts(settings.groups.membership),
    )


def _key(entry: Entry) -> str:
    for name in _KEYS:
        for value in entry.attributes.get(name.lower(), ())[:1]:
            text = base64.b64encode(value).decode() if name == "objectGUID" else value.decode("utf-8", "replace")
            return f"{name}={text}"[:500]
    return normal(entry.dn)[:500]


def _is_disabled(entry: Entry) -> bool:
    control = entry.text("userAccountControl")
    if control.isascii() and control.isdigit() and int(control[:18]) & _DISABLED:
        return True
    return entry.text("nsAccountLock").lower() == "true" or entry.text("pwdAccountLockedTime") == _FOR_EVER


def _unhexed(dn: str) -> str:
    r"""``\2C`` and ``\,`` are one character said in two ways; bytes of other scripts become their characters."""

    def character(found: re.Match[str]) -> str:
        raw = bytes.fromhex(found.group().replace("\\", ""))
        text = raw.decode("utf-8", "replace")
        return "".join(f"\\{c}" if c in ',+"\\<>;=#' else c for c in text)

    return re.sub(r"(?:\\[0-9a-fA-F]{2})+", character, dn)
