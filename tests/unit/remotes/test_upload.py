"""Blobs on their way out: broken lines, uploads that are lost, mounts that are refused."""

from __future__ import annotations

import hashlib
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lading import errors
from lading.oci.digest import Digest
from lading.oci.manifest import Descriptor
from lading.remotes.verify import verified
from tests.support.access import certificates
from tests.support.scripted import Answer, Asked, Scripted
from tests.unit.remotes.far import BLOB, DATA, HURRIED, of, registry

pytestmark = pytest.mark.anyio


class Uploads:
    """As much of a registry as takes one upload at a time; ``breaks`` says after how many bytes PATCHes are cut."""

    def __init__(self, *breaks: int, status_of_patch: int = 202, forgets: bool = False) -> None:
        self.breaks = list(breaks)
        self.status_of_patch = status_of_patch
        self.forgets = forgets
        self.uploads: dict[str, bytearray] = {}
        self.stored: dict[str, bytes] = {}
        self.loses_answers = False
        self.sent = 0

    def __call__(self, asked: Asked) -> Answer:
        if asked.path == "/v2/":
            return Answer()
        name = asked.path.rpartition("/")[2]
        if asked.method == "POST":
            name = f"u{len(self.uploads)}"
            self.uploads[name] = bytearray()
            return Answer(202, b"", {"location": f"/v2/a/blobs/uploads/{name}?_state={name}"})
        if asked.method == "HEAD":
            return Answer(200 if name in self.stored else 404)
        if name not in self.uploads:
            return Answer(404)
        assert asked.query["_state"] == [name]
        return getattr(self, asked.method.lower())(name, asked)

    def get(self, name: str, asked: Asked) -> Answer:
        if self.forgets:
            del self.uploads[name]
            return Answer(404)
        return Answer(204, b"", {"range": f"0-{max(0, len(self.uploads[name]) - 1)}", **self.location(name)})

    def patch(self, name: str, asked: Asked) -> Answer:
        place = int(asked.headers.get("content-range", "0-").partition("-")[0])
        assert place == len(self.uploads[name])
        cut = self.breaks.pop(0) if self.breaks else None
        body = asked.read(cut)
        self.sent += len(body)
        self.uploads[name] += body
        if cut is not None:
            return Answer(self.status_of_patch, None if self.status_of_patch == 202 else b"")
        return Answer(202, b"", {"range": f"0-{len(self.uploads[name]) - 1}", **self.location(name)})

    def put(self, name: str, asked: Asked) -> Answer:
        self.uploads[name] += asked.read()
        [digest] = asked.query["digest"]
        if digest != "sha256:" + hashlib.sha256(self.uploads[name]).hexdigest():
            return Answer(400, b'{"errors": [{"code": "DIGEST_INVALID", "message": "no"}]}')
        self.stored[digest] = bytes(self.uploads.pop(name))
        return Answer(201, None if self.loses_answers else b"")

    def delete(self, name: str, asked: Asked) -> Answer:
        del self.uploads[name]
        return Answer(204)

    def location(self, name: str) -> dict[str, str]:
        return {"location": f"/v2/a/blobs/uploads/{name}?_state={name}"}


@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=["empty", "small", "large"])
async def test_a_blob_arrives(data: bytes) -> None:
    blob = Descriptor(digest=Digest.of(data), size=len(data))
    there = Uploads()
    with Scripted(there) as far_side:
        async with registry(far_side) as client:
            await client.put_blob("a", blob, of(data))
    assert there.stored == {blob.digest: data}


@pytest.mark.parametrize("breaks", [(100_000,), (1_500_000, 700_000), (2_999_999,), (2, 2, 2, 2, 2, 2)])
async def test_a_broken_upload_goes_on_where_it_was(breaks: tuple[int, ...]) -> None:
    there = Uploads(*breaks)
    with Scripted(there) as far_side:
        async with registry(far_side) as client:
            await client.put_blob("a", BLOB, of(DATA))
        assert len(far_side.paths("POST")) == 1
    assert there.stored == {BLOB.digest: DATA}
    assert there.sent == len(DATA), "no byte was sent twice"


@pytest.mark.parametrize("data", [b"x", DATA], ids=["small", "large"])
async def test_a_blob_whose_last_answer_got_lost_is_not_sent_again(data: bytes) -> None:
    there = Uploads()
    there.loses_answers = True
    with Scripted(there) as far_side:
        async with registry(far_side) as client:
            await client.put_blob("a", Descriptor(digest=Digest.of(data), size=len(data)), of(data))
        assert len(far_side.paths("POST")) == 1


async def test_a_server_in_trouble_is_asked_how_far_it_got() -> None:
    there = Uploads(1_000_000, status_of_patch=503)
    with Scripted(there) as far_side:
        async with registry(far_side) as client:
            await client.put_blob("a", BLOB, of(DATA))
    assert there.stored == {BLOB.digest: DATA}


@pytest.mark.parametrize("breaks", [(0,), (1,), (1_000_000,)])
async def test_an_upload_that_is_lost_begins_anew(breaks: tuple[int, ...]) -> None:
    there = Uploads(*breaks, forgets=True)
    with Scripted(there) as far_side:
        async with registry(far_side) as client:
            await client.put_blob("a", BLOB, of(DATA))
        assert len(far_side.paths("POST")) == 2
    assert there.stored == {BLOB.digest: DATA}


async def test_an_upload_that_gets_nowhere_is_given_up() -> None:
    with Scripted(Uploads(*[0] * 100)) as far_side:
        async with registry(far_side) as client:
            with pytest.raises(errors.Unreachable):
                await client.put_blob("a", BLOB, of(DATA))
        assert len(far_side.paths("PATCH")) == HURRIED.attempts


async def test_a_source_that_lies_ends_the_upload() -> None:
    there = Uploads()

    @asynccontextmanager
    async def lying(start: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async with of(DATA[:-1] + b"?")(start) as chunks:
            yield verified(chunks, BLOB, "the source")

    with Scripted(there) as far_side:
        async with registry(far_side) as client:
            with pytest.raises(errors.DigestInvalid, match="the source"):
                await client.put_blob("a", BLOB, lying)
        assert not far_side.paths("PUT")
    assert not there.stored


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(202), errors.BadAnswer),
        (Answer(202, b"", {"location": "http://[x/"}), errors.BadAnswer),
        (Answer(202, b"", {"location": "ftp://127.0.0.1/x"}), errors.BadAnswer),
        (Answer(202, b"", {"location": "http:/v2/x"}), errors.BadAnswer),
        (Answer(403), errors.Denied),
        (Answer(405), errors.Unsupported),
        (Answer(413), errors.Invalid),
        (Answer(404), errors.Missing),
    ],
    ids=["no-location", "bad-location", "ftp", "no-host", "403", "405", "413", "404"],
)
async def test_a_registry_that_takes_no_upload(answer: Answer, error: type[Exception]) -> None:
    with Scripted(lambda asked: Answer() if asked.path == "/v2/" else answer) as far_side:
        async with registry(far_side) as client:
            with pytest.raises(error):
                await client.put_blob("a", BLOB, of(DATA))


async def test_an_upload_never_goes_on_without_tls(tmp_path: Path) -> None:
    """As behind a proxy that speaks TLS for a registry and does not say so: bytes are not sent for everybody to see."""
    made = certificates(tmp_path)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(made.certificate, made.key)
    far_side = Scripted(lambda asked: Answer(202, b"", {"location": f"http://{asked.headers['host']}/v2/a/u"}))
    server = far_side._server
    server.socket = served.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with far_side:
        async with registry(far_side, policy=replace(HURRIED, scheme="https", ca=made.ca.read_text())) as client:
            with pytest.raises(errors.BadAnswer, match="X-Forwarded-Proto"):
                await client.put_blob("a", BLOB, of(DATA))
        assert [one.method for one in far_side.asked] == ["POST"]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("data", [b"x", DATA], ids=["small", "large"])
async def test_a_registry_that_has_had_enough_is_asked_later(data: bytes, status: int) -> None:
    there = Uploads()
    method = "PUT" if data == b"x" else "PATCH"
    refused: list[Asked] = []

    def answer(asked: Asked) -> Answer:
        if asked.method == method and not refused:
            refused.append(asked)
            return Answer(status, b"", {"retry-after": "1"})
        return there(asked)

    with Scripted(answer) as far_side:
        async with registry(far_side) as client:
            before = time.monotonic()
            await client.put_blob("a", Descriptor(digest=Digest.of(data), size=len(data)), of(data))
            assert time.monotonic() - before >= 1
    assert list(there.stored.values()) == [data]


async def test_a_source_that_sends_too_much_is_no_second_request() -> None:
    """Where an upload goes on from the middle nothing is hashed: what came after its end would be read as a request."""
    there = Uploads(1_000_000)
    with Scripted(there) as far_side:
        async with registry(far_side) as client:
            with pytest.raises(errors.SizeInvalid):
                await client.put_blob("a", BLOB, of(DATA + b"DELETE /v2/b/manifests/x HTTP/1.1\r\n\r\n"))
        assert not far_side.paths("DELETE")


async def test_a_mount_moves_no_byte() -> None:
    with Scripted(lambda asked: Answer(201 if asked.method == "POST" else 200)) as far_side:
        async with registry(far_side) as client:
            assert await client.mount("a", BLOB, "b/c")
        [post] = [one for one in far_side.asked if one.method == "POST"]
        assert post.query == {"mount": [BLOB.digest], "from": ["b/c"]}


async def test_an_upload_that_came_instead_of_a_mount_is_given_up() -> None:
    there = Uploads()
    with Scripted(there) as far_side:
        async with registry(far_side) as client:
            assert not await client.mount("a", BLOB, "b")
    assert not there.uploads


@pytest.mark.parametrize("status", [401, 403, 404, 405, 400])
async def test_a_mount_that_is_refused_is_no_error(status: int) -> None:
    with Scripted(lambda asked: Answer(status if asked.method == "POST" else 200)) as far_side:
        async with registry(far_side) as client:
            assert not await client.mount("a", BLOB, "b")


@pytest.mark.parametrize("status", [307, 308])
async def test_an_upload_that_begins_elsewhere_begins_there(status: int) -> None:
    far = Uploads()
    with Scripted(far) as there:

        def moved(asked: Asked) -> Answer:
            if asked.method == "POST":
                return Answer(status, b"", {"location": f"{there.url}{asked.path}"})
            return Answer(200 if asked.path == "/v2/" else 404)

        with Scripted(moved) as here:
            async with registry(here) as client:
                await client.put_blob("a", BLOB, of(DATA))
    assert list(far.stored.values()) == [DATA]


async def test_a_push_that_is_sent_to_read_instead_is_refused() -> None:
    with Scripted(lambda asked: Answer(302 if asked.method == "POST" else 404, b"", {"location": "/v2/x"})) as far_side:
        async with registry(far_side) as client:
            with pytest.raises(errors.RemoteError, match="302"):
                await client.put_blob("a", BLOB, of(DATA))
        assert "GET" not in [asked.method for asked in far_side.asked if asked.path == "/v2/x"]


async def test_a_push_where_something_is_missing_says_so() -> None:
    """A registry that wants a project made first, as Harbor and Lading do."""
    refusal = b'{"errors": [{"code": "NAME_UNKNOWN", "message": "there is no project a"}]}'
    with Scripted(lambda asked: Answer(200 if asked.path == "/v2/" else 404, refusal)) as far_side:
        async with registry(far_side) as client:
            with pytest.raises(errors.Missing) as found:
                await client.put_blob("a/b", BLOB, of(DATA))
    said = f"refuses to store {BLOB.digest} in a/b, as something is missing there: there is no project a"
    assert said in found.value.message
