"""Requests to identity providers: where they may go, and how much they take."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lading.access.outbound import MOST, Outbound, ProviderFailed
from tests.support.issuer import Answer, Issuer

LOOPBACK = ("127.0.0.0/8",)


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:0a00:0001::",
        "ff02::1",
    ],
)
def test_addresses_inside_are_refused_unless_they_are_named(address: str) -> None:
    assert not Outbound().check("https", address)
    assert not Outbound().check("http", address)


def test_what_is_named_may_be_asked() -> None:
    inside = Outbound(("10.0.0.0/8", *LOOPBACK))
    assert inside.check("https", "10.1.2.3")
    assert inside.check("https", "::ffff:10.1.2.3")
    assert not inside.check("http", "10.1.2.3"), "plain HTTP is for loopback"
    assert inside.check("http", "127.0.0.1")
    assert not inside.check("https", "192.168.0.1")
    assert Outbound().check("https", "93.184.216.34")
    assert not Outbound().check("http", "93.184.216.34")


def ask(url: str, networks: tuple[str, ...] = LOOPBACK) -> dict[str, Any]:
    async def do() -> dict[str, Any]:
        outbound = Outbound(networks)
        try:
            return await outbound.get(url)
        finally:
            await outbound.close()

    return asyncio.run(do())


def test_a_name_is_what_it_leads_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with Issuer() as issuer:
        by_name = issuer.url.replace("127.0.0.1", "localhost")
        with pytest.raises(ProviderFailed, match="is not asked"):
            ask(f"{by_name}/jwks", ())
        assert issuer.asked == []
        assert ask(f"{issuer.url}/jwks")["keys"]


def test_redirects_are_not_followed() -> None:
    with Issuer() as issuer:
        issuer.redirect_to = f"{issuer.url}/jwks"
        with pytest.raises(ProviderFailed, match="redirect"):
            ask(f"{issuer.url}/elsewhere")
        assert issuer.asked == ["/elsewhere"]


@pytest.mark.parametrize(
    ("body", "headers", "why"),
    [
        (b" " * (MOST + 1), {}, "more than"),
        (b"[]", {}, "no JSON object"),
        (b"{", {}, "no JSON object"),
        (b"\xff", {}, "no JSON object"),
        (b"[" * 100_000, {}, "no JSON object"),
        (b"{}", {"content-encoding": "gzip"}, "encoding"),
    ],
)
def test_odd_answers(body: bytes, headers: dict[str, str], why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Issuer() as issuer:

        def odd(path: str, query: dict[str, str], authorization: str) -> Answer:
            return 200, headers, body

        monkeypatch.setattr(issuer, "_get", odd)
        with pytest.raises(ProviderFailed, match=why):
            ask(issuer.url)


def test_nobody_there() -> None:
    with Issuer() as issuer:
        url = issuer.url
    with pytest.raises(ProviderFailed, match="cannot be asked"):
        ask(url)
