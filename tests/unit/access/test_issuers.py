"""Tokens of an issuer: its keys as they change, and what is no token of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from lading.access.issuers import AGAIN_AFTER, KEPT_FOR, TokenRefused, unverified_issuer
from lading.access.issuers import Issuer as Known
from lading.access.outbound import Outbound, ProviderFailed
from tests.support.issuer import Issuer, Key

AUDIENCE = "registry.example"
GOOD = {"sub": "job", "aud": AUDIENCE}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as made:
        yield made


def within(issuer: Issuer, work: Callable[[Known, Clock], Awaitable[None]]) -> None:
    async def do() -> None:
        outbound, clock = Outbound(("127.0.0.0/8",)), Clock()
        try:
            await work(Known(issuer.url, outbound, clock=clock), clock)
        finally:
            await outbound.close()

    asyncio.run(do())


def test_documents_and_keys_are_read_once_and_again_after_a_while(issuer: Issuer) -> None:
    async def work(known: Known, clock: Clock) -> None:
        for _ in range(3):
            assert (await known.verify(issuer.token(GOOD), AUDIENCE))["sub"] == "job"
        assert issuer.asked == ["/.well-known/openid-configuration", "/jwks"]
        clock.now += KEPT_FOR + 1
        await known.verify(issuer.token(GOOD), AUDIENCE)
        assert len(issuer.asked) == 4

    within(issuer, work)


def test_an_unknown_key_has_them_read_again_but_not_all_the_time(issuer: Issuer) -> None:
    async def work(known: Known, clock: Clock) -> None:
        await known.verify(issuer.token(GOOD), AUDIENCE)
        old = issuer.token(GOOD)
        issuer.rotate("ES256")
        for _ in range(5):
            with pytest.raises(TokenRefused, match="does not publish"):
                await known.verify(issuer.token(GOOD), AUDIENCE)
        assert issuer.asked.count("/jwks") == 1
        clock.now += AGAIN_AFTER + 1
        await known.verify(issuer.token(GOOD), AUDIENCE)
        assert issuer.asked.count("/jwks") == 2
        with pytest.raises(TokenRefused):
            await known.verify(old, AUDIENCE)

    within(issuer, work)


def test_what_was_read_before_is_good_while_the_issuer_is_away(issuer: Issuer) -> None:
    async def work(known: Known, clock: Clock) -> None:
        token = issuer.token(GOOD)
        await known.verify(token, AUDIENCE)
        issuer.document = {"issuer": "https://another.example"}
        clock.now += KEPT_FOR + 1
        assert await known.verify(token, AUDIENCE)

    within(issuer, work)


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://another.example"},
        {"jwks_uri": "http://10.0.0.1/jwks"},
        {"jwks_uri": "https://169.254.169.254/latest/meta-data"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": 7},
        {"issuer": None},
    ],
)
def test_documents_that_lead_elsewhere(issuer: Issuer, document: dict[str, Any]) -> None:
    issuer.document = document

    async def work(known: Known, clock: Clock) -> None:
        with pytest.raises(ProviderFailed):
            await known.verify(issuer.token(GOOD), AUDIENCE)

    within(issuer, work)


@pytest.mark.parametrize(
    ("claims", "options"),
    [
        ({"aud": "another"}, {}),
        ({"aud": [AUDIENCE, "another"]}, {}),
        ({"aud": None}, {}),
        ({"iss": "https://another.example"}, {}),
        ({"iss": "{url}/"}, {}),
        ({"exp": 1}, {}),
        ({"exp": None}, {}),
        ({"exp": "soon"}, {}),
        ({"exp": float("inf")}, {}),
        ({"iat": float("nan")}, {}),
        ({"nbf": 99999999999}, {}),
        ({"iat": 99999999999}, {}),
        ({"iat": None}, {}),
        ({"sub": None}, {}),
        ({"sub": 7}, {}),
        ({}, {"headers": {"kid": "unknown"}}),
        ({}, {"headers": {"crit": ["x"], "x": 1}}),
        ({"filler": "x" * 20_000}, {}),
    ],
)
def test_tokens_that_are_refused(issuer: Issuer, claims: dict[str, Any], options: dict[str, Any]) -> None:
    if isinstance(claims.get("iss"), str):
        claims = {**claims, "iss": claims["iss"].replace("{url}", issuer.url)}

    async def work(known: Known, clock: Clock) -> None:
        assert await known.verify(issuer.token(GOOD), AUDIENCE)
        with pytest.raises(TokenRefused):
            await known.verify(issuer.token({**GOOD, **claims}, **options), AUDIENCE)

    within(issuer, work)


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "HS512", "RS1", ""])
def test_forged_tokens(issuer: Issuer, algorithm: str) -> None:
    async def work(known: Known, clock: Clock) -> None:
        assert await known.verify(issuer.token(GOOD), AUDIENCE)
        with pytest.raises(TokenRefused):
            await known.verify(issuer.forged(GOOD, algorithm), AUDIENCE)

    within(issuer, work)


def test_old_tokens(issuer: Issuer) -> None:
    async def work(known: Known, clock: Clock) -> None:
        token = issuer.token({**GOOD, "iat": 1_600_000_000, "nbf": None})
        assert await known.verify(token, AUDIENCE)
        with pytest.raises(TokenRefused, match="more than 3600 seconds"):
            await known.verify(token, AUDIENCE, max_age=3600)

    within(issuer, work)


def test_other_issuers_keys_do_not_count(issuer: Issuer) -> None:
    async def work(known: Known, clock: Clock) -> None:
        token = issuer.token(GOOD, key=Key().private)
        with pytest.raises(TokenRefused):
            await known.verify(token, AUDIENCE)

    within(issuer, work)


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "." * 5, "é.é.é", "x" * 20_000, "eyJ9.eyJ9."])
def test_what_is_no_token_has_no_issuer(issuer: Issuer, text: str) -> None:
    assert unverified_issuer(text) == ""

    async def work(known: Known, clock: Clock) -> None:
        with pytest.raises(TokenRefused):
            await known.verify(text, AUDIENCE)

    within(issuer, work)
