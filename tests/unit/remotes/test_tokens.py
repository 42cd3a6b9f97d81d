"""Logins on the wire: Basic and Bearer, tokens kept and renewed, refresh tokens, realms that are traps."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest

from lading import errors
from lading.remotes.challenge import parse
from lading.remotes.credentials import Credential, Keyring
from lading.remotes.session import Session
from lading.remotes.transport import Policy
from tests.support.scripted import Answer, Asked, Scripted, json_answer
from tests.unit.remotes.far import BLOB, HURRIED, registry

pytestmark = pytest.mark.anyio

ALICE = "Basic " + base64.b64encode(b"alice:secret").decode()


class Guarded:
    """A registry and its token server in one: a token is its scopes and a number, and is taken for those scopes."""

    def __init__(self, **answer: Any) -> None:
        self.answer = {"expires_in": 300, **answer}
        self.refuse: Callable[[Asked], Answer | None] = lambda asked: None
        self.tokens: list[tuple[str, list[str], str]] = []
        self.forms: list[dict[str, list[str]]] = []
        self.revoked: set[str] = set()
        self.far_side: Scripted

    def __call__(self, asked: Asked) -> Answer:
        if refused := self.refuse(asked):
            return refused
        if asked.path == "/token":
            return self.token(asked)
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        if token in {one for _, _, one in self.tokens} - self.revoked:
            return Answer(404)
        scope = ',scope="repository:a:pull"' if asked.path != "/v2/" else ""
        challenge = f'Bearer realm="{self.far_side.url}/token",service="registry"{scope}'
        return Answer(401, b"", {"www-authenticate": challenge})

    def token(self, asked: Asked) -> Answer:
        form = parse_qs(asked.read().decode()) if asked.method == "POST" else {}
        scopes = [one for text in (form or asked.query).get("scope", []) for one in text.split()]
        made = f"token-{len(self.tokens)}"
        self.tokens.append((asked.headers.get("authorization", ""), scopes, made))
        self.forms.append(form or dict(asked.query))
        return json_answer({"token": made, **self.answer})


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    there = Guarded()
    with Scripted(there) as far_side:
        there.far_side = far_side
        yield there


async def test_an_anonymous_token(guarded: Guarded) -> None:
    async with registry(guarded.far_side) as client:
        assert await client.resolve("a", "latest") is None
        assert await client.resolve("a", "other") is None
    assert [(who, scopes) for who, scopes, _ in guarded.tokens] == [("", ["repository:a:pull"])]


async def test_a_token_is_fetched_once_for_requests_at_the_same_time(guarded: Guarded) -> None:
    async with registry(guarded.far_side, user="alice", password="secret") as client:
        await client.resolve("a", "first")
        await asyncio.gather(*(client.has_blob("a", BLOB) for _ in range(8)))
    assert [(who, scopes) for who, scopes, _ in guarded.tokens] == [
        (ALICE, ["repository:a:pull"]),
        (ALICE, ["repository:a:pull,push"]),
    ]
    assert guarded.forms[0]["account"] == ["alice"]
    assert guarded.forms[0]["service"] == ["registry"]


async def test_a_mount_asks_for_both_repositories(guarded: Guarded) -> None:
    async with registry(guarded.far_side, user="alice", password="secret") as client:
        await client.mount("a", BLOB, "b")
    assert guarded.tokens[0][1] == ["repository:a:pull,push", "repository:b:pull"]


async def test_a_token_that_is_taken_no_longer_is_renewed(guarded: Guarded) -> None:
    async with registry(guarded.far_side) as client:
        await client.resolve("a", "latest")
        guarded.revoked.add("token-0")
        assert await client.resolve("a", "latest") is None
    assert len(guarded.tokens) == 2


async def test_of_many_repositories_the_last_are_remembered(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror may be asked for as many as its upstream has, and more that are none."""
    monkeypatch.setattr("lading.remotes.tokens._MOST_GRANTS", 3)
    async with registry(guarded.far_side) as client:
        for name in ("a", "b", "c", "a", "d", "a", "b"):
            assert await client.resolve(name, "latest") is None
    asked = [scopes[0].split(":")[1] for _, scopes, _ in guarded.tokens]
    assert asked == ["a", "b", "c", "d", "b"]


async def test_a_refresh_token_buys_tokens_by_post(guarded: Guarded) -> None:
    async with registry(guarded.far_side, identity_token="refresh") as client:
        await client.resolve("a", "latest")
    assert guarded.forms == [
        {
            "grant_type": ["refresh_token"],
            "refresh_token": ["refresh"],
            "service": ["registry"],
            "client_id": ["lading"],
            "scope": ["repository:a:pull"],
        }
    ]


async def test_a_registry_token_is_sent_as_it_is(guarded: Guarded) -> None:
    guarded.tokens.append(("", [], "given"))
    async with registry(guarded.far_side, registry_token="given") as client:
        assert await client.resolve("a", "latest") is None
    assert len(guarded.tokens) == 1


async def test_a_server_that_knows_only_post(guarded: Guarded) -> None:
    guarded.refuse = lambda asked: Answer(404) if (asked.path, asked.method) == ("/token", "GET") else None
    async with registry(guarded.far_side, user="alice", password="secret") as client:
        assert await client.resolve("a", "latest") is None
    assert guarded.forms[0]["grant_type"] == ["password"]
    assert guarded.forms[0]["password"] == ["secret"]


async def test_a_token_server_in_trouble_is_asked_again(guarded: Guarded) -> None:
    left = [Answer(503), Answer(429, b"", {"retry-after": "1"}), Answer(body=None), Answer(body=None)]
    guarded.refuse = lambda asked: left.pop() if asked.path == "/token" and left else None
    async with registry(guarded.far_side) as client:
        assert await client.resolve("a", "latest") is None


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (Answer(401, b"{}"), errors.Unauthenticated, "lading login"),
        (Answer(403, b'{"details": "suspended"}'), errors.Denied, "suspended"),
        (Answer(200, b"garbage"), errors.BadAnswer, "no JSON object"),
        (Answer(200, b"{}"), errors.BadAnswer, "without a token"),
        (json_answer({"token": "a\nb"}), errors.BadAnswer, "without a token"),
        (json_answer({"token": 7}), errors.BadAnswer, "without a token"),
        (Answer(200, b" " * 65536, endless=True), errors.BadAnswer, "more than"),
        (Answer(302, b"", {"location": "http://169.254.169.254/"}), errors.BadAnswer, "redirect"),
    ],
    ids=["401", "403", "garbage", "empty", "newline", "number", "endless", "redirect"],
)
async def test_a_token_server_that_gives_none(
    guarded: Guarded, answer: Answer, error: type[Exception], said: str
) -> None:
    guarded.refuse = lambda asked: answer if asked.path == "/token" else None
    async with registry(guarded.far_side, user="alice", password="secret") as client:
        with pytest.raises(error, match=said) as found:
            await client.resolve("a", "latest")
    assert "secret" not in str(found.value)


async def test_a_realm_whose_name_leads_inside_is_none_for_a_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that asks for everybody goes by what a name stands for, since what it reaches is not for everybody."""
    asked: list[str] = []

    async def found(name: str, *_: object, **more: object) -> list[tuple[object, ...]]:
        asked.append(name)
        return [(2, 1, 6, "", ("10.0.0.1" if name == "auth.example" else "93.184.216.34", 443))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found, raising=False)
    async with Session("registry.example", Keyring({}), Policy(scheme="https", guarded=True)) as session:
        session.authorizer.learn(parse(['Bearer realm="https://auth.example/token",service="x"']), (), "")
        with pytest.raises(
            errors.BadAnswer, match=r"names a token server at auth\.example, an address of a private net"
        ):
            await session.authorizer.header(("repository:a:pull",))
    assert set(asked) == {"auth.example", "registry.example"}


async def test_a_realm_at_an_inner_address_never_hears_of_us() -> None:
    challenge = 'Bearer realm="http://10.255.255.1/token",service="x"'
    with Scripted(lambda asked: Answer(401, b"", {"www-authenticate": challenge})) as far_side:
        async with registry(far_side, user="alice", password="secret") as client:
            with pytest.raises(errors.BadAnswer, match="private network"):
                await client.resolve("a", "latest")
        assert all("authorization" not in one.headers for one in far_side.asked)


async def test_basic(guarded: Guarded) -> None:
    def refuse(asked: Asked) -> Answer:
        if asked.headers.get("authorization") == ALICE:
            return Answer(404)
        return Answer(401, b"", {"www-authenticate": 'Basic realm="r"'})

    guarded.refuse = refuse
    async with registry(guarded.far_side, user="alice", password="secret") as client:
        assert await client.resolve("a", "latest") is None
        assert await client.resolve("a", "latest") is None
    assert [one.headers.get("authorization") for one in guarded.far_side.asked] == [None, None, ALICE, ALICE]
    for user in ("alice", ""):
        async with registry(guarded.far_side, user=user, password="wrong") as client:
            with pytest.raises(errors.Unauthenticated, match=f"lading login {guarded.far_side.host}"):
                await client.resolve("a", "latest")


@pytest.mark.parametrize("challenge", ["", "Negotiate", "\x01", 'Digest realm="x"'])
async def test_a_challenge_nobody_can_answer(challenge: str) -> None:
    headers = {"www-authenticate": challenge} if challenge else {}
    with Scripted(lambda asked: Answer(401, b"", headers)) as far_side:
        async with registry(far_side, user="alice", password="secret") as client:
            with pytest.raises((errors.Unauthenticated, errors.RemoteError)):
                await client.resolve("a", "latest")


async def test_a_login_is_tried_and_a_refresh_token_kept(guarded: Guarded) -> None:
    guarded.answer["refresh_token"] = "long-lived"
    async with Session(guarded.far_side.host, Keyring({"HOME": "/nonexistent"}), HURRIED) as session:
        kept = await session.login(Credential("alice", "secret"))
    assert kept == Credential("alice", identity_token="long-lived")
    assert guarded.forms[0]["offline_token"] == ["true"]


async def test_a_login_without_a_refresh_token_keeps_the_password(guarded: Guarded) -> None:
    async with Session(guarded.far_side.host, Keyring({"HOME": "/nonexistent"}), HURRIED) as session:
        assert await session.login(Credential("alice", "secret")) == Credential("alice", "secret")


async def test_a_wrong_login_is_told(guarded: Guarded) -> None:
    guarded.refuse = lambda asked: (
        Answer(401, json.dumps({"details": "no"}).encode()) if asked.path == "/token" else None
    )
    async with Session(guarded.far_side.host, Keyring({"HOME": "/nonexistent"}), HURRIED) as session:
        with pytest.raises(errors.Unauthenticated):
            await session.login(Credential("alice", "wrong"))


@pytest.mark.parametrize("user", ["alice", ""], ids=["from a file", "from a helper"])
async def test_a_token_that_was_kept_is_tried_and_renewed(guarded: Guarded, user: str) -> None:
    guarded.answer["refresh_token"] = "next"
    async with Session(guarded.far_side.host, Keyring({"HOME": "/nonexistent"}), HURRIED) as session:
        kept = await session.login(Credential(user, identity_token="first"))
    assert kept == Credential(user, identity_token="next")
    assert guarded.forms[0]["refresh_token"] == ["first"]
