"""Every key that is refused, every key without effect, and settings that do not go together."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lading.config.load import load
from lading.config.model import Configuration
from lading.errors import ConfigurationError

BASE = "version: 0.1\nhttp: {addr: 127.0.0.1:5000}\ncollect: {untagged: keep}\nstorage: inmemory\n"


def text_with(extra: str) -> str:
    """The base with other lines in place of its own for the same section."""
    sections = {line.split(":")[0] for line in extra.splitlines() if not line.startswith((" ", "-"))}
    return "\n".join([*(line for line in BASE.splitlines() if line.split(":")[0] not in sections), extra, ""])


def loaded(tmp_path: Path, extra: str) -> Configuration:
    file = tmp_path / "config.yml"
    file.write_text(text_with(extra))
    return load(file, {})


def problems(tmp_path: Path, extra: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, extra)
    return caught.value.problems


@pytest.mark.parametrize(
    ("extra", "key", "instead"),
    [
        ("storage: {oss: {bucket: b}}", "storage.oss", "storage.filesystem"),
        ("storage: {swift: }", "storage.swift", "storage.filesystem"),
        ("auth: {silly: {realm: a, service: b}}", "auth.silly", "auth.htpasswd"),
        ("auth: silly", "auth.silly", "auth.htpasswd"),
        ("middleware: {storage: [{name: cloudfront, options: {privatekey: /k}}]}", "middleware", "CDN"),
        (
            "middleware: {registry: [{name: a, disabled: true}], repository: [{name: b}]}",
            "middleware",
            "disabled: true",
        ),
        ("log: {hooks: [{type: mail, levels: [panic]}]}", "log.hooks", "logs"),
        ("http: {h2c: {enabled: true}}", "http.h2c.enabled", "HTTP/1.1"),
        ("http: {tls: {letsencrypt: {cachefile: /c, email: a@b}}}", "http.tls.letsencrypt", "http.tls.certificate"),
        ("compatibility: {schema1: {enabled: true}}", "compatibility.schema1.enabled", "push the images again"),
        ("reporting: {bugsnag: {apikey: geheim}}", "reporting", "metrics"),
        ("reporting: {newrelic: {licensekey: geheim}}", "reporting", "metrics"),
    ],
)
def test_a_refused_key_says_why_and_what_instead(tmp_path: Path, extra: str, key: str, instead: str) -> None:
    (problem,) = problems(tmp_path, extra)
    assert problem.startswith(f"{key}: refused: ")
    assert instead in problem
    assert "geheim" not in problem


@pytest.mark.parametrize(
    "extra",
    [
        "middleware: {storage: [{name: cloudfront, disabled: true}], registry: []}",
        "middleware:",
        "log: {hooks: [{type: mail, disabled: true}]}",
        "http: {addr: 127.0.0.1:5000, h2c: {enabled: false}, http2: {disabled: true}, tls: {letsencrypt: {hosts: []}}}",
        "proxy: {remoteurl: ''}",
        "compatibility: {schema1: {enabled: false}}",
        "reporting: {bugsnag: {}, newrelic: {verbose: false}}",
        "redis:",
        "storage: {inmemory: , cache: {blobdescriptor: ''}, redirect: {disable: false}}",
        "auth: {none: }",
        "auth:",
    ],
)
def test_what_is_switched_off_is_as_good_as_absent(tmp_path: Path, extra: str) -> None:
    assert loaded(tmp_path, extra).notices == ()


@pytest.mark.parametrize(
    ("extra", "key"),
    [
        ("storage: {filesystem: {maxthreads: 100}}", "storage.filesystem.maxthreads has no effect"),
        ("storage: {inmemory: , cache: {blobdescriptor: inmemory}}", "storage.cache.blobdescriptor has no effect"),
        ("storage: {inmemory: , cache: {blobdescriptorsize: 5}}", "storage.cache.blobdescriptorsize has no effect"),
        ("storage: {inmemory: , cache: {layerinfo: redis}}", "storage.cache.layerinfo has no effect"),
        ("storage: {inmemory: , tag: {concurrencylimit: 8}}", "storage.tag.concurrencylimit has no effect"),
        ("storage: {inmemory: , redirect: {disable: true}}", "storage.redirect.disable has no effect"),
        ("redis: {addrs: ['a:1'], tls: {enabled: false}, maxidleconns: 16}", "redis has no effect"),
        ("log: {reportcaller: true}", "log.reportcaller has no effect"),
        ("compatibility: {schema1: {signingkeyfile: /k}}", "compatibility.schema1.signingkeyfile has no effect"),
        ("loglevel: debug", "loglevel is deprecated"),
        ("validation: {enabled: true}", "validation.enabled is deprecated"),
        (
            "http: {addr: 127.0.0.1:5000, debug: {prometheus: {enabled: true}}}",
            "http.debug.prometheus.enabled has no effect",
        ),
        ("http: {addr: 127.0.0.1:5000, draintimeout: 60}", "http.draintimeout is shorter than a millisecond"),
        (
            "notifications: {endpoints: [{name: a, url: 'http://a/', timeout: 5}]}",
            "notifications.endpoints[0].timeout is",
        ),
    ],
)
def test_what_has_no_effect_or_is_a_risk_is_told(tmp_path: Path, extra: str, key: str) -> None:
    (notice,) = loaded(tmp_path, extra).notices
    assert notice.startswith(key)


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("storage: {filesystem: {}, inmemory: {}}", "storage: more than one driver: filesystem, inmemory; keep one"),
        ("storage:", "storage: no driver: name one"),
        ("storage: {delete: {enabled: true}}", "storage: no driver: name one"),
        ("storage: {files: {}}", "storage.files: there is no such key; did you mean storage.filesystem?"),
        ("storage: tape", "storage.tape: there is no such storage driver; use filesystem, s3 or inmemory"),
        ("storage: [inmemory]", "storage: must be a map"),
        ("storage: {filesystem: /data}", "storage.filesystem: must be a map"),
        ("storage: {filesystem: {rootdirectory: ''}}", "storage.filesystem.rootdirectory: must not be empty"),
        ("storage: {inmemory: {size: 1}}", "storage.inmemory.size: there is no such key"),
        (
            "storage: {inmemory: , maintenance: {uploadpurging: {age: 0s}}}",
            "storage.maintenance.uploadpurging.age: must be from",
        ),
        ("storage: {inmemory: , maintenance: {readonly: true}}", "storage.maintenance.readonly: must be a map"),
        ("auth: {htpasswd: {realm: a, path: /b}, token: {}}", "auth: more than one method: htpasswd, token; keep one"),
        ("auth: {htpasswd: {realm: a}}", "auth.htpasswd.path: is required"),
        ("auth: {htpasswd: {realm: 'a\"b', path: /c}}", "auth.htpasswd.realm: must not hold quotes"),
        ("auth: {token: {realm: a, service: b, issuer: c}}", "auth.token: names no keys: set rootcertbundle or jwks"),
        ("auth: {token: {realm: a, service: b, jwks: /k}}", "auth.token.issuer: is required"),
        (
            "auth: {token: {signingalgorithms: [RS256, HS256]}}",
            "auth.token.signingalgorithms: HS256 signs with a shared secret",
        ),
        (
            "auth: {token: {signingalgorithms: [none]}}",
            "auth.token.signingalgorithms: 'none' is not a signing algorithm",
        ),
        ("auth: {ldap: {}}", "auth.ldap: there is no such method; use htpasswd or token"),
        ("http: {addr: localhost}", "http.addr: 'localhost' has no port"),
        ("http: {addr: '::1:5000'}", "http.addr: '::1:5000' is not an address"),
        ("http: {net: udp}", "http.net: must be tcp or unix, not 'udp'"),
        ("http: {net: unix, addr: registry.sock}", "http.addr: must be the absolute path of a socket"),
        ("http: {net: unix}", "http.addr: must be the absolute path of a socket"),
        (f"http: {{net: unix, addr: /{'x' * 107}}}", "http.addr: is too long"),
        ("http: {addr: ':5000', debug: {addr: ':5000'}}", "http.debug.addr: is http.addr as well"),
        ("http: {debug: {addr: x}}", "http.debug.addr: 'x' has no port"),
        ("http: {debug: {prometheus: {path: metrics}}}", "http.debug.prometheus.path: must begin with a slash"),
        ("http: {prefix: registry}", "http.prefix: must begin and end with a slash"),
        ("http: {prefix: /a/../b/}", "http.prefix: must be a plain path"),
        ("http: {prefix: /a?b/}", "http.prefix: must be a plain path"),
        ("http: {host: registry.example.com}", "http.host: is not a URL"),
        ("http: {host: 'https://u:geheim@a/'}", "http.host: is not a URL"),
        ("http: {host: 'https://a:b/'}", "http.host: is not a URL"),
        ("http: {tls: {certificate: /c}}", "http.tls.key: is missing"),
        ("http: {tls: {key: /k}}", "http.tls.certificate: is missing"),
        ("http: {tls: {clientcas: [/ca]}}", "http.tls.clientcas: needs http.tls.certificate"),
        ("http: {tls: {clientauth: verify-client-cert-if-given}}", "http.tls.clientauth: needs http.tls.clientcas"),
        (
            "http: {tls: {clientauth: request-client-cert}}",
            "http.tls.clientauth: request-client-cert takes certificates without",
        ),
        ("http: {tls: {clientauth: maybe}}", "http.tls.clientauth: must be"),
        ("http: {tls: {minimumtls: tls1.1}}", "http.tls.minimumtls: tls1.1 is broken"),
        ("http: {tls: {minimumtls: ssl3}}", "http.tls.minimumtls: must be"),
        (
            "http: {tls: {ciphersuites: [TLS_RSA_WITH_RC4_128_SHA]}}",
            "http.tls.ciphersuites: 'TLS_RSA_WITH_RC4_128_SHA' is broken",
        ),
        ("http: {tls: {ciphersuites: [AES]}}", "http.tls.ciphersuites: 'AES' is not a cipher suite known here"),
        ("http: {headers: {'a b': [c]}}", "http.headers: 'a b' is not the name of a header"),
        ('http: {headers: {A: ["b\\r\\nC: d"]}}', "http.headers: the value of A holds a line break"),
        ("http: {headers: [A]}", "http.headers: must be a map"),
        ("http: {draintimeout: 48h}", "http.draintimeout: must be from 0s to 24h"),
        ('http: {secret: "a\\0b"}', "http.secret: must not hold a NUL character"),
        (
            "mirrors: [{prefix: docker.io/}]",
            "mirrors[0].remoteurl: is required",
        ),
        ("mirrors: [{remoteurl: 'https://a'}]", "mirrors[0].prefix: is required"),
        ("mirrors: [{prefix: Hub, remoteurl: 'https://a'}]", "mirrors[0].prefix: is nothing a repository's name may"),
        ("mirrors: [{prefix: hub, remoteurl: 'https://a/v2'}]", "mirrors[0].remoteurl: is no address of a registry"),
        ("mirrors: [{prefix: hub, remoteurl: 'https://a', username: a}]", "mirrors[0].password: is missing"),
        (
            "mirrors: [{prefix: hub, remoteurl: 'https://a'}, {prefix: hub/sub, remoteurl: 'https://b'}]",
            "mirrors[1].prefix: lies in another mirror's",
        ),
        (
            "mirrors: [{prefix: a, remoteurl: 'https://a', hosts: [A.io]}, {prefix: b, remoteurl: 'https://b', hosts: [a.io]}]",
            "mirrors[1].hosts: 'a.io' is another mirror's already",
        ),
        ("mirrors: [{prefix: a, remoteurl: 'https://a', hosts: ['a/b']}]", "mirrors[0].hosts: 'a/b' is no host[:port]"),
        (
            "proxy: {remoteurl: 'https://a'}\nmirrors: [{prefix: a, remoteurl: 'https://a'}]",
            "mirrors: cannot go with proxy",
        ),
        ("notifications: {endpoints: [{url: 'http://a/'}]}", "notifications.endpoints[0].name: is required"),
        ("notifications: {endpoints: [{name: a}]}", "notifications.endpoints[0].url: is required"),
        (
            "notifications: {endpoints: [{name: a, url: 'http://a/'}, {name: a, url: 'http://b/'}]}",
            "notifications.endpoints[1].name: 'a' is another endpoint's name already",
        ),
        ("notifications: {endpoints: [{name: a, url: 'ftp://a/'}]}", "notifications.endpoints[0].url: is not a URL"),
        (
            "notifications: {endpoints: [{name: a, url: 'http://a/', ignore: {actions: [fetch]}}]}",
            "notifications.endpoints[0].ignore.actions[0]: must be pull, push, mount or delete, not 'fetch'",
        ),
        ("notifications: {endpoints: {name: a}}", "notifications.endpoints: must be a list"),
        ("health: {file: [{interval: 1s}]}", "health.file[0].file: is required"),
        ("health: {http: [{uri: x}]}", "health.http[0].uri: is not a URL"),
        ("health: {http: [{uri: 'http://a/', statuscode: 42}]}", "health.http[0].statuscode: must be from 100 to 599"),
        ("health: {tcp: [{addr: x}]}", "health.tcp[0].addr: 'x' has no port"),
        ("health: {storagedriver: {threshold: -1}}", "health.storagedriver.threshold: must not be negative"),
        (
            "validation: {manifests: {urls: {allow: ['(']}}}",
            "validation.manifests.urls.allow[0]: is not a regular expression",
        ),
        (
            "validation: {manifests: {indexes: {platforms: some}}}",
            "validation.manifests.indexes.platforms: must be all, none or",
        ),
        ("catalog: {maxentries: many}", "catalog.maxentries: must be a whole number, not 'many'"),
        ("catalog: {maxentries: 1.5}", "catalog.maxentries: must be a whole number"),
        ("catalog: {maxentries: '5'}", "catalog.maxentries: must be a whole number"),
        ("tags: {maxtags: -1}", "tags.maxtags: must not be negative"),
        ("database: {connections: 0}", "database.connections: must be from 1 to 1000"),
        ("database: {prepared: sometimes}", "database.prepared: "),
        ("database: {url: 'mysql://h/d'}", "database.url: must be sqlite:////path"),
        ("database: {url: 'sqlite:///:memory:'}", "database.url: must name a file"),
        ("storage: {s3: {region: r}}", "storage.s3.bucket: is required"),
        ("storage: {s3: {bucket: b}}", "storage.s3.region: is required, unless regionendpoint"),
        ("storage: {s3: {bucket: b, region: r}}", "database.url: is required with storage.s3"),
        ("storage: {s3: {bucket: b, region: r}}\naccounts: {}", "accounts.keyfile: is required with storage.s3"),
        ("storage: {s3: {bucket: b, accesskey: a}}", "storage.s3.secretkey: is missing"),
        ("storage: {s3: {bucket: b, secretkey: geheim}}", "storage.s3.accesskey: is missing"),
        ("storage: {s3: {bucket: b, keyid: k}}", "storage.s3.keyid: needs encrypt: true"),
        ("storage: {s3: {bucket: b, v4auth: false}}", "storage.s3.v4auth: refused: Amazon has ended version 2"),
        ("storage: {s3: {bucket: b, chunksize: 1MiB}}", "storage.s3.chunksize: must be from 5MiB to 5GiB"),
        ("storage: {s3: {bucket: b, storageclass: COLD}}", "storage.s3.storageclass: must be STANDARD"),
        ("storage: {s3: {bucket: b, regionendpoint: 'ftp://a'}}", "storage.s3.regionendpoint: is no address"),
        ("storage: gcs", "storage.gcs.bucket: is required"),
        ("storage: {gcs: {bucket: b}}", "database.url: is required with storage.gcs"),
        ("storage: {gcs: {bucket: b, chunksize: 1MiB}}", "storage.gcs.chunksize: must be from 5MiB to 30MiB"),
        ("storage: {gcs: {bucket: b, endpoint: 'ftp://a'}}", "storage.gcs.endpoint: is no address"),
        ("storage: {gcs: {bucket: b, keyfile: /k, credentials: {type: geheim}}}", "storage.gcs.credentials: cannot go"),
        ("storage: {azure: {container: b}}", "storage.azure.accountname: is required"),
        ("storage: {azure: {accountname: a, container: b}}", "storage.azure.accountkey: is required, unless"),
        (
            "storage: {azure: {accountname: a, container: b, accountkey: geheim!}}",
            "storage.azure.accountkey: is not in",
        ),
        (
            "storage: {azure: {accountname: a, container: b, credentials: {type: client_secret}}}",
            "storage.azure.credentials.tenantid: is required with type: client_secret",
        ),
        ("storage: {azure: {serviceurl: a}}", "storage.azure.serviceurl: is no address"),
        ("storage: {s3: {bukket: b}}", "storage.s3.bukket: there is no such key; did you mean storage.s3.bucket?"),
        ("server: {workers: 1000}", "server.workers: must be from 0 to 256"),
        ("limits: {manifestsize: 1GiB}", "limits.manifestsize: must be from 64KiB to 64MiB"),
        ("limits: {manifestdepth: 1}", "limits.manifestdepth: must be from 8 to 100"),
        ("limits: {headertimeout: 0}", "limits.headertimeout: must be from 1s to 1h"),
        ("collect: {grace: -1h}", "collect.grace: must not be negative"),
        ("collect: {untagged: forever}", "collect.untagged: 'forever' is not a duration"),
        ("search: {enabled: maybe}", "search.enabled: must be true or false, not 'maybe'"),
        ("search: yes", "search: must be a map"),
    ],
)
def test_what_cannot_be(tmp_path: Path, extra: str, expected: str) -> None:
    found = problems(tmp_path, extra)
    assert any(problem.startswith(expected) for problem in found), found
    assert "geheim" not in "\n".join(found)


@pytest.mark.parametrize(
    ("extra", "path", "expected"),
    [
        ("storage: {filesystem: {rootdirectory: 0755}}", "storage.filesystem.rootdirectory", "0755"),
        ("storage: {filesystem: }", "storage.filesystem.rootdirectory", "/var/lib/registry"),
        ("storage: {inmemory: , delete: {enabled: yes}}", "storage.delete.enabled", True),
        ("loglevel: DEBUG", "level", "debug"),
        ("loglevel: debug\nlog: {level: warn}", "level", "warn"),
        ("log: {level: Warn, accesslog: {disabled: on}}", "log.accesslog.disabled", True),
        ("http: {secret: 12345}", "http.secret.get_secret_value", "12345"),
        ("http: {addr: ''}", "http.address", ("127.0.0.1", 5000)),
        ("http: {prefix: /}", "http.prefix", ""),
        ("http: {prefix: /my/registry/}", "http.prefix", "/my/registry/"),
        ("http: {draintimeout: 90000000000}", "http.draintimeout", timedelta(seconds=90)),
        ("http: {draintimeout: 0}", "http.draintimeout", timedelta(0)),
        ("http: {net: '', addr: '[::1]:80'}", "is_local", True),
        ("http: {net: unix, addr: /run/r.sock}", "is_local", True),
        ("http: {addr: '10.0.0.1:80'}", "is_local", False),
        ("http: {tls: {certificate: /c, key: /k, clientcas: [/ca]}}", "is_open", False),
        (
            "http: {tls: {certificate: /c, key: /k, clientcas: [/ca], clientauth: verify-client-cert-if-given}}",
            "is_open",
            True,
        ),
        ("http: {tls: {certificate: /c, key: /k}}", "http.tls.enabled", True),
        (
            "http: {tls: {ciphersuites: [TLS_RSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]}}",
            "http.tls.openssl_ciphers",
            "AES128-GCM-SHA256",
        ),
        ("auth: {htpasswd: {realm: a, path: /b}}", "auth.method", "htpasswd"),
        ("auth: {token: {realm: a, service: b, issuer: c, jwks: /k}}", "auth.method", "token"),
        ("catalog: {maxentries: -5}", "catalog.maxentries", 1000),
        ("catalog: {maxentries: 5e1}", "catalog.maxentries", 50),
        ("tags: {maxtags: 0}", "tags.maxtags", 1000),
        ("validation: {disabled: true}", "validation.active", False),
        ("validation: {enabled: false}", "validation.active", True),
        ("validation: {enabled: true, disabled: true}", "validation.active", True),
        ("validation: {manifests: {indexes: {platforms: List}}}", "validation.manifests.indexes.platforms", "list"),
        ("database: {url: 'sqlite:////srv/index.sqlite'}", "index", "sqlite:////srv/index.sqlite"),
        ("database: {url: 'postgresql://u:p@h/d?sslmode=require'}", "index", "postgresql://u:p@h/d?sslmode=require"),
        ("storage: inmemory", "index", None),
        ("limits: {manifestsize: 8388608}", "limits.manifestsize", 2**23),
        ("limits: {manifestsize: 8 MiB}", "limits.manifestsize", 2**23),
        ("collect: {untagged: KEEP}", "collect.keep_untagged", True),
        ("collect: {untagged: 0s, grace: 0s}", "collect.untagged", timedelta(0)),
    ],
)
def test_what_a_setting_comes_to(tmp_path: Path, extra: str, path: str, expected: object) -> None:
    value: Any = loaded(tmp_path, extra)
    for step in path.split("."):
        value = getattr(value, step)
    assert (value() if callable(value) else value) == expected


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("{rules: [{user: a}]}", "rules[0]: has one of commonname, email and uri"),
        ("{rules: [{email: a, uri: b, user: a}]}", "rules[0]: has one of commonname, email and uri"),
        ("{rules: [{email: a}]}", "rules[0]: has one of user and robot"),
        ("{rules: [{email: a, user: a, robot: b}]}", "rules[0]: has one of user and robot"),
        ("{rules: [{email: '*@*', user: a}]}", "rules[0]: has more than one *"),
        ("{rules: [{email: a, user: '*'}]}", "rules[0]: names whom by a *"),
        ("{rules: [{email: a, user: b}]}", "rules: needs http.tls.clientcas"),
        ("{header: Client-Cert}", "authorities: is required"),
        ("{authorities: [/a.pem]}", "authorities: needs header"),
        ("{header: 'a b'}", "header: must be the name of a header"),
    ],
)
def test_client_certificates(tmp_path: Path, section: str, problem: str) -> None:
    found = problems(tmp_path, f"accounts: {{certificates: {section}}}")
    assert any(problem in one for one in found), found


def test_a_header_nobody_may_send(tmp_path: Path) -> None:
    extra = "accounts: {trustedproxies: [], certificates: {header: Client-Cert, authorities: [/a.pem]}}"
    assert any("needs accounts.trustedproxies" in one for one in problems(tmp_path, extra))
