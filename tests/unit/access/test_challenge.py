"""The headers that tell a client how to come back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.access import challenge, scopes


def test_basic() -> None:
    assert challenge.basic("Registry Realm") == 'Basic realm="Registry Realm"'


def test_bearer_in_the_order_clients_know() -> None:
    assert challenge.bearer("https://auth/token", "registry", [scopes.push("a/b"), scopes.pull("c")]) == (
        'Bearer realm="https://auth/token",service="registry",scope="repository:a/b:pull,push repository:c:pull"'
    )
    assert challenge.bearer("r", "s", [], "invalid_token") == 'Bearer realm="r",service="s",error="invalid_token"'


def test_detail_has_one_entry_an_action() -> None:
    refusal = challenge.unauthenticated("Basic", [scopes.push("a"), scopes.pull("b")])
    assert refusal.detail == [
        {"Type": "repository", "Class": "", "Name": "a", "Action": "pull"},
        {"Type": "repository", "Class": "", "Name": "a", "Action": "push"},
        {"Type": "repository", "Class": "", "Name": "b", "Action": "pull"},
    ]
    assert challenge.unauthenticated("Basic", []).detail is None


@given(st.text())
def test_nothing_breaks_out_of_a_quoted_string(text: str) -> None:
    header = challenge.quoted(text).encode("latin-1")
    assert header[:1] == header[-1:] == b'"'
    inner = header[1:-1].replace(b"\\\\", b"").replace(b'\\"', b"")
    assert b'"' not in inner
    assert b"\\" not in inner
    assert not any(byte < 32 or byte == 127 for byte in header)


@pytest.mark.parametrize(
    ("host", "proto", "origin"),
    [
        ("registry.example", None, "https://registry.example"),
        ("registry.example:5000", "http", "http://registry.example:5000"),
        ("[::1]:5000", "HTTPS", "https://[::1]:5000"),
        ("registry.example", "javascript", "https://registry.example"),
        ("registry.example", "", "https://registry.example"),
        (None, "http", ""),
        ("", "http", ""),
        ('evil"\r\nX: y', None, ""),
        ("user@host", None, ""),
        ("host/path", None, ""),
        ("h" * 300, None, ""),
    ],
)
def test_origin(host: str | None, proto: str | None, origin: str) -> None:
    assert challenge.origin(host, proto) == origin
