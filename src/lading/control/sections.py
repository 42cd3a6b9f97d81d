"""Directory and provider as the parts that ask them need it: from the configuration's sections, and from Harbor's names.

What comes under Harbor's names goes through the sections too, so that one set of rules holds for both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from lading.access.directory.settings import DirectorySettings, GroupSettings, Scope
from lading.access.oidc import OidcSettings
from lading.config import accounts, ldap
from lading.config.accounts import Oidc
from lading.config.fields import Section
from lading.config.ldap import Ldap
from lading.config.values import milliseconds
from lading.errors import ConfigurationError, Invalid

S = TypeVar("S", bound=Section)

SCOPES: Mapping[Scope, int] = {"base": 0, "one": 1, "sub": 2}
"""Harbor's numbers for how deep is searched."""
_BY_NUMBER: Mapping[int, Scope] = {number: scope for scope, number in SCOPES.items()}

_LDAP = {
    "ldap_url": "url",
    "ldap_search_dn": "binddn",
    "ldap_search_password": "bindpassword",
    "ldap_base_dn": "basedn",
    "ldap_filter": "filter",
    "ldap_uid": "uid",
    "ldap_scope": "scope",
    "ldap_timeout": "timeout",
    "ldap_verify_cert": "verify",
    "ldap_group_base_dn": "groups.basedn",
    "ldap_group_search_filter": "groups.filter",
    "ldap_group_attribute_name": "groups.name",
    "ldap_group_search_scope": "groups.scope",
    "ldap_group_admin_dn": "groups.admindn",
    "ldap_group_membership_attribute": "groups.membership",
}
_OIDC = {
    "oidc_name": "name",
    "oidc_endpoint": "issuer",
    "oidc_client_id": "clientid",
    "oidc_client_secret": "clientsecret",
    "oidc_scope": "scopes",
    "oidc_groups_claim": "groupsclaim",
    "oidc_admin_group": "admingroup",
    "oidc_group_filter": "groupfilter",
    "oidc_user_claim": "userclaim",
    "oidc_auto_onboard": "autoonboard",
}


def directory_settings(section: Ldap) -> DirectorySettings:
    """What the configuration says of a directory; reads the file with its password."""
    password = section.bindpassword.get_secret_value()
    if section.bindpasswordfile:
        password = _kept_in("accounts.ldap.bindpasswordfile", section.bindpasswordfile).strip("\r\n")
    groups = section.groups
    return DirectorySettings(
        url=section.url,
        base=section.basedn,
        starttls=section.starttls,
        verify=section.verify,
        ca=section.ca,
        user=section.binddn,
        password=password,
        filter=section.filter,
        scope=section.scope,
        uid=section.uid,
        email=section.email,
        full_name=section.realname,
        timeout=max(1, int(section.timeout.total_seconds())),
        cache=section.cache.total_seconds(),
        groups=GroupSettings(
            base=groups.basedn,
            filter=groups.filter,
            scope=groups.scope,
            name=groups.name,
            admin=groups.admindn,
            membership=groups.membership,
            nested=groups.nested,
            member=groups.member,
        ),
    )


def oidc_settings(section: Oidc) -> OidcSettings:
    """What the configuration says of a provider; reads the file with the client's secret."""
    secret = section.clientsecret.get_secret_value()
    if section.clientsecretfile:
        secret = _kept_in("accounts.oidc.clientsecretfile", section.clientsecretfile).strip()
    return OidcSettings(
        issuer=section.issuer,
        client_id=section.clientid,
        client_secret=secret,
        name=section.name,
        scopes=section.scopes,
        groups_claim=section.groupsclaim,
        admin_group=section.admingroup,
        group_filter=section.groupfilter,
        user_claim=section.userclaim,
        auto_onboard=section.autoonboard,
        recheck=milliseconds(section.recheck),
        unchecked=milliseconds(section.unchecked),
        ca=section.ca,
    )


def directory_of(values: Mapping[str, Any], *, whole: bool = True) -> DirectorySettings:
    """The same from Harbor's names; raises ``Invalid``. ``whole``: as it must be for people to log in by it.

    Since somebody sent its URL, what the host's name leads to is judged whenever it is asked.
    """
    given = {path: values[name] for name, path in _LDAP.items() if values.get(name, "") != ""}
    for path in ("scope", "groups.scope"):
        given[path] = _BY_NUMBER.get(given[path], str(given[path]))
    given["timeout"] = f"{given['timeout']}s"
    for path in ("filter", "groups.filter"):
        if not given.get(path, "(").startswith("("):
            given[path] = f"({given[path]})"  # as Harbor takes it
    section = _section(Ldap, given, _LDAP, ldap.problems if whole else _none)
    return replace(directory_settings(section), guarded=True)


def provider_of(values: Mapping[str, Any], *, whole: bool = True) -> OidcSettings:
    """The same for a provider."""
    given = {path: values[name] for name, path in _OIDC.items() if values.get(name, "") != ""}
    if "scopes" in given:
        given["scopes"] = [scope for scope in given["scopes"].replace(",", " ").split() if scope]
    if whole and not values["oidc_verify_cert"]:
        raise Invalid("oidc_verify_cert is false, but a provider's certificate is always verified here")
    return oidc_settings(_section(Oidc, given, _OIDC, accounts.oidc_problems if whole else _none))


def _section(
    kind: type[S],
    given: Mapping[str, Any],
    names: Mapping[str, str],
    problems: Callable[[S], Iterable[tuple[str, str]]],
) -> S:
    """The section that says the same; raises ``Invalid`` with Harbor's names for what is wrong in it."""
    tree: dict[str, Any] = {}
    for path, value in given.items():
        group, dot, key = path.rpartition(".")
        (tree.setdefault(group, {}) if dot else tree)[key] = value
    by_path = {path: name for name, path in names.items()}

    def named(path: str) -> str:
        return by_path.get(path) or by_path.get(path.partition(".")[0], path)

    try:
        section = kind.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        at = ".".join(str(step) for step in first["loc"] if isinstance(step, str))
        raise Invalid(f"{named(at)} {first['msg'].removeprefix('Value error, ')}") from None
    for path, message in problems(section):
        told = re.sub(r"[a-z]+(\.[a-z]+)?", lambda found: by_path.get(found[0], found[0]), message)
        raise Invalid(f"{named(path)} {told}")
    return section


def _none(section: Section) -> Iterable[tuple[str, str]]:  # noqa: ARG001 - stands in for a list of problems
    return ()


def _kept_in(key: str, file: str) -> str:
    """The text of the file that a setting names."""
    try:
        return Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        problem = f"{key}: {file} cannot be read: {why}"
        raise ConfigurationError(problem, [problem]) from None
