"""The override rule of registry:2, each of its oddities."""

from __future__ import annotations

from typing import Any

import pytest

from lading.config.environment import Overridden, override
from lading.config.fields import natural
from lading.config.model import Configuration
from lading.config.reader import read


def applied(text: str, **variables: str) -> Overridden:
    return override(read(text), Configuration, {f"REGISTRY_{name}": value for name, value in variables.items()})


def tree(text: str, **variables: str) -> Any:
    result = applied(text, **variables)
    assert result.problems == []
    assert result.notices == []
    return natural(result.tree)


@pytest.mark.parametrize(
    ("text", "variables", "expected"),
    [
        pytest.param("", {"HTTP_ADDR": ":5000"}, {"http": {"addr": ":5000"}}, id="parents are made"),
        pytest.param(
            "http: {addr: a, net: tcp}", {"HTTP_ADDR": "b"}, {"http": {"addr": "b", "net": "tcp"}}, id="siblings stay"
        ),
        pytest.param("http: {addr: a}", {"HTTP_ADDR": ""}, {"http": {"addr": None}}, id="empty is the default"),
        pytest.param("http: {addr: a}", {"HTTP": "{net: unix}"}, {"http": {"net": "unix"}}, id="a section at once"),
        pytest.param(
            "", {"LOG_FIELDS": "{a: 1, b: yes}"}, {"log": {"fields": {"a": 1, "b": True}}}, id="the value is YAML"
        ),
        pytest.param(
            "storage: {filesystem: {rootdirectory: /x}, delete: {enabled: true}}",
            {"STORAGE": "s3", "STORAGE_S3_BUCKET": "b"},
            {"storage": {"s3": {"bucket": "b"}}},
            id="a driver's name replaces the storage, then come its keys",
        ),
        pytest.param(
            "storage: filesystem",
            {"STORAGE_FILESYSTEM_ROOTDIRECTORY": "/x"},
            {"storage": {"filesystem": {"rootdirectory": "/x"}}},
            id="a driver's name in the file",
        ),
        pytest.param(
            "",
            {"AUTH": "htpasswd", "AUTH_HTPASSWD_REALM": "Registry Realm", "AUTH_HTPASSWD_PATH": "/auth/htpasswd"},
            {"auth": {"htpasswd": {"realm": "Registry Realm", "path": "/auth/htpasswd"}}},
            id="htpasswd as every tutorial has it",
        ),
        pytest.param(
            "storage: {filesystem: {}}",
            {"STORAGE_S3_BUCKET": "b"},
            {"storage": {"filesystem": {}, "s3": {"bucket": "b"}}},
            id="a second driver beside the file's",
        ),
        pytest.param(
            "storage: {inmemory: }",
            {"STORAGE_INMEMORY_X": "1"},
            {"storage": {"inmemory": {"x": 1}}},
            id="an empty map is made anew",
        ),
        pytest.param(
            "storage: {maintenance: {uploadpurging: {enabled: true, age: 1h}}}",
            {"STORAGE_MAINTENANCE_UPLOADPURGING_ENABLED": "false"},
            {"storage": {"maintenance": {"uploadpurging": {"enabled": False, "age": "1h"}}}},
            id="deep below storage",
        ),
        pytest.param(
            "",
            {"STORAGE_MAINTENANCE_READONLY": "{enabled: true}"},
            {"storage": {"maintenance": {"readonly": {"enabled": True}}}},
            id="a map under storage at once",
        ),
        pytest.param(
            "http: {headers: {X-Frame-Options: [DENY]}}",
            {"HTTP_HEADERS_X-FRAME-OPTIONS": "[SAMEORIGIN]", "HTTP_HEADERS_X-NEW": "[a, b]"},
            {"http": {"headers": {"X-Frame-Options": ["SAMEORIGIN"], "x-new": ["a", "b"]}}},
            id="a map's key in any case, a new one in lower case",
        ),
        pytest.param(
            "notifications: {events: {includereferences: false}}",
            {"NOTIFICATIONS_EVENTCONFIG_INCLUDEREFERENCES": "true"},
            {"notifications": {"events": {"includereferences": True}}},
            id="EventConfig",
        ),
        pytest.param(
            "",
            {
                "HEALTH_FILECHECKERS_0_FILE": "/down",
                "HEALTH_HTTPCHECKERS_0_URI": "http://a/",
                "HEALTH_HTTPCHECKERS_0_STATUSCODE": "204",
                "HEALTH_TCPCHECKERS_0_ADDR": "a:1",
                "HEALTH_STORAGEDRIVER_ENABLED": "true",
            },
            {
                "health": {
                    "file": [{"file": "/down"}],
                    "http": [{"statuscode": 204, "uri": "http://a/"}],
                    "tcp": [{"addr": "a:1"}],
                    "storagedriver": {"enabled": True},
                }
            },
            id="FileCheckers, HTTPCheckers, TCPCheckers",
        ),
        pytest.param(
            "",
            {"LOG_HOOKS_0_MAILOPTIONS_SMTP_ADDR": "mail:25", "LOG_HOOKS_0_TYPE": "mail"},
            {"log": {"hooks": [{"options": {"smtp": {"addr": "mail:25"}}, "type": "mail"}]}},
            id="MailOptions",
        ),
        pytest.param(
            "",
            {"COMPATIBILITY_SCHEMA1_TRUSTKEY": "/key"},
            {"compatibility": {"schema1": {"signingkeyfile": "/key"}}},
            id="TrustKey",
        ),
        pytest.param(
            "notifications: {endpoints: [{name: a}, {name: b}]}",
            {"NOTIFICATIONS_ENDPOINTS_1_NAME": "c", "NOTIFICATIONS_ENDPOINTS_2_NAME": "d"},
            {"notifications": {"endpoints": [{"name": "a"}, {"name": "c"}, {"name": "d"}]}},
            id="an element, and one more",
        ),
        pytest.param(
            "http: {tls: {clientcas: [a, b]}}",
            {"HTTP_TLS_CLIENTCAS_0": "c", "HTTP_TLS_CLIENTCAS_2": "d"},
            {"http": {"tls": {"clientcas": ["c", "b", "d"]}}},
            id="a word in a list of words",
        ),
        pytest.param(
            "http: {tls: {clientcas: [a, b]}}",
            {"HTTP_TLS_CLIENTCAS": "[c]"},
            {"http": {"tls": {"clientcas": ["c"]}}},
            id="a list at once",
        ),
        pytest.param(
            "",
            {"MIDDLEWARE_STORAGE_0_NAME": "cloudfront", "MIDDLEWARE_STORAGE_0_OPTIONS_BASEURL": "http://c/"},
            {"middleware": {"storage": [{"name": "cloudfront", "options": {"baseurl": "http://c/"}}]}},
            id="a map of lists of structs",
        ),
        pytest.param(
            "",
            {"REDIS_USERNAME": "bob", "REDIS_OPTIONS_PASSWORD": "p", "REDIS_ADDRS_0": "a:1", "REDIS_TLS_KEY": "/k"},
            {"redis": {"addrs": ["a:1"], "password": "p", "tls": {"key": "/k"}, "username": "bob"}},
            id="an inlined struct, with and without its name",
        ),
        pytest.param("", {"LIMITS_MANIFESTSIZE": "8MiB"}, {"limits": {"manifestsize": "8MiB"}}, id="Lading's own"),
    ],
)
def test_what_a_variable_sets(text: str, variables: dict[str, str], expected: object) -> None:
    assert tree(text or "{}", **variables) == expected


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        ("{}", "DUCKS", "no setting ducks"),
        ("{}", "PORT_5000_TCP_ADDR", "no setting port"),
        ("{}", "HTTP_ADR", "no setting http.adr"),
        ("{}", "NOTIFICATIONS_EVENTS_INCLUDEREFERENCES", "no setting notifications.events"),
        ("{}", "HEALTH_FILE_0_FILE", "no setting health.file"),
        ("{}", "http_addr", "no setting http"),
        ("{}", "HTTP_ADDR_X", "no parts"),
        ("storage: {filesystem: {rootdirectory: /x}}", "STORAGE_FILESYSTEM_ROOTDIRECTORY_X", "no parts"),
        ("version: 0.1", "VERSION", "cannot be overridden"),
        ("{}", "", "no setting"),
    ],
)
def test_a_variable_that_names_nothing_is_a_notice(text: str, name: str, reason: str) -> None:
    result = applied(text, **{name: "1"})
    assert result.problems == []
    assert result.tree == read(text)
    (notice,) = result.notices
    assert notice.startswith(f"REGISTRY_{name} is ignored: ")
    assert reason in notice


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("HTTP_ADDR", "[a", "http.addr: REGISTRY_HTTP_ADDR cannot be applied: line 1: "),
        ("HTTP_SECRET", "geheim: geheim: x", "http.secret: REGISTRY_HTTP_SECRET cannot be applied: line 1: "),
        ("HTTP_TLS_CLIENTCAS_1", "x", "there is no element 1: the next free one is 0"),
        ("HTTP_TLS_CLIENTCAS_X", "x", "'X' should be the number of an element"),
        ("HTTP_ADDR", "x" * 70_000, "longer than 64 KiB"),
    ],
)
def test_a_variable_that_cannot_be_applied_is_a_problem(name: str, value: str, problem: str) -> None:
    (found,) = applied("{}", **{name: value}).problems
    assert problem in found
    assert f"REGISTRY_{name}" in found
    assert "geheim" not in found


def test_the_path_of_the_file_is_no_override() -> None:
    result = override({}, Configuration, {"REGISTRY_CONFIGURATION_PATH": "/x", "HOME": "/root", "XREGISTRY_HTTP": "x"})
    assert (result.tree, result.notices, result.problems) == ({}, [], [])


def test_a_name_that_is_no_text_can_be_told_of() -> None:
    (notice,) = override({}, Configuration, {"REGISTRY_LOG_FIELDS_\udcff": "x"}).notices
    assert notice == "REGISTRY_LOG_FIELDS_\\udcff is ignored: its name is not text"


def test_what_was_given_stays_as_it_was() -> None:
    before = read("notifications: {endpoints: [{name: a}]}")
    override(before, Configuration, {"REGISTRY_NOTIFICATIONS_ENDPOINTS_0_NAME": "b"})
    assert before == {"notifications": {"endpoints": [{"name": "a"}]}}


def test_a_later_variable_that_replaces_a_section_takes_over_its_keys() -> None:
    result = applied("{}", HTTP_TLS="{key: x}", HTTP="{addr: y}", HTTP_TLS_KEY="z")
    assert result.variables == {
        ("http",): "REGISTRY_HTTP",
        ("http", "tls"): "REGISTRY_HTTP_TLS",
        ("http", "tls", "key"): "REGISTRY_HTTP_TLS_KEY",
    }
