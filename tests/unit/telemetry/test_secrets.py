"""What must never be read in a log, in all the ways it may get there."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lading.telemetry.secrets import HIDDEN, redacted, redacted_query, redacted_value, secret_name

SECRET = "hunter2Geheim99"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Basic {SECRET}",
        f"authorization={SECRET}",
        f"[(b'authorization', b'Bearer {SECRET}'), (b'host', b'x')]",
        f"headers={{'Authorization': ['Bearer {SECRET}']}}",
        f"Proxy-Authorization: {SECRET}",
        f"bearer {SECRET}",
        f"Set-Cookie: session={SECRET}; Path=/",
        f"connecting to https://user:{SECRET}@example.com/hook",
        f"connecting to https://user:{SECRET}@x@example.com/hook",
        f"connecting to https://{SECRET}@example.com/hook",
        f"redis://:{SECRET}@cache:6379/0",
        f"PUT /v2/a/blobs/uploads/1?_state={SECRET}&digest=sha256:0",
        f"PUT /v2/a/blobs/uploads/1?a=b&_state={SECRET}",
        f"PUT /v2/a/blobs/uploads/1?_%73tate={SECRET}",
        f"https://s3/bucket?X-Amz-Credential={SECRET}&X-Amz-Date=1",
        f"https://s3/bucket?X-Amz-Date=1&X-Amz-Signature={SECRET}",
        f"https://blob/x?sv=1&sig={SECRET}",
        f"https://login/cb?code={SECRET}",
        f"password={SECRET}",
        f"REGISTRY_HTTP_SECRET={SECRET}",
        f"client_secret='{SECRET}'",
        f'{{"password": "{SECRET}", "user": "a"}}',
        f"{{'refresh_token': '{SECRET}'}}",
        f"http.secret={SECRET}",
        f"a token eyJhbGciOiJFUzI1NiJ9.{SECRET}.{SECRET} here",
    ],
)
def test_no_secret_is_left(text: str) -> None:
    assert SECRET not in redacted(text)
    assert HIDDEN in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "collection: 3 manifests deleted, 2 blobs condemned",
        "basic authentication failed for alice",
        "the token has expired; log in again",
        'Bearer realm="https://auth/token",service="registry"',
        "http.secret: too short",
        "GET /v2/library/nginx/manifests/latest",
        "https://example.com:5000/v2/a@sha256/x",
        "PUT /v2/a/blobs/uploads/?mount=sha256:00&from=b",
        "status=200 code=5 n=7",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


def test_queries() -> None:
    assert redacted_query("_state=a&digest=sha256:0&n=5") == "_state=***&digest=sha256:0&n=5"
    assert redacted_query("%5Fstate=a&TOKEN=b&X-Amz-Security-Token=c") == (
        "%5Fstate=***&TOKEN=***&X-Amz-Security-Token=***"
    )
    assert redacted_query("tag=token&last=password") == "tag=token&last=password"
    assert redacted_query("") == ""


def test_fields_are_gone_through() -> None:
    value = {"headers": {"Authorization": [SECRET], "Accept": "a"}, "urls": [f"http://a:{SECRET}@b/"], "n": 1}
    assert redacted_value("about", value) == {
        "headers": {"Authorization": HIDDEN, "Accept": "a"},
        "urls": [f"http://a:{HIDDEN}@b/"],
        "n": 1,
    }
    assert redacted_value("password", 5) == HIDDEN
    assert redacted_value("x", f"Basic {SECRET}".encode()) == f"Basic {HIDDEN}"
    assert secret_name("X-Api-Key")
    assert not secret_name("digest")


@pytest.mark.parametrize(
    "piece",
    [
        "a-",
        "%",
        "?%",
        '"token":"',
        '"token":[',
        "'password':",
        "://a:",
        "bearer ",
        "eyJaaaaa-",
        "token=",
        "a.b_",
        "://",
        "\\",
    ],
)
def test_no_text_takes_long(piece: str) -> None:
    text = piece * (16_384 // len(piece))
    started = time.process_time()
    redacted(text)
    assert time.process_time() - started < 5


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200))
def test_any_text_can_be_redacted_again(text: str) -> None:
    once = redacted(text)
    assert SECRET not in redacted(once + f" password={SECRET}")
