"""Bad input over HTTP, to one worker and to two: a clear error in the right form, and nothing that is stored is harmed.

The fixture ``kept`` looks after each test whether an image that was pushed before is still served byte for byte, and
whether the log tells of a failure.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.kept import NAME, Kept, keep
from tests.integration.wire import Answer, Wire, ask
from tests.support.access import write_htpasswd
from tests.support.http import Client
from tests.support.images import DOCKER_MANIFEST, INDEX, MANIFEST, digest_of
from tests.support.lading import Lading

ABSENT = digest_of(b"nobody pushed this")
UPLOAD = "11111111-2222-3333-4444-555555555555"


def wrong(answer: Answer, status: int, *codes: str) -> None:
    """The answer is an error of this status, with one of these codes."""
    assert answer.status == status, answer
    assert answer.code in codes, answer


# ---- paths

TRICKS = [
    "/v2/../v2/",
    "/v2/..",
    "/../../../../etc/passwd",
    "/v2/%2e%2e/%2e%2e/etc/passwd",
    "/v2/%2e%2e%2f%2e%2e%2fetc/manifests/latest",
    f"/v2/{NAME}/../../../../lading/index.sqlite",
    f"/v2/{NAME}/../other/manifests/latest",
    f"/v2/{NAME}/./manifests/safe",
    f"/v2/{NAME}/%2e/manifests/safe",
    f"/v2/{NAME}//manifests/safe",
    f"//v2/{NAME}/manifests/safe",
    f"/v2//{NAME}/manifests/safe",
    f"/v2/{NAME}/manifests//safe",
    f"/v2/{NAME}/manifests/safe/",
    f"/v2/{NAME.replace('/', '%2F')}/manifests/safe",
    f"/v2/{NAME.replace('/', '%2f')}/tags/list",
    f"/v2/{NAME.replace('/', '%252F')}/manifests/safe",
    f"/v2/{NAME.replace('/', '%5C')}/manifests/safe",
    f"/v2%2F{NAME}/manifests/safe",
    f"/v2/{NAME}%2Fmanifests%2Fsafe",
    f"/v2/{NAME}/manifests/..",
    f"/v2/{NAME}/manifests/%2e%2e",
    f"/v2/{NAME}/manifests/%2e%2e%2f%2e%2e%2fdata",
    f"/v2/{NAME}/manifests/safe%00",
    f"/v2/{NAME}/manifests/safe%0d%0aX-Evil:%201",
    f"/v2/{NAME}/manifests/safe%0A",
    f"/v2/{NAME}%00/manifests/safe",
    f"/v2/{NAME}%20/manifests/safe",
    f"/v2/{NAME}/manifests/%ff%fe",
    f"/v2/{NAME}/manifests/%c0%ae%c0%ae",
    f"/v2/{NAME}/manifests/%",
    f"/v2/{NAME}/manifests/%4",
    f"/v2/{NAME}/manifests/%zz",
    f"/v2/{NAME}/manifests/%u0041",
    "/v2/%/manifests/safe",
    f"/v2/{NAME}/blobs/..%2f..%2fdata",
    f"/v2/{NAME}/blobs/sha256:..",
    f"/v2/{NAME}/blobs/sha256:../../../../../../etc/passwd",
    f"/v2/{NAME}/blobs/sha256%3A" + "%00" * 64,
    f"/v2/{NAME}/blobs/uploads/../../../../etc",
    f"/v2/{NAME}/blobs/uploads/%2e%2e",
    f"/v2/{NAME}/blobs/uploads/..%2f..%2f",
    f"/v2/{NAME}/blobs/uploads/{UPLOAD}%00",
    f"/v2/{NAME}/referrers/..",
    "/v2/_uploads/manifests/x",
    f"/v2/{NAME}/_manifests/manifests/x",
    f"/v2/{'a/' * 5000}tags/list",
    f"/v2/{'a' * 10_000}/tags/list",
    f"/v2/{NAME}/manifests/{'t' * 10_000}",
    f"/v2/{NAME}/blobs/sha256:{'a' * 10_000}",
    "/" * 10_000,
    "/v2/" + "%2e%2e/" * 2000,
]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
@pytest.mark.parametrize("target", TRICKS, ids=lambda target: target[:70])
def test_paths_outside_the_grammar(server: Lading, target: str, method: str) -> None:
    """They are neither normalised nor unpacked into something else: 400 or 404, or 405 by a method that is not there."""
    body = b'{"schemaVersion": 2, "manifests": []}' if method == "PUT" else None
    answer = ask(server, method, target, {"Content-Type": INDEX}, body)
    assert answer.status in (400, 404, 405), answer
    assert "x-evil" not in answer.headers
    if method != "HEAD":
        assert answer.code in ("NAME_INVALID", "TAG_INVALID", "DIGEST_INVALID", "UNSUPPORTED", "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("raw", [b"\xff\xfe", "ä".encode(), b"\x80", b"\x01", b"\x7f", b"a\tb", b'"', b"<x>", b"\\"])
def test_bytes_that_are_no_text_in_a_path(server: Lading, raw: bytes) -> None:
    for target in (b"/v2/" + raw + b"/tags/list", f"/v2/{NAME}/manifests/".encode() + raw, b"/" + raw):
        answer = ask(server, "GET", target)
        assert answer.status in (400, 404), answer
        assert answer.code


def test_an_escaped_letter_is_that_letter(server: Lading, kept: Kept) -> None:
    """RFC 3986, 6.2.2.2: what need not be escaped means the same when it is."""
    for target in (f"/v2/{NAME}/manifests/%73afe", f"/v2/{NAME.replace('k', '%6b')}/manifests/safe"):
        assert ask(server, "GET", target).body == kept.image.manifest.data
    escaped = kept.image.digest.replace(":", "%3A")
    assert ask(server, "GET", f"/v2/{NAME}/manifests/{escaped}").body == kept.image.manifest.data


# ---- arguments


@pytest.mark.parametrize(
    "query",
    [
        "n=%",
        "n=%ff",
        "last=%ff%fe",
        "last=%00",
        "last=" + "x" * 9000,
        "&&&===",
        "a" * 9000,
        "&".join(f"a{number}=1" for number in range(1500)),
        "n=1&n=abc",
        "=",
        "?",
        "n=1;last=2",
        "%6e=1",
    ],
    ids=lambda query: query[:20],
)
@pytest.mark.parametrize("path", [f"/v2/{NAME}/tags/list", "/v2/_catalog", f"/v2/{NAME}/referrers/{ABSENT}"])
def test_queries_outside_the_grammar(server: Lading, path: str, query: str) -> None:
    answer = ask(server, "GET", f"{path}?{query}")
    assert answer.status in (200, 400), answer
    if answer.status == 400:
        assert answer.code in ("PAGINATION_NUMBER_INVALID", "UNSUPPORTED")
    else:
        assert json.loads(answer.body)


@pytest.mark.parametrize("value", ["", "x", "..", "sha256:", "sha256:" + "a" * 63, "%00", "%ff", "A" * 9000, "md5:aa"])
@pytest.mark.parametrize("argument", ["digest", "mount", "digest-algorithm"])
def test_arguments_of_an_upload_outside_the_grammar(server: Lading, argument: str, value: str) -> None:
    answer = ask(server, "POST", f"/v2/bad/arguments/blobs/uploads/?{argument}={value}", body=b"")
    if value == "" and argument == "digest-algorithm":
        assert answer.status == 202
    else:
        wrong(answer, 400, "DIGEST_INVALID", "UNSUPPORTED")


@pytest.mark.parametrize("source", ["..", "A", "a//b", "%00", "%ff", "a" * 256, "/", "%20"])
def test_a_source_of_a_mount_outside_the_grammar(server: Lading, source: str) -> None:
    answer = ask(server, "POST", f"/v2/bad/mount/blobs/uploads/?mount={ABSENT}&from={source}", body=b"")
    wrong(answer, 400, "NAME_INVALID", "UNSUPPORTED")


# ---- uploads


def upload(client: Client) -> str:
    """The path and query of a fresh upload."""
    location = client.post("/v2/bad/uploads/blobs/uploads/").headers["location"]
    return location.removeprefix(str(client.base_url).rstrip("/"))


@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize("identity", [UPLOAD, "none", "..", "0", "x" * 300, "%00", "%2e%2e%2f", UPLOAD.upper(), "a:b"])
def test_unknown_uploads(server: Lading, method: str, identity: str) -> None:
    body = b"data" if method in ("PATCH", "PUT") else None
    answer = ask(server, method, f"/v2/{NAME}/blobs/uploads/{identity}?digest={ABSENT}", body=body)
    assert answer.status == 404
    assert method == "HEAD" or answer.code == "BLOB_UPLOAD_UNKNOWN"


def flipped(ticket: str) -> str:
    """Another letter at one place in the middle."""
    middle = len(ticket) // 2
    return ticket[:middle] + ("A" if ticket[middle] != "A" else "B") + ticket[middle + 1 :]


@pytest.mark.parametrize(
    "ticket",
    [
        "x",
        "!" * 100,
        "%00",
        "%ff%ff",
        "A" * 9000,
        base64.urlsafe_b64encode(bytes(32) + b"\x95\xa1a\xa1b\xa6sha256\x00\xc0").decode().rstrip("="),
        base64.urlsafe_b64encode(bytes(10)).decode(),
    ],
    ids=["x", "marks", "nul", "bytes", "long", "unsigned", "short"],
)
def test_forged_tickets(server: Lading, client: Client, ticket: str) -> None:
    """The state that travels in a location is signed: another one is refused, and the upload is not harmed."""
    location = upload(client)
    path, _, query = location.partition("?")
    own = query.partition("=")[2]
    for forged in (ticket, flipped(own), own + "AAAA", own[:-4]):
        for method in ("GET", "PATCH", "PUT", "DELETE"):
            body = b"x" if method in ("PATCH", "PUT") else None
            answer = ask(server, method, f"{path}?_state={forged}&digest={ABSENT}", body=body)
            wrong(answer, 400, "BLOB_UPLOAD_INVALID", "UNSUPPORTED")
    data = b"goes on"
    assert client.put(f"{location}&digest={digest_of(data)}", content=data).status_code == 201


def test_a_ticket_of_another_upload(server: Lading, client: Client) -> None:
    first, second = upload(client), upload(client)
    mixed = f"{first.partition('?')[0]}?{second.partition('?')[2]}"
    wrong(ask(server, "PATCH", mixed, body=b"x"), 400, "BLOB_UPLOAD_INVALID")


@pytest.mark.parametrize(
    ("given", "size", "status"),
    [
        ("0-9", 9, {400, 416}),
        ("0-9", 11, {400, 416}),
        ("0-9", 0, {400, 416}),
        ("9-0", 10, {400, 416}),
        ("5-14", 10, {416}),
        ("0-99999999999999999999", 10, {400, 416}),
        ("99999999999999999999-99999999999999999999", 1, {400, 416}),
        ("0-9/5", 10, {202, 400, 416}),
        ("bytes", 10, {400, 416}),
        ("\x80-9", 10, {400, 416}),
        ("٠-٩", 10, {400, 416}),
        ("0-9, 10-19", 20, {400, 416}),
    ],
)
@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_content_range_against_the_body(
    server: Lading, client: Client, given: str, size: int, status: set[int], chunked: bool
) -> None:
    """A range the body does not have, or that does not continue, is refused; nothing of the chunk is kept."""
    location, data = upload(client), b"x" * size
    headers = {"Content-Range": given.encode().decode("latin-1")}
    with Wire(server) as wire:
        if chunked:
            wire.request("PATCH", location, {**headers, "Transfer-Encoding": "chunked"})
            wire.send(b"%x\r\n%s\r\n" % (size, data) if size else b"", b"0\r\n\r\n")
        else:
            wire.request("PATCH", location, headers, data)
        answer = wire.expect()
    assert answer.status in status, answer
    if answer.status != 202:
        assert answer.code in ("RANGE_INVALID", "SIZE_INVALID", "UNSUPPORTED", "BLOB_UPLOAD_INVALID")
        assert client.get(location).headers["range"] == "0-0"
        whole = b"0123456789"
        done = client.put(f"{location}&digest={digest_of(whole)}", content=whole, headers={"content-range": "0-9"})
        assert done.status_code == 201


def test_bytes_that_do_not_have_their_digest(server: Lading, client: Client) -> None:
    """However they are pushed: DIGEST_INVALID, and the digest is not there afterwards."""
    target = f"/v2/bad/digests/blobs/uploads/?digest={ABSENT}"
    wrong(ask(server, "POST", target, body=b"other bytes"), 400, "DIGEST_INVALID")
    wrong(ask(server, "PUT", f"{upload(client)}&digest={ABSENT}", body=b"other bytes"), 400, "DIGEST_INVALID")
    assert client.head(f"/v2/bad/digests/blobs/{ABSENT}").status_code == 404
    manifest = b'{"schemaVersion": 2, "manifests": []}'
    answer = ask(server, "PUT", f"/v2/bad/digests/manifests/{ABSENT}", {"Content-Type": INDEX}, manifest)
    wrong(answer, 400, "DIGEST_INVALID")


def test_a_kept_blob_pushed_with_other_bytes(server: Lading, kept: Kept) -> None:
    """Nobody can put other bytes under a digest that is there already."""
    for blob in (*kept.image.blobs, kept.image.manifest):
        target = f"/v2/{NAME}/blobs/uploads/?digest={blob.digest}"
        wrong(ask(server, "POST", target, body=b"evil" + blob.data[4:]), 400, "DIGEST_INVALID")
        wrong(ask(server, "POST", target, body=b""), 400, "DIGEST_INVALID")


# ---- manifests


def put(server: Lading, raw: bytes, media_type: str = INDEX, **headers: str) -> Answer:
    return ask(server, "PUT", "/v2/bad/manifests/manifests/t", {"Content-Type": media_type, **headers}, raw)


@pytest.mark.parametrize(
    "document",
    [
        {"schemaVersion": 2, "manifests": [{"digest": ABSENT, "size": 1, "mediaType": MANIFEST}] * 3},
        {"schemaVersion": 2, "manifests": [{"digest": ABSENT, "size": 0, "mediaType": "x/y"}]},
    ],
)
def test_manifests_that_name_what_is_not_there(server: Lading, document: dict[str, Any]) -> None:
    wrong(put(server, json.dumps(document).encode()), 400, "MANIFEST_BLOB_UNKNOWN")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" " * 5000,
        b"\0" * 100,
        b"\xef\xbb\xbf{}",
        '{"schemaVersion": 2, "manifests": []}'.encode("utf-16"),
        b'{"schemaVersion": 2, "manifests": [], "annotations": {"a": "\xff"}}',
        b'{"schemaVersion": 2, "manifests": [], "annotations": {"\\ud800": "x"}}',
        b'{"schemaVersion": 2, "manifests": [], "annotations": {"a": "\xed\xa0\x80"}}',
        b'{"schemaVersion": 2, "manifests": [], "annotations": {"a": null}}',
        b'{"schemaVersion": 2, "manifests": [], "annotations": []}',
        b'{"schemaVersion": 2, "manifests": null}',
        b'{"schemaVersion": 2, "manifests": [null]}',
        b'{"schemaVersion": true, "manifests": []}',
        b'{"schemaVersion": 1e999, "manifests": []}',
        b'{"schemaVersion": ' + b"9" * 6000 + b', "manifests": []}',
        b'{"schemaVersion": 2, "manifests": [], "mediaType": 5}',
        b'{"schemaVersion": 2, "manifests": [], "mediaType": "' + b"x" * 5000 + b'"}',
        b'{"schemaVersion": 2, "manifests": [], }',
        b"{'schemaVersion': 2}",
        b'{"schemaVersion": NaN}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"schemaVersion": 2, "manifests": [' + b'{"size": 1},' * 30_000 + b"{}]}",
        zlib.compress(b'{"schemaVersion": 2, "manifests": []}'),
        b"<html></html>",
    ],
    ids=lambda raw: repr(raw[:30]),
)
def test_manifests_that_are_none(server: Lading, raw: bytes) -> None:
    answer = put(server, raw)
    if answer.status == 201:
        assert raw == ask(server, "GET", "/v2/bad/manifests/manifests/t").body
    else:
        wrong(answer, 400, "MANIFEST_INVALID")


@pytest.mark.parametrize(
    "media_type",
    [
        "",
        "/",
        "x",
        "text/html",
        "application/json/json",
        ";",
        "a" * 9000,
        "\xff",
        MANIFEST.upper(),
        DOCKER_MANIFEST,
        ",",
    ],
)
def test_media_types_that_do_not_fit(server: Lading, media_type: str) -> None:
    stated = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()
    answer = put(server, stated, media_type)
    if media_type in ("", ";"):
        assert answer.status == 201
    else:
        wrong(answer, 400, "MANIFEST_INVALID")


def test_a_content_encoding_is_not_undone(server: Lading) -> None:
    """A manifest that was packed is no manifest, whatever the header says."""
    packed = zlib.compress(b'{"schemaVersion": 2, "manifests": []}')
    wrong(put(server, packed, **{"Content-Encoding": "deflate"}), 400, "MANIFEST_INVALID")


def test_a_manifest_of_very_many_references(server: Lading) -> None:
    """As many as fit into 4 MiB are refused for what they name, in no long time."""
    entry = {"mediaType": MANIFEST, "size": 1}
    manifests = [{**entry, "digest": digest_of(str(number).encode())} for number in range(19_000)]
    raw = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
    assert len(raw) < 4 << 20
    wrong(put(server, raw), 400, "MANIFEST_BLOB_UNKNOWN")


# ---- headers


@pytest.mark.parametrize(
    "value", ["", "bytes", "bytes=", "bytes=a-b", "bytes=-", "bytes=1", "\xff", "bytes=" + "1-2," * 2000]
)
def test_ranges_outside_the_grammar(server: Lading, kept: Kept, value: str) -> None:
    blob = kept.image.layers[0]
    answer = ask(server, "GET", f"/v2/{NAME}/blobs/{blob.digest}", {"Range": value})
    if answer.status == 200:
        assert answer.body == blob.data
    else:
        wrong(answer, 416, "RANGE_INVALID")


@pytest.mark.parametrize("value", ["\xff\xfe", "x" * 9000, "", "*, *", '"', "W/", ",,,"])
@pytest.mark.parametrize(
    "header", ["Accept", "If-None-Match", "If-Range", "User-Agent", "X-Forwarded-Host", "Authorization"]
)
def test_headers_of_any_kind(server: Lading, header: str, value: str) -> None:
    for target in (f"/v2/{NAME}/manifests/safe", "/v2/"):
        assert ask(server, "GET", target, {header: value}).status in (200, 304)
    begun = ask(server, "POST", "/v2/bad/headers/blobs/uploads/", {header: value}, b"")
    assert begun.status in (202, 400)
    assert "\n" not in begun.headers.get("location", "")


@pytest.mark.parametrize("method", ["FOO", "options", "GETT", "-", "LOCK", "M-SEARCH", "SUBSCRIBE", "QUERY"])
def test_methods_nobody_knows(server: Lading, method: str) -> None:
    answer = ask(server, method, "/v2/")
    assert answer.status in (400, 405)
    assert answer.code == "UNSUPPORTED"


# ---- wrong passwords


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lading]:
    folder = tmp_path_factory.mktemp("guarded")
    passwords = write_htpasswd(folder / "htpasswd", {"alice": "wonder:land"})
    settings = {"auth": {"htpasswd": {"realm": "r", "path": str(passwords)}}}
    with Lading(folder / "server", settings) as server:
        yield server
        assert "Traceback" not in server.output
        assert "wonder" not in server.output


def basic(text: bytes) -> str:
    return "Basic " + base64.b64encode(text).decode()


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic ",
        "Basic ====",
        "Basic \xff",
        "Basic " + "A" * 9000,
        "Bearer x.y.z",
        "Negotiate abc",
        basic(b""),
        basic(b":"),
        basic(b"alice"),
        basic(b"alice:"),
        basic(b"alice:wrong"),
        basic(b"alice:wonder:land "),
        basic(b"ALICE:wonder:land"),
        basic(b"alice\0:wonder:land"),
        basic(b"alice:wonder:land\0x"),
        basic(b"\xff\xfe:\xff"),
        basic(b"alice:" + b"x" * 2000),
    ],
    ids=lambda header: repr(header[:40]),
)
def test_wrong_passwords(guarded: Lading, header: str) -> None:
    for method, target in (("GET", "/v2/"), ("POST", "/v2/a/blobs/uploads/"), ("GET", "/v1/search?q=a")):
        answer = ask(guarded, method, target, {"Authorization": header}, b"" if method == "POST" else None)
        wrong(answer, 401, "UNAUTHORIZED")
        assert answer.headers["www-authenticate"].startswith("Basic realm=")


def test_the_right_password(guarded: Lading) -> None:
    assert ask(guarded, "GET", "/v2/", {"Authorization": basic(b"alice:wonder:land")}).status == 200


def test_two_passwords(guarded: Lading) -> None:
    """With two Authorization headers it is not for the registry to choose the better one."""
    with Wire(guarded) as wire:
        pair = f"Authorization: {basic(b'a:b')}\r\nAuthorization: {basic(b'alice:wonder:land')}\r\n"
        assert wire.send(f"GET /v2/ HTTP/1.1\r\nHost: x\r\n{pair}\r\n").expect().status in (400, 401)


def test_a_kept_store_is_untouched_by_all_of_this(tmp_path: Path) -> None:
    """What lies on disk before and after a refused push is the same, byte for byte."""

    def files(server: Lading) -> dict[str, bytes]:
        docker = server.storage / "docker"
        return {str(path.relative_to(docker)): path.read_bytes() for path in docker.rglob("*") if path.is_file()}

    with Lading(tmp_path) as server:
        kept = keep(server)
        before = files(server)
        ask(server, "POST", f"/v2/{NAME}/blobs/uploads/?digest={ABSENT}", body=b"other")
        put(server, b"not json")
        ask(
            server,
            "PUT",
            f"/v2/{NAME}/manifests/{ABSENT}",
            {"Content-Type": INDEX},
            b'{"schemaVersion":2,"manifests":[]}',
        )
        with Wire(server) as wire:
            wire.request("POST", f"/v2/{NAME}/blobs/uploads/?digest={ABSENT}", {"Content-Length": "9"}, None)
            wire.send(b"1234").end().answer()
        assert files(server) == before
        kept.check()
