"""The configuration in each part's own terms: what the file says, as the settings the parts are made with."""

from __future__ import annotations

import socket
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lading.api.aliases import Aliases
from lading.api.request import NO_PROXIES, Headers, Proxies
from lading.api.services import Manners
from lading.config.accounts import Accounts as AccountsSection
from lading.config.accounts import CertificateRule
from lading.config.mirror import Upstream
from lading.config.model import Configuration
from lading.config.values import milliseconds
from lading.control.notifications import Address
from lading.errors import ConfigurationError
from lading.registry.collection import Terms
from lading.registry.mirrored import Keep

if TYPE_CHECKING:
    from lading.access.clientcertificates import Naming
    from lading.control.accounts import Settings


def terms(configuration: Configuration) -> Terms:
    """When the collector takes what, as configured."""
    collect = configuration.collect
    untagged = None if collect.keep_untagged else milliseconds(collect.untagged)
    if configuration.proxy.remoteurl:
        untagged = milliseconds(configuration.proxy.ttl) or None
    return Terms.of(milliseconds(collect.grace), untagged)


def manners(configuration: Configuration, *, sees_all: bool, accounts: bool = False) -> Manners:
    """How the faces answer, as configured."""
    section = configuration.accounts or AccountsSection()
    return Manners(
        prefix=configuration.http.prefix.rstrip("/"),
        external=configuration.http.host.rstrip("/"),
        relative=configuration.http.relativeurls,
        delete=configuration.storage.delete.enabled,
        read_only=configuration.storage.maintenance.readonly.enabled,
        mirrors={prefix: section.remoteurl for prefix, section in upstreams(configuration).items()},
        aliases=_aliases(configuration),
        most_catalog=configuration.catalog.maxentries,
        most_tags=configuration.tags.maxtags,
        manifest_bytes=configuration.limits.manifestsize,
        mount_anywhere=sees_all,
        search=configuration.search.enabled,
        store=configuration.storage.driver,
        volume=configuration.root,
        proxies=Proxies(ip_network(text, strict=False) for text in section.trustedproxies) if accounts else NO_PROXIES,
    )


def upstreams(configuration: Configuration) -> dict[str, Upstream]:
    """The registries mirrored, by what the names of their repositories begin with here; empty: all do."""
    if configuration.proxy.remoteurl:
        return {"": configuration.proxy}
    return {mirror.begins: mirror for mirror in configuration.mirrors}


def keeps(configuration: Configuration) -> list[Keep]:
    """How long, and how much, of each mirror is kept."""
    return [
        Keep(prefix, milliseconds(section.ttl), section.maxsize) for prefix, section in upstreams(configuration).items()
    ]


def _aliases(configuration: Configuration) -> Aliases | None:
    if not configuration.mirrors:
        return None
    return Aliases(
        {name: mirror.begins for mirror in configuration.mirrors for name in mirror.namespaces},
        {name: mirror.begins for mirror in configuration.mirrors for name in mirror.hosts},
        urlsplit(configuration.http.host).netloc.lower(),
    )


def seal_path(configuration: Configuration, root: Path | None) -> Path:
    """Where the key lies that seals stored secrets."""
    section = configuration.accounts
    if section is not None and section.keyfile:
        return Path(section.keyfile)
    if root is None:
        raise ConfigurationError("accounts are on in this index, so accounts.keyfile is required with an object store")
    return root / "lading" / "seal.key"


def account_settings(configuration: Configuration) -> Settings:
    """What the configuration says of accounts; its defaults, where they are on because they were."""
    from lading.access.failures import Lockout
    from lading.access.passwords import Policy
    from lading.access.service import Lifetimes
    from lading.access.sessions import SessionTimes
    from lading.access.trusts import Configured
    from lading.control.accounts import Settings
    from lading.control.sections import directory_settings, oidc_settings

    section = configuration.accounts or AccountsSection()
    htpasswd = configuration.auth.htpasswd
    return Settings(
        admin=section.admin,
        password=section.adminpassword.get_secret_value(),
        realm=section.realm,
        prefix=configuration.http.prefix.rstrip("/"),
        service=section.service,
        issuer=section.issuer,
        services=section.services,
        lifetimes=Lifetimes(milliseconds(section.tokenlifetime), milliseconds(section.refreshlifetime)),
        key_lifetime=milliseconds(section.keylifetime),
        anonymous=section.anonymous,
        public=section.public,
        create_on_push=section.createonpush,
        self_registration=section.selfregistration,
        everyone_creates=section.everyonecreates,
        policy=Policy(section.password.minlength, section.password.mixed),
        lockout=Lockout(
            section.lockout.attempts,
            section.lockout.addressattempts,
            milliseconds(section.lockout.window),
            milliseconds(section.lockout.duration),
        ),
        pulls=section.audit.pulls,
        audit_keep=milliseconds(section.audit.keep),
        htpasswd=Path(htpasswd.path) if htpasswd is not None else None,
        certificates=tuple(map(_naming, section.certificates.rules)),
        certificate_header=section.certificates.header.lower(),
        certificate_authorities=tuple(map(Path, section.certificates.authorities)),
        sessions=SessionTimes(milliseconds(section.session.idle), milliseconds(section.session.lifetime)),
        identity_networks=section.identitynetworks,
        oidc=oidc_settings(section.oidc) if section.oidc is not None else None,
        trusts=tuple(
            Configured(
                name=one.name,
                project=one.project,
                grants=one.grants,
                issuer=one.issuer,
                audience=one.audience,
                claims=one.claims,
                max_age=milliseconds(one.maxage) // 1000,
            )
            for one in section.trust
        ),
        ldap=directory_settings(section.ldap) if section.ldap is not None else None,
        shared=frozenset(mirror.project for mirror in configuration.mirrors),
    )


def _naming(rule: CertificateRule) -> Naming:
    from lading.access.clientcertificates import Naming, Part
    from lading.access.principal import Kind as Who

    part = next(part for part in Part if getattr(rule, part.value))
    kind = Who.USER if rule.user else Who.ROBOT
    return Naming(part, getattr(rule, part.value), kind, rule.user or rule.robot)


def address(configuration: Configuration) -> Address:
    """How events call this registry."""
    http = configuration.http
    port = f":{http.address[1]}" if http.net == "tcp" else ""
    return Address(
        f"{socket.gethostname()}{port}", http.host.rstrip("/"), http.prefix.rstrip("/"), relative=http.relativeurls
    )


def headers(configuration: Configuration) -> Headers:
    return [
        (name.lower().encode(), value.encode("latin-1"))
        for name, values in configuration.http.headers.items()
        for value in values
        if name.lower() != "x-content-type-options"
    ]
