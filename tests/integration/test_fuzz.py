"""Requests that a machine makes up, from the vocabulary of the protocol and from nonsense: never a 5xx, never silence.

The same requests every time (derandomised), some hundreds of them, to a server that must serve what it held before.
"""

from __future__ import annotations

import json

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.integration.kept import NAME, Kept
from tests.integration.wire import Wire
from tests.support.images import DOCKER_MANIFEST, INDEX, MANIFEST, digest_of
from tests.support.lading import Lading

fuzzed = settings(
    max_examples=250,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

UPLOAD = "11111111-2222-3333-4444-555555555555"
WORDS = [
    *("v1", "v2", "_catalog", "_ping", "search", "manifests", "blobs", "uploads", "tags", "list", "referrers", "fuzz"),
    *("", ".", "..", "%", "%2e%2e", "%2F", "%00", "%ff", "a", "A", "latest", "safe", "sha256:", "sha512:", UPLOAD),
    *(digest_of(b""), digest_of(b"{}"), "sha256:" + "a" * 64, "sha512:" + "b" * 128, "md5:aa", "x" * 300),
]
ARGUMENTS = [
    "digest",
    "mount",
    "from",
    "digest-algorithm",
    "n",
    "last",
    "tag",
    "artifactType",
    "_state",
    "ns",
    "q",
    "page",
]
VALUES = ["", "0", "1", "-1", "9" * 30, "sha256", "sha512", "%", "%ff", "%00", "a/b", "..", digest_of(b""), "é", "safe"]
HEADERS = [
    *("Content-Range", "Range", "If-None-Match", "If-Range", "Accept", "Authorization", "Expect", "X-Forwarded-Host"),
    *("X-Forwarded-Proto", "Content-Type", "Content-Encoding", "Connection", "X-Request-Id", "Cookie", "Upgrade", "TE"),
]
FIELDS = [
    *(
        "",
        "0-0",
        "0-9",
        "bytes=0-0",
        "bytes=-1",
        "bytes 0-4/5",
        "*",
        "100-continue",
        "close",
        "keep-alive",
        "Basic YTpi",
    ),
    *(MANIFEST, INDEX, DOCKER_MANIFEST, "application/json", "gzip", "Bearer a.b.c", "h2c", '"sha256:x"', "W/", "https"),
]
FIELD_NAMES = [
    *("schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "annotations", "artifactType"),
    *("digest", "size", "urls", "data", "platform", "os", "architecture"),
]
BODIES = [b"", b"{}", b"[]", b'{"schemaVersion": 2, "manifests": []}', b"\0" * 40, b"x" * 5000]

text = st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"), max_size=20)
word = st.sampled_from(WORDS) | text.map(lambda some: some.replace("?", "").replace("#", ""))
known = st.sampled_from(["/v2/fuzz/", "/v2/", "/v2/fuzz/a/", "/", "", f"/v2/{NAME}-fuzz/"])
path = st.builds(lambda head, words: head + "/".join(words), known, st.lists(word, max_size=5))
argument = st.builds("{}={}".format, st.sampled_from(ARGUMENTS) | text, st.sampled_from(VALUES) | text)
target = st.builds(
    lambda path, arguments: (path or "/") + ("?" + "&".join(arguments) if arguments else ""),
    path,
    st.lists(argument, max_size=3),
)
headers = st.dictionaries(st.sampled_from(HEADERS), st.sampled_from(FIELDS) | text, max_size=4)
method = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
body = st.none() | st.sampled_from(BODIES) | st.binary(max_size=200)
scalar = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(WORDS)
document = st.recursive(
    scalar,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(FIELD_NAMES) | st.text(max_size=5),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


def answered(server: Lading, method: str, target: str, headers: dict[str, str], body: bytes | None) -> int:
    """The status of the answer, which comes, is no failure, and is in the right form if it is an error."""
    with Wire(server) as wire:
        answer = wire.request(method, target, headers, body).expect(to_head=method == "HEAD")
        while answer.status < 200:
            answer = wire.expect(to_head=method == "HEAD")
    assert answer.status < 500, answer
    if answer.status >= 400 and method != "HEAD":
        assert answer.code
    return answer.status


@fuzzed
@given(method=method, target=target, headers=headers, body=body)
def test_any_request(server: Lading, method: str, target: str, headers: dict[str, str], body: bytes | None) -> None:
    answered(server, method, target, headers, body)


@fuzzed
@given(document=document, media_type=st.sampled_from([MANIFEST, INDEX, DOCKER_MANIFEST, "application/json", ""]))
def test_any_json_as_a_manifest(server: Lading, document: object, media_type: str) -> None:
    raw = encoded(document)
    status = answered(server, "PUT", "/v2/fuzz/json/manifests/t", {"Content-Type": media_type}, raw)
    assert status in (201, 400)


def encoded(document: object) -> bytes:
    """JSON, with the numbers that are none (NaN, Infinity) as Python writes them."""
    return json.dumps(document).encode()


@fuzzed
@given(raw=st.binary(min_size=1, max_size=400))
def test_any_bytes(server: Lading, kept: Kept, raw: bytes) -> None:
    """Bytes that are no request at all get an answer or the end of the connection, and soon."""
    with Wire(server) as wire:
        wire.send(raw).end()
        answer = wire.answer()
        assert answer is None or 400 <= answer.status < 500


@fuzzed
@given(
    raw=st.builds(
        b"".join,
        st.lists(
            st.sampled_from(
                [
                    *(b"GET /v2/ HTTP/1.1\r\n", b"POST /v2/fuzz/blobs/uploads/ HTTP/1.1\r\n", b"Host: x\r\n", b"\r\n"),
                    *(b"Content-Length: 4\r\n", b"Transfer-Encoding: chunked\r\n", b"4\r\nabcd\r\n", b"0\r\n\r\n"),
                    *(b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"\n", b"\r", b" ", b":", b"abcd", b"\0"),
                ]
            ),
            min_size=1,
            max_size=14,
        ),
    )
)
def test_any_pieces_of_requests(server: Lading, raw: bytes) -> None:
    """Heads, lengths and bodies in any order: every answer is a whole one, none is a failure."""
    with Wire(server) as wire:
        wire.send(raw).end()
        for _ in range(20):
            answer = wire.answer()
            if answer is None:
                break
            assert answer.status < 500, answer
