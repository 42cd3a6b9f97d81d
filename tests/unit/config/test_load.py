"""Files and variables as people have them → a configuration, or everything that is wrong at once."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lading.config import load as loading
from lading.config.load import load
from lading.config.model import Configuration
from lading.errors import ConfigurationError

MINIMAL = "version: 0.1\nstorage: {filesystem: {rootdirectory: /data}}\n"

IMAGE = """\
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
"""
"""What the image of registry:2 is configured with."""

DEVELOPMENT = """\
version: 0.1
log:
  level: debug
  formatter: json
  fields: {service: registry, environment: development}
  hooks:
    - type: mail
      disabled: true
      levels: [panic]
      options:
        smtp: {addr: "mail.example.com:25", username: mailuser, password: geheim, insecure: true}
        from: sender@example.com
        to: [errors@example.com]
storage:
  delete: {enabled: true}
  cache: {blobdescriptor: redis}
  filesystem: {rootdirectory: /srv/registry, maxthreads: 100}
  maintenance: {uploadpurging: {enabled: false}}
  tag: {concurrencylimit: 8}
http:
  addr: :5000
  secret: geheim
  debug: {addr: ":5001", prometheus: {enabled: true, path: /metrics}}
  http2: {disabled: false}
  h2c: {enabled: false}
redis:
  addr: localhost:6379
  password: geheim
  pool: {maxidle: 16, maxactive: 64, idletimeout: 300s}
  dialtimeout: 10ms
notifications:
  events: {includereferences: true}
  endpoints:
    - name: local
      url: https://user:geheim@hooks.example.com/registry
      headers: {Authorization: [Bearer geheim]}
      timeout: 2s
      threshold: 5
      backoff: 1m
      ignoredmediatypes: [application/octet-stream]
      ignore: {mediatypes: [a/b], actions: [pull]}
health:
  storagedriver: {enabled: true}
  file: [{file: /tmp/down}]
  http: [{uri: "http://example.com/", headers: {Authorization: [Basic geheim]}}]
  tcp: [{addr: "example.com:6379", timeout: 3s}]
"""


@pytest.fixture(autouse=True, scope="module")
def no_system_file() -> Iterator[None]:
    """What this machine may have in /etc is no part of a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "SYSTEM", Path("/nonexistent/config.yml"))
        yield


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.yml"


def loaded(file: Path, text: str, **variables: str) -> Configuration:
    file.write_text(text)
    return load(file, {f"REGISTRY_{name}": value for name, value in variables.items()})


def problems(file: Path, text: str, **variables: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        loaded(file, text, **variables)
    for problem in caught.value.problems:
        assert problem in caught.value.message
    return caught.value.problems


def outcome(path: Path | None, environ: dict[str, str]) -> Configuration | ConfigurationError:
    """What comes of it; any other exception goes through."""
    try:
        return load(path, environ)
    except ConfigurationError as error:
        return error


def test_the_file_of_the_image_starts(file: Path) -> None:
    found = loaded(file, IMAGE)
    assert found.source == file
    assert found.root == Path("/var/lib/registry")
    assert found.index == "sqlite:////var/lib/registry/lading/index.sqlite"
    assert found.http.address == ("", 5000)
    assert found.http.headers == {"X-Content-Type-Options": ("nosniff",)}
    assert found.health.storagedriver.interval == timedelta(seconds=10)
    assert found.health.storagedriver.threshold == 3
    assert found.log.fields == {"service": "registry"}
    assert not found.storage.delete.enabled
    assert any(notice.startswith("storage.cache.blobdescriptor has no effect") for notice in found.notices)
    assert found.is_open
    assert not found.is_local


def test_a_file_with_everything(file: Path) -> None:
    found = loaded(file, DEVELOPMENT)
    assert found.level == "debug"
    assert found.log.formatter == "json"
    assert found.storage.delete.enabled
    assert not found.storage.maintenance.uploadpurging.enabled
    assert found.http.debug.address == ("", 5001)
    assert found.http.secret.get_secret_value() == "geheim"
    (endpoint,) = found.notifications.endpoints
    assert endpoint.url == "https://user:geheim@hooks.example.com/registry"
    assert endpoint.headers["Authorization"][0].get_secret_value() == "Bearer geheim"
    assert (endpoint.timeout, endpoint.threshold, endpoint.backoff) == (timedelta(seconds=2), 5, timedelta(minutes=1))
    assert endpoint.ignores("pull", "x/y")
    assert endpoint.ignores("push", "a/b")
    assert endpoint.ignores("push", "application/octet-stream")
    assert not endpoint.ignores("push", "x/y")
    assert found.notifications.events.includereferences
    assert found.health.http[0].statuscode == 200
    assert found.health.http[0].timeout == timedelta(seconds=10)
    assert found.health.tcp[0].timeout == timedelta(seconds=3)
    notices = "\n".join(found.notices)
    for key in (
        "redis",
        "storage.tag.concurrencylimit",
        "storage.filesystem.maxthreads",
        "storage.cache.blobdescriptor",
    ):
        assert f"{key} has no effect: " in notices


def test_no_secret_is_shown(file: Path) -> None:
    found = loaded(file, DEVELOPMENT)
    assert "geheim" not in repr(found)
    assert "geheim" not in str(found)
    assert "geheim" not in "\n".join(found.notices)


def test_a_configuration_goes_to_another_process(file: Path) -> None:
    found = loaded(file, DEVELOPMENT)
    again = pickle.loads(pickle.dumps(found))
    assert again == found
    assert (again.source, again.notices) == (found.source, found.notices)


def test_a_configuration_does_not_change(file: Path) -> None:
    found = loaded(file, MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        found.http.addr = "x"


def test_without_a_file() -> None:
    found = load(None, {"HOME": "/home/somebody"})
    assert found.source is None
    assert found.http.address == ("127.0.0.1", 5000)
    assert found.storage.delete.enabled
    assert found.is_local
    assert found.notices == ()


def test_without_a_file_variables_count_all_the_same(tmp_path: Path) -> None:
    variables = {"REGISTRY_HTTP_ADDR": "0.0.0.0:6000", "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": str(tmp_path)}
    found = load(None, variables)
    assert found.http.address == ("0.0.0.0", 6000)
    assert found.root == tmp_path
    assert found.variables == {
        "http.addr": "REGISTRY_HTTP_ADDR",
        "storage.filesystem.rootdirectory": "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY",
    }
    assert found.is_open
    assert not found.is_local


def test_which_file_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    named, variable, system = tmp_path / "a.yml", tmp_path / "b.yml", tmp_path / "c.yml"
    for path in (named, variable, system):
        path.write_text(MINIMAL)
    monkeypatch.setattr(loading, "SYSTEM", system)
    assert load(named, {"REGISTRY_CONFIGURATION_PATH": str(variable)}).source == named
    assert load(None, {"REGISTRY_CONFIGURATION_PATH": str(variable)}).source == variable
    assert load(None, {}).source == system


def test_where_things_are_stored_without_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert loading.default_root({"HOME": "/root"}) == Path("/var/lib/registry")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert loading.default_root({"HOME": "/home/a"}) == Path("/home/a/.local/share/lading")
    assert loading.default_root({"HOME": "/home/a", "XDG_DATA_HOME": "/data"}) == Path("/data/lading")
    assert loading.default_root({"HOME": "/home/a", "XDG_DATA_HOME": "data"}) == Path("/home/a/.local/share/lading")


def test_a_file_without_an_address_is_for_this_machine_alone(file: Path) -> None:
    found = loaded(file, MINIMAL)
    assert found.http.address == ("127.0.0.1", 5000)
    assert any(notice.startswith("http.addr is not set") for notice in found.notices)


def test_untagged_manifests_are_spoken_of(file: Path) -> None:
    assert any(notice.startswith("collect.untagged is not set") for notice in loaded(file, MINIMAL).notices)
    kept = loaded(file, MINIMAL + "collect: {untagged: keep}")
    assert kept.collect.keep_untagged
    assert not any(notice.startswith("collect.untagged") for notice in kept.notices)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: it must be a map"),
        ("# nothing", "is empty: it must be a map"),
        ("just words", "is not a configuration: it must be a map"),
        ("[1, 2]", "is not a configuration: it must be a map"),
        ("storage: inmemory", "cannot be used: version: is missing; write version: 0.1"),
        ("version: 0.2\nstorage: inmemory", "version: '0.2' is not known; write version: 0.1"),
        ("version: 0.10\nstorage: inmemory", "version: '0.10' is not known"),
        ("version: [0.1]\nstorage: inmemory", "version: is wrong"),
        ("version: 0.1\nversion: 0.1", "cannot be read: line 2: the key 'version' is there twice"),
        ("version: 0.1\nhttp: {", "cannot be read: line 2: "),
        ("version: 0.1\n\tx: y", "cannot be read: line 2: "),
        (b"version: \xff", "cannot be read: it is not UTF-8 text"),
        (b"version: 0.1\x00", "cannot be read: not YAML"),
    ],
)
def test_a_file_that_is_no_configuration(file: Path, text: str | bytes, message: str) -> None:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigurationError) as caught:
        load(file, {})
    assert message in caught.value.message
    assert str(file) in caught.value.message


def test_a_file_with_a_byte_order_mark(file: Path) -> None:
    assert loaded(file, "\ufeff" + MINIMAL).root == Path("/data")


@pytest.mark.parametrize("version", ["0.1", '"0.1"', "'0.1'"])
def test_the_version_may_be_quoted(file: Path, version: str) -> None:
    assert loaded(file, MINIMAL.replace("0.1", version)).version == "0.1"


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yml", tmp_path / ("x" * 300)):
        with pytest.raises(ConfigurationError, match="configuration file"):
            load(path, {})
    with pytest.raises(ConfigurationError, match="Is a directory"):
        load(tmp_path, {})
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(Path("a\0b"), {})


def test_everything_wrong_is_told_at_once(file: Path) -> None:
    text = """\
version: 0.1
htpp: {addr: ":5000"}
log: {level: loud, formater: json}
storage: {filesystem: {rootdirectory: [a]}, s3: {bucket: b}, delete: {enabled: perhaps}}
http: {addr: "5000", draintimeout: 60 seconds, tls: {key: /key}, headers: {A: b}}
notifications: {endpoints: [{name: a, url: "http://a/"}, {name: b, url: nowhere, timeout: -1s}]}
"""
    found = problems(file, text, LIMITS_MANIFESTDEPTH="deep", AUTH="htpasswd")
    assert set(found) == {
        "htpp: there is no such key; did you mean http?",
        "log.level: must be error, warn, info or debug, not 'loud'",
        "log.formater: there is no such key; did you mean log.formatter?",
        "storage.filesystem.rootdirectory: must be text",
        "storage.s3.region: is required, unless regionendpoint names another server than Amazon's",
        (
            "database.url: is required with storage.s3: names and tags do not lie in the bucket, so say where the index "
            "is, as sqlite:////var/lib/lading/index.sqlite on a disk that stays"
        ),
        "storage.delete.enabled: must be true or false, not 'perhaps'",
        "http.addr: '5000' has no port; write host:port, as 127.0.0.1:5000",
        "http.draintimeout: '60 seconds' is not a duration; write it as 168h, 1m30s or 500ms",
        "http.tls.certificate: is missing: http.tls.key needs its certificate",
        "http.headers.A: must be a list",
        "notifications.endpoints[1].url: is not a URL; write it as https://host:port/path",
        "notifications.endpoints[1].timeout: must not be negative",
        "limits.manifestdepth: must be a whole number, not 'deep' (set by REGISTRY_LIMITS_MANIFESTDEPTH)",
        "auth.htpasswd.realm: is required (set by REGISTRY_AUTH)",
        "auth.htpasswd.path: is required (set by REGISTRY_AUTH)",
    }


def test_a_secret_is_not_repeated_when_it_is_wrong(file: Path) -> None:
    text = MINIMAL + (
        "http: {secret: [geheim]}\n"
        "notifications: {endpoints: [{name: a, url: 'geheim:x@y', headers: {Authorization: geheim}}]}\n"
        "redis: {password: {geheim: geheim}}\n"
    )
    assert "geheim" not in "\n".join(problems(file, text, HTTP_SECRET="{geheim: geheim"))


TREES: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | st.sampled_from(["1s", ":5000", "keep"]),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "log",
                    "level",
                    "fields",
                    "hooks",
                    "storage",
                    "filesystem",
                    "rootdirectory",
                    "s3",
                    "delete",
                    "enabled",
                    "auth",
                    "htpasswd",
                    "token",
                    "realm",
                    "http",
                    "addr",
                    "headers",
                    "tls",
                    "debug",
                    "notifications",
                    "endpoints",
                    "url",
                    "health",
                    "file",
                    "tcp",
                    "validation",
                    "manifests",
                    "urls",
                    "allow",
                    "middleware",
                    "redis",
                    "collect",
                    "x",
                ]
            ),
            below,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(
    tree=st.dictionaries(st.sampled_from(sorted(Configuration.model_fields)), TREES, max_size=6), sound=st.booleans()
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_document_loads_or_says_what_is_wrong(file: Path, tree: dict[str, Any], sound: bool) -> None:
    tree["version"] = "0.1"
    if sound:
        tree["storage"] = {"inmemory": None}
    file.write_text(yaml.safe_dump(tree, allow_unicode=True))
    found = outcome(file, {})
    if isinstance(found, ConfigurationError):
        assert str(file) in found.message
        assert all(": " in problem for problem in found.problems)
    else:
        assert found.storage.driver in {"filesystem", "inmemory"}


@given(text=st.text(max_size=200))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_loads_or_says_what_is_wrong(file: Path, text: str) -> None:
    file.write_bytes(("version: 0.1\nstorage: inmemory\n" + text).encode("utf-8", "surrogatepass"))
    found = outcome(file, {})
    assert isinstance(found, Configuration) or str(file) in found.message


@given(
    name=st.lists(
        st.sampled_from(
            ["HTTP", "STORAGE", "AUTH", "LOG", "TLS", "HOOKS", "0", "1", "ADDR", "FILESYSTEM", "HEADERS", "", "X"]
        ),
        min_size=1,
        max_size=5,
    ).map("_".join),
    value=st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=30)
    | st.sampled_from(["[]", "{}", "a: b", "s3"]),
)
@settings(max_examples=300, deadline=None)
def test_any_variable_applies_or_says_what_is_wrong(name: str, value: str) -> None:
    found = outcome(None, {f"REGISTRY_{name}": value})
    assert isinstance(found, Configuration) or f"REGISTRY_{name}" in found.message
