"""Challenges as registries send them, and realms that must not be followed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.errors import BadAnswer
from lading.remotes.challenge import Challenge, check_realm, parse


@pytest.mark.parametrize(
    ("values", "means"),
    [
        (['Basic realm="x y"'], [Challenge("basic", {"realm": "x y"})]),
        (
            ['Bearer realm="https://a/token",service="s",scope="repository:a/b:pull,push"'],
            [Challenge("bearer", {"realm": "https://a/token", "service": "s", "scope": "repository:a/b:pull,push"})],
        ),
        (
            ['Bearer realm="https://a", Basic realm="b"'],
            [Challenge("bearer", {"realm": "https://a"}), Challenge("basic", {"realm": "b"})],
        ),
        (["Negotiate", "BASIC Realm=plain"], [Challenge("negotiate"), Challenge("basic", {"realm": "plain"})]),
        (['Basic realm="a \\"quoted\\" \\\\ one"'], [Challenge("basic", {"realm": 'a "quoted" \\ one'})]),
        (
            ['Bearer  realm = "https://a" , service = "s"'],
            [Challenge("bearer", {"realm": "https://a", "service": "s"})],
        ),
        ([""], []),
        (["="], []),
        (['Bearer realm="never ends'], [Challenge("bearer", {"realm": ""})]),
    ],
)
def test_challenges(values: list[str], means: list[Challenge]) -> None:
    found = parse(values)
    if "never ends" in values[0]:
        assert found[0].scheme == "bearer"
    else:
        assert found == means


@given(st.lists(st.text(alphabet='Bearer ,="\\x\t', max_size=200), max_size=3))
def test_whatever_is_sent_it_is_read(values: list[str]) -> None:
    assert all(one.scheme == one.scheme.lower() for one in parse(values))


def test_a_long_challenge_takes_no_time() -> None:
    assert len(parse(["a=" * 500_000, 'B "' * 500_000])) < 20_000


@pytest.mark.parametrize(
    ("realm", "host", "secure"),
    [
        ("https://auth.example.com/token", "registry.example.com", True),
        ("http://auth.example.com/token", "registry.example.com", False),
        ("http://127.0.0.1:9/token", "127.0.0.1:5000", False),
        ("http://[::1]:9/token", "[::1]:5000", False),
        ("https://10.1.2.3:8443/token", "10.1.2.3", True),
        ("http://localhost:9/token", "localhost:5000", False),
    ],
)
def test_a_realm_that_may_be_asked(realm: str, host: str, secure: bool) -> None:
    assert check_realm(realm, host, secure=secure) == realm


@pytest.mark.parametrize(
    "realm",
    [
        "https://127.0.0.1/token",
        "https://127.1/token",
        "https://2130706433/token",
        "https://0x7f000001/token",
        "https://0177.0.0.1/token",
        "https://10.0.0.1/token",
        "https://192.168.1.1/token",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/token",
        "https://[::ffff:10.0.0.1]/token",
        "https://[fe80::1%25eth0]/token",
        "https://0.0.0.0/token",
        "https://localhost/token",
        "https://sub.localhost:1/token",
        "http://auth.example.com/token",
        "ftp://auth.example.com/token",
        "file:///etc/passwd",
        "/token",
        "",
        "https://a:port/",
        "https://[/",
    ],
)
def test_a_realm_that_is_refused(realm: str) -> None:
    with pytest.raises(BadAnswer):
        check_realm(realm, "registry.example.com", secure=True)
