"""What only the whole configuration can tell: refusals, notices, and settings that do not go together.

A problem is ``(path, message)``; a notice is a line.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from lading.config import ldap
from lading.config.accounts import oidc_problems
from lading.config.auth import METHODS
from lading.config.fields import Section
from lading.config.mirror import Upstream
from lading.config.model import Configuration
from lading.config.shape import about, dotted
from lading.config.storage import GCS, S3, Azure
from lading.config.values import parse_address

Path = tuple[str | int, ...]
Problem = tuple[Path, str]


def problems(configuration: Configuration) -> Iterator[Problem]:
    """Everything that keeps Lading from starting."""
    for path, value, refused, _ in _marked(configuration, ()):
        if refused and _active(value):
            yield path, f"refused: {refused}"
    yield from _storage(configuration)
    yield from _auth(configuration)
    yield from _oidc(configuration)
    yield from _trust(configuration)
    yield from _ldap(configuration)
    yield from _http(configuration)
    yield from _certificates(configuration)
    yield from _notifications(configuration)
    yield from _health(configuration)
    yield from _proxy(configuration)
    yield from _mirrors(configuration)


def notices(configuration: Configuration) -> Iterator[str]:
    """Everything to be told at start that does not keep Lading from starting."""
    for path, value, _, no_effect in _marked(configuration, ()):
        if no_effect and _active(value):
            yield f"{dotted(path)} has no effect: {no_effect}"
    if configuration.storage.redirect.disable and configuration.storage.bucket is None:
        yield "storage.redirect.disable has no effect: the filesystem and inmemory drivers have nowhere to redirect to"
    if configuration.loglevel:
        yield "loglevel is deprecated: use log.level" + (
            ", which is set and wins" if "level" in configuration.log.model_fields_set else ""
        )
    if "enabled" in configuration.validation.model_fields_set:
        yield "validation.enabled is deprecated: use validation.disabled"
    if configuration.http.debug.prometheus.enabled and not configuration.http.debug.addr:
        yield "http.debug.prometheus.enabled has no effect: there is no debug server without http.debug.addr"
    if configuration.accounts is not None and configuration.accounts.ldap is not None:
        yield from ldap.notices(configuration.accounts.ldap)
    for path, duration in _durations(configuration, ()):
        if timedelta(0) < duration < timedelta(milliseconds=1):
            yield f"{dotted(path)} is shorter than a millisecond: a number without a unit counts nanoseconds; write 60s"


def _marked(section: Section, at: Path) -> Iterator[tuple[Path, Any, str | None, str | None]]:
    """Each key given that is refused or has no effect; what lies below such a key is not looked at."""
    for name in sorted(section.model_fields_set, key=list(type(section).model_fields).index):
        field, value = type(section).model_fields[name], getattr(section, name)
        path = (*at, field.alias or name)
        refused, no_effect = about(field, "refused"), about(field, "no_effect")
        if refused or no_effect:
            yield path, value, refused, no_effect
        elif isinstance(value, Section):
            yield from _marked(value, path)


def _active(value: Any) -> bool:
    """Whether a key given asks for anything: not ``false``, not empty, not a list of what is disabled."""
    if isinstance(value, Section):
        if getattr(value, "disabled", False):
            return False
        given = (getattr(value, name) for name in value.model_fields_set)
        return any(_active(item) for item in given)
    if isinstance(value, Mapping):
        return any(_active(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(_active(item) for item in value)
    return bool(value)


def _durations(section: Section, at: Path) -> Iterator[tuple[Path, timedelta]]:
    for name in section.model_fields_set:
        value, path = getattr(section, name), (*at, name)
        if isinstance(value, timedelta):
            yield path, value
        elif isinstance(value, Section):
            yield from _durations(value, path)
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, Section):
                    yield from _durations(item, (*path, index))


def _storage(configuration: Configuration) -> Iterator[Problem]:
    storage = configuration.storage
    if not storage.drivers:
        yield ("storage",), "no driver: name one, as storage: {filesystem: {rootdirectory: /var/lib/registry}}"
    if len(storage.drivers) > 1:
        named = ", ".join(storage.drivers)
        yield ("storage",), f"more than one driver: {named}; keep one (REGISTRY_STORAGE=<driver> replaces the file's)"
    for name in storage.drivers:
        if name not in {"filesystem", "inmemory", "s3", "gcs", "azure"}:
            refused = about(type(storage).model_fields[name], "refused")
            if not _active(getattr(storage, name)):
                yield ("storage", name), f"refused: {refused}"
    if storage.filesystem is not None and not storage.filesystem.rootdirectory:
        yield ("storage", "filesystem", "rootdirectory"), "must not be empty"
    if storage.s3 is not None:
        yield from _s3(storage.s3)
    if storage.gcs is not None:
        yield from _gcs(storage.gcs)
    if storage.azure is not None:
        yield from _azure(storage.azure)
    if storage.bucket is not None:
        yield from _beside_a_bucket(configuration, storage.bucket)


def _s3(s3: S3) -> Iterator[Problem]:
    at = ("storage", "s3")
    yield from _required(s3, at, "bucket")
    if not s3.region and not s3.regionendpoint:
        yield (*at, "region"), "is required, unless regionendpoint names another server than Amazon's"
    for key in ("regionendpoint", "redirectendpoint"):
        value = getattr(s3, key)
        if value and not _origin(value if "://" in value else f"https://{value}"):
            yield (*at, key), "is no address of a server; write it as https://minio.example.com:9000"
    if bool(s3.accesskey.get_secret_value()) != bool(s3.secretkey.get_secret_value()):
        missing = "secretkey" if s3.accesskey.get_secret_value() else "accesskey"
        yield (*at, missing), "is missing: accesskey and secretkey go together, or leave both out to use a role"
    if s3.keyid and not s3.encrypt:
        yield (*at, "keyid"), "needs encrypt: true"
    if not s3.v4auth:
        yield (*at, "v4auth"), "refused: Amazon has ended version 2 of its signatures, and Lading does not have it"


def _gcs(gcs: GCS) -> Iterator[Problem]:
    at = ("storage", "gcs")
    yield from _required(gcs, at, "bucket", "endpoint", "iamendpoint")
    for key in ("endpoint", "iamendpoint"):
        if getattr(gcs, key) and not _origin(getattr(gcs, key)):
            yield (*at, key), "is no address of a server; write it as https://storage.googleapis.com"
    if gcs.keyfile and gcs.credentials.get_secret_value():
        yield (*at, "credentials"), "cannot go with keyfile: keep one of the two"


def _azure(azure: Azure) -> Iterator[Problem]:
    at = ("storage", "azure")
    yield from _required(azure, at, "accountname", "container")
    if azure.serviceurl and not _origin(azure.serviceurl):
        yield (*at, "serviceurl"), "is no address of a server; write it as https://account.blob.core.windows.net"
    if azure.shared and not azure.accountkey.get_secret_value():
        yield (*at, "accountkey"), "is required, unless credentials.type is client_secret or default_credentials"
    try:
        base64.b64decode(azure.accountkey.get_secret_value(), validate=True)
    except ValueError:
        yield (*at, "accountkey"), "is not in base64, as the portal shows it"
    if azure.credentials.type == "client_secret":
        for key in ("clientid", "tenantid", "secret"):
            value = getattr(azure.credentials, key)
            if not (value.get_secret_value() if key == "secret" else value):
                yield (*at, "credentials", key), "is required with type: client_secret"


def _beside_a_bucket(configuration: Configuration, driver: str) -> Iterator[Problem]:
    if not configuration.database.url:
        message = (
            f"is required with storage.{driver}: names and tags do not lie in the bucket, so say where the index is"
        )
        yield ("database", "url"), f"{message}, as sqlite:////var/lib/lading/index.sqlite on a disk that stays"
    if configuration.accounts is not None and not configuration.accounts.keyfile:
        message = f"is required with storage.{driver}: the key that seals stored secrets lies beside a volume of files "
        yield (
            ("accounts", "keyfile"),
            f"{message}otherwise; name a file that all replicas have, as /etc/lading/seal.key",
        )


def _oidc(configuration: Configuration) -> Iterator[Problem]:
    oidc = configuration.accounts.oidc if configuration.accounts is not None else None
    if oidc is None:
        return
    for key, message in oidc_problems(oidc):
        yield ("accounts", "oidc", key), message


def _trust(configuration: Configuration) -> Iterator[Problem]:
    rules = configuration.accounts.trust if configuration.accounts is not None else ()
    for number, rule in enumerate(rules):
        yield from _required(rule, ("accounts", "trust", str(number)), "name", "project", "issuer", "audience")
        if not rule.claims:
            yield ("accounts", "trust", str(number), "claims"), "is required: it says whose jobs these are"
    places = [(rule.project, rule.name) for rule in rules]
    if len(set(places)) < len(places):
        yield ("accounts", "trust"), "two rules have the same name in one project"


def _auth(configuration: Configuration) -> Iterator[Problem]:
    auth = configuration.auth
    if len(auth.methods) > 1:
        yield ("auth",), f"more than one method: {', '.join(auth.methods)}; keep one"
    if auth.silly is not None and not _active(auth.silly):
        yield ("auth", "silly"), f"refused: {about(type(auth).model_fields['silly'], 'refused')}"
    if auth.htpasswd is not None:
        yield from _required(auth.htpasswd, ("auth", "htpasswd"), "realm", "path")
    if auth.token is not None:
        yield from _required(auth.token, ("auth", "token"), "realm", "service", "issuer")
        if not auth.token.rootcertbundle and not auth.token.jwks:
            yield ("auth", "token"), "names no keys: set rootcertbundle or jwks"
    if auth.token is not None and configuration.accounts is not None and configuration.accounts.enabled:
        yield ("accounts",), "cannot go with auth.token: this registry issues its own tokens; remove one of the two"
    for method in METHODS[:2]:
        realm = getattr(getattr(auth, method), "realm", "")
        if any(character in realm for character in '"\\\r\n'):
            yield ("auth", method, "realm"), "must not hold quotes, backslashes or line breaks"


def _certificates(configuration: Configuration) -> Iterator[Problem]:
    if configuration.accounts is None:
        return
    section, at = configuration.accounts.certificates, ("accounts", "certificates")
    for index, rule in enumerate(section.rules):
        names, whom = (rule.commonname, rule.email, rule.uri), (rule.user, rule.robot)
        if sum(map(bool, names)) != 1:
            yield (*at, "rules", index), "has one of commonname, email and uri"
        if sum(map(bool, whom)) != 1:
            yield (*at, "rules", index), "has one of user and robot"
        if any(text.count("*") > 1 for text in names):
            yield (*at, "rules", index), "has more than one * in its pattern"
        if "*" in "".join(whom) and "*" not in "".join(names):
            yield (*at, "rules", index), "names whom by a *, but its pattern has none"
    if section.rules and not configuration.http.tls.clientcas and not section.header:
        yield (*at, "rules"), "needs http.tls.clientcas (or header, behind a proxy): no client would be asked for one"
    if section.header and not section.authorities:
        yield (*at, "authorities"), "is required with header: what a proxy hands on is checked against these"
    if section.authorities and not section.header:
        yield (*at, "authorities"), "needs header; certificates in TLS are checked against http.tls.clientcas"
    if section.header and not configuration.accounts.trustedproxies:
        yield (*at, "header"), "needs accounts.trustedproxies: nobody's header would be read"


def _ldap(configuration: Configuration) -> Iterator[Problem]:
    if configuration.accounts is not None and configuration.accounts.ldap is not None:
        for key, message in ldap.problems(configuration.accounts.ldap):
            yield ("accounts", "ldap", *key.split(".")), message


def _http(configuration: Configuration) -> Iterator[Problem]:
    http = configuration.http
    if http.net == "unix":
        if not http.addr.startswith("/"):
            yield ("http", "addr"), "must be the absolute path of a socket, as net is unix"
        elif len(http.addr.encode()) > 107:
            yield ("http", "addr"), "is too long for the path of a socket: 107 bytes at most"
    else:
        yield from _address(http.addr, ("http", "addr"))
    if http.debug.addr:
        yield from _address(http.debug.addr, ("http", "debug", "addr"))
        if http.debug.addr == http.addr and not http.addr.endswith(":0"):
            yield ("http", "debug", "addr"), "is http.addr as well; they need an address each"
    if http.host and not _origin(http.host):
        yield ("http", "host"), "is not a URL; write it as https://registry.example.com:5000"
    if http.tls.certificate and not http.tls.key:
        yield ("http", "tls", "key"), "is missing: http.tls.certificate needs its key"
    if http.tls.key and not http.tls.certificate:
        yield ("http", "tls", "certificate"), "is missing: http.tls.key needs its certificate"
    if http.tls.clientcas and not http.tls.certificate:
        yield (
            ("http", "tls", "clientcas"),
            "needs http.tls.certificate and http.tls.key: clients show certificates in TLS",
        )
    if "clientauth" in http.tls.model_fields_set and not http.tls.clientcas:
        yield (
            ("http", "tls", "clientauth"),
            "needs http.tls.clientcas: without authorities no certificate can be checked",
        )


def _notifications(configuration: Configuration) -> Iterator[Problem]:
    names: set[str] = set()
    for index, endpoint in enumerate(configuration.notifications.endpoints):
        at: Path = ("notifications", "endpoints", index)
        if endpoint.disabled:
            continue
        yield from _required(endpoint, at, "name", "url")
        if endpoint.name and endpoint.name in names:
            yield (*at, "name"), f"{endpoint.name[:60]!r} is another endpoint's name already"
        names.add(endpoint.name)


def _health(configuration: Configuration) -> Iterator[Problem]:
    health = configuration.health
    for kind, what in (("file", "file"), ("http", "uri"), ("tcp", "addr")):
        for index, check in enumerate(getattr(health, kind)):
            yield from _required(check, ("health", kind, index), what)
            if kind == "tcp" and check.addr:
                yield from _address(check.addr, ("health", kind, index, what))


def _proxy(configuration: Configuration) -> Iterator[Problem]:
    proxy = configuration.proxy
    if not proxy.remoteurl:
        return
    yield from _upstream(proxy, ("proxy",))
    if configuration.accounts is not None and configuration.accounts.enabled:
        yield (
            ("proxy",),
            "cannot go with accounts; use mirrors, where hosts may name this server, or make a proxy project",
        )
    if configuration.storage.maintenance.readonly.enabled:
        yield ("proxy",), "cannot go with storage.maintenance.readonly: a mirror keeps what it fetches"


def _mirrors(configuration: Configuration) -> Iterator[Problem]:
    if configuration.mirrors and configuration.proxy.remoteurl:
        yield ("mirrors",), "cannot go with proxy, which makes the whole registry a mirror; keep one of the two"
    if configuration.mirrors and configuration.storage.maintenance.readonly.enabled:
        yield ("mirrors",), "cannot go with storage.maintenance.readonly: a mirror keeps what it fetches"
    prefixes: list[str] = []
    taken: set[tuple[str, str]] = set()
    for index, mirror in enumerate(configuration.mirrors):
        at: Path = ("mirrors", index)
        yield from _required(mirror, at, "prefix", "remoteurl")
        yield from _upstream(mirror, at)
        if any(other.startswith(mirror.begins) or mirror.begins.startswith(other) for other in prefixes):
            yield (*at, "prefix"), "lies in another mirror's, or another's in it; each has its own"
        prefixes.append(mirror.begins)
        for key in ("namespaces", "hosts"):
            for name in getattr(mirror, key):
                if (key, name) in taken:
                    yield (*at, key), f"{name!r} is another mirror's already"
                taken.add((key, name))


def _upstream(upstream: Upstream, at: Path) -> Iterator[Problem]:
    url = upstream.remoteurl
    if url and (not _origin(url) or urlsplit(url).path not in {"", "/"}):
        yield (*at, "remoteurl"), "is no address of a registry; write it as https://registry-1.docker.io"
    if upstream.password.get_secret_value() and upstream.passwordfile:
        yield (*at, "passwordfile"), f"cannot go with {dotted(at)}.password; keep one of the two"
    secret = upstream.password.get_secret_value() or upstream.passwordfile
    if bool(upstream.username) != bool(secret):
        missing = "username" if secret else "password"
        yield (*at, missing), "is missing: a user and a password go together"
    if upstream.exec.command and (upstream.username or secret):
        yield (*at, "exec", "command"), f"cannot go with {dotted(at)}.username; keep one of the two"
    if "/" in upstream.exec.command or upstream.exec.command.startswith("-"):
        yield (*at, "exec", "command"), "must be the name of a program on PATH, as docker-credential-pass"


def _required(section: Section, at: Path, *names: str) -> Iterator[Problem]:
    for name in names:
        if not getattr(section, name):
            yield (*at, name), "is required"


def _address(text: str, at: Path) -> Iterator[Problem]:
    try:
        parse_address(text)
    except ValueError as error:
        yield at, str(error)


def _origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    plain = text.isprintable() and " " not in text and not parts.query and not parts.fragment
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and plain and "@" not in parts.netloc
