"""Blobs and manifests on their way here: broken lines, lies, endless bodies, redirects."""

from __future__ import annotations

import json
import re
import time

import pytest

from lading import errors
from lading.oci.digest import Digest
from lading.oci.manifest import Descriptor
from tests.support.scripted import Answer, Asked, Scripted, json_answer
from tests.unit.remotes.far import BLOB, DATA, HURRIED, read, registry, routes

pytestmark = pytest.mark.anyio

MANIFEST = json.dumps(
    {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}
).encode()
INDEX = "application/vnd.oci.image.index.v1+json"


def ranged(asked: Asked, most: int | None = None) -> Answer:
    """As a registry that knows ranges answers, breaking off after ``most`` bytes."""
    start = int(re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", "bytes=0-"))[1])  # type: ignore[index]
    if not start:
        return Answer(200, DATA, cut=most)
    return Answer(206, DATA[start:], {"content-range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"}, cut=most)


@pytest.mark.parametrize("cut", [1, 65536, 1_000_000, 2_999_999])
async def test_a_line_that_breaks_again_and_again_costs_no_byte_twice(cut: int) -> None:
    breaks = iter([cut, cut // 2, None])

    def answer(asked: Asked) -> Answer:
        return ranged(asked, next(breaks))

    with Scripted(routes(GET=answer)) as far_side:
        async with registry(far_side) as client:
            assert await read(client) == DATA
        starts = [one.headers.get("range") for one in far_side.asked if one.path != "/v2/"]
        assert starts[0] is None
        assert 2 <= len(starts) <= 3
        assert starts[1:] == sorted(starts[1:], key=lambda text: int(text[6:-1]))  # type: ignore[index]


async def test_a_registry_without_ranges_sends_it_again_from_the_start() -> None:
    cuts = iter([500_000, None])
    with Scripted(routes(GET=lambda asked: Answer(200, DATA, cut=next(cuts)))) as far_side:
        async with registry(far_side) as client:
            assert await read(client) == DATA


async def test_a_line_that_never_holds_is_given_up() -> None:
    with Scripted(routes(GET=Answer(200, DATA, cut=0))) as far_side:
        async with registry(far_side) as client:
            with pytest.raises(errors.Unreachable, match=r"broke|reset"):
                await read(client)
        assert len(far_side.asked) <= 1 + HURRIED.attempts**2


@pytest.mark.parametrize("range_", ["2000000-2999999/3000000", "\xb2-5/9", "9" * 5000 + "-/9", "*/9", ""])
async def test_a_range_that_is_another_one_is_refused(range_: str) -> None:
    def answer(asked: Asked) -> Answer:
        if "range" in asked.headers:
            return Answer(206, DATA, {"content-range": f"bytes {range_}"})
        return Answer(200, DATA, cut=1_000_000)

    with Scripted(routes(GET=answer)) as far_side:
        async with registry(far_side) as client:
            with pytest.raises(errors.BadAnswer, match="sends others"):
                await read(client)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(200, DATA[:-1] + b"?"), errors.DigestInvalid),
        (Answer(200, DATA + b"more"), errors.SizeInvalid),
        (Answer(200, DATA, endless=True), errors.SizeInvalid),
        (Answer(200, b""), errors.SizeInvalid),
        (Answer(404), errors.BlobUnknown),
        (Answer(403), errors.Denied),
        (Answer(418), errors.BadAnswer),
    ],
    ids=["other-bytes", "too-long", "endless", "empty", "404", "403", "418"],
)
async def test_what_is_no_blob_is_an_error(answer: Answer, error: type[Exception]) -> None:
    with Scripted(routes(GET=answer)) as far_side:
        async with registry(far_side) as client:
            with pytest.raises(error):
                await read(client)


async def test_a_silent_registry_is_given_up_in_time() -> None:
    def answer(asked: Asked) -> Answer:
        time.sleep(1.5)
        return Answer(200, DATA)

    with Scripted(routes(GET=answer)) as far_side:
        policy = type(HURRIED)(attempts=2, backoff=0.01, silence=0.3)
        async with registry(far_side, policy=policy) as client:
            with pytest.raises(errors.Unreachable, match="in time"):
                await read(client)


@pytest.mark.parametrize("header", ["2", "Wed, 21 Oct 2015 07:28:00 GMT", "soon", ""])
@pytest.mark.parametrize("status", [429, 503])
async def test_a_registry_that_says_later_is_asked_later(status: int, header: str) -> None:
    answers = iter([Answer(status, b"", {"retry-after": header} if header else {}), Answer(200, DATA)])
    with Scripted(routes(GET=lambda asked: next(answers))) as far_side:
        async with registry(far_side) as client:
            before = time.monotonic()
            assert await read(client) == DATA
            waited = time.monotonic() - before
            assert waited >= 1.9 if header == "2" else waited < 30


async def test_a_wait_longer_than_our_patience_is_told() -> None:
    body = b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "You have reached your pull rate limit."}]}'
    limits = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "0;w=21600", "retry-after": "3600"}
    with Scripted(routes(GET=Answer(429, body, limits))) as far_side:
        async with registry(far_side) as client:
            with pytest.raises(errors.TooMany, match=r"pull rate limit; it may go again in 3600 s") as found:
                await read(client)
            assert found.value.retry_after == 3600
            assert client.session.limits["ratelimit-remaining"] == "0;w=21600"


async def test_a_redirect_to_another_port_goes_without_the_login() -> None:
    with Scripted(routes(GET=Answer(200, DATA))) as storage:

        def answer(asked: Asked) -> Answer:
            if not asked.headers.get("authorization"):
                return Answer(401, b"", {"www-authenticate": 'Basic realm="r"'})
            if asked.path.endswith("/again"):
                return Answer(307, b"", {"location": f"{storage.url}/bucket/x?signature=1"})
            return Answer(307, b"", {"location": "/v2/again"})

        with Scripted(answer) as far_side:
            async with registry(far_side, user="alice", password="secret") as client:
                assert await read(client) == DATA
            assert far_side.asked[-1].headers["authorization"].startswith("Basic ")
        assert ["authorization" in one.headers for one in storage.asked] == [False]


@pytest.mark.parametrize(
    ("location", "said"),
    [("/v2/a/again", "in circles"), ("file:///etc/passwd", "no http"), ("http://[bad/", "."), ("//:x/", ".")],
)
async def test_a_redirect_that_leads_nowhere(location: str, said: str) -> None:
    with Scripted(lambda asked: Answer(200 if asked.path == "/v2/" else 302, b"", {"location": location})) as far_side:
        async with registry(far_side) as client:
            with pytest.raises(errors.RemoteError, match=said):
                await read(client)
        assert len(far_side.asked) < 20


async def test_a_manifest_is_verified() -> None:
    digest = Digest.of(MANIFEST)
    answer = Answer(200, MANIFEST, {"content-type": INDEX, "docker-content-digest": digest})
    with Scripted(routes(GET=answer, HEAD=answer)) as far_side:
        async with registry(far_side) as client:
            assert (await client.manifest("a", "latest")).digest == digest
            assert (await client.manifest("a", digest)).raw == MANIFEST
            assert await client.resolve("a", "latest") == Descriptor(
                media_type=INDEX, digest=digest, size=len(MANIFEST)
            )
            with pytest.raises(errors.DigestInvalid):
                await client.manifest("a", Digest.of(b"another"))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(200, MANIFEST, {"docker-content-digest": Digest.of(b"x")}), errors.DigestInvalid),
        (Answer(200, b" " * 100_000, endless=True), errors.BadAnswer),
        (Answer(200, b"<html>"), errors.ManifestInvalid),
        (Answer(200, b"[" * 100_000), errors.ManifestInvalid),
        (Answer(404, b"<html>no"), errors.ManifestUnknown),
        (Answer(200, MANIFEST, cut=10), errors.Unreachable),
    ],
    ids=["other", "endless", "html", "deep", "404", "cut"],
)
async def test_what_is_no_manifest_is_an_error(answer: Answer, error: type[Exception]) -> None:
    with Scripted(routes(GET=answer)) as far_side:
        async with registry(far_side) as client:
            with pytest.raises(error):
                await client.manifest("a", "latest")


@pytest.mark.parametrize("headers", [{}, {"docker-content-digest": "nonsense"}, {"content-length": "x"}])
async def test_a_registry_whose_head_says_too_little_is_asked_for_all(headers: dict[str, str]) -> None:
    found = Answer(200, MANIFEST, {"content-type": INDEX})
    with Scripted(routes(GET=found, HEAD=Answer(405))) as far_side:
        async with registry(far_side) as client:
            at = await client.resolve("a", "latest")
            assert at is not None
            assert at.digest == Digest.of(MANIFEST)


async def test_pages_are_followed_and_circles_are_not() -> None:
    def page(asked: Asked) -> Answer:
        last = asked.query.get("last", [""])[0]
        tags, link = {"": (["a", "b"], "b"), "b": (["c"], "")}[last]
        headers = {"link": f'</v2/x/tags/list?last={link}&n=1000>; rel="next"'} if link else {}
        return Answer(200, json.dumps({"name": "x", "tags": tags}).encode(), headers)

    circle = Answer(200, b'{"tags": ["a"]}', {"link": '</v2/x/tags/list?n=1000>; rel="next"'})
    away = Answer(200, b'{"tags": null}', {"link": '<https://elsewhere.example/v2/>; rel="next"'})
    with Scripted(routes(GET=page)) as far_side:
        async with registry(far_side) as client:
            assert [tag async for tag in client.tags("x")] == ["a", "b", "c"]
            for wrong in (circle, away):
                far_side.answer = routes(GET=wrong)
                with pytest.raises(errors.BadAnswer):
                    _ = [tag async for tag in client.tags("x")]


async def test_what_is_no_tag_is_left_out() -> None:
    """It would go into the path of a request with our login, or to a terminal, and be taken for something else."""
    odd = ["ok", "../../b/manifests/x", "a\nb", "\x1b]0;x", "", 7, None]
    answers = routes(GET_list=json_answer({"tags": odd}), GET__catalog=json_answer({"repositories": odd}))
    with Scripted(answers) as far_side:
        async with registry(far_side) as client:
            assert [tag async for tag in client.tags("x")] == ["ok"]
            assert [name async for name in client.repositories()] == ["ok"]


async def test_every_page_of_referrers() -> None:
    def referrer(number: int) -> dict[str, object]:
        return {"mediaType": INDEX, "digest": Digest.of(b"%d" % number), "size": 1}

    def page(asked: Asked) -> Answer:
        number = int(asked.query.get("page", ["0"])[0])
        link = {"link": f'<{asked.path}?page={number + 1}>; rel="next"'} if number < 2 else {}
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [referrer(number)]}
        return Answer(200, json.dumps(document).encode(), {"content-type": INDEX, **link})

    with Scripted(routes(GET=page)) as far_side:
        async with registry(far_side) as client:
            found = [one.digest async for one in client.referrers("a", BLOB.digest)]
    assert found == [Digest.of(b"%d" % number) for number in range(3)]


async def test_nobody_there() -> None:
    with Scripted(routes()) as far_side:
        pass
    async with registry(far_side) as client:
        with pytest.raises(errors.Unreachable, match="cannot reach"):
            await read(client, BLOB)
